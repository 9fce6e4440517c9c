"""Write the page of figures from `benchmarks/results`: ``python docs/figures.py``; a test holds the page against it.

Every comparison with a peer stands there with what the peer is, the machine, and the command that measures it.
"""

import json
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
PAGE = Path(__file__).with_suffix(".md")

Rows = list[tuple[str, ...]]

_HEAD = """# Figures

Every comparison with a peer, made by `python docs/figures.py` from what `make bench` left in `benchmarks/results`;
nothing is written by hand. Each section was measured in one run, the peers in turn with ours; no two runs of a shared
machine are alike to the last digit.
"""


def results(name: str) -> Any:
    """Read the results of one script."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def whole(number: float) -> str:
    """Group thousands."""
    return f"{round(number):,}".replace(",", " ")


def table(head: tuple[str, ...], rows: Rows) -> str:
    """Write a table in Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def section(title: str, script: str, where: str, peers: str, *tables: str) -> str:
    """Write a section: what was measured, by which command, on what, beside whom."""
    about = f"`python benchmarks/{script}.py` · {where}\n\n{peers}"
    return "\n\n".join((f"## {title}", about, *tables)) + "\n"


def machine(found: dict[str, Any], threads: int | None = None) -> str:
    """Say where something was measured, as far as its results do."""
    at = found.get("machine", found)
    count = at.get("threads", threads)
    torch = f"torch {at['torch']}" if "torch" in at else "version of torch not noted"
    processor = at.get("processor") or at.get("cpu") or "processor not noted"
    return " · ".join([torch, processor, *([f"{count} thread{'' if count == 1 else 's'}"] if count else [])])


def audits() -> str:
    """Write what an audit costs, beside tracers and counters."""
    found, rows = results("structure"), []
    for line in found["lines"]:
        if line["beside"] and line["cost"]:
            theirs = (f"{who} {cost['seconds']:.2f} s" for who, cost in line["beside"].items() if not cost["failed"])
            cost = line["cost"]
            rows.append((line["what"], f"{cost['seconds']:.2f} s", f"{cost['gigabytes']:.2f} GB", ", ".join(theirs)))
    peers = (
        "CPU seconds in a fresh process. `torch.export` only traces; FlopCounterMode (torch), fvcore and torchlens "
        "count multiply-accumulates, and know neither causality, context nor chains."
    )
    laid = table(("what", "leadline", "peak memory", "beside it"), rows)
    return section("What an audit costs", "structure", machine(found, 1), peers, laid)


def counts() -> str:
    """Write the counters' table, which `structure.py` writes as Markdown already."""
    parts = (RESULTS / "structure.md").read_text(encoding="utf-8").strip().split("\n\n")
    counted = next(part for part in parts if part.startswith("| case | truth |"))
    peers = "The truth is known in closed form. Versions of the peers: the extra `bench` of `pyproject.toml`."
    return section("Multiply-accumulates", "structure", machine(results("structure"), 1), peers, counted)


def streams() -> str:
    """Write the derived samplers beside a loop of queues, full forward passes and their ceiling."""
    found = results("streams")
    rows: Rows = []
    for name, row in _streamed().items():
        if "samples_per_second" in row:
            loop, full = f"queues {whole(row['queue_loop'])}", f"full passes {row['naive']:.1f}"
            ratio = f"{row['times_queue_loop']:.0f} × queues, {whole(row['times_naive'])} × full passes"
            ceiling = f"{100 * row['of_ceiling']:.0f} %"
            rows.append((name, f"{whole(row['samples_per_second'])} samples/s", f"{loop}, {full}", ratio, ceiling))
        elif "wavefront_ms" in row:
            ours, theirs = f"{row['wavefront_ms']:.1f} ms a picture", f"full passes {whole(row['naive_ms'])} ms"
            rows.append((name, ours, theirs, f"{whole(row['times_naive'])} × full passes", ""))
    peers = (
        "Queues: one sample at a time with a queue for each dilation, as Fast WaveNet does, as well as eager torch "
        "allows: rings of rows, contiguous weights, products into memory that is there (`queue_loop.py`). Full passes: "
        "a forward pass for each symbol. The ceiling is the best sequence of products over the same weights."
    )
    laid = table(("model", "leadline", "beside it", "ratio", "of the ceiling"), rows)
    return section("Streams", "streams", machine(found, 1), peers, laid)


def calls() -> str:
    """Write what one call of a live stream takes; nothing where that has not been measured yet."""
    if not (RESULTS / "worst_cases.json").is_file():
        return ""
    found = results("worst_cases")
    rows = [
        (row["backend"], str(row["chunk"]), row["way"], *(f"{x:.1f}" for x in row["microseconds"]))
        for row in found["rows"]
    ]
    peers = (
        "Microseconds of one call, on a model of an amplifier. `arithmetic` is the compiled function with its "
        "arguments laid out, `loop` a call's share of a loop in C."
    )
    laid = table(("backend", "samples", "call", "median", "99 %", "99.9 %", "worst"), rows)
    return section("Calls of a live stream", "worst_cases", machine(found, 1), peers, laid)


def _streamed() -> dict[str, Any]:
    """Return the rows of streams; older results have nothing beside them."""
    found = results("streams")
    rows: dict[str, Any] = found.get("rows", found)
    return rows


def likelihoods() -> str:
    """Write test likelihoods, beside a Markov model where one was fitted."""
    rows: Rows = []
    for name, row in results("densities").items():
        size = f"{whole(row['parameters'])} parameters, {whole(row['steps'])} steps" if "parameters" in row else ""
        rows.append((name, f"{row['test_bits']:.3f}", size))
    peers = (
        "Test likelihoods of the default recipes, or of what a third word changes of them, summed over every symbol; "
        "an order-2 Markov model beside speech, each colour's frequencies of levels beside photographs."
    )
    laid = table(("model and data", "bits/dim", "size"), rows)
    return section("Likelihoods", "densities", machine(results("densities")["wavenet:speech"]), peers, laid)


def grid() -> str:
    """Write the grid recurrence beside a loop over cells."""
    found = results("grid")
    rows = [
        (
            f"{row['cell']}, {row['layers']} layer{'' if row['layers'] == 1 else 's'}",
            f"{median(row['wavefront_ms']):.0f} ms",
            f"{median(row['per_cell_ms']):.0f} ms",
            f"{row['ratio']:.1f} ×",
        )
        for row in found["rows"]
    ]
    peers = "A training step by antidiagonals, beside a loop over the cells in plain autograd."
    laid = table(("cell", "leadline", "loop over cells", "ratio"), rows)
    return section("The grid recurrence", "grid", machine(found), peers, laid)


def spectra() -> str:
    """Write the largest singular values beside ARPACK."""
    found = results("spectra")
    rows = [
        (row["method"], f"{row['seconds']:.2f} s", str(row["products"]), f"{row['largest relative error']:.0e}")
        for row in found["rows"]
    ]
    many = found["setting"]["k"]
    peers = f"The {many} largest singular values of a Transformer's Jacobian, beside ARPACK (scipy's `svds`)."
    laid = table(("method", "time", "products", "largest relative error"), rows)
    return section("Spectra", "spectra", machine(found), peers, laid)


def masked() -> str:
    """Write the cropped masked convolution beside the masked full kernel."""
    found = results("masked_conv")
    rows = [
        (
            f"{row['kernel']} × {row['kernel']}, {row['channels']} channels",
            f"{row['cropped_ms']:.0f} ms",
            f"{row['full_ms']:.0f} ms",
            f"{row['ratio']:.2f} × ({row['low']:.2f} to {row['high']:.2f})",
        )
        for row in found["rows"]
    ]
    peers = "A training step with the rows that a mask leaves, beside the full kernel times its mask."
    laid = table(("kernel", "leadline", "masked full kernel", "ratio"), rows)
    return section("Masked convolutions", "masked_conv", machine(found), peers, laid)


def training() -> str:
    """Write what a training step reaches of a product's rate."""
    found = results("throughput")
    rows = [
        (
            row["model"],
            f"{row['step_ms']:.0f} ms",
            f"{row['counted_rate']:.0%}",
            f"{row['needed_rate']:.0%}",
            f"{row['plain_over_step']:.1f} ×" if "plain_over_step" in row else "",
        )
        for row in found["rows"]
    ]
    peers = (
        "A training step's multiply-adds, as counted and as needed, by the rate of a product of matrices; and the time "
        "of a model as usually written (WaveNet: the package wavenet-vocoder) over the step's."
    )
    laid = table(("model", "step", "counted", "needed", "usual / leadline"), rows)
    return section("Training steps", "throughput", machine(found), peers, laid)


def quoted() -> list[str]:
    """Return the three sentences that README says: of audits, streams and likelihoods."""
    lines, scores = results("structure")["lines"], results("densities")
    gpt2 = next(line for line in lines if line["name"] == "gpt2")
    wavenet = next(row for row in _streamed().values() if "samples_per_second" in row)
    traced = gpt2["beside"]["torch.export and decompositions"]["seconds"]
    bits = scores["wavenet:speech"]["test_bits"], scores["order-2 Markov:speech"]["test_bits"]
    return [
        f"five depths of GPT-2 small in {gpt2['cost']['seconds']:.1f} s of CPU, "
        f"where `torch.export` with its decompositions takes {traced:.1f} s",
        f"{whole(wavenet['samples_per_second'])} samples a second from a WaveNet of 20 layers, "
        f"{wavenet['times_queue_loop']:.0f} × a loop of queues",
        f"{bits[0]:.2f} bits a sample of speech, where an order-2 Markov model needs {bits[1]:.2f}",
    ]


def page() -> str:
    """Return the whole page."""
    parts = (_HEAD, audits(), counts(), streams(), calls(), likelihoods(), grid(), spectra(), masked(), training())
    return "\n".join(part for part in parts if part)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
