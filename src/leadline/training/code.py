"""Which code of the user's a run's model is built by, so that another process can build it, if it may."""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from leadline.errors import ModelError, UsageError
from leadline.files.reading import read_bytes

_LARGEST_FILE = 1 << 26


@dataclass(frozen=True)
class Code:
    """A function of the user's, by the `word` ``/folder/file.py:name`` or ``package.module:name``; empty: it has none.

    Of its file there is the `digest`, SHA-256. It `calls` for a model as ``build(name, **settings)`` does, and returns
    a specimen (``"builder"``), or is a ``"factory"`` of `leadline check`, whose `likelihood` and `layout` are given
    here where its product does not say them.
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
    """Return the SHA-256 of a file of code; raises `ModelError` if it cannot be read."""
    return hashlib.sha256(read_bytes(file, ModelError, limit=_LARGEST_FILE)).hexdigest()


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
