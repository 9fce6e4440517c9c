"""What has no gradient gets a statement that says what, where and what to do: an error of leadline, never a number."""

import math
import re

import pytest
import torch
from torch import nn

from leadline import bound, check, gradient, lyapunov, spectrum
from leadline.audit import Unavailable
from leadline.errors import Diverged, ModelError, NotDifferentiable, TraceError, UsageError

ONES = torch.ones(2, 3)


class Then(nn.Module):
    """A linear layer and some function."""

    def __init__(self, function):
        super().__init__()
        self.linear, self.function = nn.Linear(3, 3), function

    def forward(self, x):
        return self.function(self.linear(x))


class Applied(nn.Module):
    """A function alone, without parameters."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class OwnParameter(nn.Module):
    """Ignores its input."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 3))

    def forward(self, x):  # noqa: ARG002
        return 2 * self.weight


class ReadsNothing(nn.Module):
    """A recurrent layer over the first none of its time steps."""

    def __init__(self):
        super().__init__()
        self.layer = nn.GRU(3, 4, batch_first=True)

    def forward(self, x):
        return self.layer(x[:, :0])[0]


def linears():
    return nn.Sequential(*[nn.Linear(3, 3) for _ in range(3)])


EMPTY = {
    "LSTM over no steps": (lambda: nn.LSTM(3, 4, batch_first=True), (1, 0, 3)),
    "GRU, time first": (lambda: nn.GRU(3, 4), (0, 1, 3)),
    "LSTM, no samples": (lambda: nn.LSTM(3, 4, batch_first=True), (0, 5, 3)),
    "no samples": (linears, (0, 3)),
    "attention over no positions": (lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), (1, 0, 4)),
    "convolution over no positions": (lambda: nn.Conv1d(3, 3, 3, padding=1), (1, 3, 0)),
}


@pytest.mark.parametrize("ask", [gradient, spectrum])
@pytest.mark.parametrize("name", EMPTY)
def test_inputs_without_elements_are_refused_with_their_shape(name, ask):
    make, shape = EMPTY[name]
    with pytest.raises(ModelError, match=r"no elements.* give longer inputs") as raised:
        ask(make(), torch.ones(shape))
    assert str(shape[:2])[:-1] in str(raised.value)


@pytest.mark.parametrize("name", ["LSTM over no steps", "no samples"])
def test_bounds_of_inputs_without_elements_are_refused(name):
    make, shape = EMPTY[name]
    with pytest.raises(ModelError, match=re.escape(f"{shape} has no elements")):
        bound(make(), torch.ones(shape))


def test_an_audit_of_no_steps_ends_in_one_statement():
    with pytest.raises(ModelError, match=r"LSTM raised .* give longer inputs"):
        check(nn.LSTM(3, 4), torch.ones(0, 1, 3))


@pytest.mark.parametrize("ask", [gradient, spectrum, bound])
def test_an_empty_sequence_inside_the_model_is_named_by_the_users_line(ask):
    with pytest.raises(ModelError, match=r"ReadsNothing .*test_refusals\.py:\d+\)"):
        ask(ReadsNothing(), torch.ones(1, 4, 3))


@pytest.mark.parametrize("ask", [gradient, spectrum, bound])
@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda y: y[:0], NotDifferentiable, r"no elements.*longer inputs"),
        (lambda y: y.argmax(-1), NotDifferentiable, "int64, which has no derivative"),
        (lambda y: y > 0, NotDifferentiable, "bool, which has no derivative"),
        (lambda _: "text", (NotDifferentiable, TraceError), "no tensor"),
    ],
)
def test_outputs_without_a_derivative_are_refused(function, error, message, ask):
    with pytest.raises(error, match=message):
        ask(Then(function), ONES)


@pytest.mark.parametrize("ask", [gradient, spectrum])
@pytest.mark.parametrize(
    ("model", "x", "error", "message"),
    [
        (Then(lambda y: y.detach()), ONES, NotDifferentiable, r"detached.*look for"),
        (Then(lambda y: nn.functional.one_hot(y.argmax(-1), 3).float()), ONES, NotDifferentiable, "constant"),
        (Applied(torch.ones_like), ONES, NotDifferentiable, "constant"),
        (OwnParameter(), ONES, NotDifferentiable, r"constant|no gradient comes back"),
        (Then(lambda y: y / 0), ONES, Diverged, "output is not finite"),
        (nn.Linear(3, 3), math.nan * ONES, Diverged, "output is not finite"),
        (Applied(torch.sqrt), 0 * ONES, Diverged, r"not finite.*root"),
        (Then(lambda y: (0 * y).sqrt()), ONES, Diverged, r"not finite.*root"),
        (nn.Sequential(nn.Linear(3, 3), Applied(lambda y: torch.tanh(y / 0))), ONES, Diverged, "not finite"),
        (Applied(lambda x: x // 2), torch.tensor([1, 2]), NotDifferentiable, "int64"),
        (Then(torch.tanh), torch.ones(2, 4), ModelError, r"Then raised RuntimeError .*2x4.*test_refusals\.py:\d+\)"),
    ],
)
def test_constants_infinities_and_integers_are_refused(model, x, error, message, ask):
    with pytest.raises(error, match=message):
        ask(model, x)


def test_integers_without_an_embedding_leave_no_stage():
    class Floats(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x):
            return self.linear(x.float())

    tokens = torch.tensor([[1, 2, 3]])
    with pytest.raises(NotDifferentiable, match="no stage between"):
        gradient(Floats(), tokens)
    with pytest.raises(NotDifferentiable, match="after its embedding"):
        spectrum(Floats(), tokens)
    with pytest.raises(NotDifferentiable, match="after its embedding"):
        bound(Floats(), tokens)


def test_a_constant_has_the_bound_zero_and_a_model_without_parameters_has_numbers():
    assert bound(Applied(torch.ones_like), ONES).hi == 0
    assert gradient(nn.Tanh(), ONES).kind == "stable"
    assert spectrum(nn.Tanh(), ONES, k=1).values[0] == pytest.approx(1 - math.tanh(1) ** 2)
    assert bound(nn.Tanh(), ONES).hi == pytest.approx(1)


def test_half_precision_is_decomposed_in_single():
    net = linears()
    wide, narrow = spectrum(net, ONES, k=2), spectrum(net.bfloat16(), ONES.bfloat16(), k=2)
    assert (wide.values - narrow.values).abs().max() < narrow.errors.max()
    found = lyapunov(lambda x: x / 2, torch.ones(2, dtype=torch.bfloat16), steps=8)
    assert found.largest.value == pytest.approx(math.log(0.5), abs=torch.finfo(torch.bfloat16).eps)


def test_an_audit_keeps_what_stands_and_says_why_the_gradient_does_not():
    audit = check(Then(lambda y: torch.tanh(y / 0)), ONES, layout="b c -> b v")
    assert isinstance(audit.gradient, Unavailable)
    assert audit.count.macs == 18


def test_an_audit_of_inner_tensors_without_elements_names_the_operation():
    audit = check(Then(lambda y: y[:, :0].sum(1, keepdim=True) + y), ONES, layout="b c -> b v")
    assert isinstance(audit.count, Unavailable)
    assert re.search(
        r"aten.sum.* \(.*test_refusals\.py:\d+\) works on a tensor of shape \(2, 0\).*no elements", audit.count.reason
    )


def test_an_audit_of_no_tokens_says_so_everywhere():
    audit = check(
        nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 3)), torch.zeros(1, 0, dtype=torch.long), layout="b t -> b t v"
    )
    for depth in (audit.causality, audit.context, audit.gradient):
        assert "no elements" in depth.reason


@pytest.mark.parametrize("loss", [lambda y: y, lambda _: 3.0, lambda y: y.sum(0)])
def test_a_loss_that_is_no_scalar_is_refused(loss):
    with pytest.raises(UsageError, match="one number"):
        gradient(linears(), ONES, loss=loss)


@pytest.mark.parametrize(
    ("step", "state", "error", "message"),
    [
        (torch.tanh, torch.ones(0), NotDifferentiable, "no elements"),
        (torch.tanh, [], NotDifferentiable, "no elements"),
        (lambda s: s + 1, torch.ones(2, dtype=torch.long), NotDifferentiable, "int64, which has no derivative"),
        (lambda s: s.argmax(), torch.ones(3), NotDifferentiable, r"step 1 .*must return the next state"),
        (lambda s: s > 0, torch.ones(3), NotDifferentiable, "torch.bool"),
        (lambda s: torch.cat([s, s]), torch.ones(2), NotDifferentiable, "2 numbers .* to one of 4"),
        (lambda s: 2 * s.detach(), torch.ones(2), NotDifferentiable, "detached from it"),
        (torch.ones_like, torch.ones(2), NotDifferentiable, "does not depend on the state"),
        (lambda s: s / 0, torch.ones(2), Diverged, "after step 1"),
        (torch.sqrt, torch.zeros(2), Diverged, "derivative of step 1 is not finite"),
        (lambda s: s @ torch.ones(7), torch.ones(2), ModelError, r"the step raised .*test_refusals\.py:\d+\)"),
        (lambda s: nn.GRU(3, 3)(s[:0].reshape(0, 3))[0], torch.ones(3), ModelError, "sequence length"),
    ],
)
def test_recurrences_without_exponents_are_refused(step, state, error, message):
    with pytest.raises(error, match=message):
        lyapunov(step, state, steps=6)


@pytest.mark.parametrize("settings", [{"steps": 0}, {"inputs": []}, {"steps": 5, "k": 0}])
def test_no_steps_and_no_exponents_are_refused(settings):
    with pytest.raises(UsageError):
        lyapunov(torch.tanh, torch.ones(2), **settings)
