"""Which code of the user's a run's model is built by, so that another process can build it, if it may."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from leadline.errors import ModelError, UsageError
from leadline.files.reading import read_bytes

_LARGEST_FILE = 1 << 26
_MOST_FILES = 256


@dataclass(frozen=True)
class Code:
    """A function of the user's, by the `word` ``/folder/file.py:name`` or ``package.module:name``; empty: it has none.

    Of its file, and of those beside it that it imports, there is the `digest`, SHA-256. It `calls` for a model as
    ``build(name, **settings)`` does, and returns a specimen (``"builder"``), or is a ``"factory"`` of `leadline check`,
    whose `likelihood` and `layout` are given here where its product does not say them.
    """

    word: str
    digest: str
    calls: Literal["builder", "factory"] = "builder"
    likelihood: str | None = None
    layout: str | None = None

    @property
    def file(self) -> str:
        """The file, or the module, that has to be run."""
        return self.word.rpartition(":")[0]

    @property
    def now(self) -> str:
        """The digest of what stands there now; raises `ModelError` if that cannot be read."""
        return digest_of(Path(self.file)) if self.file.endswith(".py") else digest_of_module(self.file)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Code:
        """Return the code that a record describes, whatever else it holds."""
        return cls(**{field.name: record[field.name] for field in fields(cls)})

    @classmethod
    def behind(cls, build: Callable[..., Any]) -> Code:
        """Return where a builder stands: it may say so itself (`code`), or is a function at the head of a module."""
        said = getattr(build, "code", None)
        if isinstance(said, Code):
            return said
        name, module = getattr(build, "__qualname__", ""), sys.modules.get(getattr(build, "__module__", ""))
        try:
            file = Path(inspect.getfile(build)).resolve()
        except (TypeError, OSError):
            return cls("", "")
        if not name.isidentifier() or getattr(module, name, None) is not build or not os.path.isfile(file):
            return cls("", "")
        return cls(f"{file}:{name}", digest_of(file))

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a file of code and, where it imports files from beside it, of those too.

    Raises `ModelError` if it cannot be read.
    """
    first, *others = _imported(file)
    if not others:
        return _sha256(first)
    held = "".join(f"{os.path.relpath(path, first.parent)} {_sha256(path)}\n" for path in (first, *sorted(others)))
    return hashlib.sha256(held.encode()).hexdigest()


def digest_of_module(name: str) -> str:
    """Return the SHA-256 of the file of an importable module; empty if it has none."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return ""
    origin = None if found is None else found.origin
    return _sha256(Path(origin)) if origin is not None and os.path.isfile(origin) else ""


def _sha256(file: Path) -> str:
    return hashlib.sha256(read_bytes(file, ModelError, limit=_LARGEST_FILE)).hexdigest()


def _imported(file: Path) -> list[Path]:
    """Return a file and those that it imports from its own folder or package, and these in turn; nothing is run."""
    found: list[Path] = []
    waiting, root = [file], file.parent
    while waiting and len(found) < _MOST_FILES:
        path = waiting.pop()
        if path in found:
            continue
        found.append(path)
        try:
            tree = ast.parse(read_bytes(path, ModelError, limit=_LARGEST_FILE))
        except (SyntaxError, ValueError, RecursionError):
            continue
        for base, parts in _names(tree, path.parent, root):
            stems = [base.joinpath(*parts[:end]) for end in range(len(parts) + 1)]
            near = [stem.parent / f"{stem.name}.py" for stem in stems[1:]] + [stem / "__init__.py" for stem in stems]
            waiting += filter(os.path.isfile, near)
    return found


def _names(tree: ast.AST, folder: Path, root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield what a file imports: the folder that its names begin in, and their parts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((root, alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = root if not node.level else folder.joinpath(*[".."] * (node.level - 1)).resolve()
            before = node.module.split(".") if node.module else []
            yield from ((base, [*before, alias.name]) for alias in node.names)


def refuse_untrusted(path: Path, code: Code) -> None:
    """Say that a run folder cannot be read without running code, and whose; raises `UsageError`."""
    if not code.word:
        raise UsageError(
            f"the model of {path} was built by a function that no other process can find: define it at the head of a "
            "file, or read the run in Python, with load_run(path, build=…)"
        )
    raise UsageError(
        f"the model of {path} is built by code of a user's: reading the run runs {code.file}; if you trust that file, "
        "say so with --trust (in Python, load_run(path, build=…))"
    )
