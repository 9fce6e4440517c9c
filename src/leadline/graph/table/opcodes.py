"""What the compiled sampler does for an operation, from its literals."""

from collections.abc import Callable

import torch

from leadline.graph.table.curves import number
from leadline.graph.table.record import Literals, Opcode

Choose = Callable[[Literals], Opcode | None]
_POWERS = {
    2.0: Opcode("square"),
    3.0: Opcode("mul", before=("copy", "square")),  # a cube is a number times its square
    0.5: Opcode("sqrt"),
    -0.5: Opcode("rsqrt"),
}


def code(name: str, **neutral: float | str | None) -> Choose:
    """Return the choice of one instruction, where literals have these values or are not given."""
    opcode = Opcode(name)

    def choose(literals: Literals) -> Opcode | None:
        return opcode if all(literals.get(key, value) == value for key, value in neutral.items()) else None

    return choose


def gelu(literals: Literals) -> Opcode | None:
    """Choose between the two forms."""
    return {"none": Opcode("gelu"), "tanh": Opcode("gelu_tanh")}.get(literals.get("approximate", "none"))


def leaky_relu(literals: Literals) -> Opcode | None:
    """Take the slope along."""
    slope = number(literals, "negative_slope", 0.01)
    return None if slope is None else Opcode("leaky", slope)


def elu(literals: Literals) -> Opcode | None:
    """Take alpha along; there are no scales."""
    alpha, scale, rate = (number(literals, name, 1.0) for name in ("alpha", "scale", "input_scale"))
    return Opcode("elu", alpha) if alpha is not None and scale == rate == 1.0 else None


def power(literals: Literals) -> Opcode | None:
    """Choose the few exponents that have an instruction of their own; one that is a number is no operand of `pow`."""
    exponent = number(literals, "exponent")
    return Opcode("pow") if exponent is None else _POWERS.get(exponent)


_TYPES = {
    torch.float64: Opcode("copy"), torch.float32: Opcode("single"),
    **dict.fromkeys((torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8), Opcode("trunc")),
}  # fmt: skip


def retyped(literals: Literals) -> Opcode | None:
    """Choose how a number becomes one of another type, as far as it is in its range."""
    dtype = literals.get("dtype")
    return Opcode("copy") if dtype is None else _TYPES.get(dtype)
