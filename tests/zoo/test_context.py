"""Every model sees what its docstring says: closed forms written here against perturbation of every input position."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.perturbation import dependence, expected

from leadline import zoo


def measured(name: str, **settings: object) -> np.ndarray:
    specimen = zoo.build(name, **settings)
    return dependence(specimen.model, specimen.inputs, specimen.layout)


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize(("layers", "stacks", "kernel"), [(1, 1, 2), (3, 1, 2), (2, 2, 2), (2, 1, 3), (2, 3, 2)])
def test_wavenet_sees_two_to_the_depth(layers: int, stacks: int, kernel: int, lag: int) -> None:
    seen = measured(
        "wavenet", layers=layers, stacks=stacks, kernel=kernel, lag=lag, length=19, classes=6, channels=4, batch=4
    )
    context = 1 + stacks * (kernel - 1) * (2**layers - 1)
    np.testing.assert_array_equal(seen, expected((19,), lambda back: lag <= back < lag + context))


@pytest.mark.parametrize(("layers", "kernel"), [(1, 2), (3, 2), (2, 3), (4, 2)])
def test_dilated_stack(layers: int, kernel: int) -> None:
    seen = measured("dilated-stack", layers=layers, kernel=kernel, length=21, channels=3)
    np.testing.assert_array_equal(seen, expected((21,), lambda back: 0 <= back <= (kernel - 1) * (2**layers - 1)))


def wedge(first: int, rest: int, layers: int, own: bool, up: int, left: int) -> bool:
    """What plain masked convolutions see: a first radius, then `layers` more of radius `rest`."""
    reach = first + layers * rest
    if up == 0:
        return (0 if own else 1) <= left <= reach
    right = max(
        first + rest * min(layers, up - 1), rest * min(layers, up) - 1
    )  # climb with the first layer, or without
    return 1 <= up <= reach and -right <= left <= reach


@pytest.mark.parametrize("size", [(6, 7), (7, 5)])
@pytest.mark.parametrize(
    ("layers", "first", "kernel"), [(0, 3, 3), (1, 7, 3), (2, 3, 3), (1, 5, 5), (2, 5, 3), (1, 5, 7)]
)
def test_pixelcnn_sees_a_wedge(layers: int, first: int, kernel: int, size: tuple[int, int]) -> None:
    seen = measured(
        "pixelcnn", layers=layers, first_kernel=first, kernel=kernel, height=size[0], width=size[1], classes=4,
        channels=8, inner=8, head=16, batch=6,
    )  # fmt: skip
    r, s = first // 2, kernel // 2
    np.testing.assert_array_equal(seen, expected(size, lambda up, left: wedge(r, s, layers, False, up, left)))


@pytest.mark.parametrize("first", ["A", "B"])
@pytest.mark.parametrize(("layers", "kernel"), [(1, 3), (2, 3), (3, 3), (2, 5)])
def test_masked_stack_sees_a_wedge(layers: int, kernel: int, first: str) -> None:
    seen = measured("masked-stack", layers=layers, kernel=kernel, first=first, height=6, width=8, channels=3)
    r = kernel // 2
    np.testing.assert_array_equal(
        seen, expected((6, 8), lambda up, left: wedge(r, r, layers - 1, first == "B", up, left))
    )


def test_three_by_three_masks_see_as_many_pixels_as_the_theory_counts() -> None:
    for d in (1, 2, 3):
        seen = measured("masked-stack", layers=d, height=d + 1, width=2 * d + 1, channels=2)
        assert seen[d, d].sum() == (3 * d * d + 5 * d) // 2


@pytest.mark.parametrize("size", [(6, 7), (7, 5)])
@pytest.mark.parametrize(
    ("layers", "first", "kernel"), [(1, 3, 3), (1, 7, 3), (2, 3, 3), (3, 3, 3), (2, 3, 5), (2, 5, 3)]
)
def test_gated_pixelcnn_sees_the_whole_box(layers: int, first: int, kernel: int, size: tuple[int, int]) -> None:
    seen = measured(
        "gated-pixelcnn", layers=layers, first_kernel=first, kernel=kernel, height=size[0], width=size[1], classes=4,
        channels=8, head=16, batch=6,
    )  # fmt: skip
    reach = first // 2 + (layers - 1) * (kernel // 2)

    def box(up: int, left: int) -> bool:
        return 1 <= left <= reach if up == 0 else 1 <= up <= reach and abs(left) <= reach

    np.testing.assert_array_equal(seen, expected(size, box))


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_transformer_sees_everything_before(norm: str, lag: int) -> None:
    seen = measured("transformer", norm=norm, lag=lag, length=9, heads=2, head_channels=3, classes=5)
    np.testing.assert_array_equal(seen, expected((9,), lambda back: back >= lag))


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_recurrences_see_everything_up_to_now(name: str, explicit: bool) -> None:
    seen = measured(name, explicit=explicit, layers=2, length=9, hidden=4, inputs=3)
    np.testing.assert_array_equal(seen, expected((9,), lambda back: back >= 0))


@pytest.mark.parametrize("name", ["pixelcnn", "gated-pixelcnn"])
def test_positions_and_labels_do_not_change_what_is_seen(name: str) -> None:
    sizes = {"layers": 2, "height": 5, "width": 5, "classes": 4, "batch": 6}
    np.testing.assert_array_equal(measured(name, positions=True, labels=3, **sizes), measured(name, **sizes))


@pytest.mark.parametrize("name", ["wavenet", "transformer", "pixelcnn", "gated-pixelcnn"])
def test_every_output_sees_the_label(name: str) -> None:
    specimen = zoo.build(name, labels=2, layers=2, batch=3)
    x, label = specimen.inputs
    changed = specimen.model(x, label) != specimen.model(x, 1 - label)
    assert changed.any(-1).all()
