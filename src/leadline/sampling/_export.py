"""Streams out of Python: one self-contained C file and its header, with a certificate of what was compared."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from leadline.errors import ModelError, UsageError
from leadline.files.writing import check_writable, write_atomically
from leadline.graph.reading import Reading
from leadline.graph.restoring.undisturbed import evaluating, undisturbed
from leadline.results import Result, Status
from leadline.sampling.exported.library import Library, compiler, loaded
from leadline.sampling.exported.source import c_code

if TYPE_CHECKING:
    from leadline.sampling._stream import Stream

_TOLERANCE = {"float": 1e-5, "double": 1e-10}


@dataclass(frozen=True)
class Exported(Result):
    """What was exported, and how far it is from the model.

    Attributes
    ----------
    model, weights
        The model's class, and the SHA-256 of its parameters and buffers.
    files
        What was written: the C file, its header, and the certificate, which is this record.
    positions, difference
        Over how many positions the compiled C was compared with the model's own forward pass, and the largest
        difference there, relative to the largest output; 0 and None where this system has no C compiler.
    state_bytes, multiply_adds
        What a stream keeps, and the products of a weight and a number that a position takes, attention apart.
    length
        The most positions that a sequence may have; None: any number.
    seed
        That of the inputs compared on.
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
    status: Status = Status.ESTIMATE


def export_of(
    stream: Stream, path: str | Path, *, length: int | None = None, compare: int = 10_000, seed: int = 0
) -> Exported:
    """Write a stream as C; see `leadline.sampling.Stream.export`."""
    source = Path(path)
    if source.suffix != ".c":
        raise UsageError(f"a stream is exported as C, to a file that ends in .c; got {source.name!r}")
    paths = (source, source.with_suffix(".h"), source.with_suffix(".json"))
    for each in paths:
        check_writable(each)
    reading = stream.source.reading
    plan = stream.using("torch").plan(stream.source.system.sizes[0] if length is None else length)
    code = c_code(plan, _named(source.stem), stream.source.dtype, type(reading.model).__name__)
    if source.stem != code.name:
        raise UsageError(f"the file's name begins its functions: call it {code.name}.c, say, and not {source.name}")
    found, compared = None, 0
    if (program := compiler()) is not None:
        compared = compare if code.length is None else min(compare, code.length)
        with loaded(code, program) as library:
            found = _difference(stream, library, compared, seed)
        if not found < _TOLERANCE[code.real]:
            raise ModelError(f"the exported C differs from the model by {found:.1g}: please report this")
    made = Exported(
        type(reading.model).__name__, _hashed(reading), tuple(each.name for each in paths), compared, found,
        code.state_bytes, code.multiply_adds, code.length, seed,
    )  # fmt: skip
    for each, text in zip(paths, (code.source, code.header, made.to_json() + "\n"), strict=True):
        write_atomically(each, text.encode("utf-8"))
    return made


def _named(stem: str) -> str:
    """Return a name that C takes."""
    name = re.sub(r"\W", "_", stem, flags=re.ASCII)
    return f"_{name}" if name[:1].isdigit() else name or "stream"


def _difference(stream: Stream, library: Library, positions: int, seed: int) -> float:
    """Return the largest difference from the forward pass, relative to the largest output."""
    x, wanted = _forward(stream, positions, seed)
    given = stream.interface.arranged(x)[:, 0].numpy()
    rows, at = [], 0
    for size in (1, 7, 64, 100, positions):  # blocks whole and in part
        if at < positions:
            rows.append(library.step(given[at : at + size]))
            at += len(rows[-1])
    got = stream.interface.as_output(torch.from_numpy(np.concatenate(rows))[:, None])
    return float((got - wanted[:1]).abs().max() / wanted.abs().max().clamp(min=torch.finfo(wanted.dtype).tiny))


def _forward(stream: Stream, positions: int, seed: int) -> tuple[Tensor, Tensor]:
    """Run the model itself on inputs of a length; return the first sample of what it read, and its outputs."""
    source, reading = stream.source, stream.source.reading
    name, generator = source.streamed[0], torch.Generator().manual_seed(seed)
    like = source.stretched(name, source.system.axes[0], positions)
    if like.is_floating_point():
        x = torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)
    else:
        x = like.flatten()[torch.randint(like.numel(), like.shape, generator=generator)].reshape(like.shape)
    call = reading.on({name: x}).call
    with evaluating(reading.model), undisturbed(reading.model, call.given), torch.no_grad():
        outputs = call(*call.tensors.values())
        wanted = dict(zip(call.outputs, outputs, strict=True))[reading.output].clone()
    batch, out = (axes.index("b") if "b" in axes else None for axes in (reading.input_axes[name], reading.output_axes))
    return (x if batch is None else x.narrow(batch, 0, 1)), (wanted if out is None else wanted.narrow(out, 0, 1))


def _hashed(reading: Reading) -> str:
    """Return the SHA-256 of a model's parameters and buffers, by name."""
    digest = hashlib.sha256()
    for name, tensor in reading.model.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
