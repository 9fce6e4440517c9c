"""What the structural depths cost: CPU seconds on one thread and peak memory, against limits, with peers beside.

``python benchmarks/structure.py [--only NAME …] [--quick]``. Every measurement has a process of its own. A full run
writes ``results/structure.json`` and, rendered from it, ``structure.md``, in which ``--only`` renews its lines;
``--quick`` leaves out the largest shape and writes nothing. The exit code is 1 where a limit is missed.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import click
from fresh_process import Cost, growth, measured, report
from rich.console import Console
from rich.table import Table
from tables import RESULTS, markdown

FLOOR, FIVE = "torch.export and decompositions", "five depths"
COUNTING = ("FlopCounterMode / 2", "fvcore", "torchlens")
MACS = (
    "leadline",
    "fvcore",
    "torchinfo",
    "ptflops, hooks",
    "ptflops, aten",
    "thop",
    "FlopCounterMode / 2",
    "torchlens",
)
LENGTHS = (100_000, 200_000, 400_000, 800_000)
STEPS = (20_000, 40_000, 80_000, 160_000)
COLUMNS = ("what", "limit", "CPU s", "peak GB", "found", "beside", "held")


def _anything(_: Mapping[str, Any]) -> bool:
    return True


@dataclass(frozen=True)
class Line:
    """One measurement with its limits: CPU seconds, gigabytes, and what must be found; and what stands beside it."""

    name: str
    what: str
    example: str
    work: str
    seconds: float | None = None
    gigabytes: float | None = None
    beside: tuple[str, ...] = ()
    runs: int = 1
    holds: Callable[[Mapping[str, Any]], bool] = _anything
    must: str = ""


@dataclass(frozen=True)
class Growth:
    """How the five depths of a stack grow with its length."""

    name: str
    what: str
    example: str
    lengths: tuple[int, ...]
    slope: float = 1.15


def _one_of_each(facts: Mapping[str, Any]) -> bool:
    return facts["traces"] == 1 and facts["forward passes"] <= 3 and max(facts["walks"].values()) == 1


LINES: tuple[Line | Growth, ...] = (
    Line("gpt2", "GPT-2 small, T = 128: five depths", "gpt2", FIVE, 4.5, beside=(FLOOR, *COUNTING), runs=3),
    Line("resnet50", "ResNet-50: five depths", "resnet50", FIVE, 3.5, beside=(FLOOR, *COUNTING), runs=3),
    Line(
        "check",
        "small PixelCNN: one check without gradient",
        "pixelcnn",
        "check counted",
        holds=_one_of_each,
        must="1 trace, ≤ 3 forward passes, 1 walk each",
    ),
    Line("llama-8b", "Llama-3-8B shape, T = 2048, meta: five depths", "llama-8b", FIVE, 30, 3, ("trace", FLOOR)),
    Line("llama-70b", "Llama-3-70B shape, T = 8192, meta: five depths", "llama-70b", FIVE, 120, 6, ("trace", FLOOR)),
    Line(
        "qwen",
        "Qwen-like, 24 layers, 8 × 2048, meta: count",
        "qwen",
        "count of Qwen",
        20,
        2,
        ("trace", "FlopCounterMode / 2"),
        holds=lambda facts: facts["macs"] == 12_032_350_879_744,
        must="12.032 T macs",
    ),
    Line(
        "vocoder", "vocoder, 12 layers, 3,200 samples: check without gradient", "vocoder", "check without gradient", 10
    ),
    Line("causal", "4 causal convolutions, T = 100,000: five depths", "causal-convolutions", FIVE, 10, 2),
    Line("padded", "4 padded convolutions, T = 100,000: five depths", "padded-convolutions", FIVE, 10, 2),
    Line("gru", "GRU, T = 20,000: five depths", "gru", FIVE, 10, 2),
    Line("deep", "5,000 layers of Linear and ReLU: five depths", "deep", FIVE, 60, beside=("trace",)),
    Line("reach-gpt2", "GPT-2 small, T = 128: reach", "gpt2", "reach", 15),
    Line("reach-wavenet", "WaveNet, 20 layers, 2,047 samples: reach", "wavenet", "reach", 10),
    Growth("growth-convolutions", "growth in T, causal convolutions", "causal-convolutions", LENGTHS),
    Growth("growth-gru", "growth in T, GRU", "gru", STEPS),
)


def row_of(line: Line | Growth) -> dict[str, Any]:
    """Measure one line."""
    return _grown(line) if isinstance(line, Growth) else _measured(line)


def _measured(line: Line) -> dict[str, Any]:
    cap = 10 * (line.seconds or 60)
    cost = measured(__file__, (line.example, line.work), cap, line.runs)
    beside = {peer: asdict(measured(__file__, (line.example, peer), cap, line.runs)) for peer in line.beside}
    held = (
        not cost.failed
        and cost.seconds <= (line.seconds or cost.seconds)
        and cost.gigabytes <= (line.gigabytes or cost.gigabytes)
        and line.holds(cost.facts)
    )
    limits = [f"{line.seconds:g} s"] if line.seconds else []
    limits += [f"{line.gigabytes:g} GB"] if line.gigabytes else []
    limit = ", ".join([*limits, *([line.must] if line.must else [])])
    return {"name": line.name, "what": line.what, "limit": limit, "held": held, "cost": asdict(cost), "beside": beside}


def _grown(line: Growth) -> dict[str, Any]:
    costs = [measured(__file__, (f"{line.example}:{length}", FIVE), 600) for length in line.lengths]
    failed = next((f"T = {n}: {cost.failed}" for n, cost in zip(line.lengths, costs, strict=True) if cost.failed), "")
    # What torch imports does not grow, so it would only flatter the slope.
    seconds = [cost.seconds - cost.parts.get("torch's imports", 0.0) for cost in costs]
    slope = 0.0 if failed else growth(list(line.lengths), seconds)
    parts = {f"T = {length}": taken for length, taken in zip(line.lengths, seconds, strict=True)}
    peak = max(cost.gigabytes for cost in costs)
    cost = Cost(sum(seconds), peak, parts, {"slope": round(slope, 3)}, failed)
    held = not failed and slope <= line.slope
    limit = f"slope ≤ {line.slope}"
    return {"name": line.name, "what": line.what, "limit": limit, "held": held, "cost": asdict(cost), "beside": {}}


def macs() -> list[dict[str, Any]]:
    """Multiply-accumulates of models with known counts, by every counter in a process of its own."""
    found = {name: measured(__file__, ("macs", name), 600) for name in ("truth", *MACS)}
    cases = found["truth"].facts
    return [{"case": case, **{name: cost.failed or cost.facts[case] for name, cost in found.items()}} for case in cases]


def cells(row: Mapping[str, Any]) -> dict[str, str]:
    """Lay a measured line out under `COLUMNS`."""
    cost = row["cost"]
    parts = ", ".join(f"{part} {seconds:.2f}" for part, seconds in cost["parts"].items())
    several = f" ({parts})" if len(cost["parts"]) > 1 else ""
    beside = [
        f"{peer}: " + (c["failed"] or f"{c['seconds']:.2f} s, {c['gigabytes']:.2f} GB" + _macs(c["facts"]))
        for peer, c in row["beside"].items()
    ]
    found = ", ".join(f"{key} {value}" for key, value in cost["facts"].items())
    shown = (
        row["what"],
        row["limit"],
        cost["failed"] or f"{cost['seconds']:.2f}{several}",
        f"{cost['gigabytes']:.2f}",
        found,
        "; ".join(beside),
        "PASS" if row["held"] else "FAIL",
    )
    return dict(zip(COLUMNS, shown, strict=True))


def _macs(facts: Mapping[str, Any]) -> str:
    return f", {facts['macs']} macs" if "macs" in facts else ""


def rendered(results: Mapping[str, Any]) -> str:
    """Render what stands in ``structure.json`` as Markdown."""
    lines, counts = [cells(row) for row in results["lines"]], results["macs"]
    return markdown(lines, COLUMNS) + "\n" + markdown(counts, list(counts[0]))


def printed(console: Console, rows: list[dict[str, Any]]) -> None:
    """Print the measured lines as one table."""
    table = Table(*COLUMNS, show_lines=True)
    for row in rows:
        table.add_row(*cells(row).values(), style=None if row["held"] else "red")
    console.print(table)


def every_row(chosen: tuple[Line | Growth, ...], console: Console) -> Iterator[dict[str, Any]]:
    for line in chosen:
        row = row_of(line)
        console.print(*(f"{key}: {value}" for key, value in cells(row).items() if value), sep="; ", soft_wrap=True)
        yield row


def written(rows: list[dict[str, Any]], counts: list[dict[str, Any]], *, renewed: bool) -> None:
    """Write the results, or renew some of their lines."""
    path = RESULTS / "structure.json"
    results: dict[str, Any] = json.loads(path.read_text("utf-8")) if renewed else {"lines": [], "macs": []}
    fresh = {row["name"]: row for row in rows}
    results["lines"] = [fresh.pop(row["name"], row) for row in results["lines"]] + list(fresh.values())
    results["macs"] = counts or results["macs"]
    machine = {package: importlib.metadata.version(package) for package in ("torch", "transformers")}
    machine |= {"python": platform.python_version(), "processor": platform.machine()}
    RESULTS.mkdir(exist_ok=True)
    path.write_text(
        json.dumps({**machine, "lines": results["lines"], "macs": results["macs"]}, indent=1, ensure_ascii=False)
        + "\n",
        "utf-8",
    )
    (RESULTS / "structure.md").write_text(rendered(results), "utf-8")


@click.command(help=__doc__)
@click.option("--only", multiple=True, type=click.Choice([line.name for line in LINES] + ["macs"]))
@click.option("--quick", is_flag=True, help="Leave out the largest shape.")
@click.option("--measure", nargs=2, hidden=True)
@click.option("--cap", type=float, default=600.0, hidden=True)
def main(only: tuple[str, ...], quick: bool, measure: tuple[str, str] | None, cap: float) -> None:
    if measure:
        from structural_work import carry_out

        report(lambda meter: carry_out(meter, *measure), cap)
        return
    console = Console()
    chosen = tuple(
        line for line in LINES if (not only or line.name in only) and not (quick and line.name == "llama-70b")
    )
    rows = list(every_row(chosen, console))
    counts = macs() if not only or "macs" in only else []
    printed(console, rows)
    if counts:
        console.print(markdown(counts, list(counts[0])), soft_wrap=True)
    if not quick:
        written(rows, counts, renewed=bool(only))
    right = all(row["leadline"] == row["truth"] for row in counts)
    sys.exit(0 if right and all(row["held"] for row in rows) else 1)


if __name__ == "__main__":
    main()
