"""The usage row: noted before the upstream is called, written once when the call ends, with every attempt in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.exchange import Exchange
from appliance.formats.chat import Usage
from appliance.pipeline.admit import admit
from appliance.pipeline.operations import OPERATIONS
from appliance.pipeline.record import begin, record
from appliance.pipeline.settle import settle
from appliance.state import State
from appliance.state.ledger import Amount
from appliance.state.tables import UsageRow
from support.build import (
    Clock,
    chat_body,
    failure,
    journal_of,
    make_attempt,
    make_exchange,
    make_grid,
    make_principal,
    make_state,
    usage_row,
)

HELD = Amount(cost=9_000_000, tokens=9000, requests=1)


def ready(**changes: Any) -> tuple[Exchange, State]:
    """Admitted, with what it may cost held for it."""
    principal = make_principal(groups=("research", "sales"))
    exchange, state = make_exchange(body=chat_body(**changes), principal=principal), make_state()
    admit(exchange, state)
    assert exchange.principal
    exchange.reservation = state.ledger.reserve(exchange.principal.subjects, HELD, 1_700_000_000_900)
    return exchange, state


def first_target(exchange: Exchange) -> Any:
    assert exchange.model
    return exchange.model.policy.targets[0]


def begun(**changes: Any) -> tuple[Exchange, State]:
    """A call with one attempt under way."""
    exchange, state = ready(**changes)
    attempt = make_attempt(first_target(exchange), dispatched=True, sent=True, started_at=exchange.clock())
    begin(exchange, attempt, state)
    exchange.attempts.append(attempt)
    return exchange, state


def ended(exchange: Exchange, state: State) -> dict[str, Any]:
    settle(exchange, state)
    record(exchange, state)
    (row,) = journal_of(state).ended
    return row


def answer(exchange: Exchange) -> None:
    exchange.answered = exchange.attempts[-1]
    exchange.status = "completed"
    exchange.usage = Usage(1000, 2000, 500, 100, 70)
    exchange.finish_reason = "stop"
    assert isinstance(exchange.clock, Clock)
    exchange.clock.advance(0.2)
    exchange.first_token_at = exchange.clock()
    exchange.clock.advance(0.3)
    exchange.attempts[-1].latency_ms = 480


# -- begin ------------------------------------------------------------------------------------------------------------


def test_what_is_noted_before_the_call_is_what_a_kill_would_book() -> None:
    exchange, state = begun(metadata={"ticket": 7})
    (row,) = journal_of(state).begun
    assert (row["status"], row["estimated"], row["input_tokens"], row["output_tokens"]) == (
        "interrupted",
        True,
        exchange.input_estimate,
        0,
    )
    assert row["cost_nano"] == exchange.input_estimate * 1000
    assert row["backend_cost_nano"] == exchange.input_estimate * 500
    assert (row["backend_id"], row["provider"], row["tenant_id"]) == ("one:a", "one", "acme")
    assert (row["charged"], row["reserved_nano"], row["entry"]) == (1, 9_000_000, 0)
    assert json.loads(row["metadata"]) == {"ticket": 7}
    assert exchange.begun


def test_a_call_is_noted_once_however_many_attempts_it_takes() -> None:
    exchange, state = begun()
    begin(exchange, make_attempt(first_target(exchange), 2), state)
    assert len(journal_of(state).begun) == 1


def test_what_cannot_be_noted_is_not_called() -> None:
    exchange, state = ready()
    journal_of(state).failing = True
    with pytest.raises(GatewayError) as caught:
        begin(exchange, make_attempt(first_target(exchange)), state)
    assert (caught.value.code, caught.value.status) == ("JOURNAL_UNAVAILABLE", 503)
    assert not exchange.begun


# -- record -----------------------------------------------------------------------------------------------------------


def price_of(*token_prices: int) -> dict[str, Any]:
    """Reasoning costs what output costs unless it is priced by itself."""
    rates = dict(zip(("input", "output", "cached_input", "cache_write"), token_prices, strict=True))
    by_the_piece = dict.fromkeys(("request", "image", "audio_minute", "characters", "search"), 0)
    return {"base": rates | {"reasoning": rates["output"], "above": 0}, "tiers": [], **by_the_piece}


def test_a_finished_call_s_row_has_everything() -> None:
    exchange, state = begun()
    answer(exchange)
    row = ended(exchange, state)
    prices = json.loads(row.pop("price"))
    assert prices == {
        "price": price_of(1_000_000_000, 2_000_000_000, 100_000_000, 1_250_000_000),
        "cost": price_of(500_000_000, 600_000_000, 500_000_000, 500_000_000),
    }
    assert json.loads(row.pop("attempts")) == [
        {"backend": "one:a", "status": "completed", "latency_ms": 480, "error": None}
    ]
    assert row == {
        "id": "usage_0123456789abcdef",
        "request_id": "req_of_the_test",
        "created_ms": 1_700_000_000_900,
        "partner_id": "reseller",
        "tenant_id": "acme",
        "user_id": "acme:alice",
        "key_id": "apikey_1",
        "groups": "|research|sales|",
        "model": "m",
        "backend_id": "one:a",
        "provider": "one",
        "surface": "native",
        "operation": "chat",
        "stream": False,
        "status": "completed",
        "estimated": False,
        "input_tokens": 1000,
        "output_tokens": 2000,
        "cached_input_tokens": 500,
        "cache_write_tokens": 100,
        "reasoning_tokens": 70,
        "charged": 1,
        "reserved_nano": 9_000_000,
        "entry": 1,
        "cost_nano": 400 * 1000 + 500 * 100 + 100 * 1250 + 2000 * 2000,
        "backend_cost_nano": 1000 * 500 + 2000 * 600,
        "latency_ms": 500,
        "ttft_ms": 200,
        "finish_reason": "stop",
        "error_code": "",
        "units": None,
        "metadata": None,
    }


def test_the_row_is_one_that_the_database_has_columns_for() -> None:
    exchange, state = begun()
    (noted,) = journal_of(state).begun
    answer(exchange)
    columns = set(UsageRow._meta.fields) - {"seq"}
    assert set(ended(exchange, state)) == set(noted) == set(usage_row()) == columns


def test_every_attempt_is_in_the_row() -> None:
    exchange, state = begun()
    exchange.attempts[0].failure = failure("rate_limited", "BACKEND_RATE_LIMITED", status=429)
    exchange.attempts[0].latency_ms = 5
    exchange.attempts.append(make_attempt(exchange.grid.models["m"].policy.targets[1], 2))
    answer(exchange)
    row = ended(exchange, state)
    assert json.loads(row["attempts"]) == [
        {
            "backend": "one:a",
            "status": "failed",
            "latency_ms": 5,
            "error": {"code": "BACKEND_RATE_LIMITED", "kind": "rate_limited", "status": 429},
        },
        {"backend": "two:b", "status": "completed", "latency_ms": 480, "error": None},
    ]
    assert row["backend_id"] == "two:b"


def test_a_row_keeps_the_prices_it_was_computed_with_tiers_and_fees_too() -> None:
    grid = make_grid(
        """
providers: {one: {type: custom, base_url: "http://one.test/v1"}}
models:
  m:
    price: {input: "1", output: "2", request: "0.01", tiers: [{above: 100, input: "3", output: "4"}]}
    route: [{backend: "one:a", cost: free}]
partners: {reseller: {tenants: {acme: {}}}}
"""
    )
    exchange, state = make_exchange(grid), make_state()
    admit(exchange, state)
    begin(exchange, make_attempt(first_target(exchange)), state)
    exchange.attempts.append(make_attempt(first_target(exchange), sent=True))
    exchange.answered, exchange.status, exchange.usage = exchange.attempts[0], "completed", Usage(101, 1)
    row = ended(exchange, state)
    prices = json.loads(row["price"])
    assert prices["price"]["request"] == 10_000_000
    assert [(tier["above"], tier["input"], tier["output"]) for tier in prices["price"]["tiers"]] == [
        (100, 3_000_000_000, 4_000_000_000)
    ]
    assert row["cost_nano"] == 101 * 3000 + 4000 + 10_000_000
    assert row["backend_cost_nano"] == 0
    assert set(prices["cost"]["base"].values()) == {0}


def test_a_row_lies_in_the_moment_of_its_reservation() -> None:
    """A call that waited for room over midnight is booked where it was reserved: sums over rows are its budgets."""
    exchange, state = begun()
    assert exchange.reservation
    assert exchange.reservation.at_ms != int(exchange.received_unix * 1000)
    answer(exchange)
    assert ended(exchange, state)["created_ms"] == exchange.reservation.at_ms


def test_a_row_names_the_groups_that_the_reservation_was_held_in() -> None:
    """Sums over rows are their budgets: a user who changes groups half-way must not move the call to the new ones."""
    exchange, state = begun()
    assert exchange.principal
    exchange.principal.groups, exchange.principal.subjects = ("others",), ("group:acme:others",)
    answer(exchange)
    assert ended(exchange, state)["groups"] == journal_of(state).begun[0]["groups"] == "|research|sales|"


def test_a_call_without_a_reservation_lies_where_it_was_received() -> None:
    exchange, state = make_exchange(), make_state()
    admit(exchange, state)
    begin(exchange, make_attempt(first_target(exchange)), state)
    row = ended(exchange, state)
    assert (row["created_ms"], row["reserved_nano"], row["groups"], row["entry"]) == (1_700_000_000_250, 0, "", 0)


def test_each_posting_has_the_next_number() -> None:
    exchange, state = begun()
    other = state.ledger.reserve(("tenant:acme",), Amount(), 1_700_000_000_900)
    state.ledger.post(other, Amount())
    answer(exchange)
    assert ended(exchange, state)["entry"] == 2


def test_a_failed_call_s_row_says_why_and_costs_nothing() -> None:
    exchange, state = begun()
    exchange.attempts[0].failure = failure("timeout", "BACKEND_TIMEOUT")
    exchange.error = GatewayError("BACKEND_TIMEOUT", "too slow")
    row = ended(exchange, state)
    assert (row["status"], row["error_code"], row["cost_nano"], row["input_tokens"]) == (
        "failed",
        "BACKEND_TIMEOUT",
        0,
        0,
    )
    assert (row["charged"], row["entry"]) == (0, 1)


def test_a_fault_of_ours_is_named_as_one() -> None:
    exchange, state = begun()
    assert ended(exchange, state)["error_code"] == "INTERNAL_ERROR"


def test_a_cancelled_call_s_row_has_no_error() -> None:
    exchange, state = begun()
    exchange.status = "cancelled"
    row = ended(exchange, state)
    assert (row["status"], row["error_code"], row["estimated"], row["charged"]) == ("cancelled", "", True, 1)


def test_a_call_that_reached_no_upstream_has_no_row() -> None:
    exchange, state = ready()
    settle(exchange, state)
    record(exchange, state)
    assert journal_of(state).ended == []


def test_an_answer_whose_row_cannot_be_written_becomes_an_error() -> None:
    exchange, state = begun()
    answer(exchange)
    journal_of(state).failing = True
    settle(exchange, state)
    record(exchange, state)
    assert exchange.error
    assert (exchange.error.code, exchange.status) == ("JOURNAL_UNAVAILABLE", "failed")


# -- metrics ----------------------------------------------------------------------------------------------------------


def test_a_finished_call_is_counted() -> None:
    exchange, state = begun()
    answer(exchange)
    ended(exchange, state)
    metrics = state.metrics
    assert metrics.requests == {("m", "completed", "native"): 1}
    assert metrics.tokens == {("m", "input", "acme"): 1000, ("m", "output", "acme"): 2000}
    assert metrics.durations["m", "one:a"].total_s == pytest.approx(0.5)
    assert metrics.first_tokens["m"].total_s == pytest.approx(0.2)


def test_a_refused_call_is_counted_without_a_name_that_callers_could_make_up() -> None:
    exchange, state = make_exchange(body=chat_body("made-up")), make_state()
    with pytest.raises(GatewayError):
        admit(exchange, state)
    settle(exchange, state)
    record(exchange, state)
    assert state.metrics.requests == {("", "failed", "native"): 1}
    assert not state.metrics.durations


# -- units ------------------------------------------------------------------------------------------------------------

PICTURES = """
providers: {one: {type: custom, base_url: "http://one.test/v1"}}
models: {p: {modality: image, price: {image: "0.04"}, route: [{backend: "one:p", cost: {image: "0.01"}}]}}
partners: {reseller: {tenants: {acme: {}}}}
"""


def pictured() -> tuple[Exchange, State]:
    """Two pictures under way."""
    body = json.dumps({"model": "p", "prompt": "a kite", "n": 2}).encode()
    exchange, state = make_exchange(make_grid(PICTURES), body, surface="openai", operation="image"), make_state()
    admit(exchange, state)
    attempt = make_attempt(first_target(exchange), dispatched=True, sent=True)
    begin(exchange, attempt, state)
    exchange.attempts.append(attempt)
    return exchange, state


def test_what_is_not_counted_in_tokens_stands_in_the_units() -> None:
    exchange, state = pictured()
    exchange.answered, exchange.status, exchange.usage = exchange.attempts[-1], "completed", Usage(images=1)
    row = ended(exchange, state)
    assert json.loads(row["units"]) == {"images": 1}
    assert (row["cost_nano"], row["backend_cost_nano"], row["estimated"]) == (40_000_000, 10_000_000, False)
    assert json.loads(row["price"])["price"]["image"] == 40_000_000


def test_a_kill_would_book_the_units_too() -> None:
    _, state = pictured()
    (row,) = journal_of(state).begun
    assert json.loads(row["units"]) == {"images": 2}
    assert (row["status"], row["cost_nano"], row["backend_cost_nano"]) == ("interrupted", 80_000_000, 20_000_000)


@pytest.mark.parametrize("usage", [Usage(), Usage(5, 6)])
def test_a_call_without_units_has_none(usage: Usage) -> None:
    exchange, state = begun()
    exchange.answered, exchange.status, exchange.usage = exchange.attempts[-1], "completed", usage
    assert ended(exchange, state)["units"] is None


def test_all_units_are_kept() -> None:
    exchange, state = begun()
    exchange.answered, exchange.status = exchange.attempts[-1], "completed"
    exchange.usage = Usage(1, 2, images=3, audio_ms=4, characters=5, searches=6)
    assert json.loads(ended(exchange, state)["units"]) == {"images": 3, "audio_ms": 4, "characters": 5, "searches": 6}


def test_a_question_about_a_call_is_not_noted() -> None:
    exchange, state = ready()
    exchange.operation = OPERATIONS["count"]
    journal_of(state).failing = True
    begin(exchange, make_attempt(first_target(exchange)), state)
    assert not exchange.begun
