"""Bounds under attack: drawn models, literals and boxes against an adversary, and each law in closed form."""

import math

import pytest
import torch
from helpers.attacks.adversary import singular_values
from helpers.attacks.campaign import BOXES, attacks
from helpers.attacks.draw import SHAPE, Block
from helpers.examples import examples
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F  # noqa: N812

from leadline.domains.values.interval_arithmetic import Interval
from leadline.errors import UnknownOp, UsageError
from leadline.jacobian._bound import bound
from leadline.jacobian.bounds.norms import range_within

ONE = torch.zeros(SHAPE, dtype=torch.float64)
PARTS = 2


@pytest.mark.parametrize("part", range(PARTS))
def test_no_adversary_finds_a_value_outside_its_bound(part):
    found = [attack for seed in range(part, math.ceil(examples(200, 2000) / BOXES), PARTS) for attack in attacks(seed)]
    assert [attack for attack in found if not attack.holds] == []
    assert sum(attack.bound is not None and attack.bound[1] < math.inf for attack in found) > len(found) / 3


@pytest.mark.slow
def test_no_adversary_finds_one_in_ten_thousand():
    assert [attack for seed in range(math.ceil(10_000 / BOXES)) for attack in attacks(seed) if not attack.holds] == []


def norm(function, x=ONE):
    return singular_values(Block(function), x)[1]


def bounded(function, x=ONE, box=None, on_unknown="raise", **held):
    return bound(Block(function, **held), x, box=box, on_unknown=on_unknown)


@given(kernel=st.integers(1, 4), stride=st.integers(1, 4), ceil=st.booleans(), count=st.booleans(), data=st.data())
@settings(max_examples=25)
def test_means_over_windows_attain_their_bound_where_windows_are_apart(kernel, stride, ceil, count, data):
    padding = data.draw(st.integers(0, kernel // 2))

    def pool(_, x):
        return F.avg_pool1d(x, kernel, stride, padding, ceil, count)

    exact, found = norm(pool), bounded(pool).hi
    assert exact <= found
    if stride >= kernel:
        assert found <= exact * (1 + 1e-12)


@given(kernel=st.integers(1, 3), stride=st.integers(1, 3), dilation=st.integers(1, 3))
@settings(max_examples=12)
def test_a_peak_attains_the_bound_of_largest_elements(kernel, stride, dilation):
    def pool(_, x):
        return F.max_pool1d(x, kernel, stride, dilation=dilation)

    x = torch.zeros(1, 1, 12, dtype=torch.float64)
    peaks = [norm(pool, torch.eye(12, dtype=torch.float64)[i].reshape(1, 1, 12)) for i in range(12)]
    assert max(peaks) == pytest.approx(bounded(pool, x).hi)


def test_places_of_largest_elements_are_no_order_of_values():
    def scaled(_, x):
        return x * F.max_pool1d(x, 6, return_indices=True)[1]

    assert bounded(scaled, box=(-1.0, 1.0)).hi >= 5


@pytest.mark.parametrize("shape", [(16, 1, 1), (4, 3, 2), (2, 2)])
def test_a_product_broadcasts_both_ways(shape):
    A = torch.randn(shape, dtype=torch.float64)
    x = torch.zeros(shape[-1], 3, dtype=torch.float64)
    found = bounded(lambda _, x: A @ x, x)
    assert found.hi == pytest.approx(torch.linalg.matrix_norm(A.flatten(0, -2), 2).item())
    assert found.lo == pytest.approx(torch.linalg.svdvals(A.flatten(0, -2))[-1].item())


@given(alpha=st.floats(-3, 3), beta=st.floats(-3, 3))
@settings(max_examples=10)
def test_factors_of_a_product_and_of_what_is_added_are_read(alpha, beta):
    W = torch.randn(6, 6, dtype=torch.float64)

    def add(_, x):
        return torch.addmm(x[0], x[0], W, alpha=alpha, beta=beta)

    assert norm(add) <= bounded(add).hi <= abs(beta) + abs(alpha) * torch.linalg.matrix_norm(W, 2).item() + 1e-12


# Each of these is an isometry, or one up to a factor.
TURNS = {
    "transform": (lambda _, x: torch.view_as_real(torch.fft.fft(x, norm="ortho")), 1.0),
    "unscaled": (lambda _, x: torch.view_as_real(torch.fft.fftn(x, dim=(1, 2))), 12**0.5),
    "inverse": (lambda _, x: torch.view_as_real(torch.fft.ifft(torch.complex(x, 0 * x))), 6**-0.5),
    "padded": (lambda _, x: torch.view_as_real(torch.fft.fft(x, 9)), 3.0),
    "rotary": (lambda _, x: torch.view_as_real(torch.view_as_complex(x.reshape(2, 3, 2)) * 1j), 1.0),
    "conjugate": (lambda _, x: torch.view_as_real((-torch.complex(x, 0 * x)).conj() * 2), 2.0),
}


@pytest.mark.parametrize("name", TURNS)
def test_complex_numbers_are_pairs_of_reals(name):
    function, gain = TURNS[name]
    found = bounded(function)
    assert (found.lo, found.hi) == (pytest.approx(gain), pytest.approx(gain))
    assert norm(function, torch.randn(SHAPE, dtype=torch.float64)) <= found.hi * (1 + 1e-12)


def test_half_a_spectrum_holds_between_half_and_all_of_a_signal():
    found = bounded(lambda _, x: torch.fft.rfft(x))
    assert (found.lo, found.hi) == (pytest.approx(3**0.5), pytest.approx(6**0.5))
    assert bounded(lambda _, x: x + torch.fft.irfft(torch.fft.rfft(x) * 100, n=6)).hi >= 101


@given(
    n=st.integers(1, 9), seed=st.integers(0, 10**6), norm=st.sampled_from([None, "ortho", "forward"]), two=st.booleans()
)
@settings(max_examples=15, phases=(Phase.explicit, Phase.generate))  # to shrink a failure takes a minute
def test_filters_of_half_a_spectrum_are_as_long_as_their_largest_factor(n, seed, norm, two):
    torch.manual_seed(seed)
    x, axes = torch.randn(1, 3, n, dtype=torch.float64), (1, 2) if two else (2,)
    factor = torch.randn(3 if two else 1, n // 2 + 1, dtype=torch.complex128)

    def kept(y):
        return torch.fft.irfftn(y, (3, n) if two else (n,), axes, norm)

    def filtered(_, x):
        half = torch.fft.rfftn(x, dim=axes, norm=norm)
        return kept(-(half * factor) + 0.5 * half.conj())

    found = bounded(filtered, x).hi
    assert singular_values(Block(filtered), x)[1] <= found * (1 + 1e-12)
    assert found <= (factor.abs().max().item() + 0.5) * (1 + 1e-12)

    def flipped(_, x):
        return kept(torch.fft.rfftn(x, dim=axes, norm=norm).flip(2))

    assert singular_values(Block(flipped), x)[1] <= bounded(flipped, x).hi * (1 + 1e-12)


def test_complex_inputs_and_weights_move():
    z = torch.zeros(3, dtype=torch.complex128)
    W = torch.randn(3, 3, dtype=torch.complex128)
    found = bounded(lambda _, z: z @ W, z, box=(-1.0, 1.0))
    assert found.hi == pytest.approx(torch.linalg.matrix_norm(W, 2).item())
    assert bounded(lambda _, z: (z * z).abs(), z, box=(-1.0, 1.0)).hi == pytest.approx(2 * 2**0.5)


def test_complex_functions_without_a_rule_are_named():
    def sine(_, x):
        return torch.sin(torch.complex(x, x)).real

    with pytest.raises(UnknownOp, match="sin"):
        bounded(sine)
    assert bounded(sine, on_unknown="top").hi == math.inf


# Noise on constants: what is multiplied by x lies between these factors at the most, whatever is drawn.
NOISE = {
    "a weight dropped": (lambda s, x: x * F.dropout(s.w, 0.5, True), 2.0),
    "a drawn mask": (lambda s, x: x * torch.bernoulli(0.5 * s.w), 1.0),
    "uniform": (lambda s, x: x * torch.rand_like(s.w), 1.0),
    "slopes": (lambda s, x: x * F.rrelu(-s.w, 0.25, 0.5, True), 0.5),
    "normal": (lambda s, x: x * torch.randn_like(s.w), math.inf),
    "variational": (lambda s, x: F.linear(x, s.w * torch.randn_like(s.w).expand(6, 6)), math.inf),
    "choices": (lambda s, x: x * torch.multinomial(s.w, 6), math.inf),
    "products of noise": (lambda s, x: x * torch.linalg.pinv(torch.randn_like(s.w).reshape(1, 6)).flatten(), math.inf),
    "unwritten": (lambda s, x: x * torch.empty_like(s.w).exponential_(), math.inf),
    "weights of attention": (
        lambda s, x: x * F.scaled_dot_product_attention(*[s.w.expand(1, 6, 6)] * 3, dropout_p=0.5).sum(-1),
        12.0,
    ),
}


@pytest.mark.parametrize("name", NOISE)
def test_noise_on_constants_is_not_a_constant(name):
    function, most = NOISE[name]
    model = Block(function, w=torch.ones(6, dtype=torch.float64))
    found = bound(model, ONE)
    assert found.hi == pytest.approx(most)
    assert all(singular_values(model, ONE + 1)[1] <= found.hi for _ in range(20))


def test_dropout_that_is_off_leaves_constants_known():
    model = Block(lambda s, x: x @ F.dropout(s.W, 0.5, False).softmax(-1), W=torch.zeros(6, 6, dtype=torch.float64))
    assert bound(model, ONE).hi == pytest.approx(1.0)


def attended(*names, **literals):
    """Return attention on constants, but for the operands named, which are given x."""

    def attend(s, x):
        held = {"q": s.q, "k": s.k, "v": s.v} | {name: x for name in names if name != "m"}
        mask = x if "m" in names else None
        return F.scaled_dot_product_attention(held["q"], held["k"], held["v"], attn_mask=mask, **literals)

    q, k, v = (torch.zeros(1, heads, 3, 3, dtype=torch.float64) for heads in (4, 4, 4))
    return Block(attend, q=q, k=k + 2 * torch.eye(3).double(), v=v + 10 * torch.randn(3, 3).double())


HEADS = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
ATTENTION = {
    "a mask that moves": (attended("m"), HEADS),
    "grouped queries": (attended("k", "v", enable_gqa=True), torch.zeros(1, 2, 3, 3, dtype=torch.float64)),
    "values for all heads": (attended("v"), HEADS),
    "a negative scale": (attended("q", scale=-2.0), torch.zeros(1, 4, 3, 3, dtype=torch.float64)),
    "no scale": (attended("q", scale=0.0), torch.zeros(1, 4, 3, 3, dtype=torch.float64)),
    "dropout": (attended("v", dropout_p=0.9), HEADS),
    "all at once": (attended("q", "k", "v", "m", scale=-0.5, dropout_p=0.5), HEADS),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_beyond_queries_keys_and_values(name):
    model, x = ATTENTION[name]
    found = bound(model, x, box=(-2.0, 2.0))
    most = max(singular_values(model, 4 * torch.rand_like(x) - 2)[1] for _ in range(40))
    assert most <= found.hi < math.inf
    assert found.hi == 0 if name == "no scale" else most > found.hi / 200


def test_weights_that_are_known_give_the_norm_of_their_mean():
    grouped = bounded(lambda _, x: F.scaled_dot_product_attention(
        torch.zeros(1, 4, 2, 2), torch.zeros(1, 1, 3, 2), x, enable_gqa=True
    ), torch.zeros(1, 1, 3, 2))  # fmt: skip
    assert grouped.hi == pytest.approx((8 / 3) ** 0.5, rel=1e-6)
    v = torch.randn(1, 1, 4, 2, dtype=torch.float64)

    def spread_of(shift):
        return bounded(lambda s, x: F.scaled_dot_product_attention(x, x, s.v), box=(-1.0, 1.0), x=0 * v, v=v + shift)

    assert spread_of(1e3).hi == pytest.approx(spread_of(0.0).hi, rel=1e-6)


@given(scales=st.lists(st.integers(-150, 150), min_size=1, max_size=5))
@settings(max_examples=10)
def test_what_underflows_on_the_way_is_not_nothing(scales):
    def scale(_, x):
        for power in scales:
            x = x @ (10.0**power * torch.eye(6, dtype=x.dtype))
        return x

    found = bounded(scale)
    with_range = 10.0 ** max(-320, min(320, sum(scales))) if abs(sum(scales)) < 300 else None
    assert found.hi > 0
    assert with_range is None or found.hi >= with_range * (1 - 1e-9)
    assert with_range is None or found.lo <= with_range * (1 + 1e-9)


@given(seed=st.integers(0, 10**6), spread=st.floats(0, 2), power=st.integers(-150, 150))
@settings(max_examples=20)
def test_every_matrix_of_an_interval_is_within_its_range(seed, spread, power):
    torch.manual_seed(seed)
    middle, scale = torch.randn(2, 4, 3, dtype=torch.float64), 10.0**power
    radius = spread * torch.rand(2, 4, 3, dtype=torch.float64)
    lo, hi = range_within(Interval((middle - radius) * scale, (middle + radius) * scale))
    for _ in range(5):
        values = torch.linalg.svdvals(middle + radius * (2 * torch.rand_like(radius) - 1)) * scale
        assert lo <= values.min() * (1 + 1e-9)
        assert values.max() <= hi * (1 + 1e-9)


def test_weights_that_move_or_are_drawn_give_a_recurrence_no_bound():
    class Drawn(nn.LSTM):
        def forward(self, x):
            weights = [F.dropout(w, 0.5, True) for w in self._flat_weights]
            zeros = torch.zeros(1, 1, 3, dtype=x.dtype)
            return torch.lstm(x, (zeros, zeros), weights, True, 1, 0.0, True, False, True)[0]

    model = Drawn(6, 3, batch_first=True).double()
    found = bound(model, ONE)
    assert max(singular_values(model, ONE + 1)[1] for _ in range(20)) <= found.hi


def test_projected_states_are_larger_than_one():
    layer = nn.LSTM(6, 3, proj_size=2, batch_first=True).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(3.0)
    model = Block(lambda s, x: x[..., :2] * s.layer(x)[0])
    model.layer = layer
    assert bound(model, ONE, box=(-1.0, 1.0), on_unknown="top").hi == math.inf


def test_a_box_needs_the_shape_of_its_input():
    narrow = Interval(torch.zeros(2), torch.ones(2))
    with pytest.raises(UsageError, match="shape"):
        bound(nn.Tanh(), torch.zeros(1, 3), box={"input": narrow})
    with pytest.raises(UsageError, match="lo <= hi"):
        bound(nn.Tanh(), torch.zeros(1, 3), box={"input": Interval(torch.ones(3), torch.zeros(3))})
