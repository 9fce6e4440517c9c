"""Why a model cannot be traced, in a sentence: operation, module and the user's line, without the frames of torch."""

from collections.abc import Iterator
from traceback import walk_tb
from types import FrameType

import torch
from torch import nn

from leadline.graph.call import Call
from leadline.graph.user_code import first_line, is_users, text_of, users_line
from leadline.results import Place


def explain(call: Call, error: BaseException) -> str:
    """Return what was wrong, where, and what to do about it."""
    name, text, first = type(call.model).__name__, text_of(error), first_line(error)
    place = _place(call.model, error)
    if "data-dependent" in text.lower() or "DataDependent" in type(error).__name__:
        return (
            f"{name}.forward branches on the values of its tensors{call.blamed(first)}, {_operation(error)}at {place}: "
            f"{first} A graph would hold for this input only; replace the branch by torch.where, or audit the branches "
            "apart."
        )
    called = _called(error)
    if called and _compiled(error):
        return (
            f"{name} cannot be traced: {called.split()[1]} at {place} is an operation that torch compiles by itself, "
            "which it does not do within a trace; write it in other operations, as attention by "
            "scaled_dot_product_attention with attn_mask=…"
        )
    return f"{name} cannot be traced: {type(error).__name__}: {first} ({called}at {place})"


def _compiled(error: BaseException) -> bool:
    """Whether it was the compiler itself that failed, which an operation had called."""
    *_, (last, _) = walk_tb(error.__traceback__)
    return str(last.f_globals.get("__name__")).startswith("torch._dynamo")


def _place(model: nn.Module, error: BaseException) -> Place:
    """Return the innermost of the user's lines, and the innermost module at work."""
    paths = {id(module): path for path, module in model.named_modules()}
    frames = list(_frames(error))
    modules = [paths[id(own)] for frame, _ in frames if id(own := frame.f_locals.get("self")) in paths]
    return Place(modules[-1] if modules else "", users_line([(f.f_code.co_filename, line) for f, line in frames]))


def _operation(error: BaseException) -> str:
    """Name the operation at work, if one was: ``in aten.pad.default ``."""
    found = (frame.f_locals.get("func") for frame, _ in _frames(error))
    return next((f"in {op} " for op in found if isinstance(op, torch._ops.OpOverload)), "")


def _called(error: BaseException) -> str:
    """Name the function of torch that the user's innermost line called, if it did: ``in flex_attention ``."""
    files = [(frame.f_code.co_filename, frame.f_code.co_name) for frame, _ in walk_tb(error.__traceback__)]
    last = max((i for i, (file, _) in enumerate(files) if is_users(file)), default=len(files))
    name = files[last + 1][1] if last + 1 < len(files) else ""
    return f"in {name} " if name.isidentifier() and not name.startswith("_") else ""


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """Yield the frames that led to an error and to those that it stands for, outermost first, with their lines."""
    yield from walk_tb(error.__traceback__)
    before = error.__cause__ or error.__context__
    if before is not None:
        yield from _frames(before)
