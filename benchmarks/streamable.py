"""Causal networks that others wrote, as streams: which stream, how close they come, and what refuses the others.

Every model is small, with random weights, in float64. A stream's outputs, computed one position at a time, are compared
with the full forward pass at the traced length and, where the model takes one, at a longer length; and in float32
through the compiled interpreter. Run as
``python benchmarks/streamable.py [NAME]...``; the table goes to ``benchmarks/results/streamable.md`` and ``.json``.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from causal_nets import LENGTH, LONGER, CausalNet
from causal_nets import NETS as OF_ONE_RATE
from rated_nets import RATED
from tables import markdown
from torch import Tensor

import leadline
from leadline.errors import LeadlineError, NotUniform, UsageError
from leadline.sampling import FrameStream

NETS = (*OF_ONE_RATE, *RATED)
RESULTS = Path(__file__).parent / "results"
COLUMNS = ("name", "package", "streams", "difference", "longer", "compiled", "state", "refused by")


def forward(net: CausalNet, model: torch.nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """Run the model whole and pick the output that the layout names."""
    with torch.no_grad():
        out = model(**inputs)
    name = next(key for key in net.layout if key not in inputs)
    if isinstance(out, Tensor):
        return out
    return out[int(name[1:-1])] if name.startswith("[") else out[name]


def double(inputs: Any) -> dict[str, Tensor]:
    return {name: x.double() if x.is_floating_point() else x for name, x in inputs.items()}


def row(net: CausalNet) -> dict[str, Any]:
    """Stream one model, or say what refuses it."""
    torch.manual_seed(0)
    found: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {"name": net.name}
    found["package"] = f"{net.package} {importlib.metadata.version(net.package)}"
    model = net.model().double()
    inputs = double(net.inputs(LENGTH))
    forward(net, model, inputs)  # some rewrite their weights in their first pass
    try:
        made = leadline.stream(model, layout=net.layout, backend="torch", **inputs)
        found["difference"] = difference(net, model, made, inputs)
    except NotUniform as error:
        return found | {"streams": "no", "refused by": brief(error)}
    found |= {"streams": "yes", "state": made.state_bytes}
    try:
        found["longer"] = difference(net, model, made, double(net.inputs(LONGER)))
    except UsageError as error:
        found["longer"] = brief(error)
    return found | {"compiled": compiled(net)}


def compiled(net: CausalNet) -> str:
    """Return the difference of the compiled interpreter, in float32, or what it lacks."""
    torch.manual_seed(0)
    model, inputs = net.model(), net.inputs(LENGTH)
    forward(net, model, inputs)
    try:
        made = leadline.stream(model, layout=net.layout, **inputs)
        if isinstance(made, FrameStream) and made.why:
            return made.why
        return difference(net, model, made, inputs)
    except UsageError as error:
        return brief(error)


def difference(net: CausalNet, model: torch.nn.Module, made: Any, inputs: dict[str, Tensor]) -> str:
    """Return the largest difference between the stream and the full forward pass, relative to the largest output."""
    wanted = forward(net, model, inputs)
    (x,) = (x for name, x in inputs.items() if net.layout[name] is not None)
    return f"{float((made.logits(x) - wanted).abs().max() / wanted.abs().max()):.0e}"


def brief(error: LeadlineError) -> str:
    """Shorten an error: no folders, and no advice after the reason."""
    text = re.sub(r"\(\S*/(?=[^/]+:\d+\))", "(", str(error))
    return text.split("; no system")[0].replace("|", "/")


def write(rows: dict[str, dict[str, Any]]) -> None:
    """Write the table of all rows, in the order of the networks."""
    ordered = [rows[net.name] for net in NETS if net.name in rows]
    RESULTS.mkdir(exist_ok=True)
    record = {"torch": torch.__version__, "rows": ordered}
    (RESULTS / "streamable.json").write_text(json.dumps(record, indent=1) + "\n")
    (RESULTS / "streamable.md").write_text(markdown(ordered, COLUMNS))


def main() -> None:
    """Stream all networks, or renew the rows of those named; print a line for each."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    wanted, kept = sys.argv[1:], RESULTS / "streamable.json"
    old = json.loads(kept.read_text())["rows"] if wanted and kept.exists() else []
    rows = {found["name"]: found for found in old}
    for net in NETS:
        if not wanted or net.name in wanted:
            rows[net.name] = row(net)
            print(rows[net.name], flush=True)
            write(rows)
    print(f"{sum(found['streams'] == 'yes' for found in rows.values())} of {len(rows)} stream")


if __name__ == "__main__":
    main()
