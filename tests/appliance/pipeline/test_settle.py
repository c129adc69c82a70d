"""What is owed after each ending: exact where the upstream said it, estimated and marked where it did not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.exchange import Exchange, Failure
from appliance.formats.chat import Usage
from appliance.limits import Limits
from appliance.pipeline.admit import admit
from appliance.pipeline.estimate import tokens_of
from appliance.pipeline.operations import OPERATIONS
from appliance.pipeline.settle import settle
from appliance.state import State
from appliance.state.ledger import Amount
from appliance.state.limiter import Limited
from support.build import failure, make_attempt, make_budget, make_exchange, make_grid, make_state

EXACT = Usage(input_tokens=1_000_000, output_tokens=1_000_000, cached_input_tokens=500_000)


def settled(
    status: str,
    *failures: Failure | None,
    answered: bool = False,
    usage: Usage | None = None,
    sent: bool = True,
    **changes: Any,
) -> Exchange:
    """An exchange of the model `m` after one attempt per entry of `failures`, on its targets in turn."""
    exchange = make_exchange()
    exchange.model = exchange.grid.models["m"]
    targets = exchange.model.policy.targets
    exchange.attempts = [
        make_attempt(targets[place % 2], place + 1, failure=how, dispatched=True, sent=sent)
        for place, how in enumerate(failures)
    ]
    exchange.answered = exchange.attempts[-1] if answered else None
    exchange.status, exchange.usage = status, usage  # type: ignore[assignment]
    exchange.input_estimate, exchange.input_bound = 100, 1000
    for name, value in changes.items():
        setattr(exchange, name, value)
    settle(exchange, make_state())
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


def test_a_caller_who_leaves_before_anything_was_sent_owes_nothing() -> None:
    exchange = settled("cancelled", None, sent=False)
    assert (exchange.usage, exchange.cost_nano, exchange.charged, exchange.estimated) == (Usage(), 0, False, False)


def test_an_estimate_of_the_input_never_passes_its_bound() -> None:
    exchange = settled("cancelled", None, input_estimate=5000, input_bound=1000)
    assert exchange.usage == Usage(input_tokens=1000)


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
    settle(exchange, make_state())
    assert (exchange.usage, exchange.cost_nano) == (Usage(), 0)


# -- the reservation and the rate slots -------------------------------------------------------------------------------

HELD = Amount(cost=5_000_000, tokens=1000 + 50, requests=1)
"""For a bound of 1000 input tokens and 50 output tokens."""


def held(*, begun: bool, answered: bool, usage: Usage | None = None, **changes: Any) -> tuple[Exchange, State]:
    """A call of the model `m` with one attempt, that holds HELD in a budget and a slot of its user, before settling."""
    state = make_state(budgets=[make_budget(10**10)])
    exchange = make_exchange()
    assert exchange.principal
    exchange.model = exchange.grid.models["m"]
    exchange.input_estimate, exchange.input_bound, exchange.begun = 100, 1000, begun
    exchange.grant = state.limiter.take([(USER, Limits(5, 5000, 2))], 150, exchange.clock())
    exchange.reservation = state.ledger.reserve(exchange.principal.subjects, HELD, 1_700_000_000_500)
    exchange.attempts = [make_attempt(exchange.model.policy.targets[0], sent=True)] if begun else []
    if answered:
        exchange.answered, exchange.status, exchange.usage = exchange.attempts[0], "completed", usage
    for name, value in changes.items():
        setattr(exchange, name, value)
    return exchange, state


USER = "user:acme:alice"


def balance(state: State) -> tuple[int, int, int]:
    """Cost, tokens and requests in the budget; nothing may be pending there any more."""
    account = state.ledger.account("b", 0)
    assert account
    kept = account.balance
    assert (kept.pending_cost, kept.pending_tokens, kept.pending_requests) == (0, 0, 0)
    assert state.ledger.open_reservations == 0
    return kept.cost, kept.tokens, kept.requests


def tokens_taken(state: State, exchange: Exchange, limit: int = 5000) -> int:
    """How many tokens of this minute count against the user, found by trying what still fits."""
    for free in range(limit, -1, -1):
        try:
            grant = state.limiter.take([(USER, Limits(None, limit, None))], free, exchange.clock())
        except Limited:
            continue
        state.limiter.give_back(grant, exchange.clock())
        return limit - free
    raise AssertionError("nothing fits")


def test_what_was_used_is_posted_with_the_next_number() -> None:
    exchange, state = held(begun=True, answered=True, usage=Usage(700, 30))
    settle(exchange, state)
    assert balance(state) == (700 * 1000 + 30 * 2000, 730, 1)
    assert exchange.entry == 1
    assert exchange.reservation
    assert exchange.reservation.status == "posted"


def test_a_call_that_was_never_sent_upstream_is_voided_and_counts_in_no_limit() -> None:
    exchange, state = held(begun=False, answered=False)
    settle(exchange, state)
    assert balance(state) == (0, 0, 0)
    assert exchange.entry == 0
    assert exchange.reservation
    assert exchange.reservation.status == "voided"
    assert state.limiter.concurrent(USER) == 0
    assert tokens_taken(state, exchange) == 0


def test_a_call_whose_attempts_all_failed_is_posted_with_nothing() -> None:
    """It owes a row, so it has a number; but no request of a request budget is used up."""
    exchange, state = held(begun=True, answered=False)
    exchange.attempts[0].failure = failure("timeout")
    settle(exchange, state)
    assert balance(state) == (0, 0, 0)
    assert exchange.entry == 1
    assert not exchange.charged


def test_a_caller_who_left_while_an_upstream_worked_used_a_request() -> None:
    exchange, state = held(begun=True, answered=False, status="cancelled")
    settle(exchange, state)
    assert balance(state) == (100_000, 100, 1)


def test_more_than_was_held_is_booked_openly() -> None:
    exchange, state = held(begun=True, answered=True, usage=Usage(1000, 9000))
    settle(exchange, state)
    assert balance(state) == (19_000_000, 10_000, 1)
    account = state.ledger.account("b", 0)
    assert account
    assert account.balance.overrun == 19_000_000 - HELD.cost


def test_our_own_estimate_never_passes_what_was_held() -> None:
    """16 long words are more bytes than 64: a guess of ours must not overrun a budget that the upstream kept to."""
    exchange, state = held(begun=True, answered=True, output_bytes=100_000)
    settle(exchange, state)
    assert exchange.usage == Usage(100, 50)
    assert exchange.estimated
    assert balance(state)[1] == 150


def test_what_the_upstream_reported_counts_even_above_what_was_held() -> None:
    exchange, state = held(begun=True, answered=True, output_bytes=100_000, status="cancelled", usage=Usage(100, 60))
    settle(exchange, state)
    assert exchange.usage == Usage(100, 60)


@pytest.mark.parametrize(("used", "counted"), [(Usage(10, 5), 15), (Usage(100, 50), 150), (Usage(300, 100), 400)])
def test_the_slot_is_free_and_the_tokens_are_those_that_were_used(used: Usage, counted: int) -> None:
    exchange, state = held(begun=True, answered=True, usage=used)
    assert state.limiter.concurrent(USER) == 1
    settle(exchange, state)
    assert state.limiter.concurrent(USER) == 0
    assert tokens_taken(state, exchange) == counted


def test_settling_twice_is_our_mistake() -> None:
    exchange, state = held(begun=True, answered=True, usage=Usage(1, 1))
    settle(exchange, state)
    with pytest.raises(AssertionError):
        settle(exchange, state)


# -- units that nobody told -------------------------------------------------------------------------------------------

UNITS = """
providers: {one: {type: custom, base_url: "http://one.test/v1"}}
models:
  pictures: {modality: image, price: {image: "0.04"}, route: [{backend: "one:p"}]}
  drawn: {modality: image, price: {input: "5", output: "40"}, route: [{backend: "one:p"}]}
  both: {modality: image, price: {image: "0.04", output: "40", input: "5"}, route: [{backend: "one:p"}]}
  gratis: {modality: image, price: free, route: [{backend: "one:p"}]}
partners: {reseller: {tenants: {acme: {}}}}
"""


def drawn(model: str, usage: Usage | None, status: str = "completed", **changes: Any) -> Exchange:
    """Two pictures were asked for, and an upstream answered so."""
    body = json.dumps({"model": model, "prompt": "a kite", "n": 2}).encode()
    exchange = make_exchange(make_grid(UNITS), body, surface="openai", operation="image")
    state = make_state()
    admit(exchange, state)
    exchange.attempts = [make_attempt(exchange.grid.models[model].policy.targets[0], dispatched=True, sent=True)]
    exchange.answered = exchange.attempts[0]
    exchange.status, exchange.usage = status, usage  # type: ignore[assignment]
    for name, value in changes.items():
        setattr(exchange, name, value)
    settle(exchange, state)
    return exchange


@pytest.mark.parametrize(
    ("model", "usage"),
    [
        ("pictures", Usage(images=2)),
        ("pictures", Usage(9, 9, images=1)),
        ("drawn", Usage(9, 90, images=2)),
        ("drawn", Usage(9, 90)),
        ("gratis", Usage()),
    ],
)
def test_what_the_price_counts_and_the_upstream_told_is_exact(model: str, usage: Usage) -> None:
    exchange = drawn(model, usage)
    assert (exchange.usage, exchange.estimated) == (usage, False)
    assert exchange.cost_nano == exchange.grid.models[model].price.cost(usage)


@pytest.mark.parametrize("model", ["pictures", "drawn", "both"])
@pytest.mark.parametrize("usage", [None, Usage()])
def test_an_unknown_amount_never_counts_as_zero(model: str, usage: Usage | None) -> None:
    exchange = drawn(model, usage)
    assert exchange.cost_nano > 0
    assert exchange.estimated


def test_only_what_is_unknown_is_estimated() -> None:
    told = Usage(9, 90)
    exchange = drawn("both", told)
    assert exchange.usage
    assert (exchange.usage.input_tokens, exchange.usage.output_tokens, exchange.usage.images) == (9, 90, 2)
    assert exchange.estimated
    other = drawn("both", Usage(images=1))
    assert other.usage
    assert other.usage.images == 1
    assert other.usage.output_tokens > 0


@pytest.mark.parametrize("model", ["pictures", "drawn", "both"])
def test_a_caller_who_left_owes_what_was_likely_made(model: str) -> None:
    exchange = drawn(model, None, "cancelled", answered=None)
    assert exchange.cost_nano > 0
    assert (exchange.estimated, exchange.charged) == (True, True)
    assert exchange.bound
    assert exchange.cost_nano <= exchange.grid.models[model].price.worst_of(exchange.bound)


def test_a_question_about_a_call_costs_nothing_however_it_ends() -> None:
    for status in ("completed", "cancelled"):
        exchange = settled(status, None, answered=True, operation=OPERATIONS["count"])
        assert (exchange.usage, exchange.cost_nano, exchange.backend_cost_nano) == (Usage(), 0, 0)
