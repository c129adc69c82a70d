"""Nobody answered: which of all the reasons the caller is told."""

from __future__ import annotations

import pytest

from appliance.errors import GatewayError, invalid
from appliance.exchange import Exchange, Failure
from appliance.grid.compile import compile_grid
from appliance.grid.grid import Grid
from appliance.pipeline.exhausted import exhausted
from appliance.pipeline.route import Route
from support.build import failure, grid_of_targets, load_yaml, make_attempt, make_exchange, make_state


def ready(grid: Grid) -> Exchange:
    """As `admit` leaves it."""
    exchange = make_exchange(grid)
    exchange.model = grid.models["m"]
    exchange.model_name = "m"
    exchange.deadline_at = exchange.received_at + exchange.model.policy.deadline_s
    exchange.most_attempts = 1 + exchange.model.policy.retries
    return exchange


def after(*failures: Failure | None, hedged: bool = False) -> GatewayError:
    """What the caller is told after these attempts; None: cut off. `hedged`: the last two ran at once."""
    exchange = ready(grid_of_targets(*(f"{name}:x" for name in "abcd")))
    targets = exchange.grid.models["m"].policy.targets
    for number, (target, how) in enumerate(zip(targets, failures, strict=False), 1):
        exchange.attempts.append(make_attempt(target, number, failure=how, lost=how is None))
    exchange.attempts[-1].hedge = hedged
    return exhausted(exchange)


def limited(seconds: float | None) -> Failure:
    return failure("rate_limited", "BACKEND_RATE_LIMITED", retry_after=seconds)


CALLER = failure("caller", "VALIDATION_ERROR")
BROKEN = failure("server_error")
OPERATOR = failure("operator")


# -- after attempts ---------------------------------------------------------------------------------------------------


def test_the_caller_sees_the_last_failure() -> None:
    exchange = ready(grid_of_targets("a:x", "b:x"))
    first, second = exchange.grid.models["m"].policy.targets
    exchange.attempts = [
        make_attempt(first, failure=failure("timeout", "BACKEND_TIMEOUT")),
        make_attempt(second, 2, failure=failure("rate_limited", "BACKEND_RATE_LIMITED", retry_after=7.0)),
    ]
    error = exhausted(exchange)
    assert (error.code, error.message, error.retry_after) == (
        "BACKEND_RATE_LIMITED",
        "told to fail: rate_limited",
        7.0,
    )


def test_the_caller_s_own_fault_keeps_the_member_s_name() -> None:
    exchange = ready(grid_of_targets("a:x"))
    (target,) = exchange.grid.models["m"].policy.targets
    exchange.attempts = [make_attempt(target, failure=failure("caller", "VALIDATION_ERROR", param="n"))]
    error = exhausted(exchange)
    assert (error.code, error.param, error.status) == ("VALIDATION_ERROR", "n", 422)


def test_an_operator_s_fault_at_the_end_is_model_unavailable() -> None:
    exchange = ready(grid_of_targets("a:x"))
    (target,) = exchange.grid.models["m"].policy.targets
    exchange.attempts = [make_attempt(target, failure=failure("operator"))]
    error = exhausted(exchange)
    assert (error.code, error.status) == ("MODEL_UNAVAILABLE", 503)


@pytest.mark.parametrize(
    ("waits", "told"),
    [([5, 3600], 5), ([3600, 5], 5), ([None, 7], 7), ([7, None], 7), ([None, None], None), ([9], 9)],
)
def test_of_several_targets_that_limit_us_the_one_that_is_back_first_is_told(
    waits: list[float | None], told: float | None
) -> None:
    assert after(*map(limited, waits)).retry_after == told


def test_a_failure_that_is_no_limit_tells_no_time() -> None:
    assert after(limited(5), BROKEN).retry_after is None


# -- after a race -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "code"),
    [
        ((CALLER, None), "VALIDATION_ERROR"),
        ((CALLER, BROKEN), "VALIDATION_ERROR"),
        ((BROKEN, CALLER), "VALIDATION_ERROR"),
        ((BROKEN, limited(3)), "BACKEND_RATE_LIMITED"),
        ((limited(3), BROKEN), "BACKEND_ERROR"),
        ((BROKEN, OPERATOR), "MODEL_UNAVAILABLE"),
    ],
)
def test_of_two_that_ran_at_once_the_caller_s_own_fault_is_told(
    failures: tuple[Failure | None, Failure | None], code: str
) -> None:
    assert after(*failures, hedged=True).code == code


def test_what_an_earlier_model_refused_is_not_told_when_the_one_that_took_over_failed() -> None:
    assert after(CALLER, BROKEN).code == "BACKEND_ERROR"
    assert after(CALLER, limited(3), BROKEN, hedged=True).code == "BACKEND_ERROR"


# -- when nobody was asked --------------------------------------------------------------------------------------------


def test_without_an_attempt_the_reason_of_the_translation_is_told() -> None:
    exchange = ready(grid_of_targets("a:x"))
    exchange.translation_error = invalid("logprobs", "cannot be carried")
    assert exhausted(exchange) is exchange.translation_error


def test_a_model_without_a_usable_target_says_why() -> None:
    loaded = load_yaml(
        "providers: {p: {type: openai, api_key: '${env:NO_SUCH_KEY}'}, q: {type: demo}}\n"
        "models: {m: {price: free, route: [{backend: 'p:x'}, {backend: 'q:x', enabled: false}]}}\n"
    )
    exchange = ready(compile_grid(loaded, generation=1))
    assert list(Route(exchange, make_state())) == []
    error = exhausted(exchange)
    assert isinstance(error, GatewayError)
    assert error.code == "MODEL_UNAVAILABLE"
    assert "environment variable NO_SUCH_KEY is not set" in error.message
    assert "switched off" in error.message


@pytest.mark.parametrize(("wait_s", "told"), [(0.2, 1), (12.5, 12.5)])
def test_targets_that_are_left_alone_say_when_to_come_back(wait_s: float, told: float) -> None:
    exchange = ready(grid_of_targets("a:x"))
    exchange.held_back_s = wait_s
    error = exhausted(exchange)
    assert (error.code, error.retry_after) == ("MODEL_UNAVAILABLE", told)


def test_a_provider_without_a_place_says_when_to_come_back() -> None:
    exchange = ready(grid_of_targets("a:x"))
    exchange.busy = failure("busy", "BACKEND_RATE_LIMITED", retry_after=4.0)
    error = exhausted(exchange)
    assert (error.code, error.status, error.retry_after) == ("BACKEND_RATE_LIMITED", 429, 4.0)


@pytest.mark.parametrize("why", ["busy", "held back"])
def test_where_one_target_could_serve_later_another_that_cannot_take_the_request_is_no_reason(why: str) -> None:
    exchange = ready(grid_of_targets("a:x", "b:x"))
    exchange.translation_error = invalid("logprobs", "cannot be carried")
    if why == "busy":
        exchange.busy = failure("busy", "BACKEND_RATE_LIMITED", retry_after=4.0)
    else:
        exchange.held_back_s = 4.0
    error = exhausted(exchange)
    assert error.code == ("BACKEND_RATE_LIMITED" if why == "busy" else "MODEL_UNAVAILABLE")
    assert error.retry_after == 4.0


def test_a_target_that_is_busy_is_told_before_one_that_failed_of_late() -> None:
    exchange = ready(grid_of_targets("a:x", "b:x"))
    exchange.busy = failure("busy", "BACKEND_RATE_LIMITED", retry_after=4.0)
    exchange.held_back_s = 9.0
    assert exhausted(exchange).code == "BACKEND_RATE_LIMITED"
