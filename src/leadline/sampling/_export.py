"""Streams out of Python: as C, as an ONNX graph, as an exported program; with a certificate of what was compared."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from leadline.errors import ModelError, NotUniform, UsageError
from leadline.files.writing import check_writable, write_atomically
from leadline.graph.reading import Reading
from leadline.graph.restoring.undisturbed import evaluating, undisturbed
from leadline.results import Result, Status
from leadline.sampling.exported.graphs import as_onnx, as_pt2, names_of
from leadline.sampling.exported.library import compiler, loaded
from leadline.sampling.exported.pure import PureStep
from leadline.sampling.exported.source import c_code, multiply_adds
from leadline.sampling.plan import ENDLESS, Plan

if TYPE_CHECKING:
    from leadline.sampling.streaming import Stream

Given: TypeAlias = Mapping[str, Tensor]
_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


@dataclass(frozen=True)
class Exported(Result):
    """What was exported, and how far it is from the model.

    Attributes
    ----------
    model, weights
        The model's class, and the SHA-256 of its parameters and buffers.
    files
        What was written: the C file and its header, or the graph; and the certificate, which is this record.
    positions, difference
        Over how many positions what was written, run, was compared with the model's own forward pass, and the largest
        difference there, relative to the largest output; 0 and None where this system has nothing to run it with.
    state_bytes, multiply_adds
        What a stream keeps, and the products of a weight and a number that a position takes, attention apart.
    length
        The most positions that a sequence may have; None: any number.
    seed
        That of the inputs compared on.
    inputs, outputs
        What a call takes and returns, by name and in order; in C, inputs stand side by side.
    chunk
        How many positions a call takes; None: any number.
    """

    model: str
    weights: str
    files: tuple[str, ...]
    positions: int
    difference: float | None
    state_bytes: int
    multiply_adds: int
    length: int | None
    seed: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    chunk: int | None = None
    status: Status = Status.ESTIMATE


@dataclass(frozen=True)
class _Written:
    """What is written, to files by their suffixes, and a function that runs it, where this system can."""

    files: dict[str, bytes]
    run: Callable[[Given, int], Tensor] | None
    state_bytes: int
    multiply_adds: int
    length: int | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    chunk: int | None


def export_of(
    stream: Stream,
    path: str | Path,
    *,
    length: int | None = None,
    compare: int = 10_000,
    seed: int = 0,
    chunk: int | None = None,
) -> Exported:
    """Write a stream; see `leadline.sampling.Stream.export`."""
    path = Path(path)
    made = {".c": _as_c, ".onnx": _as_graph, ".pt2": _as_graph}.get(path.suffix)
    if made is None:
        raise UsageError(
            "a stream is exported as C, as an ONNX graph or as a program of torch's: to a file that ends in .c, .onnx "
            f"or .pt2; got {path.name!r}"
        )
    if chunk is not None and (path.suffix == ".c" or chunk < 1):
        raise UsageError(f"chunk is a number of positions, for graphs alone: C takes any number; got {chunk}")
    ends = (".c", ".h", ".json") if path.suffix == ".c" else (path.suffix, ".json")
    for end in ends:
        check_writable(path.with_suffix(end))
    reading = stream.source.reading
    plan = stream.using("torch").plan(stream.source.system.sizes[0] if length is None else length)
    with made(stream, plan, path, chunk) as written:
        found, compared = None, 0
        if written.run is not None:
            compared = compare if written.length is None else min(compare, written.length)
            compared = max(1, compared // (written.chunk or 1)) * (written.chunk or 1)
            found = _difference(stream, written, compared, seed)
            if not found < _TOLERANCE[stream.source.dtype]:
                raise ModelError(f"the exported {path.suffix} differs from the model by {found:.1g}: report this")
    result = Exported(
        type(reading.model).__name__, _hashed(reading), tuple(path.with_suffix(end).name for end in ends), compared,
        found, written.state_bytes, written.multiply_adds, written.length, seed, written.inputs, written.outputs,
        written.chunk,
    )  # fmt: skip
    for end, content in (written.files | {".json": (result.to_json() + "\n").encode("utf-8")}).items():
        write_atomically(path.with_suffix(end), content)
    return result


@contextmanager
def _as_c(stream: Stream, plan: Plan, path: Path, chunk: int | None) -> Iterator[_Written]:  # noqa: ARG001 - any number
    """Write C, and compile it where there is a compiler."""
    code = c_code(plan, _named(path.stem), stream.source.dtype, type(stream.source.reading.model).__name__)
    if path.stem != code.name:
        raise UsageError(f"the file's name begins its functions: call it {code.name}.c, say, and not {path.name}")
    texts = {".c": code.source.encode("utf-8"), ".h": code.header.encode("utf-8")}
    names = stream.source.streamed, (stream.source.reading.output,)
    program = compiler()
    with nullcontext() if program is None else loaded(code, program) as library:

        def run(given: Given, at: int) -> Tensor:  # noqa: ARG001 - the library goes on
            first, *others = given.values()
            values = stream.interface.arranged(first, dict(zip([*given][1:], others, strict=True)))
            assert library is not None
            return stream.interface.as_output(torch.from_numpy(library.step(values[:, 0].numpy()))[:, None])

        yield _Written(
            texts, None if library is None else run, code.state_bytes, code.multiply_adds, code.length, *names, None
        )


@contextmanager
def _as_graph(stream: Stream, plan: Plan, path: Path, chunk: int | None) -> Iterator[_Written]:
    """Write a pure step, which takes and returns its states."""
    if stream.source.dtype not in _TOLERANCE:
        raise NotUniform(f"graphs are written for float32 and float64, and the output is {stream.source.dtype}")
    step = PureStep(plan, stream.interface)
    size = (1 if chunk is None else chunk) if step.turning else chunk
    content, call = (as_onnx if path.suffix == ".onnx" else as_pt2)(step, size)
    states: list[Tensor] = [*step.zeros()]

    def run(given: Given, at: int) -> Tensor:
        found = call([*given.values(), *(step.zeros() if at == 0 else states)])  # type: ignore[misc]
        states[:] = found[-len(states) :]
        return found[0]

    given, outputs = map(tuple, names_of(step))
    yield _Written(
        {path.suffix: content}, None if call is None else run, sum(s.numel() * s.element_size() for s in states),
        multiply_adds(plan.system), None if plan.reaches(ENDLESS) else plan.capacity, given, outputs, size,
    )  # fmt: skip


def _named(stem: str) -> str:
    """Return a name that C takes."""
    name = re.sub(r"\W", "_", stem, flags=re.ASCII)
    return f"_{name}" if name[:1].isdigit() else name or "stream"


def _difference(stream: Stream, written: _Written, positions: int, seed: int) -> float:
    """Return the largest difference from the forward pass, relative to the largest output."""
    given, wanted = _forward(stream, positions, seed)
    source, at, rows = stream.source, 0, []
    along = source.system.axes[0]
    for size in (1, 7, 64, 100, positions) if written.chunk is None else repeat(written.chunk):  # blocks, some in part
        size = min(size, positions - at)
        if size == 0:
            break
        part = {n: x.narrow(source.reading.input_axes[n].index(along), at, size) for n, x in given.items()}
        rows.append(written.run(part, at) if written.run is not None else wanted)
        at += size
    got = torch.cat(rows, source.reading.output_axes.index(along))
    return float((got - wanted).abs().max() / wanted.abs().max().clamp(min=torch.finfo(wanted.dtype).tiny))


def _forward(stream: Stream, positions: int, seed: int) -> tuple[Given, Tensor]:
    """Run the model itself on inputs of a length; return the first sample of what it read, and its outputs."""
    source, reading = stream.source, stream.source.reading
    generator = torch.Generator().manual_seed(seed)
    given: dict[str, Tensor] = {}
    for name in source.streamed:
        like = source.stretched(name, source.system.axes[0], positions)
        if like.is_floating_point():
            given[name] = torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)
        else:
            which = torch.randint(like.numel(), like.shape, generator=generator)
            given[name] = like.flatten()[which].reshape(like.shape)
    call = reading.on(given).call
    with evaluating(reading.model), undisturbed(reading.model, call.given), torch.no_grad():
        outputs = call(*call.tensors.values())
        wanted = dict(zip(call.outputs, outputs, strict=True))[reading.output].clone()
    return {n: _one(x, reading.input_axes[n]) for n, x in given.items()}, _one(wanted, reading.output_axes)


def _one(x: Tensor, axes: tuple[str, ...]) -> Tensor:
    return x.narrow(axes.index("b"), 0, 1) if "b" in axes else x


def _hashed(reading: Reading) -> str:
    """Return the SHA-256 of a model's parameters and buffers, by name."""
    digest = hashlib.sha256()
    for name, tensor in reading.model.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
