"""Importing a file or module of the user's, and running what is in it: the only code that is not leadline's own."""

import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from leadline.errors import LeadlineError, ModelError, UsageError
from leadline.graph.restoring.flags import default_device, set_default_device
from leadline.graph.user_code import raised_at, text_of

ALIAS = "leadline_users_"
"""Begins the name that a folder of a user's gets, so that it can stand for a package."""


def import_file(path: Path) -> ModuleType:
    """Import a Python file, which may import its neighbours, by name or relatively (``from .layers import Block``).

    Raises `UsageError` if there is no such file, `ModelError` if it raises.
    """
    if not os.path.isfile(path):
        raise UsageError(f"there is no file {path}")
    path = path.resolve()
    name = f"{_package_of(path.parent)}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file")
    loader, module = spec.loader, importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for the names of their annotations
    try:
        with beside(module):
            guarded(lambda: loader.exec_module(module), f"importing {path}")
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return sys.modules.get(name, module)  # a module may replace itself


def import_module(name: str) -> ModuleType:
    """Import an installed module; raises `UsageError` if there is none, `ModelError` if it raises."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise UsageError(
            f"no module {name!r} can be imported; give file.py:factory or an installed package.module:factory"
        )
    module: ModuleType = guarded(lambda: importlib.import_module(name), f"importing {name}")
    return module


@contextmanager
def beside(module: ModuleType) -> Iterator[None]:
    """Let the file of a module import its neighbours by name; what the file itself does to ``sys.path`` stays."""
    folder = str(Path(str(module.__file__)).parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def guarded(action: Callable[[], Any], doing: str) -> Any:
    """Run the user's code; what it raises becomes one sentence with the line that raised it."""
    try:
        with _put_back():
            return action()
    except KeyboardInterrupt:
        raise
    except LeadlineError as error:  # of leadline's functions, which the user's code calls
        raise ModelError(f"{doing} raised {type(error).__name__}: {error}{raised_at(error)}") from error
    except BaseException as error:
        raise ModelError(f"{doing} raised {type(error).__name__}: {text_of(error)}{raised_at(error)}") from error


@contextmanager
def _put_back() -> Iterator[None]:
    """Put back what holds for the model that was made, not for us: default device and number format, working folder.

    Nothing is lost from ``sys.path`` either; what was added stays.
    """
    device, dtype, path = default_device(), torch.get_default_dtype(), list(sys.path)
    here = os.getcwd() if os.path.isdir(os.curdir) else None  # which others may have removed
    try:
        yield
    finally:
        if default_device() != device:
            set_default_device(device)
        torch.set_default_dtype(dtype)
        if here is not None:
            os.chdir(here)
        sys.path += [folder for folder in path if folder not in sys.path]


def _package_of(folder: Path) -> str:
    """Return the name of the package that a folder is; one that is not gets a name, so that it can stand for one."""
    parts: list[str] = []
    root = folder
    while os.path.isfile(root / "__init__.py") and root.name.isidentifier():
        parts.insert(0, root.name)
        root = root.parent
    name = ".".join(parts)
    if parts and parts[0] not in sys.modules:
        sys.path.insert(0, str(root))
        try:
            guarded(lambda: importlib.import_module(name), f"importing {name}")
        finally:
            if str(root) in sys.path:
                sys.path.remove(str(root))
    if parts and str(folder) in map(str, getattr(sys.modules.get(name), "__path__", ())):
        return name
    alias = f"{ALIAS}{abs(hash(str(folder))):x}"
    if alias not in sys.modules:
        spec = importlib.machinery.ModuleSpec(alias, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        sys.modules[alias] = importlib.util.module_from_spec(spec)
    return alias
