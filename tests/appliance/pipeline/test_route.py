"""Which target next: the generator is driven by hand, each attempt fails as the test says, and the clock is ours."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.exchange import Attempt, Exchange, Failure, FailureKind
from appliance.grid.grid import Grid
from appliance.pipeline.exhausted import exhausted
from appliance.pipeline.route import BACKOFF_S, MAX_WAIT_S, Route, rule_of
from appliance.state import State
from appliance.state.health import Permit
from support.build import (
    Clock,
    failure,
    grid_of_targets,
    make_exchange,
    make_grid,
    make_state,
)

ALL_KINDS = get_args(FailureKind)
RETRYABLE = ("connect", "timeout", "rate_limited", "server_error")


def ready(grid: Grid) -> Exchange:
    """As `admit` leaves it."""
    exchange = make_exchange(grid)
    exchange.model = grid.models["m"]
    exchange.model_name = "m"
    exchange.deadline_at = exchange.received_at + exchange.model.policy.deadline_s
    exchange.most_attempts = 1 + exchange.model.policy.retries
    return exchange


def fail(exchange: Exchange, state: State, attempt: Attempt, how: Failure) -> None:
    """What `call` does with an attempt that fails."""
    attempt.dispatched = True
    attempt.failure = how
    exchange.attempts.append(attempt)
    if how.retry_after:
        state.health.spare(attempt.target.backend, exchange.clock(), how.retry_after)


def drive(exchange: Exchange, state: State, failures: Iterable[Failure]) -> list[Attempt]:
    """All attempts that `route` makes; time passes while it asks for a pause. Fails when it outlasts `failures`."""
    attempts = []
    left = iter(failures)
    for attempt in Route(exchange, state):
        clock = exchange.clock
        assert isinstance(clock, Clock)
        clock.advance(attempt.delay_s)
        fail(exchange, state, attempt, next(left))
        attempts.append(attempt)
    return attempts


def backends(attempts: Iterable[Attempt]) -> str:
    return " ".join(attempt.target.backend.partition(":")[0] for attempt in attempts)


def for_ever(kind: str, **changes: Any) -> Iterator[Failure]:
    return itertools.repeat(failure(kind, **changes))


# -- order and the budget of attempts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "retries", "expected"),
    [
        ("a b c", 0, "a"),
        ("a b c", 1, "a b"),
        ("a b c", 2, "a b c"),
        ("a b", 4, "a b a b a"),
        ("a", 3, "a a a a"),
        ("a b c", 3, "a b c a"),
    ],
)
def test_targets_are_asked_in_order_and_then_again_until_the_budget_is_spent(
    targets: str, retries: int, expected: str
) -> None:
    grid = grid_of_targets(*(f"{name}:x" for name in targets.split()), policy=f"retries: {retries}")
    attempts = drive(ready(grid), make_state(), for_ever("server_error"))
    assert backends(attempts) == expected
    assert [attempt.number for attempt in attempts] == list(range(1, len(attempts) + 1))


def test_nothing_is_asked_after_an_answer() -> None:
    grid = grid_of_targets("a:x", "b:x")
    exchange, state = ready(grid), make_state()
    line = iter(Route(exchange, state))
    fail(exchange, state, next(line), failure("timeout"))
    assert next(line).target.backend == "b:x"
    line.close()  # type: ignore[attr-defined]
    assert len(exchange.attempts) == 1


def test_the_next_target_is_asked_without_a_pause() -> None:
    attempts = drive(ready(grid_of_targets("a:x", "b:x", "c:x")), make_state(), for_ever("connect"))
    assert [attempt.delay_s for attempt in attempts] == [0, 0, 0]


def test_a_target_that_was_asked_is_asked_again_after_a_pause_that_grows() -> None:
    grid = grid_of_targets("a:x", policy="retries: 4")
    for seed in range(50):
        attempts = drive(ready(grid), make_state(seed=seed), for_ever("server_error"))
        pauses = [attempt.delay_s for attempt in attempts]
        assert pauses[0] == 0
        for rounds, pause in enumerate(pauses[1:]):
            assert BACKOFF_S * 2**rounds * 0.5 <= pause <= BACKOFF_S * 2**rounds * 1.5


def test_pauses_differ_so_that_callers_do_not_come_back_all_at_once() -> None:
    grid = grid_of_targets("a:x", policy="retries: 1")
    pauses = {drive(ready(grid), make_state(seed=seed), for_ever("timeout"))[1].delay_s for seed in range(20)}
    assert len(pauses) > 15


# -- what each kind of failure leads to -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_each_kind_with_everything_retried(kind: str) -> None:
    attempts = drive(ready(grid_of_targets("a:x", "b:x", policy="retries: 3")), make_state(), for_ever(kind))
    expected = {"caller": "a", "canceled": "a", "operator": "a b", "quota": "a b", "busy": "a b"}
    assert backends(attempts) == expected.get(kind, "a b a b")


@pytest.mark.parametrize("kind", RETRYABLE)
@pytest.mark.parametrize("listed", [True, False])
def test_retry_on_says_which_kinds_are_tried_again(kind: str, listed: bool) -> None:
    kinds = [other for other in RETRYABLE if (other == kind) == listed]
    grid = grid_of_targets("a:x", "b:x", policy=f"retries: 1, retry_on: [{', '.join(kinds)}]")
    attempts = drive(ready(grid), make_state(), for_ever(kind))
    assert backends(attempts) == ("a b" if listed else "a")


@pytest.mark.parametrize("kind", ["operator", "quota"])
def test_an_operator_s_fault_goes_to_the_next_target_even_when_nothing_is_retried(kind: str) -> None:
    grid = grid_of_targets("a:x", "b:x", policy="retries: 1, retry_on: []")
    assert backends(drive(ready(grid), make_state(), for_ever(kind))) == "a b"


@pytest.mark.parametrize("kind", ["operator", "quota"])
def test_after_an_operator_s_fault_the_same_target_is_never_asked_again(kind: str) -> None:
    grid = grid_of_targets("a:x", "b:x", "c:x", policy="retries: 10")
    failures = itertools.chain([failure("timeout"), failure(kind)], for_ever("timeout"))
    assert backends(drive(ready(grid), make_state(), failures)) == "a b c a c a c a c a c"


def test_the_caller_s_fault_ends_it_wherever_it_comes() -> None:
    grid = grid_of_targets("a:x", "b:x", "c:x", policy="retries: 10")
    failures = [failure("timeout"), failure("caller", "VALIDATION_ERROR")]
    assert backends(drive(ready(grid), make_state(), failures)) == "a b"


def test_a_target_that_cannot_carry_the_request_costs_no_attempt() -> None:
    exchange, state = ready(grid_of_targets("a:x", "b:x", "c:x", policy="retries: 1")), make_state()
    asked = []
    for attempt in Route(exchange, state):
        asked.append((attempt.target.backend, attempt.number))
        if attempt.target.backend == "a:x":
            attempt.failure = failure("caller", "VALIDATION_ERROR")  # as `translate` leaves it: not dispatched
        else:
            fail(exchange, state, attempt, failure("timeout"))
    assert asked == [("a:x", 1), ("b:x", 1), ("c:x", 2)]


def test_a_model_whose_targets_all_cannot_carry_the_request_ends() -> None:
    exchange, state = ready(grid_of_targets("a:x", "b:x", policy="retries: 9")), make_state()
    asked = 0
    for attempt in Route(exchange, state):
        attempt.failure = failure("caller", "VALIDATION_ERROR")
        asked += 1
    assert asked == 2


# -- who asked to be spared -------------------------------------------------------------------------------------------


def test_a_target_that_is_spared_is_asked_last() -> None:
    exchange, state = ready(grid_of_targets("a:x", "b:x", "c:x")), make_state()
    state.health.spare("a:x", exchange.clock(), 30)
    assert backends(drive(exchange, state, for_ever("timeout"))) == "b c a"


def test_a_target_is_no_longer_spared_when_its_time_is_over() -> None:
    exchange, state = ready(grid_of_targets("a:x", "b:x")), make_state()
    state.health.spare("a:x", exchange.clock() - 30, 30)
    assert backends(drive(exchange, state, [failure("timeout"), failure("caller")])) == "a b"


def test_when_all_are_spared_the_first_is_asked_all_the_same() -> None:
    exchange, state = ready(grid_of_targets("a:x", "b:x")), make_state()
    for backend in ("a:x", "b:x"):
        state.health.spare(backend, exchange.clock(), 30)
    assert backends(drive(exchange, state, [failure("caller")])) == "a"


def test_a_short_retry_after_is_waited_for() -> None:
    grid = grid_of_targets("a:x", policy="retries: 1")
    attempts = drive(ready(grid), make_state(), for_ever("rate_limited", retry_after=1.5))
    assert [attempt.delay_s for attempt in attempts] == [0, 1.5]


def test_a_long_retry_after_is_handed_to_the_caller_instead() -> None:
    grid = grid_of_targets("a:x", policy="retries: 5")
    exchange, state = ready(grid), make_state()
    attempts = drive(exchange, state, for_ever("rate_limited", code="BACKEND_RATE_LIMITED", retry_after=30.0))
    assert len(attempts) == 1
    assert exhausted(exchange).retry_after == 30.0


def test_while_one_target_asks_for_a_long_pause_the_other_is_tried_again() -> None:
    """`a` must be spared for a minute, but `b` may recover: the attempts that are left belong to `b`."""
    grid = grid_of_targets("a:x", "b:x", policy="retries: 3")
    failures = itertools.chain([failure("rate_limited", retry_after=60.0)], for_ever("server_error"))
    attempts = drive(ready(grid), make_state(), failures)
    assert backends(attempts) == "a b b b"
    assert all(attempt.delay_s < 1 for attempt in attempts)


def test_in_later_rounds_too_the_spared_one_is_asked_last() -> None:
    grid = grid_of_targets("a:x", "b:x", "c:x", policy="retries: 4")
    failures = itertools.chain([failure("server_error", retry_after=1.0)], for_ever("server_error"))
    attempts = drive(ready(grid), make_state(), failures)
    assert backends(attempts[:3]) == "a b c"
    assert backends(attempts[3:]) == "b c"


# -- the deadline -----------------------------------------------------------------------------------------------------


def test_no_attempt_begins_after_the_deadline() -> None:
    exchange, state = ready(grid_of_targets("a:x", "b:x", policy="deadline: 10s")), make_state()
    line = iter(Route(exchange, state))
    first = next(line)
    assert isinstance(exchange.clock, Clock)
    exchange.clock.advance(10)
    fail(exchange, state, first, failure("timeout"))
    assert list(line) == []


def test_a_timer_that_fires_a_moment_early_begins_nothing_more() -> None:
    """Timers count in milliseconds: the one that ends an attempt at the deadline may fire just before it."""
    exchange, state = ready(grid_of_targets("a:x", "b:x", policy="deadline: 10s")), make_state()
    line = iter(Route(exchange, state))
    first = next(line)
    assert isinstance(exchange.clock, Clock)
    exchange.clock.advance(9.999)
    fail(exchange, state, first, failure("timeout"))
    assert list(line) == []


def test_a_pause_that_would_pass_the_deadline_is_not_made() -> None:
    exchange, state = ready(grid_of_targets("a:x", policy="retries: 5, deadline: 10s")), make_state()
    line = iter(Route(exchange, state))
    first = next(line)
    assert isinstance(exchange.clock, Clock)
    exchange.clock.advance(9.99)
    fail(exchange, state, first, failure("timeout"))
    assert list(line) == []


def test_a_wait_for_a_place_counts_against_the_deadline() -> None:
    """The first target's provider was full until the deadline; the next one is not begun with after it."""
    exchange, state = ready(grid_of_targets("a:x", "b:x", policy="deadline: 10s")), make_state()
    line = iter(Route(exchange, state))
    first = next(line)
    assert isinstance(exchange.clock, Clock)
    exchange.clock.advance(10)
    first.failure = exchange.busy = failure("busy", "BACKEND_RATE_LIMITED", retry_after=3.0)
    assert list(line) == []
    assert exhausted(exchange).code == "BACKEND_RATE_LIMITED"


def test_a_provider_that_is_busy_costs_no_attempt_and_is_not_asked_again() -> None:
    exchange, state = ready(grid_of_targets("a:x", "b:x", policy="retries: 2")), make_state()
    asked = []
    for attempt in Route(exchange, state):
        asked.append((attempt.target.backend, attempt.number))
        if attempt.target.backend == "a:x":
            attempt.failure = exchange.busy = failure("busy", "BACKEND_RATE_LIMITED")  # not dispatched
        else:
            fail(exchange, state, attempt, failure("timeout"))
    assert asked == [("a:x", 1), ("b:x", 1), ("b:x", 2), ("b:x", 3)]


# -- beside: a second attempt at once ---------------------------------------------------------------------------------


def begun(policy: str = "", targets: str = "a b c") -> tuple[Exchange, State, Route, Iterator[Attempt], Attempt]:
    """The first attempt is under way."""
    grid = grid_of_targets(*(f"{name}:x" for name in targets.split()), policy=policy)
    exchange, state = ready(grid), make_state()
    route = Route(exchange, state)
    line = iter(route)
    first = next(line)
    first.dispatched = True
    exchange.attempts.append(first)
    return exchange, state, route, line, first


def test_the_next_target_is_asked_beside() -> None:
    _, _, route, _, first = begun()
    second = route.beside()
    assert second
    assert (second.target.backend, second.number, second.hedge, second.delay_s) == ("b:x", 2, True, 0)
    assert not first.hedge


@pytest.mark.parametrize(("policy", "targets"), [("retries: 0", "a b"), ("", "a")], ids=["no attempt left", "alone"])
def test_nobody_is_asked_beside(policy: str, targets: str) -> None:
    _, _, route, _, _ = begun(policy, targets)
    assert route.beside() is None


def test_nobody_is_asked_beside_when_the_deadline_is_here() -> None:
    exchange, _, route, _, _ = begun("deadline: 10s")
    assert isinstance(exchange.clock, Clock)
    exchange.clock.advance(9.999)
    assert route.beside() is None


@pytest.mark.parametrize("how", ["spared", "open", "half-open", "full"])
async def test_who_is_not_well_or_has_no_room_is_not_asked_beside(how: str) -> None:
    exchange, state, route, _, _ = begun("circuit_breaker: {failures: 1, window: 30s, cooldown: 10s}")
    now = exchange.clock()
    if how == "spared":
        state.health.spare("b:x", now, 30)
    elif how == "full":
        await state.pools.queue("b", 1, 0).acquire()
    else:
        rule = rule_of(exchange.grid.models["m"].policy)
        permit = state.health.permit("b:x", rule, now)
        state.health.finished(permit, "timeout", now)  # type: ignore[arg-type]
        assert isinstance(exchange.clock, Clock)
        exchange.clock.advance(11 if how == "half-open" else 0)
    second = route.beside()
    assert second
    assert second.target.backend == "c:x"
    if how == "half-open":
        permit = state.health.permit("b:x", rule_of(exchange.grid.models["m"].policy), exchange.clock())
        assert isinstance(permit, Permit)
        assert permit.lease, "the probe is still to be had"


def test_who_was_passed_over_beside_may_still_be_asked_when_the_race_is_lost() -> None:
    exchange, state, route, line, first = begun("retries: 5")
    state.health.spare("b:x", exchange.clock(), 30)
    second = route.beside()
    assert second
    second.dispatched = True
    exchange.attempts.append(second)
    first.failure = second.failure = failure("server_error")
    assert next(line).target.backend == "b:x"


def test_after_a_race_that_both_lost_both_may_be_asked_again() -> None:
    exchange, state, route, line, first = begun("retries: 4")
    second = route.beside()
    assert second
    second.dispatched = True
    exchange.attempts.append(second)
    first.failure = second.failure = failure("server_error")
    rest = []
    for attempt in line:
        fail(exchange, state, attempt, failure("server_error"))
        rest.append(attempt)
    assert backends(rest) == "c a b"


@pytest.mark.parametrize("kinds", [("caller", "server_error"), ("server_error", "caller"), ("timeout", "canceled")])
def test_one_failure_that_is_final_ends_it_for_both(kinds: tuple[str, str]) -> None:
    exchange, _, route, line, first = begun()
    second = route.beside()
    assert second
    second.dispatched = True
    exchange.attempts.append(second)
    first.failure, second.failure = failure(kinds[0]), failure(kinds[1])
    assert list(line) == []


def test_one_that_was_cut_off_in_a_race_needs_no_failure() -> None:
    exchange, _, route, line, first = begun()
    second = route.beside()
    assert second
    second.dispatched = second.lost = True
    exchange.attempts.append(second)
    first.failure = failure("caller")
    assert list(line) == []


def test_one_that_was_not_made_gives_its_leave_back() -> None:
    _, _, route, line, first = begun("retries: 4")
    second = route.beside()
    assert second
    assert second.permit
    first.failure = failure("timeout")
    following = next(line)
    assert second.permit.ended
    assert following.target.backend == "c:x"
    assert following.number == 2


# -- whatever happens -------------------------------------------------------------------------------------------------


@given(
    targets=st.integers(1, 4),
    retries=st.integers(0, 10),
    retry_on=st.sets(st.sampled_from(RETRYABLE)),
    failures=st.lists(
        st.tuples(st.sampled_from(ALL_KINDS), st.one_of(st.none(), st.floats(0, 5)), st.floats(0, 9)),
        min_size=11,
        max_size=11,
    ),
    seed=st.integers(0, 1000),
)
def test_the_rules_hold_for_any_course_of_failures(
    targets: int,
    retries: int,
    retry_on: set[str],
    failures: list[tuple[str, float | None, float]],
    seed: int,
) -> None:
    names = "abcd"[:targets]
    policy = f"retries: {retries}, retry_on: [{', '.join(sorted(retry_on))}], deadline: 30s"
    exchange = ready(grid_of_targets(*(f"{name}:x" for name in names), policy=policy))
    state = make_state(seed=seed)
    clock = exchange.clock
    assert isinstance(clock, Clock)
    attempts: list[Attempt] = []
    for attempt, (kind, wait, seconds) in zip(Route(exchange, state), failures, strict=False):
        assert 0 <= attempt.delay_s <= MAX_WAIT_S
        assert not attempts or clock() + attempt.delay_s < exchange.deadline_at
        clock.advance(attempt.delay_s + seconds)
        fail(exchange, state, attempt, failure(kind, retry_after=wait))
        attempts.append(attempt)
    assert 1 <= len(attempts) <= 1 + retries
    for before, attempt in itertools.combinations(attempts, 2):
        if before.target is attempt.target:
            assert before.failure
            assert before.failure.kind not in ("operator", "quota", "busy")
    for attempt in attempts[:-1]:
        assert attempt.failure
        assert attempt.failure.kind in retry_on | {"operator", "quota", "busy"}
    first_round = [attempt.target.backend for attempt in attempts[:targets]]
    assert len(set(first_round)) == len(first_round), "everybody is asked once before anybody is asked twice"


def test_the_grid_of_all_tests_is_usable() -> None:
    assert [target.backend for target in make_grid().models["m"].policy.targets] == ["one:a", "two:b"]
