"""Draw the pictures of README and docs: ``python docs/pictures.py``."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

import leadline
from leadline import zoo

PICTURES = Path(__file__).parent / "pictures"
SIZE, POSITION = 17, (11, 8)
MODELS = (
    ("plain PixelCNN, 6 layers", "masked-stack", {"layers": 6, "channels": 1}),
    ("gated PixelCNN, 6 layers", "gated-pixelcnn", {"layers": 6, "first_kernel": 3, "channels": 2, "head": 2}),
    ("MDRNN, 1 layer", "mdrnn", {"layers": 1, "hidden": 2, "embedding": 2, "head": 2}),
)
COLOURS = {"seen": "#1f6f8b", "not seen": "#e0a458", "not seen by any stack of copies": "#c8553d", "later": "#f3f1ea"}


def main() -> None:
    """Write context.svg: what one output of three models of the zoo sees."""
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    for axes, (title, name, settings) in zip(figure.subplots(1, len(MODELS)), MODELS, strict=True):
        specimen = zoo.build(name, height=SIZE, width=SIZE, **settings)
        found = leadline.context(specimen.model, *specimen.inputs, layout=specimen.layout, position=POSITION)
        (seen,), (blind,), (always,) = found.seen.values(), found.blind.values(), found.always_blind.values()
        cells = np.where(seen, 0, np.where(always, 2, np.where(blind, 1, 3)))
        axes.imshow(cells, cmap=ListedColormap(list(COLOURS.values())), vmin=0, vmax=3)
        axes.plot(POSITION[1], POSITION[0], "ko", markersize=4)
        axes.set(title=title, xticks=[], yticks=[])
    keys = [Patch(facecolor=colour, edgecolor="#999", label=name) for name, colour in COLOURS.items()]
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), frameon=False)
    with mpl.rc_context({"svg.hashsalt": "leadline", "font.family": "sans-serif"}):
        figure.savefig(PICTURES / "context.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
