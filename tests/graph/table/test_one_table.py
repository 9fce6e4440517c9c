"""Nothing but the table knows operations by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import leadline
from leadline.graph.table import OPERATIONS

SOURCE = Path(leadline.__file__).parent
ROOMS = ("graph", "domains", "jacobian", "recurrence", "sampling", "audit")  # those that see nodes
PACKETS = {record.packet for record in OPERATIONS.values()}


def strings(nodes: list[ast.expr | None]) -> set[str]:
    return {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def named(found: set[str]) -> set[str]:
    """The packets among strings, which may be full names of overloads."""
    return {name.split(".")[1] if name.startswith("aten.") else name for name in found} & PACKETS


def collected(node: ast.AST) -> set[str]:
    """The strings that a collection holds, a text that is split, or all comparisons of one function."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return strings([*node.elts])
    if isinstance(node, ast.Dict):
        return strings(node.keys)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "split":
        return {word for text in strings([node.func.value]) for word in text.split()}
    if isinstance(node, ast.FunctionDef | ast.Lambda):
        inner = [*ast.walk(node)]
        compared = [side for part in inner if isinstance(part, ast.Compare) for side in (part.left, *part.comparators)]
        called = [part for part in inner if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute)]
        starts = [arg for part in called if part.func.attr in ("startswith", "endswith") for arg in part.args]  # type: ignore[attr-defined]
        return strings([*compared, *starts])
    return set()


def taken_apart(node: ast.AST) -> bool:
    """Whether an operation's full name is split, searched, or compared."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "op":
        return node.attr in ("split", "startswith", "endswith", "partition", "rpartition", "removeprefix")
    if isinstance(node, ast.Compare):
        searched = any(isinstance(op, ast.In | ast.NotIn) for op in node.ops)
        about = any(isinstance(side, ast.Attribute) and side.attr == "op" for side in node.comparators)
        return (searched and about) or any(text.startswith("aten.") for text in strings([*node.comparators]))
    return False


def lists(text: str) -> Iterator[tuple[int, str]]:
    """Lines that know operations by name, with what they know."""
    for node in ast.walk(ast.parse(text)):
        found = named(collected(node))
        if len(found) > 1 or taken_apart(node):
            yield node.lineno, " ".join(sorted(found)) or ast.unparse(node)  # type: ignore[attr-defined]


def modules() -> Iterator[str]:
    for room in ROOMS:
        for path in sorted((SOURCE / room).rglob("*.py")):
            name = path.relative_to(SOURCE).as_posix()
            if not name.startswith("graph/table/"):
                yield name


@pytest.mark.parametrize("name", [*modules()])
def test_no_module_but_the_table_knows_several_operations_by_name(name: str) -> None:
    assert [*lists((SOURCE / name).read_text())] == []


def test_lists_are_found() -> None:
    for text in (
        "X = {'tanh', 'relu'}",
        "X = {'tanh': 1, 'relu': 2}",
        "X = 'tanh relu'.split()",
        "X = ['aten.add.Tensor', 'aten.sub.Tensor']",
        "def f(x):\n    if x == 'tanh':\n        return 1\n    return x.startswith('relu')",
        "x = node.op.split('.')[1]",
        "x = 'log' in node.op",
        "x = op == 'aten.view.dtype'",
    ):
        assert len([*lists(text)]) == 1, text
    assert not [*lists("X = {'self', 'other'}\nY = ('tanh', 'unheard of')\nz = 'add' == function")]
