"""What is owed after each ending: exact where the upstream said it, estimated and marked where it did not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.exchange import Exchange, Failure
from appliance.formats.chat import Usage
from appliance.pipeline.estimate import tokens_of
from appliance.pipeline.settle import settle
from support.build import failure, make_attempt, make_exchange

EXACT = Usage(input_tokens=1_000_000, output_tokens=1_000_000, cached_input_tokens=500_000)


def settled(
    status: str, *failures: Failure | None, answered: bool = False, usage: Usage | None = None, **changes: Any
) -> Exchange:
    """An exchange of the model `m` after one attempt per entry of `failures`, on its targets in turn."""
    exchange = make_exchange()
    exchange.model = exchange.grid.models["m"]
    targets = exchange.model.policy.targets
    exchange.attempts = [
        make_attempt(targets[place % 2], place + 1, failure=how, dispatched=True) for place, how in enumerate(failures)
    ]
    exchange.answered = exchange.attempts[-1] if answered else None
    exchange.status, exchange.usage, exchange.input_estimate = status, usage, 100  # type: ignore[assignment]
    for name, value in changes.items():
        setattr(exchange, name, value)
    settle(exchange)
    return exchange


def test_reported_usage_of_a_whole_answer_is_taken_as_it_is() -> None:
    exchange = settled("completed", None, answered=True, usage=EXACT, output_bytes=99)
    assert exchange.usage is EXACT
    assert not exchange.estimated
    assert exchange.cost_nano == 500_000_000 + 50_000_000 + 2_000_000_000
    assert exchange.backend_cost_nano == 500_000_000 + 600_000_000


def test_the_cost_is_that_of_the_target_that_answered() -> None:
    exchange = settled("completed", failure("timeout"), None, answered=True, usage=EXACT)
    assert exchange.backend_cost_nano == exchange.cost_nano  # the second target costs what the model is priced at


def test_an_answer_without_usage_is_estimated_and_marked() -> None:
    exchange = settled("completed", None, answered=True, output_bytes=41)
    assert exchange.usage == Usage(input_tokens=100, output_tokens=11)
    assert exchange.estimated
    assert exchange.cost_nano == 122_000


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_an_answer_that_broke_off_is_owed_for_as_far_as_it_was_seen(status: str) -> None:
    exchange = settled(status, None, answered=True, output_bytes=400)
    assert exchange.usage == Usage(input_tokens=100, output_tokens=100)
    assert exchange.estimated


def test_what_the_upstream_said_half_way_is_not_forgotten() -> None:
    said = Usage(input_tokens=77, output_tokens=1, cached_input_tokens=50, cache_write_tokens=10, reasoning_tokens=1)
    exchange = settled("cancelled", None, answered=True, usage=said, output_bytes=400)
    assert exchange.usage == Usage(77, 100, 50, 10, 1)
    assert exchange.estimated


@given(st.builds(Usage, *[st.integers(0, 10**6)] * 5), st.integers(0, 10**6))
def test_an_estimate_is_never_less_than_what_was_said_or_seen(said: Usage, seen: int) -> None:
    exchange = settled("cancelled", None, answered=True, usage=said, output_bytes=seen)
    assert exchange.usage
    assert exchange.usage.output_tokens >= max(said.output_tokens, tokens_of(seen))
    assert exchange.usage.input_tokens >= said.input_tokens
    assert exchange.usage.cached_input_tokens == said.cached_input_tokens


def test_a_caller_who_leaves_while_an_upstream_works_owes_the_input() -> None:
    exchange = settled("cancelled", failure("timeout"), None)
    assert exchange.usage == Usage(input_tokens=100)
    assert exchange.estimated
    assert exchange.cost_nano == 100_000


@pytest.mark.parametrize("kinds", [["timeout"], ["rate_limited", "operator"], ["caller"]])
def test_attempts_that_failed_cost_the_caller_nothing(kinds: list[str]) -> None:
    exchange = settled("failed", *(failure(kind) for kind in kinds))
    assert exchange.usage == Usage()
    assert (exchange.cost_nano, exchange.backend_cost_nano, exchange.estimated) == (0, 0, False)


def test_a_caller_who_leaves_between_two_attempts_owes_nothing() -> None:
    exchange = settled("cancelled", failure("timeout"))
    assert (exchange.usage, exchange.estimated) == (Usage(), False)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_call_that_reached_no_upstream_costs_nothing(status: str) -> None:
    exchange = settled(status)
    assert (exchange.usage, exchange.cost_nano, exchange.estimated) == (Usage(), 0, False)


def test_a_call_that_was_not_even_admitted_is_settled_too() -> None:
    exchange = make_exchange()
    settle(exchange)
    assert (exchange.usage, exchange.cost_nano) == (Usage(), 0)
