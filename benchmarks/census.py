"""A census of models that others wrote: verdict, lag, multiply-adds and context, beside what the real models do.

Each is small, with random weights. Every row holds the analysis against an oracle that knows nothing of it: at two
lengths, one of them odd, each position of the input is changed in float64, and the outputs that change are noted. A
certificate is contradicted by an output that changes before its lag, a leak by one that does not, a context by a
position that it leaves out. The multiply-adds stand beside those of torch's own counter, with what the difference is
made of; and the model is compared with what it was before. Run as ``python benchmarks/census.py``, with names of models
to measure these anew, or with ``--resume`` to leave out those that have a row; the table goes to
``benchmarks/results/census.md`` and ``.json`` as it grows.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from published import CENSUS
from published.entry import Published, wide
from published.multiplications import products
from published.oracle import Seen, look, picked, run
from published.untouched import described
from tables import RESULTS, markdown
from torch import Tensor, nn

from leadline import read
from leadline.domains import Causality, Context, Verdict
from leadline.errors import LeadlineError

KEPT = RESULTS / "census.json"
COLUMNS = (
    *("package", "model", "verdict", "lag", "macs", "context"),
    *("oracle", "torch's counter", "difference", "untouched", "seconds"),
)
_DRAWS = 3
Inputs = Mapping[str, Tensor]


def row(entry: Published) -> dict[str, Any]:
    """Measure one model; what fails is said in its row."""
    found: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {"package": entry.package, "model": entry.name}
    try:
        return found | measured(entry)
    except LeadlineError as error:
        return found | {"verdict": "none", "difference": brief(error)}
    except (Exception, SystemExit) as error:  # one model must not end the run
        return found | {"verdict": "none", "difference": f"{type(error).__name__}: {brief(error)}"}


def measured(entry: Published) -> dict[str, Any]:
    """Ask leadline and the oracle at both lengths; count at the first."""
    lengths = []
    for length in entry.lengths:
        torch.manual_seed(0)
        model, draws = entry.build(length), drawn(entry, length)
        layout = {**dict.fromkeys(draws[0]), **entry.layout}
        (output,) = (name for name in layout if name not in draws[0])
        returned = run(model, draws[0], output)
        before = described(model)
        start = time.perf_counter()
        reading = read(model, layout=layout, **draws[0])
        judged = reading.causality()
        seen = reading.context(tuple(size - 1 for size in reading.sizes.values()))
        macs, seconds = reading.count().macs, time.perf_counter() - start
        same = described(model) == before and torch.equal(run(model, draws[0], output), returned)
        made = products(model, draws[0], lambda out, output=output: picked(out, output))
        oracle = in_float64(entry, model, draws, layout)
        lengths.append(
            {
                "length": length,
                "verdict": judged.verdict.value,
                "lag": judged.lag,
                "context": span(seen),
                "sense": seen.sense,
                "oracle lag": oracle.lag,
                "oracle context": [len(oracle.last), len(oracle.places)],
                "oracle": opinion(judged, seen, oracle),
                "macs": macs,
                "torch's counter": made.counted,
                "difference": made.explained(macs),
                "untouched": "yes" if same else "no",
                "seconds": round(seconds, 1),
            }
        )
    first, second = lengths
    opinions = dict.fromkeys(at["oracle"] for at in lengths)
    untouched = "yes" if all(at["untouched"] == "yes" for at in lengths) else "no"
    verdict = first["verdict"] if first["verdict"] == second["verdict"] else f"{first['verdict']}, {second['verdict']}"
    lag = first["lag"] if first["lag"] == second["lag"] else f"{first['lag']}, {second['lag']}"
    merged = {"verdict": verdict, "lag": lag, "oracle": "; ".join(opinions), "untouched": untouched}
    return {name: first[name] for name in COLUMNS if name in first} | merged | {"lengths": lengths}


def drawn(entry: Published, length: int) -> list[Inputs]:
    """Draw inputs, and others whose parts the oracle puts in."""
    draws = []
    for seed in range(1 + _DRAWS):
        torch.manual_seed(seed)
        draws.append(entry.inputs(length))
    return draws


def in_float64(entry: Published, model: nn.Module, draws: Sequence[Inputs], layout: Mapping[str, str | None]) -> Seen:
    """Ask the oracle, with what the model makes while it runs in double precision too."""
    torch.set_default_dtype(torch.float64)
    try:
        return look(entry.in_double(model), [{name: wide(x) for name, x in draw.items()} for draw in draws], layout)
    finally:
        torch.set_default_dtype(torch.float32)


def opinion(judged: Causality, seen: Context, oracle: Seen) -> str:
    """Hold verdict, lag, context and independence of samples against what changed."""
    shown = {tuple(place) for place in seen.map.nonzero().tolist()}
    wrong = []
    if oracle.lag is not None and (judged.lag is None or oracle.lag < judged.lag):
        wrong.append(f"lag {oracle.lag} seen")
    if judged.verdict is Verdict.LEAK and (oracle.lag is None or oracle.lag >= 0):
        wrong.append("no leak seen")
    if not oracle.last <= shown:
        wrong.append("seen beyond the context")
    if oracle.mixed != (judged.cross_batch is not None):
        wrong.append("samples mix" if oracle.mixed else "samples do not mix")
    if wrong:
        return f"contradicts: {', '.join(wrong)}"
    loose = [] if judged.lag == oracle.lag else [f"lag {oracle.lag} seen"]
    missing = len([place for place in oracle.places if place in shown and place not in oracle.last])
    loose += [f"{missing} of the context not seen"] if missing else []
    return f"agrees ({', '.join(loose)})" if loose else "agrees"


def span(seen: Context) -> str:
    """Say how many positions the last output sees, and from which to which they lie."""
    box = seen.box()
    reach = "×".join(str(last - first + 1) for first, last in box.values()) if box else "0"
    return f"{seen.size} in {reach}" if str(seen.size) != reach else reach


def brief(error: Exception) -> str:
    """Shorten an error to one line without folders."""
    text = re.sub(r"(?<=\()/\S*/", "", str(error))
    return " ".join(text.replace("|", "/").split())[:300]


def write(rows: Mapping[str, dict[str, Any]]) -> None:
    """Write the table of all rows, in the census's order, with a summary before it."""
    ordered = [rows[entry.key] for entry in CENSUS if entry.key in rows]
    packages = {name: importlib.metadata.version(name) for name in sorted({found["package"] for found in ordered})}
    record = {"torch": torch.__version__, "processor": platform.machine(), "packages": packages, "rows": ordered}
    RESULTS.mkdir(exist_ok=True)
    KEPT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    text = f"{summary(ordered)}\n\n{markdown(ordered, COLUMNS)}"
    (RESULTS / "census.md").write_text(text, encoding="utf-8")


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say how many there are, and how many the oracle contradicts."""
    packages = len({found["package"] for found in rows})
    without = sum(found["verdict"] == "none" for found in rows)
    against = sum("contradicts" in found["oracle"] for found in rows)
    return f"{len(rows)} models of {packages} packages: {against} contradicted, {without} without a verdict."


def main() -> None:
    """Measure all models, or those named, or those without a row; print a line for each."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    wanted = set(sys.argv[1:])
    rows = {}
    if wanted and KEPT.exists():
        rows = {f"{found['package']}: {found['model']}": found for found in json.loads(KEPT.read_text())["rows"]}
    for entry in CENSUS:
        asked = entry.key not in rows if "--resume" in wanted else not wanted or wanted & {entry.name, entry.package}
        if asked:
            rows[entry.key] = row(entry)
            print(*(rows[entry.key][column] for column in COLUMNS), sep=" | ", flush=True)
            write(rows)
    print(summary(list(rows.values())))


if __name__ == "__main__":
    main()
