"""The pure step of a stream as an ONNX graph, or as an exported program of torch's own; both run, to compare them."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leadline.errors import NotUniform, needing
from leadline.graph.restoring.undisturbed import ONE_AT_A_TIME
from leadline.graph.user_code import first_line
from leadline.sampling.exported.pure import PureStep

Run = Callable[[list[Tensor]], list[Tensor]]


def names_of(step: PureStep) -> tuple[list[str], list[str]]:
    """Return the names of a step's inputs and outputs, in order: ``new_X`` is fed to the next call as ``past_X``."""
    source = step.interface.source
    states = [re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") for name in step.kept]
    states = [f"{n}_{name}" if states.count(name) > 1 else name for n, name in enumerate(states)]
    given = [*source.streamed, "past_position", *(f"past_{name}" for name in states)]
    output = source.reading.output if source.reading.output not in given else f"{source.reading.output}_out"
    following = [f"{output}_next"] if step.ahead > 0 else []
    return given, [output, *following, "new_position", *(f"new_{name}" for name in states)]


def program_of(step: PureStep, chunk: int | None) -> torch.export.ExportedProgram:
    """Return a step as an exported program, for chunks of a length, or of any (None)."""
    source = step.interface.source
    like = [source.stretched(name, step.system.axes[0], 3 if chunk is None else chunk) for name in source.streamed]
    axes = [source.reading.input_axes[name] for name in source.streamed]
    like = [x.narrow(a.index("b"), 0, 1) if "b" in a else x for x, a in zip(like, axes, strict=True)]
    like = [x.repeat_interleave(step.batch, a.index("b")) if "b" in a else x for x, a in zip(like, axes, strict=True)]
    any_number = torch.export.Dim("n", min=1, max=1 << 20)
    shapes: list[Any] = [{a.index(step.system.axes[0]): any_number} for a in axes]
    zeros = step.zeros()
    dynamic = None if chunk is not None else {"given": (*shapes, *(None for _ in zeros))}
    with ONE_AT_A_TIME, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.export.export(step.eval(), (*like, *zeros), dynamic_shapes=dynamic, strict=False)
        except Exception as error:
            raise NotUniform(f"torch does not export this stream's step: {first_line(error)}") from error


def as_pt2(step: PureStep, chunk: int | None) -> tuple[bytes, Run]:
    """Return a step as the content of a ``.pt2`` file, and a function that runs it."""
    program, file = program_of(step, chunk), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, file)
    file.seek(0)
    module = torch.export.load(file).module()
    return file.getvalue(), lambda tensors: list(module(*tensors))


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what torch's exporter says of packages that it does not need."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def as_onnx(step: PureStep, chunk: int | None) -> tuple[bytes, Run | None]:
    """Return a step as the content of an ``.onnx`` file, and a function that runs it, where onnxruntime is there."""
    with needing("onnx", "writing .onnx files"):
        import onnx
        import onnxscript  # noqa: F401 - torch's exporter is written with it
    given, found = names_of(step)
    with _quiet():
        try:
            made: Any = torch.onnx.export(
                program_of(step, chunk), input_names=given, output_names=found, dynamo=True, verbose=False
            )
        except NotUniform:
            raise
        except Exception as error:
            raise NotUniform(f"ONNX has no form of this stream's step: {first_line(error)}") from error
    onnx.checker.check_model(made.model_proto)
    content = made.model_proto.SerializeToString()
    try:
        import onnxruntime
    except ImportError:
        return content, None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(tensors: list[Tensor]) -> list[Tensor]:
        fed = {name: tensor.numpy() for name, tensor in zip(given, tensors, strict=True)}
        return [torch.from_numpy(np.asarray(x)) for x in session.run(found, fed)]

    return content, run
