"""What is known of each node of an exported program, by the names that its graph gives them.

The program is run node by node, each as a module of its own: what an audit says of modules it then says of nodes.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from io import StringIO
from operator import attrgetter
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from leadline.audit.users_module import ALIAS
from leadline.domains._causality import Causality, causality_of
from leadline.domains._count import count_of
from leadline.domains._memory import memory_of
from leadline.domains._span import steps_by_module
from leadline.domains.engine import OnUnknown
from leadline.errors import LeadlineError, ModelError, TraceError
from leadline.graph.layout import Layout
from leadline.graph.proposals import with_likeliest_axes
from leadline.graph.reading import Reading
from leadline.graph.restoring.undisturbed import restored
from leadline.graph.user_code import first_line

_SHELL = re.compile(rf"^{ALIAS}\w+\.")
_PREFIX = "node_"
"""Keeps the names of nodes apart from those that every module has: ``float``, ``to``, ``type``."""


@dataclass(frozen=True)
class Measure:
    """One figure of each node that has it, or a word; what it is, and why there is none where there is not."""

    name: str
    what: str
    values: Mapping[str, int | str]
    missing: str = ""


def exported(reading: Reading) -> ExportedProgram:
    """Return the model of a reading as `torch.export.export` sees it; `TraceError` where that fails."""
    model, (args, kwargs) = reading.model, reading.call.given
    with restored(model, (args, kwargs)), warnings.catch_warnings(), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        try:
            return _as_written(torch.export.export(model, tuple(args), dict(kwargs), strict=False))
        except Exception as error:
            raise TraceError(
                f"torch.export takes no {type(model).__name__} ({type(error).__name__}: {first_line(error)}), "
                "so that there is no graph whose nodes could be named"
            ) from error


def _as_written(program: ExportedProgram) -> ExportedProgram:
    """Name the classes of a user's file as they are named there, without the package that we load it into."""
    for node in program.graph.nodes:
        stack = node.meta.get("nn_module_stack") or {}
        for key, (path, kind) in stack.items():
            stack[key] = (path, _SHELL.sub("", kind) if isinstance(kind, str) else kind)
    return program


def measures(reading: Reading, program: ExportedProgram, *, on_unknown: OnUnknown = "raise") -> tuple[Measure, ...]:
    """Measure every node of the program of a reading's model, with the axes that the reading has.

    Examples
    --------
    >>> model, x = nn.Sequential(nn.Conv1d(1, 2, 3, padding=1), nn.ReLU()), torch.zeros(1, 1, 5)
    >>> of = Reading(model, (x,), layout="b c t -> b v t")
    >>> {measure.name: dict(measure.values) for measure in measures(of, exported(of))}["macs"]
    {'conv1d': 30}
    """
    stepwise = _Stepwise(program)
    args, kwargs = program.example_inputs or ((), {})
    axes = _axes(reading, Reading(stepwise, tuple(args), kwargs))
    nodes = Reading(stepwise, tuple(args), kwargs, **axes)
    found = [_measured(name, what, partial(take, nodes, on_unknown)) for name, what, take in _MEASURES]
    return (
        *found,
        _measured("memory", "bytes kept for the backward pass", partial(_memory, nodes, reading)),
        _measured("causality", "causality", partial(_causality, nodes, reading, on_unknown)),
    )


class _Step(nn.Module):
    """One operation."""

    def __init__(self, target: Callable[..., Any]) -> None:
        super().__init__()
        self.target = target

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.target(*args, **kwargs)


class _Stepwise(nn.Module):
    """A program whose operations are modules, called as it is."""

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__()
        self.program: Any = program.module()
        for node in self.program.graph.nodes:
            if node.op == "call_function":
                self.add_module(_PREFIX + node.name, _Step(node.target))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        leaves, values = iter(pytree.tree_leaves((args, kwargs))), dict[fx.Node, Any]()
        for node in self.program.graph.nodes:
            if node.op == "output":
                return self.program.graph.process_outputs(fx.map_arg(node.args[0], values.__getitem__))
            values[node] = self._value(node, leaves, values)
        raise AssertionError("a graph ends with its output")

    def _value(self, node: fx.Node, leaves: Iterator[Any], values: Mapping[fx.Node, Any]) -> Any:
        if node.op == "placeholder":
            return next(leaves)
        if node.op == "get_attr":
            return attrgetter(str(node.target))(self.program)
        if node.op == "call_module":  # torch's guards, which hold for the inputs that the program came with
            return None
        args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
        return self.get_submodule(_PREFIX + node.name)(*args, **kwargs)


def _axes(reading: Reading, program: Reading) -> dict[str, Any]:
    """Return how the axes of a reading's tensors are read, as in an audit, under the names of a program."""
    try:
        reading, _ = with_likeliest_axes(reading)
        layout = reading.layout
    except LeadlineError:
        return {"output": reading.given_output}  # the measures that need a layout say why there is none
    theirs = dict(zip(reading.tensors, program.tensors, strict=True))
    renamed = Layout({theirs[name]: axes for name, axes in layout.inputs.items()}, layout.outputs)
    return {"layout": renamed, "order": reading.order, "output": reading.output}


def _measured(name: str, what: str, take: Callable[[], Mapping[str, int | str]]) -> Measure:
    try:
        found = take()
    except LeadlineError as error:
        return Measure(name, what, {}, str(error))
    return Measure(name, what, {path.removeprefix(_PREFIX): value for path, value in found.items() if _is_node(path)})


def _is_node(path: str) -> bool:
    return path.startswith(_PREFIX)


def _macs(of: Reading, on_unknown: OnUnknown) -> Mapping[str, int]:
    return {path: tally.macs for path, tally in count_of(of, on_unknown=on_unknown).by_module.items() if tally.macs}


def _connections(of: Reading, on_unknown: OnUnknown) -> Mapping[str, int]:
    tallies = count_of(of, on_unknown=on_unknown).by_module
    return {path: tally.connections for path, tally in tallies.items() if tally.connections}


def _depth(of: Reading, on_unknown: OnUnknown) -> Mapping[str, int]:
    return steps_by_module(of, on_unknown=on_unknown)


def _memory(of: Reading, model: Reading) -> Mapping[str, int]:
    """Measure what the program keeps, unless the model keeps more: its own backward passes are not in a program."""
    kept, meant = memory_of(of), memory_of(model).saved
    if kept.saved < meant:
        raise ModelError(
            f"the program keeps {kept.saved} bytes for a backward pass, the model itself {meant}: custom autograd "
            "functions, or checkpoints, are not exported"
        )
    return {path: size for path, size in kept.by_module.items() if size}


def _causality(of: Reading, model: Reading, on_unknown: OnUnknown) -> Mapping[str, str]:
    """Say of each node what the verdict is; where there is a leak, through which operations it goes."""
    with_likeliest_axes(model)  # where nobody can read them, the error speaks of the model's own names
    found: Causality = causality_of(of, on_unknown=on_unknown)
    if found.witness is not None:
        return {place.module: LEAK for place in found.witness.path}
    return dict.fromkeys(steps_by_module(of, on_unknown=on_unknown), str(found.verdict))


LEAK = "the leak passes here"

_MEASURES: tuple[tuple[str, str, Callable[[Reading, OnUnknown], Mapping[str, int | str]]], ...] = (
    ("macs", "multiply-accumulates", _macs),
    ("connections", "connections between units that exist", _connections),
    ("depth", "steps from the inputs on that must follow one another", _depth),
)
