"""Several inputs on the same positions as one, their channels side by side: what machines store and are fed."""

from __future__ import annotations

from dataclasses import replace

from leadline.recurrence import ir
from leadline.sampling.fusion import with_taps


def joined(system: ir.System) -> ir.System:
    """Return a system whose inputs are one variable, in their order; one with a single input is left as it is.

    Classes stand among numbers as numbers.

    Examples
    --------
    >>> from leadline.recurrence.examples import dilated
    >>> joined(dilated(layers=1)).inputs
    ('x',)
    """
    if len(system.inputs) < 2:
        return system
    parts = [system[name] for name in system.inputs]
    before = [sum(v.channels for v in parts[:n]) for n in range(len(parts))]
    start, name = dict(zip(system.inputs, before, strict=True)), " + ".join(system.inputs)

    def moved(tap: ir.Tap) -> ir.Tap:
        return replace(tap, source=name, channels=tap.channels + start[tap.source]) if tap.source in start else tap

    classes = all(isinstance(v.equation, ir.Input) and v.equation.integer for v in parts)
    whole = replace(parts[0], name=name, channels=sum(v.channels for v in parts), equation=ir.Input(classes))
    rest = (replace(v, equation=with_taps(v.equation, moved)) for v in system.variables if v.name not in start)
    output = name if system.output in start else system.output
    return replace(system, variables=(whole, *rest), inputs=(name,), output=output)
