"""An audit as SARIF 2.1.0: leaks, and limits that are exceeded, at the lines that make them so."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from leadline.audit.audited import Audit, Unavailable
from leadline.audit.budget import Judgement
from leadline.domains.dependence.witness import Witness
from leadline.results import Place

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_RULES = {
    "leak": "An output depends on a later input.",
    "samples": "An output depends on another sample of the batch.",
    "unknown": "Whether outputs depend on later inputs is not known.",
    "budget": "A limit of the budget is exceeded.",
}


def sarif(audit: Audit, judgement: Judgement | None = None, *, model_file: Path | None = None) -> dict[str, Any]:
    """Return the log that code scanning reads, its files relative to the working directory.

    A leak stands at the last operation of the user's files that it passes, with its whole way; where no such file is
    known, at the first line of the model's.

    Examples
    --------
    >>> import torch
    >>> from leadline import check
    >>> audit = check(torch.nn.Conv1d(1, 1, 3, padding=1), torch.zeros(1, 1, 9), layout="b c t -> b v t")
    >>> [result["ruleId"] for result in sarif(audit)["runs"][0]["results"]]
    ['leak']
    """
    found = audit.causality
    results = []
    if isinstance(found, Unavailable):
        results.append(_result("unknown", f"{audit.name}: {found.reason}", _start(model_file)))
    else:
        if found.witness is not None:
            rule = "leak" if found.verdict == "leak" else "unknown"
            results.append(_leak(rule, f"{audit.name}, {found.verdict}: ", found.witness, model_file))
        if found.cross_batch is not None:
            results.append(_leak("samples", f"{audit.name}: ", found.cross_batch, model_file))
    if judgement is not None:
        results += [
            _result("budget", f"{audit.name}, {line}", _at(judgement.path, judgement.line_of(line.key)))
            for line in judgement.lines
            if not line.holds
        ]
    rules = [{"id": rule, "shortDescription": {"text": text}} for rule, text in _RULES.items()]
    driver = {"name": "leadline", "version": version("leadline"), "rules": rules}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _leak(rule: str, before: str, witness: Witness, model_file: Path | None) -> dict[str, Any]:
    """Show a dependence at the last of the user's lines on its way."""
    steps = [(place, _of(place)) for place in witness.path]
    own = [location for _, location in steps if location is not None]
    result = _result(rule, f"{before}{witness}", own[-1] if own else _start(model_file))
    if own:
        way = [{"location": location | {"message": {"text": str(place)}}} for place, location in steps if location]
        result["codeFlows"] = [{"threadFlows": [{"locations": way}]}]
    return result


def _result(rule: str, text: str, location: dict[str, Any] | None) -> dict[str, Any]:
    where = [] if location is None else [location]
    return {"ruleId": rule, "level": "error", "message": {"text": text}, "locations": where}


def _of(place: Place) -> dict[str, Any] | None:
    """Return where an operation stands; None outside the working directory, where no reader finds the file."""
    file, _, line = (place.source or "").rpartition(":")
    return _at(Path(file), int(line)) if file and os.path.isfile(file) else None


def _start(path: Path | None) -> dict[str, Any] | None:
    return None if path is None else _at(path, 1)


def _at(path: Path, line: int) -> dict[str, Any] | None:
    here = Path.cwd()
    full = path.resolve()
    if not full.is_relative_to(here.resolve()):
        return None
    uri = full.relative_to(here.resolve()).as_posix()
    return {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": line}}}
