"""Models that `torch.export.save` wrote: ``.pt2`` files."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from leadline.errors import ModelError, UsageError
from leadline.graph.user_code import first_line


def load_exported(path: Path) -> tuple[nn.Module, tuple[Any, ...], Mapping[str, Any]]:
    """Return the module of an exported program, and the example inputs that it was saved with.

    It runs in the mode in which it was exported, and stands at the sizes of its inputs; errors are `load_program`'s.
    """
    program = load_program(path)
    args, kwargs = program.example_inputs or ((), {})
    return program.module(), tuple(args), kwargs


def load_program(path: Path) -> ExportedProgram:
    """Load an exported program with its example inputs.

    Raises `UsageError` if there is no such file; `ModelError` if it does not hold a program with inputs.
    """
    if not os.path.isfile(path):
        raise UsageError(f"there is no file {path}")
    if not zipfile.is_zipfile(path):  # torch would print a page of its own
        raise ModelError(f"{path} is not an exported program: write it with torch.export.save")
    try:
        with warnings.catch_warnings():  # some versions of torch warn of their own buffers
            warnings.simplefilter("ignore")
            program = torch.export.load(path)
    except Exception as error:
        raise ModelError(f"torch {torch.__version__} cannot load {path}: {first_line(error)}") from error
    if program.example_inputs is None:
        raise ModelError(f"{path} holds no example inputs: export and save the model anew, with its inputs")
    return program
