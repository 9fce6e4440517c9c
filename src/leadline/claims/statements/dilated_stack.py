"""B1: what a WaveNet costs, and how far it sees."""

from dataclasses import dataclass

from leadline.claims.claim import Claim, Effort, Evidence, Outcome, exact
from leadline.claims.grids import T, same_depth, same_law
from leadline.claims.settling import exhausted
from leadline.document import Curve
from leadline.domains import context, count, span
from leadline.recurrence.analysis.connections import connections, count_at, in_region
from leadline.recurrence.analysis.depth import generation_depth, training_depth
from leadline.recurrence.analysis.receptive_field import seen_from
from leadline.recurrence.examples import convolutions
from leadline.recurrence.ir import System
from leadline.zoo import build


@dataclass(frozen=True)
class DilatedStack:
    """Convolutions of `kernel` taps, dilated by 1, `base`, `base`² …; up to `layers` of them are tried."""

    kernel: int = 2
    base: int = 2
    layers: int = 6


def settle(of: DilatedStack, effort: Effort) -> Evidence:
    """Derive connections, steps and context from the taps; compare with the laws and the zoo's WaveNet."""
    depths = range(1, of.layers + 1)
    laws = [
        (f"d = {d}, k = {k}", in_region(connections(_stack(of, d, k))), k**2 * (2 * d * T - (2**d - 1)))
        for d in depths
        for k in (1, 2)
    ]
    training = [(f"d = {d}", training_depth(_stack(of, d)), T * 0 + d) for d in depths]
    generating = [(f"d = {d}", generation_depth(_stack(of, d), lag=0), d * T) for d in range(1, 4)]
    return Evidence(
        claimed=(
            same_law("d layers have k²(2dT - (2^d - 1)) connections, for T ≥ 2^(d-1)", laws),
            _every_length(of, effort),
            same_depth("training takes d steps, however long the sequence", training),
            same_depth("generation takes d T steps", generating),
            _context(of),
            _stacks(of),
        ),
        compared=(_gated(effort),),
        quantities=(
            exact("context of 10 layers", _seen(_stack(of, 10), of.base**10 * (of.kernel - 1) + 2)),
            exact(
                "connections, d = 10, k = 1, T = 16000", int(in_region(connections(_stack(of, 10))).subs({T: 16000}))
            ),
        ),
        picture=_picture(of),
    )


def _stack(of: DilatedStack, layers: int, k: int = 1, stacks: int = 1) -> System:
    dilations = [of.base**layer for layer in range(layers)] * stacks
    return convolutions([tuple((j * dilation,) for j in range(of.kernel)) for dilation in dilations], "t", k)


def _every_length(of: DilatedStack, effort: Effort) -> Outcome:
    """Short sequences too, where the largest dilations reach beyond the start."""
    closed = {d: connections(_stack(of, d)) for d in range(1, of.layers + 1)}
    return exhausted(
        "for every T they have k² Σ_l (T + max(0, T - 2^l)) connections",
        ({"d": d, "T": t} for d in closed for t in range(1, effort.pick(40, 200))),
        lambda d, T: sum(T + max(0, T - 2**layer) for layer in range(d)),
        lambda d, T: count_at(closed[d], _stack(of, d), {"t": T}),
    )


def _seen(system: System, length: int) -> int:
    """Return how many positions the last output sees."""
    return int(seen_from(system, (length - 1,), (length,))["x"].sum())


def _context(of: DilatedStack) -> Outcome:
    return exhausted(
        "d layers see 2^d positions, so a context of N costs log₂ N layers",
        ({"d": d} for d in range(1, of.layers + 1)),
        lambda d: 2**d,
        lambda d: _seen(_stack(of, d), of.kernel * of.base**d + 2),
    )


def _stacks(of: DilatedStack) -> Outcome:
    return exhausted(
        "S stacks see 1 + S (2^d - 1) positions",
        ({"S": s, "d": d} for s in (1, 2, 3) for d in (1, 2, 3, 4)),
        lambda S, d: 1 + S * (2**d - 1),
        lambda S, d: _seen(_stack(of, d, stacks=S), S * of.kernel * of.base**d + 2),
    )


def _gated(effort: Effort) -> Outcome:
    """Ask the graph level about the real network: its steps, its context, the connections of its first block."""
    k, s, length = 3, 2, 40

    def found(layers: int, what: int) -> int:
        net = build("wavenet", layers=layers, channels=k, skip=s, head=2, classes=4, length=length, batch=1, lag=0)
        if what == 0:
            return span(net.model, *net.inputs).steps
        if what == 1:
            return context(net.model, *net.inputs, position=length - 1, layout=net.layout).size
        modules = count(net.model, *net.inputs).by_module
        return sum(modules[f"blocks.0.{name}"].connections for name in ("conv", "skip", "residual"))

    def law(layers: int, what: int) -> int:
        borders = 2 * k * k  # the second tap has no source at the first step
        return (2 * layers + 2, 2**layers, (5 * k * k + k * s) * length - borders)[what]

    cases = [{"layers": d, "what": what} for d in ((3,) if not effort.full else (2, 3, 4, 5)) for what in (0, 1, 2)]
    return exhausted(
        "the zoo's WaveNet trains in 2d + 2 steps, sees 2^d positions, and has 5k² + ks connections a step and block",
        cases,
        law,
        found,
    )


def _picture(of: DilatedStack) -> Curve:
    depths = tuple(range(1, 11))
    grown = tuple(float(_seen(_stack(of, d), of.kernel * of.base**d + 2)) for d in depths)
    plain = tuple(float(1 + d * (of.kernel - 1)) for d in depths)
    series = (("dilated", grown), ("not dilated", plain))
    return Curve(tuple(map(float, depths)), series, "layers", "positions seen", "Context over depth", log_y=True)


CLAIM = Claim(
    id="B1",
    title="WaveNet",
    statement="With kernel 2 and dilations 1, 2 … 2^(d-1), a WaveNet has k²(2dT - (2^d - 1)) connections, trains in d "
    "steps, generates in d T, and sees 2^d positions.",
    paper=None,
    mathematics=DilatedStack(),
    settle=settle,
)
