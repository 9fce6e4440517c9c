"""An audit as a JUnit file: one test for causality, one for the samples, one for each limit of a budget."""

from __future__ import annotations

from xml.etree import ElementTree

from leadline.audit.audited import Audit, Unavailable
from leadline.audit.budget import Judgement


def junit(audit: Audit, judgement: Judgement | None = None) -> str:
    """Return the XML that CI servers show as tests.

    Examples
    --------
    >>> import torch
    >>> from leadline import check
    >>> audit = check(torch.nn.Conv1d(1, 1, 3, padding=1), torch.zeros(1, 1, 9), layout="b c t -> b v t")
    >>> ElementTree.fromstring(junit(audit)).attrib["failures"]
    '1'
    """
    found = audit.causality
    if isinstance(found, Unavailable):
        cases = [("causality", f"unknown: {found.reason}")]
    else:
        cases = [
            ("causality", "" if found.causal else f"{found.verdict}, lag {found.lag}: {found.witness}"),
            ("samples stay apart", "" if found.cross_batch is None else str(found.cross_batch)),
        ]
    if judgement is not None:
        cases += [(f"budget: {line.key}", "" if line.holds else str(line)) for line in judgement.lines]
    seconds = f"{sum(audit.seconds.values()):.3f}"
    failures = sum(bool(failure) for _, failure in cases)
    suite = ElementTree.Element(
        "testsuite", name="leadline", tests=str(len(cases)), failures=str(failures), errors="0", time=seconds
    )
    for name, failure in cases:
        case = ElementTree.SubElement(suite, "testcase", classname=f"leadline.{audit.name}", name=name)
        if failure:
            lines = failure.splitlines()
            ElementTree.SubElement(case, "failure", message=_plain(lines[0])).text = _plain(failure)
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def _plain(text: str) -> str:
    """Leave out characters that XML has no way to write."""
    return "".join(c for c in text if c in "\t\n" or ord(c) >= 32)
