"""What holds for every model of the zoo, and the sizes of single ones by hand."""

from __future__ import annotations

import pytest
import torch

from leadline import zoo
from leadline.errors import UsageError
from leadline.zoo.layers.condition import LevelEmbedding

SMALL = {
    "wavenet": {"length": 20, "layers": 3, "labels": 2, "conditions": 3, "hop": 8},
    "transformer": {"labels": 2, "lag": 1},
    "pixelcnn": {"layers": 2, "labels": 2, "positions": True},
    "gated-pixelcnn": {"layers": 2, "labels": 2, "positions": True},
    "mdrnn": {"labels": 2, "positions": True},
    "rnn": {"length": 5, "explicit": True},
    "gru": {"length": 5, "explicit": True},
    "lstm": {"length": 5},
}


def parameters(name: str, **settings: object) -> int:
    return sum(parameter.numel() for parameter in zoo.build(name, **settings).model.parameters())


@pytest.mark.filterwarnings("ignore:The tensor attributes? self.cells._flat_weights")  # torch's own, of its fused LSTM
@pytest.mark.parametrize("name", sorted(zoo.ZOO))
def test_exports_and_replays(name: str) -> None:
    specimen = zoo.build(name, **SMALL.get(name, {}))
    model = specimen.model.eval()
    program = torch.export.export(model, specimen.inputs, strict=False)
    torch.testing.assert_close(program.module()(*specimen.inputs), model(*specimen.inputs))


@pytest.mark.parametrize("name", sorted(zoo.ZOO))
def test_every_parameter_gets_a_gradient(name: str) -> None:
    specimen = zoo.build(name, **SMALL.get(name, {}))
    specimen.model(*specimen.inputs).pow(2).sum().backward()
    for key, parameter in specimen.model.named_parameters():
        assert parameter.grad is not None, key


@pytest.mark.parametrize("name", sorted(zoo.ZOO))
def test_the_layout_fits_inputs_and_output(name: str) -> None:
    specimen = zoo.build(name)
    left, right = specimen.layout.split("->")
    sizes: dict[str, int] = {}
    for axes, value in zip(
        [*left.split(","), right], [*specimen.inputs, specimen.model(*specimen.inputs)], strict=True
    ):
        if axes.strip() != "_":
            assert len(axes.split()) == value.ndim
            for axis, size in zip(axes.split(), value.shape, strict=True):
                assert sizes.setdefault(axis, size) == size


def test_densities_say_so() -> None:
    densities = {name for name in zoo.ZOO if zoo.build(name).likelihood is not None}
    assert densities == {"gated-pixelcnn", "mdrnn", "pixelcnn", "pixelcnn-plus", "pixelsnail", "wavenet"}
    assert zoo.build("transformer", lag=1).likelihood == "categorical"
    assert zoo.build("transformer", lag=0).likelihood is None


def test_a_gated_wavenet_block_multiplies_five_k_squared_and_ks() -> None:
    k, s, a, c, d = 5, 7, 11, 13, 4
    biases = d * (2 * k + s) + (d - 1) * k + a + c
    expected = c * k + d * (5 * k * k + k * s) - k * k + s * a + a * c + biases
    assert parameters("wavenet", channels=k, skip=s, head=a, classes=c, layers=d) == expected


def test_a_pixelcnn_block_narrows() -> None:
    one, two = (parameters("pixelcnn", channels=32, inner=16, layers=layers) for layers in (1, 2))
    assert two - one == (32 * 16 + 16) + (6 * 16 * 16 + 16) + (16 * 32 + 32)


def test_labels_are_asked_for() -> None:
    specimen = zoo.build("gated-pixelcnn", labels=3)
    with pytest.raises(UsageError, match="a label per image"):
        specimen.model(specimen.inputs[0])
    with pytest.raises(UsageError, match="no label"):
        zoo.build("pixelcnn").model(*specimen.inputs)


def test_a_table_of_positions_has_an_end() -> None:
    with pytest.raises(UsageError, match=r"\(8, 8\) pixels, got \(8, 9\)"):
        zoo.build("pixelcnn", positions=True).model(torch.zeros(1, 8, 9, dtype=torch.long))
    with pytest.raises(UsageError, match="16 positions, got a sequence of 17"):
        zoo.build("transformer", length=16).model(torch.zeros(1, 17, dtype=torch.long))


def test_sigmoid_chain_attains_its_bound_and_explodes_beyond_weight_four() -> None:
    def slope(weight: float, x: float) -> float:
        model = zoo.build("chain", layers=10, weight=weight, bias=-weight / 2).model.double()
        return torch.func.grad(lambda x: model(x[None, None])[0, 0])(torch.tensor(x, dtype=torch.float64)).item()

    assert slope(1.0, 0.5) == 4.0**-10
    assert slope(8.0, 0.5) == 1024.0


def test_batch_norm_placements_are_what_they_say() -> None:
    layers = {placement: zoo.build("batchnorm", layers=1, placement=placement).model.layers[0]
              for placement in ("plain", "branch", "before", "after")}  # fmt: skip
    x = torch.randn(32, 64)
    weight, norm = layers["plain"].linear.weight, layers["plain"].norm

    def f(x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) @ weight.T

    expected = {"plain": norm(f(x)), "branch": x + norm(f(x)), "before": x + f(norm(x)), "after": norm(x + f(x))}
    for placement, layer in layers.items():
        torch.testing.assert_close(layer(x), expected[placement])


def test_residual_scale_by_depth() -> None:
    deep = zoo.build("residual", layers=8, by_depth=True, scale=0.5).model
    assert [layer.scale for layer in deep.layers] == [0.0625] * 8


@pytest.mark.parametrize("name", ["mlp", "residual"])
@pytest.mark.parametrize("init", ["gaussian", "orthogonal"])
def test_initial_weights_have_the_stated_mean_square(name: str, init: str) -> None:
    model = zoo.build(name, init=init, width=256, layers=1).model
    weight = next(parameter for parameter in model.parameters() if parameter.ndim == 2).double()
    assert weight.pow(2).mean().item() * 256 == pytest.approx(1.0, rel=0.02)
    if init == "orthogonal":
        torch.testing.assert_close(weight @ weight.T, torch.eye(256, dtype=torch.float64), atol=1e-5, rtol=0)


def test_levels_start_on_a_smooth_orthogonal_basis() -> None:
    weight = LevelEmbedding(17, 16).weight.detach().double()
    torch.testing.assert_close(weight.T @ weight / 17, torch.eye(16, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(weight.sum(0), torch.zeros(16, dtype=torch.float64), atol=1e-5, rtol=0)
    steps = LevelEmbedding(17, 3).weight.diff(dim=0).norm(dim=1)
    assert steps.max() < (LevelEmbedding(17, 3).weight[0] - LevelEmbedding(17, 3).weight[8]).norm() / 2
