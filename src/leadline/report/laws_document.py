"""Growth laws as a document: one row for each quantity."""

from typing import Any

from leadline.audit.architecture import Architecture
from leadline.document import Document, Row, Section, Table, Text
from leadline.recurrence import Law, Laws
from leadline.report.drawings.curves import law_curves
from leadline.report.figures import QUANTITIES
from leadline.report.reproducing import how_to_repeat
from leadline.results import FORMAT


def describe_laws(architecture: Architecture, laws: Laws, command: str = "") -> Document:
    """Lay out the laws of an architecture, and the command that found them.

    Examples
    --------
    >>> from leadline.audit.architecture import find_architecture
    >>> architecture = find_architecture("grid-rnn", ["d=1..4", "k=2"])
    >>> describe_laws(architecture, architecture.laws()).sections[0].blocks[0].rows[2]
    ('steps to train', 'H + W + d - 2', 'Θ(H + W + d)', 'fitted', 'all sizes')
    """
    found = {name: getattr(laws, name) for name in QUANTITIES}
    rows = tuple(_row(name, law) for name, law in found.items())
    table = Table(("quantity", "formula", "grows as", "status", "holds for"), rows)
    settings = ", ".join(f"{name}={value}" for name, value in architecture.settings.items())
    drawn = law_curves(architecture, {QUANTITIES[name]: law for name, law in found.items()})
    grown = (Section("How they grow", (Row(drawn),)),) if drawn else ()
    return Document(
        f"Growth laws of {architecture.name}",
        "all sizes that do not vary as by default" + (f", but {settings}" if settings else ""),
        (Section("Formulas, for one sample", (table, Text(_grounds(laws.connections)))), *grown),
        footer=how_to_repeat(command),
    )


def _row(name: str, law: Law | None) -> tuple[str, ...]:
    if law is None:
        why = "no formula gives the counts" if name == "macs" else "the model is not causal"
        return QUANTITIES[name], why, "", "", ""
    status = "fitted" if set(law.region) <= set(law.fitted) else law.status.value
    return QUANTITIES[name], law.formula, law.growth or "", status, law.where or "all sizes"


def _grounds(law: Law) -> str:
    """Say what is proved and what was tried."""
    letters = ", ".join(name for name in law.region if name not in law.fitted)
    grid = f"For {letters} nothing is proved: {law.doubt}" if law.doubt else f"For {letters} the equations are proved"
    fitted = f"; in {', '.join(law.fitted)} the laws are fitted to exact counts" if law.fitted else ""
    checked = "; ".join(", ".join(f"{name} = {n}" for name, n in sizes.items()) for sizes in law.checked)
    return f"{grid}{fitted}, and verified at {checked}."


def laws_record(architecture: Architecture, laws: Laws) -> dict[str, Any]:
    """Return what JSON holds: formulas as sympy writes them and as a person does."""
    about = {
        "format": FORMAT,
        "type": "Architecture",
        "name": architecture.name,
        "sizes": architecture.sizes,
        "settings": architecture.settings,
    }
    return about | {"laws": laws}
