"""Growth laws: how connections, depth, context and state grow with the sizes of an architecture, as exact formulas."""

from collections.abc import Callable, Iterable
from typing import Any

from leadline.domains.arguments import public
from leadline.graph.layout import LayoutLike, Order
from leadline.recurrence.architecture import Architecture
from leadline.recurrence.laws import Laws


@public("law")
def law(
    build: Callable[..., tuple[Any, Any]],
    *,
    layout: LayoutLike = None,
    order: Order = None,
    output: str | None = None,
    **sizes: Iterable[int],
) -> Laws:
    """Find formulas for an architecture's connections, sequential steps, context and state.

    Parameters
    ----------
    build
        ``build(**sizes)`` returns the model and its inputs: a tuple, or a dict by name.
    layout, order, output
        The axes, and which output is meant; see `leadline.system`. Without a layout that one is taken which alone is
        usual at all sizes, or alone gives the equations.
    **sizes
        For each parameter of `build` its values: all but the last are fitted, the last is kept for the check. A size
        that has the name of a position axis (in either case) is that axis's: it is in the formulas anyway, is traced at
        the largest of these values, and at the last one for the check.

    Raises
    ------
    NotUniform
        If the model is not a system of recurrence equations, no formula fits exactly, or it fails at the fresh sizes.
    UsageError
        If a size is given no values.

    Examples
    --------
    >>> from torch import nn, zeros
    >>> def build(k, T):
    ...     return nn.Linear(k, k), (zeros(1, T, k),)
    >>> found = law(build, layout="b t c -> b t v", k=range(1, 6), T=(4, 5))
    >>> print(found.connections, found.connections.growth)
    T·k² Θ(T·k²)
    """
    found = Architecture(
        build,
        {"layout": layout, "order": order, "output": output},
        {name: tuple(values) for name, values in sizes.items()},
    )
    macs, unknown = found.macs()
    laws = {what: found.law(what) for what in found.formulas}
    return Laws(
        laws["connections"],
        macs,
        laws["steps of training"],
        laws.get("steps of generation"),
        laws["the context"],
        laws.get("the state"),
        unknown,
    )
