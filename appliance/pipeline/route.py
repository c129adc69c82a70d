"""Which target next? A generator of Attempts: the policy's order, the retry budget, the deadline, who is spared.

It looks at an attempt's failure only after `call` has set it, so each next attempt sees the world as it is then.
"""

from __future__ import annotations

from collections.abc import Iterator

from appliance.errors import GatewayError
from appliance.exchange import Attempt, Exchange, Failure
from appliance.grid.grid import Target
from appliance.grid.strategies import order
from appliance.state import State

BACKOFF_S = 0.1
BACKOFF_FACTOR = 2.0
MAX_WAIT_S = 2.0
"""The longest a caller is kept waiting before a target is asked again; a longer Retry-After is handed to the caller."""
LEAST_TIME_S = 0.005
"""With less time than this no further attempt is begun. Timers count in milliseconds, so one that was to end at the
deadline may fire a moment before it."""


def route(exchange: Exchange, state: State) -> Iterator[Attempt]:
    """Yields attempts until one succeeds (the caller stops), the budget is spent, or nobody is left to ask."""
    assert exchange.model
    policy = exchange.model.policy
    candidates = _longest_wait_last(order(policy, state.rng), exchange, state)
    again: list[Target] = []
    backoff_s = 0.0
    rounds = 0
    number = 1
    while number <= 1 + policy.retries:
        if not candidates:
            # Everybody was asked once. Those that may recover are asked again, after a pause.
            candidates, again = _longest_wait_last(again, exchange, state), []
            rounds += 1
            backoff_s = BACKOFF_S * BACKOFF_FACTOR ** (rounds - 1) * (0.5 + state.rng.random())
        if not candidates or (number > 1 and exchange.clock() + LEAST_TIME_S >= exchange.deadline_at):
            return
        target = candidates.pop(0)
        delay_s = _pause(target, backoff_s, exchange, state) if rounds else 0.0
        if delay_s is None:
            continue
        backoff_s = 0.0
        attempt = Attempt(number, target, delay_s)
        yield attempt
        failure = attempt.failure
        assert failure, "an attempt that did not fail must not ask for the next"
        if not attempt.dispatched:
            continue  # this target cannot take the request; asking the next costs nothing
        number += 1
        if failure.kind == "caller" or not _may_retry(failure, policy.retry_on):
            return
        if failure.kind not in ("operator", "quota"):
            again.append(target)


def _may_retry(failure: Failure, retry_on: frozenset[str]) -> bool:
    return failure.kind in ("operator", "quota") or failure.kind in retry_on


def _longest_wait_last(targets: list[Target], exchange: Exchange, state: State) -> list[Target]:
    """Targets that answered Retry-After are asked only when nobody else is left."""
    now = exchange.clock()
    return sorted(targets, key=lambda target: state.health.wait_s(target.backend, now))


def _pause(target: Target, backoff_s: float, exchange: Exchange, state: State) -> float | None:
    """Seconds to wait before asking the target again, or None when that is too long for this caller."""
    now = exchange.clock()
    wait = max(backoff_s, state.health.wait_s(target.backend, now))
    return wait if wait <= MAX_WAIT_S and now + wait < exchange.deadline_at else None


def exhausted(exchange: Exchange) -> GatewayError:
    """No attempt gave an answer: the error the caller sees. The log and the usage row keep every attempt's failure."""
    assert exchange.model
    if not exchange.attempts:
        if exchange.translation_error:
            return exchange.translation_error
        reasons = sorted({target.endpoint.unconfigured or "switched off" for target in exchange.model.policy.targets})
        return GatewayError(
            "MODEL_UNAVAILABLE", f"no target of the model {exchange.model_name!r} can serve: {'; '.join(reasons)}"
        )
    failure = exchange.attempts[-1].failure
    assert failure
    if failure.kind == "operator":
        return GatewayError("MODEL_UNAVAILABLE", f"no target of {exchange.model_name!r} is left: {failure.message}")
    return failure.error()
