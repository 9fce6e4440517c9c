"""Laws of hand-built systems: each analytic result against brute force on generated systems."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.errors import ModelError, NotCausal, NotUniform
from leadline.recurrence.analysis.affine import smallest_potential
from leadline.recurrence.analysis.connections import connections, count_at, in_region, region
from leadline.recurrence.analysis.depth import generation_depth, symbol, training_chains, training_depth
from leadline.recurrence.analysis.longest import Point, generation_edges, longest_paths, training_edges
from leadline.recurrence.analysis.receptive_field import find_leak, seen_from
from leadline.recurrence.analysis.schedule import Schedule, generation_schedule, raster, training_schedule
from leadline.recurrence.analysis.window import live_windows, state
from leadline.recurrence.examples import dilated, grid_recurrence, layered, masked
from leadline.recurrence.ir import Edge, Offset, System
from leadline.results import Status

H, W, T = symbol("h"), symbol("w"), symbol("t")


def is_path(edges: Sequence[Edge], points: Sequence[Point]) -> bool:
    """Whether each point is read by the next through one of the edges."""

    def reads(edge: Edge, place: Offset, source: Offset) -> bool:
        last = tuple(p - d for p, d in zip(place, edge.offset, strict=True))
        return place[0] >= edge.first and (source == last or (edge.growing and source < last))

    return all(
        any(edge.reader == name and edge.source == before[0] and reads(edge, place, before[1]) for edge in edges)
        for before, (name, place) in pairwise(points)
    )


@st.composite
def causal_layers(draw: st.DrawFn) -> tuple[Any, ...]:
    """What `layered` takes: one to three taps a layer on a 1-D or 2-D grid; the first layer sees the past only."""
    rank = draw(st.sampled_from([1, 2]))
    low = [0] if rank == 1 else [0, -2]
    offsets = st.tuples(*(st.integers(least, 3) for least in low)).filter(lambda o: o >= (0,) * rank)
    past = offsets.filter(lambda o: o > (0,) * rank)
    first = [dict.fromkeys(draw(st.lists(past, min_size=1, max_size=3)), False)]
    rest = [
        {**dict.fromkeys(draw(st.lists(offsets, min_size=1, max_size=3)), False),
         **dict.fromkeys(draw(st.lists(past, max_size=1)), True)}
        for _ in range(draw(st.integers(0, 2)))
    ]  # fmt: skip
    sizes = draw(st.tuples(*(st.integers(2, 6) for _ in range(rank))))
    return "t" if rank == 1 else "h w", sizes, first + rest


def brute_connections(system: System, sizes: tuple[int, ...]) -> int:
    """Count tap by tap at every point from which some point of the output is reached; one channel, no padding."""
    ends = [(system.output, point) for point in product(*map(range, system[system.output].range(sizes)))]
    total, seen, units = 0, set(ends), {"x"}
    for variable in system.variables:  # what reads itself only is nothing
        if any(tap.source in units for tap in variable.equation.taps):
            units.add(variable.name)
    while ends:
        name, point = ends.pop()
        for tap in system[name].equation.taps:
            origin = tuple(p - d for p, d in zip(point, tap.offset, strict=True))
            if all(0 <= p < n for p, n in zip(origin, system[tap.source].range(sizes), strict=True)):
                total += tap.source in units
                if (tap.source, origin) not in seen:
                    seen.add((tap.source, origin))
                    ends.append((tap.source, origin))
    return total


def brute_longest(
    system: System, steps: tuple[Step, ...], sizes: tuple[int, ...], begins: dict[str, int] | None = None
) -> int:
    """Longest path by depth-first search with memory: shares nothing with the relaxation over arrays."""
    first = {v.name: v.equation.cost for v in system.variables} if begins is None else begins
    known: dict[tuple[str, tuple[int, ...]], int] = {}

    def length(name: str, point: tuple[int, ...]) -> int:
        if (name, point) not in known:
            best = first.get(name, -(10**6))
            for step in steps:
                if step.reader == name:
                    origin = tuple(p - d for p, d in zip(point, step.offset, strict=True))
                    if all(0 <= p < n for p, n in zip(origin, system[step.source].range(sizes), strict=True)):
                        best = max(best, step.cost + length(step.source, origin))
            known[name, point] = best
        return known[name, point]

    points = [(v.name, p) for v in system.variables for p in product(*map(range, v.range(sizes)))]
    return max(length(*point) for point in sorted(points, key=lambda point: point[1]))


@given(causal_layers())
@settings(max_examples=40, deadline=None)
def test_connections_are_exact_at_every_size(layers: tuple[Any, ...]) -> None:
    system = layered(*layers)
    closed = connections(system)
    for sizes in (system.sizes, tuple(n + 3 for n in system.sizes), (1,) * len(system.axes)):
        named = dict(zip(system.axes, sizes, strict=True))
        assert count_at(closed, system, named) == brute_connections(system, sizes)
    inside = {axis: n + 2 for axis, n in region(system).items()}
    assert count_at(in_region(closed), system, inside) == count_at(closed, system, inside)


@given(causal_layers())
@settings(max_examples=40, deadline=None)
def test_longest_paths_equal_depth_first_search(layers: tuple[Any, ...]) -> None:
    system = layered(*layers)
    for steps in (training_edges(system), generation_edges(system)):
        longest = longest_paths(system, steps, system.sizes)
        assert longest.total == brute_longest(system, steps, system.sizes)
        assert is_path(steps, longest.path(longest.last()))


@given(causal_layers())
@settings(max_examples=25, deadline=None)
def test_depth_is_sound_and_its_proof_holds(layers: tuple[Any, ...]) -> None:
    system = layered(*layers)
    chains, _ = training_chains(system)
    for depth, steps, begins in (
        (training_depth(system), chains, {"x": 0}),
        (generation_depth(system), generation_edges(system), None),
    ):
        assert depth.potential.respects(steps)
        for extra in (0, 3):
            sizes = {a: max(n, depth.region.get(a, 1)) + extra for a, n in zip(system.axes, system.sizes, strict=True)}
            exact = brute_longest(system, steps, tuple(sizes.values()), begins)
            assert exact == longest_paths(system, steps, tuple(sizes.values()), begins=begins).total
            assert depth.at(**sizes) >= exact
            if depth.status is Status.PROVED:
                assert depth.at(**sizes) == exact
        if depth.family is not None:
            assert is_path(steps, depth.family.path)
            assert all(is_path(steps, loop) for loop in depth.family.loops if loop)


@given(causal_layers())
@settings(max_examples=40, deadline=None)
def test_seen_equals_what_a_search_backwards_finds(layers: tuple[Any, ...]) -> None:
    system = layered(*layers)
    point = tuple(n - 1 for n in system.sizes)
    found, stack = set(), [(system.output, point)]
    while stack:
        name, place = stack.pop()
        if (name, place) in found:
            continue
        found.add((name, place))
        for tap in system[name].equation.taps:
            origin = tuple(p - d for p, d in zip(place, tap.offset, strict=True))
            if all(0 <= p < n for p, n in zip(origin, system.sizes, strict=True)):
                stack.append((tap.source, origin))
    seen = seen_from(system, point)["x"]
    assert {place for name, place in found if name == "x"} == set(map(tuple, np.argwhere(seen)))


def assert_valid(schedule: Schedule, lag: int | None) -> None:
    """No equation reads a later front; every drawing follows what it rests on."""
    for edge in schedule.system.edges:
        step = sum(a * d for a, d in zip(schedule.slope, edge.offset, strict=True))
        assert schedule.delay[edge.reader] + step >= schedule.delay[edge.source]
    if lag is not None:
        assert schedule.delay[schedule.system.output] <= -lag


@given(causal_layers())
@settings(max_examples=40, deadline=None)
def test_schedules_are_valid_and_never_longer_than_raster_order(layers: tuple[Any, ...]) -> None:
    system = layered(*layers)
    wavefront, ordered = generation_schedule(system), raster(system)
    assert_valid(wavefront, 1)
    assert_valid(ordered, 1)
    assert wavefront.length <= ordered.length
    assert wavefront.widths.sum() == np.prod(system.sizes)
    assert_valid(training_schedule(system), None)


@pytest.mark.parametrize(("radius", "fronts"), [(1, 82), (3, 136)])
def test_a_plain_pixelcnn_needs_two_rows_of_fronts_not_a_picture(radius: int, fronts: int) -> None:
    system = masked(layers=6, radius=radius, sizes=(28, 28))
    schedule = generation_schedule(system)
    assert schedule.length == fronts
    assert schedule.expression == sympy.expand((radius + 1) * (H - 1) + W)
    depth = generation_depth(system)
    assert depth.status is Status.PROVED
    assert sympy.expand(depth.upper - 6 * schedule.expression) == 0


def test_founding_formulas() -> None:
    k, d = 3, 4
    assert sympy.expand(in_region(connections(masked(1, k))) - k**2 * (4 * H * W - 3 * H - 3 * W + 2)) == 0
    assert sympy.expand(connections(grid_recurrence(d, k)) - d * k**2 * (3 * H * W - H - W)) == 0
    assert sympy.expand(in_region(connections(dilated(d, k))) - k**2 * (2 * d * T - (2**d - 1))) == 0
    assert region(dilated(d))["t"] == 2 ** (d - 1)
    assert training_depth(grid_recurrence(d)).upper == H + W + d - 2
    assert training_depth(grid_recurrence(d)).status is Status.PROVED
    assert training_schedule(grid_recurrence(d)).expression == H + W - 1
    assert generation_depth(dilated(d), lag=0).upper == d * T
    assert state(dilated(d, k)) == k * (2**d - 1)
    assert live_windows(grid_recurrence(1))["h1"] == W


def test_a_leak_is_named() -> None:
    system = layered("t", (9,), [{(0,): False, (1,): False}])
    assert find_leak(system, lag=0) is None
    with pytest.raises(NotCausal, match=r"output at \(4,\) depends on the input 'x' at \(4,\)"):
        generation_schedule(system, lag=1)


def test_a_row_end_is_not_uniform() -> None:
    with pytest.raises(NotUniform, match="next position after a row's end"):
        generation_schedule(masked(1), lag=0)


def test_a_cycle_that_does_not_advance_has_no_potential_and_no_order() -> None:
    steps = [Edge("a", "a", (0,), 1)]
    assert smallest_potential(steps, {"a": 1}, [4.0]) is None
    with pytest.raises(ModelError, match="no order of evaluation"):
        longest_paths(layered("t", (3,), [{(0,): True}]), [Edge("h1", "h1", (0,), 1)], (3,))
