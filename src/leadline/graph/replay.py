"""Run a graph, and compare it with the model's own `forward` on fresh inputs."""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from leadline.errors import TraceError
from leadline.graph.call import Call
from leadline.graph.ir import Graph, Ref
from leadline.graph.restoring.snapshot import Snapshot
from leadline.graph.restoring.undisturbed import restored
from leadline.graph.run_node import run_node
from leadline.graph.table import LEAVES, Kind

_SEED = 20  # any; dropout draws the same noise in both runs


def run(graph: Graph, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """Execute the graph on `inputs`, in the order of `graph.inputs`, and return its outputs by name."""
    values: dict[Ref, Tensor] = {Ref(i): value for i, value in graph.values.items()}
    values |= {Ref(i): tensor for i, tensor in zip(graph.inputs.values(), inputs, strict=True)}
    last = _last_uses(graph)
    for node in graph.nodes:
        if node.kind in LEAVES or node.kind is Kind.EFFECT:
            continue
        values |= {Ref(node.index, i): part for i, part in enumerate(run_node(node, values.__getitem__))}
        for ref in last.get(node.index, ()):
            values.pop(ref, None)
    return {name: values[ref] for name, ref in graph.outputs.items()}


def _last_uses(graph: Graph) -> dict[int, list[Ref]]:
    """For each node, the values that nobody reads after it."""
    last = {ref: node.index for node in graph.nodes for ref in node.refs}
    kept = set(graph.outputs.values())
    dying: dict[int, list[Ref]] = {}
    for ref, index in last.items():
        if ref not in kept:
            dying.setdefault(index, []).append(ref)
    return dying


def fresh(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Draw another input of the same shape within the range of this one; integers and flags are permuted."""
    if tensor.numel() == 0:
        return tensor
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return tensor.flatten()[torch.randperm(tensor.numel(), generator=generator)].reshape(tensor.shape)
    if tensor.is_complex():
        return tensor + torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
    lo, hi = tensor.min(), tensor.max()
    if not bool(hi > lo):
        lo, hi = lo - 1, hi + 1
    noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
    return lo + noise.to(tensor) * (hi - lo)


def check_replay(graph: Graph, call: Call) -> Graph:
    """Return the graph marked verified; `TraceError` if its outputs differ from the model's on fresh inputs."""
    generator = torch.Generator().manual_seed(_SEED)
    inputs = [fresh(tensor.detach(), generator) for tensor in call.tensors.values()]
    try:
        expected = _forward(call, inputs)
    except (Exception, SystemExit):  # the model checks its inputs' values: stay with the given ones
        inputs = [tensor.detach() for tensor in call.tensors.values()]
        expected = _forward(call, inputs)
    torch.manual_seed(_SEED)
    found = run(graph, inputs)
    for outputs in expected:
        for (name, mine), theirs in zip(found.items(), outputs, strict=True):
            if not _alike(mine, theirs):
                raise TraceError(
                    f"the trace of {name} does not replay: on fresh inputs of the same shapes it differs from forward. "
                    + _cause(call, inputs, found)
                )
    return replace(graph, verified=True)


def _cause(call: Call, inputs: Sequence[Tensor], found: Mapping[str, Tensor]) -> str:
    """Say why a trace may differ from a model that was called: some ask whether they are traced."""
    try:
        with exporting():
            expected = _forward(call, inputs)
    except Exception:  # what is not meant to run outside of a trace
        expected = []
    same = (_alike(*both) for outputs in expected for both in zip(found.values(), outputs, strict=True))
    if expected and all(same):
        return (
            "The model asks torch.compiler.is_exporting() or is_compiling(), and does something else where it is "
            "traced: what was traced is not what runs. Let it do the same, or audit the other branch by itself."
        )
    return "The model depends on Python values, on state outside its buffers or on noise of its own."


@contextmanager
def exporting() -> Iterator[None]:
    """Let torch answer models that ask whether they are exported, or compiled, that they are."""
    flags = [name for name in ("_is_exporting_flag", "_is_compiling_flag") if hasattr(torch.compiler, name)]
    before = [getattr(torch.compiler, name) for name in flags]
    try:
        for name in flags:
            setattr(torch.compiler, name, True)
        yield
    finally:
        for name, value in zip(flags, before, strict=True):
            setattr(torch.compiler, name, value)


def _alike(mine: Tensor, theirs: Tensor) -> bool:
    return mine.shape == theirs.shape and _close(mine, theirs)


def _forward(call: Call, inputs: Sequence[Tensor]) -> list[list[Tensor]]:
    """Call the model in the state in which it was traced, and once more with all that the first call added to it."""
    outputs = []
    with restored(call.model, call.given, inputs) as before, before.contents.watched():
        outputs.append(_outputs(call, inputs, before))
        added = before.added()
        if added:
            before.restore()
            for mapping, entries in added:
                mapping.update(entries)
            outputs.append(_outputs(call, inputs, before))
    return outputs


def _outputs(call: Call, inputs: Sequence[Tensor], before: Snapshot) -> list[Tensor]:
    """Return the outputs with other noise than was traced; copies, where their memory is the model's."""
    random.seed(_SEED)
    np.random.seed(_SEED)  # noqa: NPY002 - a model's noise may come from there
    torch.manual_seed(_SEED)
    return [tensor.clone() if tensor in before.contents else tensor for tensor in call(*inputs)]


def _close(mine: Tensor, theirs: Tensor) -> bool:
    same = torch.equal(mine, theirs)  # most often they are, and the rest copies large outputs several times
    if same or not (mine.is_floating_point() or mine.is_complex()):
        return same
    scale = theirs.abs()[theirs.isfinite()].max().item() if theirs.isfinite().any() else 1.0
    tolerance = 100 * torch.finfo(mine.dtype).eps * max(scale, 1e-30)
    return torch.allclose(mine, theirs, rtol=0.0, atol=tolerance, equal_nan=True)
