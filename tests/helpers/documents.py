"""A document with a block of each kind."""

import numpy as np

from leadline.document import (
    Bars,
    Card,
    ContextMaps,
    Curve,
    Document,
    Fold,
    FrontMap,
    GridMap,
    HeatMap,
    InputMaps,
    Pictures,
    ReachMap,
    Row,
    Section,
    Table,
    Text,
    Wave,
)

LEGEND = (("·", "not seen"), ("#", "seen"), ("o", "blind"), ("@", "the output"))
CURVE = Curve(
    (0.0, 1.0, 2.0),
    (("norm", (1.0, 0.1, 0.01)),),
    "stage",
    "norm",
    "gradient norms",
    log_y=True,
    bands=(("norm", (0.5, 0.0, 0.005), (2.0, 0.2, 0.02)),),
    levels=(("float16 holds nothing below", 1e-7),),
    names=("a", "b", "c"),
)
SLIDE = Curve(
    (1.0, 2.0, 3.0), (("steps", (4.0, 8.0, 12.0)),), "d, layers", "found", "with other values of d",
    names=("d = 1: proved", "d = 2: proved", "d = 3: corrected"), slide="d",
)  # fmt: skip
MAP = GridMap(np.array([[1, 1, 2], [0, 0, 0]]), ((".", "unseen"), ("#", "seen"), ("o", "output")), "context")
FRONTS = FrontMap(np.arange(3)[:, None] * 5 + np.arange(4), "wavefront")
WAVE = Wave(np.sin(np.arange(800) / 10), 8000, "a tone")
PICTURES = Pictures(np.eye(4)[None], "samples")
BARS = Bars((("embed", 1024.0, "1.0 KiB"), ("block", 2048.0, "2.0 KiB")), "kept", "memory")
TREE = Table(("module", "kept"), (("a", "1 000 B"), ("b", "2.0 KiB"), ("c", "30 B")), "by module", sortable=True)


def _line() -> ContextMaps:
    """Outputs of a line of eight that see the last four inputs, and two frames of a conditioning input."""
    places = tuple((t,) for t in range(0, 8, 2))
    seen = np.array([[int(t - 4 < x <= t) for x in range(8)] for (t,) in places])
    frames = np.array([[[int(f == t // 4) for f in range(2)]] * 3 for (t,) in places])
    inputs = (InputMaps("x", ("t",), seen), InputMaps("mel", ("c", "f"), frames))
    return ContextMaps(("t",), (8,), places, 2, inputs, LEGEND[:2], "what the chosen output sees")


def _grid() -> ContextMaps:
    """Outputs of a grid that see all before them in raster order."""
    places = tuple((r, c) for r in range(1, 6, 2) for c in range(0, 6, 2))
    order = np.arange(36).reshape(6, 6)
    cells = np.stack([(order < order[place]).astype(int) for place in places])
    for index, place in enumerate(places):
        cells[(index, *place)] = 3
    return ContextMaps(("h", "w"), (6, 6), places, 4, (InputMaps("x", ("h", "w"), cells),), LEGEND, "a grid")


LINE, GRID = _line(), _grid()
REACH = ReachMap(
    10.0 ** -np.array([[99.0, 9, 6, 3, 1, 0, 99]]), np.array([[0, 1, 1, 1, 1, 1, 0]]) > 0, (0, -5), 1, "reach"
)
CELLS = ReachMap(np.tril(np.ones((4, 4))), np.tril(np.ones((4, 4)), 1) > 0, (-2, -2), 1, "reach over a grid")
HEAT = HeatMap(
    (0.5, 1.0, 2.0), (10.0, 20.0), np.array([[-1.0, 0.0, 4.0], [-2.0, np.nan, 2.0]]), "sigma_w", "layers", "rate",
    "a phase diagram", lines=(("theory", ((1.3, 10.0), (1.35, 20.0))), ("measured", ((1.0, 10.0), (1.5, 20.0)))),
)  # fmt: skip
STEEP = HeatMap((1.0, 2.0, 4.0), (1.0, 2.0, 3.0), 10.0 ** np.arange(9).reshape(3, 3), "width", "layers", "macs",
                "a steep map", log=True)  # fmt: skip
CARDS = (
    Card("good", "causality", "causal", "proved"),
    Card("bad", "batch", "samples mix", "confirmed", "call model.eval()"),
    Card("notice", "blind", "3 positions", "proved"),
    Card("unknown", "gradient", "one stage", "estimate"),
    Card("plain", "context", "4 of 8", "proved"),
)


def document(*blocks: object) -> Document:
    """Return a document of one section, whose title is not markup."""
    return Document("A <title>", "sub & line", (Section("heading", blocks),))  # type: ignore[arg-type]


def everything() -> Document:
    """Return a document with all kinds of blocks."""
    facts = Table(("", "value", "status"), (("steps", "12", "proved"), ("verdict", "vanishing", "estimate")))
    compared = Table(("", "a", "b", "c"), (("steps", "1", "2", "3"), ("lag", "0", "0", "0")), differing=frozenset({0}))
    return Document(
        "model depth=2",
        "x 1 × 8 · float32",
        (
            Section("Context", (facts, LINE, GRID)),
            Section("Gradient", (CURVE, SLIDE, Fold("the longest chain", (Text("a → b"),)))),
            Section("Reach", (REACH, CELLS)),
            Section("Sweeps", (Row((HEAT, STEEP)),)),
            Section("Memory", (BARS, TREE)),
            Section("Generation", (FRONTS,)),
            Section("Samples", (PICTURES, WAVE)),
            Section("Compared", (compared, Row((MAP, MAP)))),
        ),
        CARDS,
        ("reproduce: leadline check model depth=2", "leadline 0.2.0 · seed 0"),
    )
