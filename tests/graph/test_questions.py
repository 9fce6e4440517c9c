"""What rests on constants may decide, count and index while a model is traced; what rests on inputs may not."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._higher_order_ops import map as mapped
from torch._higher_order_ops import scan
from torch.nn.functional import pad

import leadline
from leadline.errors import TraceError
from leadline.graph import run, trace


class Asking(nn.Module):
    """A function of the model and its input; a buffer, a number, a tensor that is neither, and a weight."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.function, self.linear = function, nn.Linear(4, 4)
        self.register_buffer("marks", torch.tensor([1.0, 0.0, 2.0, 0.0, 3.0]))
        self.register_buffer("number", torch.tensor(2))
        self.plain = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0])

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def written(_: Any, x: Tensor) -> Tensor:
    """Ask about memory that is written through a view, before and after."""
    marks = torch.zeros(5)
    part = marks[1:3]
    part.fill_(1.0)
    if marks.sum() == 2:
        x = x * 2
    marks[0] = 5
    if part.sum() + marks.sum() == 9:
        x = x + 1
    places = marks.nonzero()[:, 0]
    places += 1
    return x.index_select(1, places)


def counted(model: Any, x: Tensor) -> Tensor:
    model.number.add_(1)
    return x * 2 if model.number == 3 else x


def beside_decompositions(model: Any, x: Tensor) -> Tensor:
    """Ask where the trace must come apart further, so that it is traced again."""
    chosen = torch.nn.functional.cosine_similarity(x, x.roll(1, 0), dim=-1)[:, torch.arange(5)[model.marks > 0]]
    return chosen * torch.unique(model.marks).numel()


ANSWERED = {
    "item": lambda _, x: x * float(torch.linspace(0, 1, 5)[2]),
    "all": lambda _, x: x * 2 if (torch.arange(5).diff() > 0).all() else x,
    "equal": lambda _, x: x * 2 if torch.equal(torch.arange(3), torch.arange(3)) else x,
    "allclose": lambda _, x: x * 2 if torch.allclose(torch.ones(2), torch.ones(2)) else x,
    "tolist": lambda _, x: sum((pad(x, (0, 0, n, -n)) for n in (2 ** torch.arange(2)).tolist()), x),
    "where": lambda m, x: x[:, torch.where(m.marks > 0)[0]],
    "mask of a buffer": lambda m, x: x[:, m.marks > 0],
    "mask of a plain tensor": lambda m, x: x[:, m.plain > 0],
    "two masks": lambda m, x: x[0][m.marks > 0][:, torch.tensor([True, False, True, False])],
    "mask of two axes": lambda _, x: x[:, (torch.ones(5, 4).tril() > 0)],
    "masked_select": lambda m, x: x * m.marks.masked_select(m.marks > 0).sum(),
    "unique": lambda m, x: x + torch.unique(m.marks).numel(),
    "repeat_interleave": lambda _, x: x[:, torch.arange(5).repeat_interleave(torch.tensor([1, 0, 2, 0, 1]))],
    "nothing marked": lambda m, x: x.index_add(1, m.marks[m.marks > 9].long(), x[:, m.marks[m.marks > 9].long()]),
    "assignment": lambda m, x: (lambda y: (y.__setitem__((slice(None), m.marks > 0), 0.0), y)[1])(x * 1),
    "one_hot": lambda _, x: x[..., :1] * torch.nn.functional.one_hot(torch.arange(5) % 3).sum(-1, keepdim=True),
    "loop": lambda _, x: sum((x * float(t) for t in torch.linspace(0, 1, 4)), x),
    "size": lambda m, x: x[:, : int(m.number)],
    "written": written,
    "counted": counted,
    "inverse": lambda _, x: x @ torch.linalg.inv(torch.eye(4) * 2),
    "vmap": lambda _, x: torch.vmap(lambda a: a * float(torch.arange(3).sum()))(x),
    "masks under vmap": lambda _, x: torch.vmap(lambda a: a[torch.arange(5)[torch.arange(5) > 2]])(x),
    "beside decompositions": beside_decompositions,
}


@pytest.mark.parametrize("name", ANSWERED)
def test_what_rests_on_constants_is_answered(name: str) -> None:
    model, x = Asking(ANSWERED[name]), torch.randn(2, 5, 4)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    graph = trace(model, x)
    assert graph.verified
    assert not graph.decided
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    torch.testing.assert_close(run(graph, [x])["output"], model(x))
    y = x.flip(0) * 3
    model.load_state_dict(before)
    torch.testing.assert_close(run(graph, [y])["output"], model(y))


@pytest.mark.parametrize("seed", range(25))
def test_generated_programs_on_constants_with_views_and_writes(seed: int) -> None:
    """The model itself, run on real tensors, is the oracle."""

    def program(model: Any, x: Tensor) -> Tensor:
        draw = random.Random(seed)
        values = [torch.arange(6.0), model.marks[:3].clone(), torch.ones(2, 3)]
        for _ in range(draw.randint(3, 12)):
            a = draw.choice(values)
            step = draw.randrange(7)
            if step == 0:
                values.append(a * draw.randint(1, 3))
            elif step == 1:
                values.append(a[draw.randrange(len(a)) :] if a.ndim else a)
            elif step == 2:
                a.add_(draw.randint(1, 3))
            elif step == 3 and a.ndim:
                a[0] = draw.randint(0, 9)
            elif step == 4:
                values.append(a[a > a.mean()])
            elif step == 5:
                x = x * (1 + int(a.sum()) % 3)
            elif step == 6 and bool((a > 2).any()):
                values.append(a.flatten())
        return x + float(values[-1].sum())

    model, x = Asking(program), torch.randn(1, 2, 4)
    graph = trace(model, x)
    torch.testing.assert_close(run(graph, [x])["output"], model(x))


REFUSED = {
    "if": lambda _, x: x * 2 if x.sum() > 0 else x,
    "through a buffer": lambda m, x: x if (x * m.marks[:, None]).sum() > 0 else -x,
    "written into a constant": lambda _, x: (lambda y: x if y.add_(x.sum()).sum() > 0 else -x)(torch.zeros(3)),
    "mask": lambda _, x: x[x > 0],
    "size": lambda _, x: x[:, : int(x.argmax())],
    "equal": lambda _, x: x * 2 if torch.equal(x, x * 2) else x,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_rests_on_inputs_is_refused_and_the_input_named(name: str) -> None:
    with pytest.raises(TraceError, match=r"test_questions\.py:\d+") as raised:
        trace(Asking(REFUSED[name]), torch.randn(2, 5, 4))
    assert "those of the input 'x'" in str(raised.value)


def test_noise_is_not_a_constant() -> None:
    with pytest.raises(TraceError, match="those of random numbers"):
        trace(Asking(lambda _, x: x * 2 if torch.rand(()) > 0.5 else x), torch.randn(2, 5, 4))


def test_a_parameter_without_values_is_named() -> None:
    with torch.device("meta"):
        model, x = Asking(lambda m, x: x if m.linear.weight.sum() > 0 else -x), torch.randn(2, 5, 4)
    with pytest.raises(TraceError, match=r"the values of linear\.weight, which has none here"):
        trace(model, x)


def test_what_parameters_decide_now_is_no_structure() -> None:
    def branch(model: Any, x: Tensor) -> Tensor:
        return x.flip(1) if model.linear.weight.sum() > 1e6 else x

    model, x = Asking(branch), torch.randn(1, 5, 4)
    assert trace(model, x).decided == {"linear.weight"}
    assert leadline.causality(model, x, layout="b t c -> b t v").verdict == "present-weights"
    model.linear.weight.data.fill_(1e6)
    assert leadline.causality(model, x, layout="b t c -> b t v").verdict == "leak"


def test_numbers_read_from_inputs_flow_on() -> None:
    model, x = Asking(lambda _, x: x * (x.max().item() * 2 + 1)), torch.randn(1, 5, 4)
    graph = trace(model, x)
    torch.testing.assert_close(run(graph, [x])["output"], model(x))
    assert leadline.causality(model, x, layout="b t c -> b t v").verdict == "leak"


@pytest.mark.parametrize(
    "call",
    [
        lambda _, x: torch.while_loop(lambda i, _: i < 3, lambda i, a: (i + 1, a * 2), (torch.tensor(0), x))[1],
        lambda _, x: mapped(lambda row, y: row + y, x, torch.ones(4)),
        lambda _, x: scan(lambda c, y: (c + y, c + y), torch.zeros(2, 4), x, dim=1)[1],
    ],
    ids=["while_loop", "map_impl", "scan"],
)
def test_operations_that_take_functions_are_named(call: Callable[[Any, Tensor], Tensor], request: Any) -> None:
    name = request.node.callspec.id
    with pytest.raises(leadline.errors.UnknownOp, match=rf"no rule for {name} at .*test_questions\.py:\d+"):
        trace(Asking(call), torch.randn(2, 5, 4))


@pytest.mark.parametrize("where", ["in a module", "outside", "in a nested module"])
def test_an_error_that_forward_catches_leaves_nothing_in_the_trace(where: str) -> None:
    class Tries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 4)
            self.tall = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Linear(5, 4)), nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            try:
                if where == "in a nested module":
                    return self.tall(x)
                return self.a(x.unflatten(1, (2, -1)).flatten(2)) if where == "in a module" else x.view(7, -1)
            except RuntimeError:
                return self.a(x)

    model, x = Tries(), torch.randn(2, 6, 4)
    found = leadline.read(model, x, layout="b t c -> b t v")
    assert (found.causality().verdict, found.count().macs) == ("structural", 2 * 6 * 16)
    assert leadline.count(nn.Sequential(model, nn.Linear(4, 2)), x).by_module["1"].macs == 2 * 6 * 8
