"""What one model refuses goes on as a call of another: when, to which, at whose price, and never in a circle."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import pytest

from appliance.exchange import Exchange, FallbackReason
from appliance.grid.grid import Fallback, Grid
from appliance.pipeline.pass_on import may_be_passed_on, pass_on, pass_on_long_input, stand_in, take_over
from support.build import FakeUpstream, failure, journal_of, make_attempt, make_budget, make_exchange, make_grid
from support.build import make_state as state_of
from support.routing_line import Raced, Turn, begin, filtered, raced, refuses, says, settled, silent, vectors
from support.sse import ended, text_of

YAML = """
providers:
  one: {type: custom, base_url: "http://one.test/v1"}
  two: {type: custom, base_url: "http://two.test/v1"}
  three: {type: custom, base_url: "http://three.test/v1"}
models:
  a:
    context_window: 1000
    max_output_tokens: 100
    system_prompt: I am a.
    price: {input: "10", output: "20"}
    fallback: {context_window: b, content_filter: b}
    route: {retries: 2, targets: [{backend: "one:a", cost: {input: "5", output: "6"}}]}
  b:
    context_window: 4000
    max_output_tokens: 200
    system_prompt: I am b.
    price: {input: "30", output: "40"}
    fallback: {context_window: c, content_filter: c}
    route: {retries: 9, deadline: 1s, targets: [{backend: "two:b", cost: {input: "7", output: "8"}}]}
  c:
    max_output_tokens: 300
    price: {input: "1", output: "2"}
    route: [{backend: "three:c"}]
  once:
    price: {input: "10", output: "20"}
    fallback: {context_window: b, content_filter: b}
    route: {retries: 0, targets: [{backend: "one:a"}]}
  off: {price: free, status: disabled, route: [{backend: "two:b"}]}
  to-off:
    price: {input: "10", output: "20"}
    fallback: {context_window: off, content_filter: off}
    route: [{backend: "one:a"}]
  hedged:
    price: {input: "10", output: "20"}
    fallback: {context_window: b}
    route:
      hedge: {min_delay: 30ms, max_share: 1}
      targets: [{backend: "one:a"}, {backend: "three:c", cost: {input: "3", output: "4"}}]
  v1:
    modality: embedding
    price: {input: "10"}
    fallback: {context_window: v2}
    route: [{backend: "one:a"}]
  v2: {modality: embedding, price: {input: "30"}, route: [{backend: "two:b"}]}
partners:
  reseller:
    tenants:
      acme: {models: ["*"], users: {alice: {roles: [tenant_user]}}}
"""
GRID = make_grid(YAML)
ONLY_A = make_grid(YAML.replace('models: ["*"]', "models: [a, c]"))
"""The tenant may not use the model that would take over."""
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
TOO_LONG = {"code": "context_length_exceeded", "type": "invalid_request_error"}
OBJECTS = {"code": "content_filter", "type": "invalid_request_error"}
A_USED, B_USED = 7 * 5_000 + 3 * 6_000, 7 * 7_000 + 3 * 8_000
"""What an answer of 7 and 3 tokens costs us at a and at b, in nano-USD."""
B_PRICE = 7 * 30_000 + 3 * 40_000


def long(tokens: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": "x" * (tokens * 4)}]


def exchange_of(model: str = "a", grid: Grid = GRID, **body: Any) -> Exchange:
    """Admitted as far as the model."""
    said = {"model": model, "messages": [{"role": "user", "content": "hello"}]} | body
    exchange = make_exchange(grid, json.dumps(said).encode())
    exchange.model_name, exchange.model = model, grid.models[model]
    exchange.most_attempts, exchange.deadline_at = 3, exchange.clock() + 60
    return exchange


def refused(exchange: Exchange, reason: FallbackReason | None = "context_window") -> Exchange:
    assert exchange.model
    said = failure("caller", "VALIDATION_ERROR", reason=reason)
    exchange.attempts.append(make_attempt(exchange.model.policy.targets[0], failure=said))
    return exchange


def with_fallbacks(**fallbacks: str) -> Grid:
    """Of `context_window`; the check of the configuration would refuse a circle."""
    models = {
        name: dataclasses.replace(model, fallback=Fallback(context_window=fallbacks.get(name, "")))
        for name, model in GRID.models.items()
    }
    return dataclasses.replace(GRID, models=models)


# -- who may take over ------------------------------------------------------------------------------------------------


def test_the_model_that_the_operator_named_takes_over() -> None:
    model = stand_in(exchange_of(), "context_window")
    assert model is GRID.models["b"]


@pytest.mark.parametrize(
    ("model", "grid"), [("c", GRID), ("to-off", GRID), ("a", ONLY_A)], ids=["none named", "disabled", "not allowed"]
)
def test_nobody_takes_over(model: str, grid: Grid) -> None:
    exchange = refused(exchange_of(model, grid))
    assert stand_in(exchange, "context_window") is None
    assert not may_be_passed_on(exchange, "context_window")
    assert not pass_on(exchange, state_of())
    assert (exchange.model, exchange.passed_on) == (grid.models[model], ())


def test_a_name_that_no_model_bears_takes_over_nothing() -> None:
    exchange = exchange_of(grid=with_fallbacks(a="gone"))
    assert stand_in(exchange, "context_window") is None


def test_a_model_of_another_modality_takes_over_nothing() -> None:
    exchange = exchange_of(grid=with_fallbacks(a="v1"))
    assert stand_in(exchange, "context_window") is None


def test_each_reason_has_its_own_model() -> None:
    exchange = refused(exchange_of("hedged"), "content_filter")
    assert not pass_on(exchange, state_of())
    assert pass_on(refused(exchange_of("hedged")), state_of())


def test_a_failure_without_a_reason_is_not_passed_on() -> None:
    assert not pass_on(refused(exchange_of(), None), state_of())
    assert not pass_on(exchange_of(), state_of())


def test_after_the_deadline_or_the_last_attempt_nothing_is_passed_on() -> None:
    late = refused(exchange_of())
    late.deadline_at = late.clock()
    assert not pass_on(late, state_of())
    spent = refused(exchange_of())
    spent.most_attempts = 1
    assert not pass_on(spent, state_of())


@pytest.mark.parametrize("circle", [{"a": "b", "b": "a"}, {"a": "a"}, {"a": "b", "b": "c", "c": "a"}])
def test_no_row_of_fallbacks_leads_back(circle: dict[str, str]) -> None:
    exchange = exchange_of(grid=with_fallbacks(**circle))
    exchange.most_attempts = 100
    steps = 0
    while pass_on(refused(exchange), state_of()):
        steps += 1
        assert steps < 10
    assert steps == len(circle) - 1
    assert len(set(exchange.passed_on)) == len(exchange.passed_on)


def test_no_row_of_fallbacks_leads_back_for_a_long_input_either() -> None:
    exchange = exchange_of(grid=with_fallbacks(a="b", b="a"), messages=long(9000))
    pass_on_long_input(exchange)
    assert exchange.model is exchange.grid.models["b"]
    assert exchange.passed_on == ("a",)


def test_what_an_earlier_model_refused_is_no_reason_to_leave_the_next() -> None:
    exchange = refused(exchange_of())
    assert pass_on(exchange, state_of())
    assert exchange.model is GRID.models["b"]
    target = GRID.models["b"].policy.targets[0]
    exchange.attempts.append(make_attempt(target, failure=failure("server_error")))
    assert not pass_on(exchange, state_of())


def test_a_model_that_nobody_could_ask_is_not_left_for_what_the_one_before_it_refused() -> None:
    exchange = refused(exchange_of())
    assert pass_on(exchange, state_of())
    assert not pass_on(exchange, state_of())
    assert exchange.passed_on == ("a",)


def test_what_was_found_out_for_the_old_model_is_forgotten() -> None:
    exchange = exchange_of()
    exchange.output_cap, exchange.clamped, exchange.held_back_s = 16, True, 3.0
    exchange.busy = failure("busy")
    take_over(exchange, GRID.models["b"])
    left: list[Any] = [exchange.output_cap, exchange.clamped, exchange.held_back_s, exchange.busy]
    assert left == [None, False, None, None]
    assert exchange.model_name == "a", "the caller is answered by the name that he asked for"


# -- an input that is too long ----------------------------------------------------------------------------------------


@STREAMED
@pytest.mark.parametrize(("tokens", "asked"), [(900, "one"), (1100, "two"), (3900, "two"), (4100, "three")])
async def test_an_input_that_is_known_to_be_too_long_is_sent_to_the_model_that_takes_it(
    stream: bool, tokens: int, asked: str
) -> None:
    turns = {name: [says(stream=stream)] for name in ("one", "two", "three")}
    done = await raced(turns, grid=GRID, model="a", stream=stream, messages=long(tokens))
    assert done.pools.asked == [asked]
    taken = {"one": "a", "two": "b", "three": "c"}[asked]
    assert done.row["model"] == taken
    assert done.client.headers.get("X-Scaigrid-Fallback") == (None if taken == "a" else taken)
    assert done.client.headers["X-Scaigrid-Attempts"] == "1"


async def test_a_long_input_stays_where_nobody_may_take_over() -> None:
    done = await raced({"one": [says()]}, grid=ONLY_A, model="a", messages=long(1100))
    assert done.pools.asked == ["one"]


@STREAMED
async def test_the_upstream_s_refusal_is_passed_on(stream: bool) -> None:
    scripts = {"one": [refuses(400, error=TOO_LONG)], "two": [says("from b", stream=stream)]}
    done = await raced(scripts, grid=GRID, model="a", stream=stream)
    assert done.client.status == 200
    assert b"from b" in done.client.body
    assert done.attempts == [("one:a", "failed"), ("two:b", "completed")]
    assert (done.row["model"], done.row["cost_nano"], done.row["backend_cost_nano"]) == ("b", B_PRICE, B_USED)
    assert done.client.headers["X-Scaigrid-Fallback"] == "b"
    assert done.booked == (B_PRICE, 1, 0)


async def test_embeddings_are_passed_on_too() -> None:
    scripts = {"one": [refuses(400, error=TOO_LONG)], "two": [vectors()]}
    done = await raced(scripts, grid=GRID, model="v1", operation="embed")
    assert done.client.status == 200
    assert (done.row["model"], done.row["cost_nano"]) == ("v2", 7 * 30_000)


async def test_the_new_model_s_settings_are_sent_and_the_old_one_s_are_not() -> None:
    scripts = {"one": [refuses(400, error=TOO_LONG)], "two": [says()]}
    done = await raced(scripts, grid=GRID, model="a", messages=[{"role": "user", "content": "hello"}])
    first, second = (json.loads(body) for *_, body in done.pools.opened)
    assert (first["model"], first["messages"][0]["content"]) == ("a", "I am a.")
    assert (second["model"], second["messages"][0]["content"]) == ("b", "I am b.")
    assert len(second["messages"]) == 2
    assert done.client.json()["model"] == "a"


async def test_a_chain_of_two() -> None:
    scripts = {
        "one": [refuses(400, error=TOO_LONG)],
        "two": [refuses(400, error=TOO_LONG)],
        "three": [says("from c")],
    }
    done = await raced(scripts, grid=GRID, model="a")
    assert b"from c" in done.client.body
    assert done.exchange.passed_on == ("a", "b")
    assert done.attempts == [("one:a", "failed"), ("two:b", "failed"), ("three:c", "completed")]
    assert done.row["cost_nano"] == 7 * 1_000 + 3 * 2_000


@STREAMED
@pytest.mark.parametrize("first", ["error", "filtered"])
async def test_the_attempts_of_the_model_that_was_asked_are_all_there_are(stream: bool, first: str) -> None:
    """retries: 0, and the one attempt is spent. What the provider left of an answer is then the answer."""
    turn = refuses(400, error=OBJECTS) if first == "error" else filtered(stream=stream)
    done = await raced({"one": [turn], "two": []}, grid=GRID, model="once", stream=stream)
    assert done.pools.asked == ["one"]
    assert "X-Scaigrid-Fallback" not in done.client.headers
    if first == "error":
        assert done.client.status == 400
    else:
        assert b"content_filter" in done.client.body


async def test_the_attempts_before_count_on() -> None:
    """`a` has three attempts; the first and the refusal are spent, so `b` has one, whatever its own retries say."""
    scripts = {"one": [refuses(500), refuses(400, error=TOO_LONG)], "two": [refuses(500)], "three": []}
    done = await raced(scripts, grid=GRID, model="a")
    assert done.pools.asked == ["one", "one", "two"]
    assert done.client.status == 502
    assert done.row["cost_nano"] == 0


async def test_the_deadline_is_that_of_the_model_that_was_asked() -> None:
    scripts = {"one": [refuses(400, error=TOO_LONG)], "two": [says(after_s=1.2)]}
    done = await raced(scripts, grid=GRID, model="a")
    assert done.client.status == 200


# -- a filter ---------------------------------------------------------------------------------------------------------


@STREAMED
async def test_a_refusal_of_the_filter_is_passed_on(stream: bool) -> None:
    scripts = {"one": [refuses(400, error=OBJECTS)], "two": [says("from b", stream=stream)]}
    done = await raced(scripts, grid=GRID, model="a", stream=stream)
    assert b"from b" in done.client.body
    assert done.row["backend_cost_nano"] == B_USED


@STREAMED
async def test_an_answer_that_the_filter_took_away_is_passed_on_and_paid_by_us(stream: bool) -> None:
    turn = filtered(stream=stream)
    done = await raced({"one": [turn], "two": [says("from b", stream=stream)]}, grid=GRID, model="a", stream=stream)
    assert b"from b" in done.client.body
    assert b"content_filter" not in done.client.body
    if stream:
        assert text_of(done.client.body) == "from b"
        assert ended(done.client.body)
    assert done.attempts == [("one:a", "failed"), ("two:b", "completed")]
    assert done.row["cost_nano"] == B_PRICE
    # A stream's usage comes after its finish: only the input can be estimated.
    expected = _input_of(done) * 5_000 if stream else A_USED
    assert done.row["backend_cost_nano"] == B_USED + expected
    assert isinstance(turn.answer, FakeUpstream)
    assert turn.answer.closed


def _input_of(done: Raced) -> int:
    return done.exchange.input_estimate


@STREAMED
async def test_after_content_nothing_is_passed_on(stream: bool) -> None:
    turn = filtered(stream=stream, text="half an answer")
    done = await raced({"one": [turn], "two": []}, grid=GRID, model="a", stream=stream)
    assert b"half an answer" in done.client.body
    assert b"content_filter" in done.client.body
    assert done.row["finish_reason"] == "content_filter"
    assert (done.row["model"], done.row["status"]) == ("a", "completed")


@STREAMED
@pytest.mark.parametrize(("grid", "model"), [(ONLY_A, "a"), (GRID, "to-off"), (GRID, "c")])
async def test_where_nobody_may_take_over_the_empty_answer_is_the_answer(stream: bool, grid: Grid, model: str) -> None:
    script = {"three" if model == "c" else "one": [filtered(stream=stream)]}
    done = await raced(script, grid=grid, model=model, stream=stream)
    assert done.client.status == 200
    assert b"content_filter" in done.client.body
    assert (done.row["status"], done.row["finish_reason"]) == ("completed", "content_filter")


@STREAMED
async def test_a_filter_at_the_second_model_too(stream: bool) -> None:
    scripts = {"one": [filtered(stream=stream)], "two": [filtered(stream=stream)], "three": [filtered(stream=stream)]}
    done = await raced(scripts, grid=GRID, model="a", stream=stream)
    assert b"content_filter" in done.client.body, "the last has nobody to pass it on to"
    assert done.row["model"] == "c"


async def test_the_filter_speaks_and_then_nobody_can_be_asked() -> None:
    done = await raced({"one": [filtered(stream=False)], "two": [refuses(500), refuses(503)]}, grid=GRID, model="a")
    assert done.client.status == 502
    assert (done.row["model"], done.row["cost_nano"], done.row["backend_cost_nano"]) == ("b", 0, A_USED)


# -- the money --------------------------------------------------------------------------------------------------------

HELD_A = 1000 * 10_000 + 100 * 20_000
"""The worst case of a call of `a`: its window at the input's price, and its largest answer."""


def worst_b(done: Raced) -> int:
    return done.exchange.input_bound * 30_000 + 200 * 40_000


async def test_the_reservation_moves_so_that_a_tight_budget_is_enough() -> None:
    """Both worst cases together do not fit, so the first has to be given back before the second is held."""
    probe = await raced({"two": [says()]}, grid=GRID, model="b")
    state = state_of(budgets=[make_budget(worst_b(probe) + HELD_A - 1)])
    done = await raced({"one": [refuses(400, error=TOO_LONG)], "two": [says()]}, grid=GRID, model="a", state=state)
    assert done.client.status == 200
    assert "X-Scaigrid-Budget-Clamped" not in done.client.headers
    assert done.row["reserved_nano"] == worst_b(done)
    assert done.booked == (B_PRICE, 1, 0)


async def test_a_budget_that_does_not_cover_the_new_model_refuses_the_call() -> None:
    state = state_of(budgets=[make_budget(HELD_A + 1)])
    turn = filtered(stream=False)
    done = await raced({"one": [turn], "two": []}, grid=GRID, model="a", state=state)
    assert (done.client.status, done.row["error_code"]) == (429, "BUDGET_EXCEEDED")
    assert (done.row["status"], done.row["cost_nano"], done.row["charged"]) == ("failed", 0, 0)
    assert done.row["backend_cost_nano"] == A_USED, "the attempt that was filtered was paid by us"
    assert done.booked == (0, 0, 0)


async def test_the_cap_is_clamped_anew_for_the_new_model() -> None:
    probe = await raced({"two": [says()]}, grid=GRID, model="b")
    state = state_of(budgets=[make_budget(worst_b(probe) - 50 * 40_000)])
    done = await raced({"one": [refuses(400, error=TOO_LONG)], "two": [says()]}, grid=GRID, model="a", state=state)
    assert done.client.status == 200
    assert done.client.headers["X-Scaigrid-Budget-Clamped"] == "150"
    first, second = (json.loads(body) for *_, body in done.pools.opened)
    assert (first["max_tokens"], second["max_tokens"]) == (100, 150)


async def test_the_journal_is_told_of_each_model_before_it_is_asked_and_one_row_is_kept() -> None:
    done = await raced({"one": [refuses(400, error=TOO_LONG)], "two": [says()]}, grid=GRID, model="a")
    noted = [(row["id"], row["model"], row["backend_id"]) for row in journal_of(done.state).begun]
    usage_id = done.exchange.usage_id
    assert noted == [(usage_id, "a", "one:a"), (usage_id, "b", "two:b")]
    assert done.row["id"] == usage_id


async def test_two_attempts_of_one_model_are_noted_once() -> None:
    done = await raced({"one": [refuses(500), says()]}, grid=GRID, model="a")
    assert [row["model"] for row in journal_of(done.state).begun] == ["a"]


async def test_who_leaves_while_the_new_model_works_owes_it_at_its_price() -> None:
    running = begin({"one": [refuses(400, error=TOO_LONG)], "two": [silent()]}, grid=GRID, model="a")
    await asyncio.sleep(0.05)
    running.task.cancel()
    done = await settled(running)
    assert (done.row["status"], done.row["model"]) == ("cancelled", "b")
    assert done.row["cost_nano"] == _input_of(done) * 30_000


@pytest.mark.parametrize("turn", ["refuses", "filters"])
async def test_who_leaves_while_the_budget_is_waited_for_owes_nothing(turn: str) -> None:
    """Another call holds the budget; the refused call waits for it to be settled, and its caller hangs up."""
    state = state_of(budgets=[make_budget(HELD_A + 80_000_000)])
    first = refuses(400, 0.03, error=OBJECTS) if turn == "refuses" else filtered(stream=False)
    first = Turn(first.answer, 0.03)
    running = begin({"one": [first], "two": []}, grid=GRID, model="a", state=state)
    await asyncio.sleep(0.01)
    room = state.ledger.room(("tenant:acme",), 1_700_000_000_500)
    assert room
    other = state.ledger.reserve(("tenant:acme",), dataclasses.replace(room, tokens=1), 1_700_000_000_500)
    await asyncio.sleep(0.1)
    assert not running.task.done()
    running.task.cancel()
    await asyncio.wait([running.task])
    state.ledger.void(other)
    done = await settled(running)
    assert (done.row["status"], done.row["cost_nano"], done.row["charged"]) == ("cancelled", 0, 0)


# -- with a hedge -----------------------------------------------------------------------------------------------------


async def test_a_refusal_in_the_middle_of_a_race_cuts_the_hedge_off_and_is_passed_on() -> None:
    scripts = {"one": [refuses(400, 0.1, error=TOO_LONG)], "three": [silent()], "two": [says("from b")]}
    done = await raced(scripts, grid=GRID, model="hedged")
    assert done.attempts == [("one:a", "failed"), ("three:c", "cancelled"), ("two:b", "completed")]
    assert b"from b" in done.client.body
    assert done.row["backend_cost_nano"] == B_USED + _input_of(done) * 3_000


async def test_a_refusal_of_the_hedge_waits_for_the_first() -> None:
    scripts = {"one": [says("from a", 0.1)], "three": [refuses(400, error=TOO_LONG)], "two": []}
    done = await raced(scripts, grid=GRID, model="hedged")
    assert b"from a" in done.client.body
    assert "X-Scaigrid-Fallback" not in done.client.headers
