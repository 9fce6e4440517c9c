"""What one record of the table says of an operation."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from leadline.graph.table.curve import Curve

Literals: TypeAlias = Mapping[str, Any]
"""A node's arguments by the names of the operator's schema; those that are tensors are references."""


class Kind(StrEnum):
    """How values flow through an operation."""

    INPUT = "input"  # leaves
    PARAMETER = "parameter"
    BUFFER = "buffer"
    CREATION = "creation"  # depends on no tensor's values: arange, zeros, full_like
    POINTWISE = "pointwise"  # element p of the output from elements p of the broadcast arguments
    VIEW = "view"  # every output element is one input element or a literal: reshape, slice, pad, cat, roll
    WINDOW = "window"  # pooling
    CONVOLUTION = "convolution"
    CONTRACTION = "contraction"  # matrix products
    REDUCTION = "reduction"  # sum, max, argmax, var along axes
    CUMULATIVE = "cumulative"  # cumsum: element i from elements up to i along an axis
    MIXING = "mixing"  # every element along the axes from every one: sort, FFT
    MATRICES = "matrices"  # matrices along the last two axes as a whole: inverses, solutions, decompositions
    SOFTMAX = "softmax"
    NORMALISATION = "normalisation"  # statistics over axes, then pointwise
    ATTENTION = "attention"
    SCAN = "scan"  # recurrences, kept whole
    GATHER = "gather"  # elements chosen by index tensors: embedding, index, gather
    SCATTER = "scatter"  # elements placed by index tensors
    RANDOM = "random"  # pointwise with noise: dropout in training, bernoulli
    EFFECT = "effect"  # assertions; no value
    OPAQUE = "opaque"  # no rule


LEAVES = frozenset({Kind.INPUT, Kind.PARAMETER, Kind.BUFFER})
MULTIPLYING = frozenset({Kind.CONVOLUTION, Kind.CONTRACTION, Kind.ATTENTION, Kind.SCAN})


class Move(StrEnum):
    """How a view moves elements."""

    RESHAPE = "reshape"  # the same elements in the same order: view, flatten, squeeze, unsqueeze
    PERMUTE = "permute"  # axes in another order, each whole
    EXPAND = "expand"  # repeated along axes of size 1 and new first axes
    TAKE = "take"  # some places of one axis: slice, select, split
    FLIP = "flip"
    ROLL = "roll"
    REPEAT = "repeat"
    PAD = "pad"  # with a literal, or as `mode` says
    MIRROR = "mirror"  # padded with its own elements
    JOIN = "join"  # along an axis that is there
    STACK = "stack"  # along a new axis
    WRITE = "write"  # `src` put at places of one axis of `self`, or on a diagonal of it
    DIAGONAL = "diagonal"
    TRIANGLE = "triangle"  # zeros beyond a diagonal
    WINDOWS = "windows"  # pieces of one axis that may overlap, along a new last axis
    ENLARGE = "enlarge"  # each place of the last axes several times: upsampling
    SHUFFLE = "shuffle"  # between channels and the last axes
    PAIRS_TO_COMPLEX = "pairs to complex"
    COMPLEX_TO_PAIRS = "complex to pairs"
    RETYPE = "retype"  # the same bytes read as numbers of another type
    SPREAD = "spread"  # zeros beside blocks or diagonals that are put down: block_diag, diag_embed
    OTHER = "other"


class Form(StrEnum):
    """What a pointwise operation does with its operands a, b, c; scale is `alpha`."""

    COPY = "copy"  # a, perhaps in another type
    SUM = "sum"  # a + scale · b
    DIFFERENCE = "difference"  # a - scale · b
    REVERSED = "reversed difference"  # b - scale · a
    PRODUCT = "product"
    QUOTIENT = "quotient"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"
    CLAMP = "clamp"  # the least of c and of the largest of a and b, of which one may be missing
    CHOICE = "choice"  # b where a holds, else c
    SLOPED = "sloped"  # a where it is above zero, else a · b, with b along the second axis
    BOTH = "both"  # logical, or bit by bit
    EITHER = "either"
    FUNCTION = "function"  # something else; of one operand it may have a curve


class Planar(StrEnum):
    """What a pointwise operation does with complex numbers, as points of a plane."""

    RIGID = "rigid"  # keeps moduli and distances: the negative
    CONJUGATE = "conjugate"  # keeps them too
    REAL = "real part"
    IMAGINARY = "imaginary part"
    MODULUS = "modulus"
    ANGLE = "angle"
    PAIR = "pair"  # of a real and an imaginary part to a complex number
    POLAR = "polar"  # of a modulus and an angle to one


class Half(StrEnum):
    """Which side of a Fourier transform is real, the other holding half of a spectrum that is symmetric."""

    NEITHER = "neither"
    INPUT = "input"
    OUTPUT = "output"


class Tally(StrEnum):
    """What a reduction, or a cumulative operation so far, makes of the elements along its axes."""

    SUM = "sum"
    PRODUCT = "product"
    MEAN = "mean"
    LARGEST = "largest"
    LEAST = "least"
    LOG_SUM_EXP = "logarithm of the sum of exponentials"
    ANY = "any"
    ALL = "all"
    COUNT = "count"  # of those that are not zero
    OTHER = "other"


class Statistics(StrEnum):
    """What a normalisation divides by, and over which elements it is taken."""

    BATCH = "batch"  # mean and variance of each channel, or those that buffers hold
    GROUP = "group"  # of groups of channels
    LAYER = "layer"  # of the last axes
    SQUARES = "squares"  # the mean square over the last axes
    WEIGHT = "weight"  # the norm over all axes but one


class Cell(StrEnum):
    """What a recurrence does in a step."""

    TANH = "tanh"
    RELU = "relu"
    GRU = "gru"
    LSTM = "lstm"


class Grouping(StrEnum):
    """The part that an operation takes where rows are worked on group by group."""

    SORT = "sort"  # numbers in order, and the places where they stood
    ORDER = "order"  # these places alone
    HISTOGRAM = "histogram"  # how many numbers lie in each of some equal spans
    PRODUCT = "product"  # rows, as many as offsets say for each matrix, by matrices


class Noise(StrEnum):
    """What a random operation does with its first argument."""

    DROPOUT = "dropout"  # zeros some elements, scales the others: a zero stays zero
    ALPHA_DROPOUT = "alpha dropout"  # puts another number in the place of some
    SHAPE = "shape"  # reads its shape alone
    SLOPE = "slope"  # multiplies what is below zero by a number between two literals
    OTHER = "other"


class Places(StrEnum):
    """How the index tensors of a gather or scatter say where."""

    ROWS = "rows"  # of a table of weights: embedding
    LISTS = "lists"  # one for each axis, or none: index, index_put
    SLICES = "slices"  # one list along one axis: index_select, index_add
    ELEMENTS = "elements"  # a place along one axis for each element: gather, scatter
    CLASSES = "classes"  # one_hot
    MASK = "mask"


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A recurrence kept whole: its cell, whether it is one step alone, and whether it runs over a grid."""

    cell: Cell
    step: bool = False
    grid: bool = False


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix product: the names of its factors and of what is added, and a letter for each axis.

    `axes` takes the factors' numbers of axes. A letter in both factors and not in the result is summed over; the
    product of those with `beta` is ``beta · added + alpha · left · right``.
    """

    left: str
    right: str
    axes: Callable[[int, int], tuple[str, str, str]]
    added: str | None = None


@dataclass(frozen=True, slots=True)
class Matrices:
    """What is done with matrices as a whole.

    `solved` names the argument whose columns are solved for, each by itself. The result is the inverse, or multiplies
    by it, where the operation `inverts`; it sums up `powers` where it is a function of the matrix. `side` says from
    arguments of which triangle alone the matrix is read, `triangles` of which the results are, in order: the lower one
    (True), the upper one (False), or neither (None). It gives the LU `factors` of the matrix, with the rows that were
    exchanged, or is given it `by_factors`; `pseudo` says that there need be no inverse.
    """

    solved: str | None = None
    inverts: bool = False
    powers: bool = False
    side: Callable[[Literals], bool | None] = lambda _: None
    triangles: Callable[[Literals], tuple[bool | None, ...]] = lambda _: ()
    factors: bool = False
    by_factors: bool = False
    pseudo: bool = False


@dataclass(frozen=True, slots=True)
class Transform:
    """A discrete Fourier transform: whether it is an inverse one (None: a literal says so), and what is real."""

    inverse: bool | None = None
    real: Half = Half.NEITHER


@dataclass(frozen=True, slots=True)
class Opcode:
    """An instruction of the compiled sampler, by name.

    `before` names the functions that operands pass through first; where they are more than the operands there are, the
    one operand is read as often.
    """

    name: str
    parameter: float = 0.0
    before: tuple[str, ...] = ()


Expression: TypeAlias = tuple[Any, ...]
"""A function of functions, by names: ``("minimum", "self", 6.0)``. Operands are named, or numbers, or expressions."""

Acts: TypeAlias = Callable[[Literals, int], tuple[int, ...] | None]


def everywhere(literals: Literals, ndim: int) -> None:
    """Say that any axis may be involved."""


def unknown(literals: Literals) -> None:
    """Say nothing, whatever the literals."""


def nothing(literals: Literals) -> tuple[str, ...]:  # noqa: ARG001 - all have one signature
    """Name no argument, whatever the literals."""
    return ()


@dataclass(frozen=True, slots=True)
class Pointwise:
    """What follows from the literals of a pointwise operation.

    Attributes
    ----------
    form, operands
        What is done with which arguments, in the order of `Form`; a curve is one of the first operand.
    identity
        The argument that the result is equal to, but for its type and the broadcasting; None: none, or not known.
    zeros
        The arguments of which a zero makes the result zero, whatever finite numbers the others are (a divisor not 0).
    curve
        The function of its first operand where everything else is a literal; None: it is not one, or nothing is known.
    opcode
        How the compiled sampler computes it; None: not by one instruction.
    recipe
        What it is made of, where it has no instruction (see `recipes`); None: of nothing that has one.
    vanishes
        Whether it takes minus infinity to zero, and what is far below to next to nothing.
    floored
        The number that all that is below it becomes, if there is one: of a rectifier, zero.
    above
        True: it says whether the first operand is above the second; False: below it; None: something else.
    detaches
        Whether it may stop gradients.
    exponential
        Whether it turns sums into products.
    planar
        What it does with complex numbers, where `form` does not say it; None: not known.
    """

    form: Form = Form.FUNCTION
    operands: tuple[str, ...] = ("self",)
    identity: Callable[[Literals], str | None] = unknown
    zeros: Callable[[Literals], tuple[str, ...]] = nothing
    curve: Callable[[Literals], Curve | None] = unknown
    opcode: Callable[[Literals], Opcode | None] = unknown
    recipe: Callable[[Literals], Expression | None] = unknown
    vanishes: bool = False
    floored: Callable[[Literals], float | None] = unknown
    above: bool | None = None
    detaches: bool = False
    exponential: bool = False
    planar: Planar | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, or one overload of it that differs from the others.

    Attributes
    ----------
    packet
        Its name without namespace and overload, ``"silu"``.
    kind
        How domains treat it. The attributes below are set where they make sense for it.
    move
        Views: how elements move.
    acts
        Views: from arguments and the first tensor's number of axes to the axes of that tensor along which the
        operation looks at places; None: it may be any. All other axes are kept, moved or repeated as a whole.
    pointwise
        What follows from literals.
    product
        Contractions: the factors.
    transposed
        Convolutions: whether it is always one that is transposed; `convolution` has an argument for that.
    tally
        Reductions, cumulative operations and pooling: what is made of the elements.
    norm, spread
        Reductions: the argument that says which norm it is; whether it is a standard deviation, or (False) a variance.
    adaptive, spatial
        Pooling: whether it is given the result's size, and over how many last axes it goes.
    logarithm
        Softmax: whether the logarithm is taken.
    safe
        Softmax: whether a row of minus infinity has weights of zero.
    statistics
        Normalisations: what is divided by.
    frozen
        Normalisations: from arguments to whether statistics are taken from buffers.
    recurrence
        Scans: what runs, and how.
    noise
        Random operations: what happens to the first argument.
    places
        Gathers and scatters: how index tensors say where.
    combines
        Scatters: from arguments to whether the result holds more than elements of its arguments, each put at a place.
    unwritten
        Creation: whether it is memory that nobody wrote.
    quiet
        Operations that draw: from arguments to whether nothing is left to draw, as in evaluation.
    reach
        Random operations that do not look at their arguments: between which numbers lies what they draw.
    transform
        Mixing: the Fourier transform that it is.
    circular
        Mixing: whether it reads signals in the place of their spectra (`domains.dependence.signals.spectra`).
    matrices
        What is done with matrices as a whole.
    grouping
        Its part in working on rows group by group.
    located
        Whether it gives elements of its argument along one axis and, second, the places where these stand.
    first
        Where its last output holds places of elements in their order: from arguments to whether the largest are first.
    """

    packet: str
    kind: Kind
    move: Move = Move.OTHER
    acts: Acts = everywhere
    pointwise: Pointwise | None = None
    product: Product | None = None
    transposed: bool = False
    tally: Tally = Tally.OTHER
    norm: str | None = None
    spread: bool | None = None
    adaptive: bool = False
    spatial: int = 0
    logarithm: bool = False
    safe: bool = False
    statistics: Statistics | None = None
    frozen: Callable[[Literals], bool] = lambda _: False
    recurrence: Recurrence | None = None
    noise: Noise = Noise.OTHER
    places: Places | None = None
    combines: Callable[[Literals], bool] = lambda _: False
    unwritten: bool = False
    quiet: Callable[[Literals], bool] = lambda _: False
    reach: tuple[float, float] = (-math.inf, math.inf)
    transform: Transform | None = None
    circular: bool = False
    matrices: Matrices | None = None
    grouping: Grouping | None = None
    located: bool = False
    first: Callable[[Literals], bool] | None = None
