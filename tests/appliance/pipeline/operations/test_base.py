"""What all calls with one document up and one down share: price and budget before, envelope and booking after."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from appliance.errors import GatewayError
from appliance.exchange import Attempt, Exchange
from appliance.formats.chat import Usage
from appliance.pipeline.admit import admit
from appliance.pipeline.call import AttemptFailed
from appliance.pipeline.operations import OPERATIONS
from appliance.pipeline.operations.base import defaults_of
from appliance.pipeline.reserve import reserve
from appliance.pipeline.run import run
from support.build import (
    FakeJournal,
    FakeUpstream,
    chat_body,
    client_of,
    journal_of,
    make_budget,
    make_exchange,
    make_state,
)
from support.operations import CALLS, FOR_EVER, GRID, answer, good, ran, ready

EACH = pytest.mark.parametrize("operation", CALLS)
WHOLE = pytest.mark.parametrize("operation", [name for name in CALLS if name != "speak"])


def admitted(operation: str, **changes: Any) -> Exchange:
    body = json.dumps(CALLS[operation] | changes).encode()
    exchange = make_exchange(GRID, body, surface="openai", operation=operation)
    admit(exchange, make_state())
    return exchange


def test_every_operation_is_listed_under_its_own_name() -> None:
    assert {name: operation.name for name, operation in OPERATIONS.items()} == {name: name for name in OPERATIONS}
    assert [name for name, operation in OPERATIONS.items() if not operation.costs] == ["count"]


# -- before the call --------------------------------------------------------------------------------------------------


@EACH
def test_a_call_is_bounded_and_its_estimate_stays_under_the_bound(operation: str) -> None:
    exchange = admitted(operation)
    assert exchange.bound
    assert exchange.input_bound == exchange.bound.input_tokens
    assert 0 <= exchange.input_estimate <= exchange.input_bound
    assert exchange.head
    assert (exchange.head.id, exchange.head.model) == (f"{operation}_0123456789abcdef", exchange.model_name)
    assert exchange.needs == {OPERATIONS[operation].feature}  # type: ignore[attr-defined]


@EACH
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"model":7}'])
def test_what_is_no_request_is_refused_before_anything_is_looked_up(operation: str, body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        admit(make_exchange(GRID, body, surface="openai", operation=operation), make_state())
    assert caught.value.code == "VALIDATION_ERROR"


@pytest.mark.parametrize(("operation", "model"), [("speak", "scribe"), ("speak", "dutch")])
async def test_a_kind_of_call_that_has_no_price_is_refused(operation: str, model: str) -> None:
    """Speech on a model that is priced by the minute of recordings would be free, and nobody said so."""
    done = await ran(operation, CALLS[operation] | {"model": model, "response_format": "mp3"})
    assert (done.error.code, done.error.param) == ("VALIDATION_ERROR", "model")
    assert "price" in done.error.message
    assert done.pools.opened == []


async def test_free_is_a_price() -> None:
    done = await ran("speak", CALLS["speak"] | {"model": "gratis"}, good("speak"))
    assert done.exchange.error is None
    assert done.row["cost_nano"] == 0


@pytest.mark.parametrize("name", ["m", "never heard of", None, 7, ["drawn"]])
def test_defaults_of_what_is_no_such_model_are_none(name: Any) -> None:
    assert defaults_of(make_exchange(GRID), name) == {}
    assert defaults_of(make_exchange(GRID), "drawn") == {"size": "512x512", "quality": "low"}


@EACH
async def test_the_worst_case_of_all_units_is_held_and_no_cap_is_written(operation: str) -> None:
    exchange, state = ready(operation, CALLS[operation], budgets=[make_budget(10**12)])
    admit(exchange, state)
    await reserve(exchange, state)
    assert exchange.reservation
    assert exchange.bound
    assert exchange.model
    held = exchange.reservation.amount
    assert (held.cost, held.tokens) == (exchange.model.price.worst_of(exchange.bound), exchange.bound.total_tokens)
    assert held.cost >= exchange.model.price.cost(exchange.operation.estimate(exchange, None))
    assert (exchange.output_cap, exchange.clamped) == (None, False)


@EACH
@pytest.mark.parametrize("budget", [make_budget(1), make_budget(token_limit=1)], ids=["cost", "tokens"])
async def test_a_budget_that_does_not_cover_the_call_refuses_it_and_clamps_nothing(operation: str, budget: Any) -> None:
    done = await ran(operation, CALLS[operation], budgets=[budget])
    assert (done.client.status, done.error.code) == (429, "BUDGET_EXCEEDED")
    assert "X-Scaigrid-Budget-Clamped" not in done.client.headers
    assert done.pools.opened == []
    assert done.state.ledger.open_reservations == 0


@EACH
async def test_with_a_budget_that_covers_it_the_body_is_the_same_as_without(operation: str) -> None:
    limited = await ran(operation, CALLS[operation], good(operation), budgets=[make_budget(10**12)])
    free = await ran(operation, CALLS[operation], good(operation))
    assert limited.bodies == free.bodies
    assert "X-Scaigrid-Budget-Clamped" not in limited.client.headers


# -- the answer -------------------------------------------------------------------------------------------------------


@WHOLE
async def test_a_native_answer_is_an_envelope_with_what_it_cost(operation: str) -> None:
    done = await ran(operation, CALLS[operation], good(operation), surface="native")
    body = done.client.json()
    assert (done.client.status, body["status"]) == (200, "ok")
    assert isinstance(body["meta"].pop("latency_ms"), int)
    backend = done.exchange.attempts[0].target.backend
    assert body["meta"] == {"request_id": "req_of_the_test", "backend": backend, "provider": "one", "attempts": 1}
    assert body["data"]["model"] == CALLS[operation]["model"]
    assert float(body["data"]["usage"]["cost"]) > 0


@WHOLE
async def test_an_answer_names_its_backend_and_the_caller_s_model(operation: str) -> None:
    done = await ran(operation, CALLS[operation], good(operation))
    assert done.client.headers["X-Scaigrid-Backend"].startswith("one:")
    assert done.client.content_type == "application/json"
    assert b'"up"' not in done.client.body


@EACH
async def test_the_row_says_what_was_used_under_the_operation_s_name(operation: str) -> None:
    done = await ran(operation, CALLS[operation], good(operation))
    assert (done.row["operation"], done.row["status"], done.row["charged"]) == (operation, "completed", 1)
    assert done.row["cost_nano"] > 0


@EACH
@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (lambda: answer({"error": {"message": "down"}}, 503), "server_error"),
        (lambda: answer({"error": {"message": "no"}}, 401), "operator"),
        (lambda: answer(b""), "server_error"),
        (lambda: FakeUpstream(FOR_EVER), "timeout"),
    ],
    ids=["503", "401", "empty", "silent"],
)
async def test_the_next_target_takes_over(operation: str, first: Any, kind: str) -> None:
    broken = first()
    done = await ran(operation, CALLS[operation], broken, good(operation))
    assert done.exchange.error is None
    assert broken.closed
    assert done.client.headers["X-Scaigrid-Attempts"] == "2"
    failure = done.exchange.attempts[0].failure
    assert failure
    assert failure.kind == kind
    assert [attempt["status"] for attempt in json.loads(done.row["attempts"])] == ["failed", "completed"]


@EACH
async def test_the_caller_s_fault_is_final(operation: str) -> None:
    done = await ran(operation, CALLS[operation], answer({"error": {"message": "bad", "param": "input"}}, 400))
    assert (done.error.code, done.error.status) == ("VALIDATION_ERROR", 422)
    assert len(done.exchange.attempts) == 1
    assert (done.row["status"], done.row["cost_nano"]) == ("failed", 0)


@WHOLE
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"data":[]}', b"<html>", b'{"results":7}'])
async def test_a_200_that_is_no_answer(operation: str, body: bytes) -> None:
    done = await ran(operation, CALLS[operation], answer(body), answer(body), answer(body))
    assert done.error.code == "UPSTREAM_SHAPE_MISMATCH"
    assert done.row["cost_nano"] == 0
    if not body:
        assert "empty" in done.error.message


def test_an_answer_that_blames_the_request_is_the_caller_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoders say so where an upstream answers 200 and refuses inside, as Google does with a prompt."""
    exchange = admitted("image")
    assert exchange.model
    attempt = Attempt(1, exchange.model.policy.targets[0])
    image: Any = OPERATIONS["image"]

    def blames(*_: Any) -> None:
        raise GatewayError("VALIDATION_ERROR", "the prompt was refused", param="prompt")

    monkeypatch.setattr(type(image), "decode_reply", blames)
    with pytest.raises(AttemptFailed) as caught:
        image.understood(exchange, attempt, b"{}")
    failure = caught.value.failure
    assert (failure.kind, failure.code, failure.param) == ("caller", "VALIDATION_ERROR", "prompt")


# -- what cannot be booked --------------------------------------------------------------------------------------------


@EACH
async def test_no_call_is_made_that_cannot_be_booked(operation: str) -> None:
    journal = FakeJournal()
    journal.failing = True
    done = await ran(operation, CALLS[operation], good(operation), journal=journal)
    assert (done.client.status, done.error.code) == (503, "JOURNAL_UNAVAILABLE")
    assert done.pools.opened == []


class FullAtTheEnd(FakeJournal):
    def end(self, row: dict[str, Any]) -> None:
        self.failing = True
        super().end(row)


@WHOLE
async def test_an_answer_that_cannot_be_booked_is_not_given_out(operation: str) -> None:
    done = await ran(operation, CALLS[operation], good(operation), journal=FullAtTheEnd())
    assert (done.client.status, done.error.code) == (503, "JOURNAL_UNAVAILABLE")
    assert set(done.client.json()) == {"error"}


@EACH
async def test_the_row_is_written_before_the_last_bytes_leave(operation: str) -> None:
    exchange, state = ready(operation, CALLS[operation], good(operation))
    client, rows = client_of(exchange), journal_of(state).ended
    seen: list[tuple[str, int]] = []
    whole, send, end = client.whole, client.send, client.end

    async def noting(what: str, how: Any, *said: Any) -> None:
        seen.append((what, len(rows)))
        await how(*said)

    client.whole = lambda *said: noting("whole", whole, *said)  # type: ignore[method-assign]
    client.send = lambda *said: noting("send", send, *said)  # type: ignore[method-assign]
    client.end = lambda *said: noting("end", end, *said)  # type: ignore[method-assign]
    await run(exchange, state)
    expected = [("send", 0), ("send", 1), ("end", 1)] if operation == "speak" else [("whole", 1)]
    assert seen == expected


@EACH
async def test_a_caller_who_leaves_is_booked_and_the_upstream_let_go(operation: str) -> None:
    upstream = FakeUpstream(FOR_EVER)
    exchange, state = ready(operation, CALLS[operation], upstream)
    task = asyncio.ensure_future(run(exchange, state))
    await asyncio.sleep(0.03)
    assert upstream.reads
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert upstream.closed
    (row,) = journal_of(state).ended
    assert (row["status"], row["estimated"], row["charged"]) == ("cancelled", True, 1)
    assert row["cost_nano"] > 0
    assert state.ledger.open_reservations == 0


# -- what nobody told -------------------------------------------------------------------------------------------------

REPORTED = st.builds(
    Usage,
    input_tokens=st.integers(0, 10**6),
    output_tokens=st.integers(0, 10**6),
    images=st.integers(0, 20),
    audio_ms=st.integers(0, 10**7),
    characters=st.integers(0, 10**5),
    searches=st.integers(0, 50),
)
PRICED = [
    ("embed", "vectors"),
    ("image", "pictures"),
    ("image", "drawn"),
    ("speak", "voices"),
    ("speak", "tokened"),
    ("rerank", "ranks"),
    ("rerank", "read"),
]


@pytest.mark.parametrize(("operation", "model"), PRICED)
@given(reported=REPORTED)
def test_an_unknown_amount_never_counts_as_zero(operation: str, model: str, reported: Usage) -> None:
    assume(reported.input_tokens or not reported.output_tokens)  # nobody reports an answer to nothing
    exchange = admitted(operation, model=model)
    assert exchange.model
    assert exchange.bound
    taken = reported
    if exchange.operation.is_unknown(exchange, reported):
        taken = exchange.operation.estimate(exchange, reported)
    else:
        assert exchange.model.price.cost(reported) > 0
    assert exchange.model.price.cost(taken) > 0
    told = {name for name in Usage.__struct_fields__ if getattr(reported, name)}
    assert all(getattr(taken, name) == getattr(reported, name) for name in told - {"input_tokens", "output_tokens"})


@pytest.mark.parametrize(("operation", "model"), PRICED)
def test_a_call_of_which_nothing_is_known_costs_something_and_no_more_than_was_held(operation: str, model: str) -> None:
    exchange = admitted(operation, model=model)
    assert exchange.model
    assert exchange.bound
    guessed = exchange.operation.estimate(exchange, None)
    assert 0 < exchange.model.price.cost(guessed) <= exchange.model.price.worst_of(exchange.bound)
    for name in Usage.__struct_fields__:
        assert getattr(guessed, name) <= getattr(exchange.bound, name)


def test_chats_know_what_they_used_without_units() -> None:
    exchange = make_exchange(GRID, chat_body())
    assert not OPERATIONS["chat"].is_unknown(exchange, Usage())
