"""A Grid is let go exactly once: after the last request that entered it has left, and never while it serves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.grid.grid import Grid
from appliance.grid.holder import Generation, Holder
from support.build import grid_of_targets


def grid(number: int) -> Grid:
    return grid_of_targets("a:x", policy=f"retries: {number % 10}, deadline: {number // 10 + 1}s")


def test_the_current_grid_is_entered() -> None:
    holder = Holder(Generation(grid(1)))
    generation = holder.enter()
    assert generation.grid is grid(1)
    assert generation.inside == 1
    generation.leave()
    assert generation.inside == 0


def test_a_request_keeps_its_grid_over_a_swap() -> None:
    holder = Holder(Generation(grid(1)))
    before = holder.enter()
    holder.swap(Generation(grid(2)))
    assert before.grid is grid(1)
    assert holder.enter().grid is grid(2)


def test_an_empty_generation_retires_at_the_swap() -> None:
    retired: list[Grid] = []
    holder = Holder(Generation(grid(1), retired.append))
    holder.swap(Generation(grid(2), retired.append))
    assert retired == [grid(1)]


def test_a_busy_generation_retires_when_the_last_request_leaves() -> None:
    retired: list[Grid] = []
    holder = Holder(Generation(grid(1), retired.append))
    first, second = holder.enter(), holder.enter()
    holder.swap(Generation(grid(2), retired.append))
    first.leave()
    assert retired == []
    second.leave()
    assert retired == [grid(1)]


def test_the_current_generation_never_retires_however_often_it_runs_empty() -> None:
    retired: list[Grid] = []
    holder = Holder(Generation(grid(1), retired.append))
    for _ in range(3):
        holder.enter().leave()
    assert retired == []


def test_what_lives_is_the_current_grid_and_those_with_somebody_inside() -> None:
    holder = Holder(Generation(grid(1)))
    first = holder.enter()
    holder.swap(Generation(grid(2)))
    holder.swap(Generation(grid(3)))
    assert holder.living() == [grid(3), grid(1)]
    second = holder.enter()
    holder.swap(Generation(grid(4)))
    assert holder.living() == [grid(4), grid(1), grid(3)]
    first.leave()
    assert holder.living() == [grid(4), grid(3)]
    second.leave()
    assert holder.living() == [grid(4)]


def test_a_grid_that_is_let_go_does_not_live() -> None:
    seen: list[list[Grid]] = []
    holder = Holder(Generation(grid(1), lambda _: seen.append(holder.living())))
    inside = holder.enter()
    holder.swap(Generation(grid(2)))
    inside.leave()
    assert seen == [[grid(2)]]


def test_leaving_more_often_than_entering_is_our_mistake() -> None:
    with pytest.raises(AssertionError):
        Generation(grid(1)).leave()


def test_retiring_twice_is_our_mistake() -> None:
    generation = Generation(grid(1))
    generation.retire()
    with pytest.raises(AssertionError):
        generation.retire()


@given(st.lists(st.tuples(st.sampled_from(["enter", "enter", "leave", "leave", "swap"]), st.integers(0, 100))))
def test_each_old_generation_is_let_go_exactly_once_and_only_when_it_is_empty(steps: list[tuple[str, int]]) -> None:
    made = 1
    retired: list[Grid] = []
    inside: list[Generation] = []
    old: list[Grid] = []

    def let_go(done: Grid) -> None:
        assert done is not holder.current.grid
        assert all(generation.grid is not done for generation in inside)
        retired.append(done)

    holder = Holder(Generation(grid(0), let_go))
    for what, number in steps:
        if what == "enter":
            inside.append(holder.enter())
        elif what == "leave" and inside:
            inside.pop(number % len(inside)).leave()
        elif what == "swap" and made < 60:
            old.append(holder.current.grid)
            holder.swap(Generation(grid(made), let_go))
            made += 1
        assert holder.current.inside == sum(generation is holder.current for generation in inside)
    while inside:
        inside.pop().leave()
    assert sorted(map(id, retired)) == sorted(map(id, old))
