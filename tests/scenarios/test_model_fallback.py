"""Fallback to another frontend model over HTTP: an input that is too long, an answer that a filter took away, the money
of both, and a kill between the two."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from support import faults
from support.appliance import Answer, Gateway, running
from support.calling import SURFACES
from support.faults import Play, answers
from support.sse import ended, failure_of, text_of
from support.upstream import DONE, USAGE, Call, Upstream, chunk, completion, text_stream
from support.wire import Wire, request_bytes

OPEN = "{requests_per_minute: unlimited}"


def key_of(tenant: str) -> str:
    return f"sgk_{tenant}-u-{'k' * 32}"


def tenant(name: str, models: str = '["*"]', more: str = "") -> str:
    limits = f"rate_limits: {OPEN}, user_rate_limits: {OPEN}, key_rate_limits: {OPEN}"
    user = f'users: {{u: {{roles: [tenant_user], api_keys: [{{name: k, key: "{key_of(name)}"}}]}}}}'
    return f"      {name}: {{models: {models}, {limits}, {more} {user}}}\n"


HELD_BY_SMALL = 1000 * 10 + 100 * 20
"""Worst case of a call of `small` in micro-USD: its window and its largest answer."""
YAML = f"""
providers:
  up: {{type: custom, base_url: "URL/v1"}}
models:
  small:
    context_window: 1000
    max_output_tokens: 100
    price: {{input: "10", output: "20"}}
    fallback: {{context_window: big, content_filter: lenient}}
    route: {{circuit_breaker: off, targets: [{{backend: "up:small", cost: {{input: "5", output: "6"}}}}]}}
  big:
    context_window: 4000
    max_output_tokens: 100
    price: {{input: "30", output: "40"}}
    fallback: {{context_window: huge}}
    route: {{circuit_breaker: off, targets: [{{backend: "up:big", cost: {{input: "7", output: "8"}}}}]}}
  huge: {{max_output_tokens: 100, price: {{input: "90", output: "90"}}, route: [{{backend: "up:huge"}}]}}
  lenient: {{max_output_tokens: 100, price: {{input: "3", output: "4"}}, route: [{{backend: "up:lenient"}}]}}
  once:
    price: {{input: "10", output: "20"}}
    fallback: {{context_window: big, content_filter: lenient}}
    route: {{retries: 0, circuit_breaker: off, targets: [{{backend: "up:small"}}]}}
  closed: {{status: disabled, price: free, route: [{{backend: "up:big"}}]}}
  to-closed:
    price: {{input: "10", output: "20"}}
    fallback: {{context_window: closed, content_filter: closed}}
    route: [{{backend: "up:small"}}]
partners:
  p:
    rate_limits: {OPEN}
    tenants:
{tenant("acme")}{tenant("narrow", "[small, huge]")}\
{tenant("poor", more=f'budgets: [{{period: total, cost_limit: "{HELD_BY_SMALL / 10**6 + 0.001:.6f}"}}],')}\
{tenant("tight", more='budgets: [{period: total, cost_limit: "0.079"}],')}"""
"""`poor` cannot hold a call of `big`; `tight` can, but not beside one of `small`."""


@dataclass
class Plays:
    """What each upstream model does; `good` unless it is told."""

    of: dict[str, Play]

    def __call__(self, call: Call) -> Any:
        return self.of.get(call.model, names_itself)(call)


def names_itself(call: Call) -> Any:
    return call.stream(text_stream(call.model)) if call.json.get("stream") else call.reply(200, completion(call.model))


@pytest.fixture(scope="module")
def plays() -> Plays:
    return Plays({})


@pytest.fixture(autouse=True)
def as_usual(plays: Plays) -> None:
    plays.of.clear()


@pytest.fixture(scope="module")
def upstream(plays: Plays) -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.answer(plays)
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(YAML.replace("URL", upstream.url), tmp_path_factory.mktemp("model-fallback")) as gateway:
        yield gateway


STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
ON_SURFACES = pytest.mark.parametrize("surface", SURFACES)
TOO_LONG = answers(400, {"error": {"message": "too long", "code": "context_length_exceeded"}})
OBJECTS = answers(400, {"error": {"message": "no such talk", "code": "content_filter"}})


def filtered(call: Call) -> Any:
    """A 200 whose answer the filter took away."""
    return after_text("")(call)


def after_text(text: str) -> Play:
    def play(call: Call) -> Any:
        if call.json.get("stream"):
            said = [chunk({"content": text})] if text else []
            first = chunk({"role": "assistant", "content": ""})
            return call.stream([first, *said, chunk({}, "content_filter"), chunk(None, usage=USAGE), DONE])
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "content_filter"}
        return call.reply(200, completion(choices=[choice]))

    return play


FILTERS = pytest.mark.parametrize("play", [OBJECTS, filtered], ids=["an error", "an empty answer"])

_numbers = itertools.count(1)


@dataclass
class Seen:
    answer: Answer
    rows: list[dict[str, Any]]

    @property
    def row(self) -> dict[str, Any]:
        (row,) = self.rows
        return row

    @property
    def asked(self) -> list[str]:
        return [attempt["backend"].removeprefix("up:") for attempt in self.row["attempts"]]

    @property
    def text(self) -> str:
        if b"data: " in self.answer.body[:200]:
            return text_of(self.answer.body)
        body = self.answer.json()
        return str(body.get("data", body)["choices"][0]["message"]["content"])

    @property
    def money(self) -> list[float]:
        """What the caller pays and what it costs us, in micro-USD."""
        return [float(Decimal(self.row[name]) * 10**6) for name in ("cost", "backend_cost")]

    @property
    def error(self) -> str:
        return str(self.answer.json()["error"]["code"])


def call(
    gateway: Gateway, model: str, *, who: str = "acme", surface: str = "native", tokens: int = 5, **members: Any
) -> Seen:
    """`tokens` is the length of the input, by the estimate of four bytes."""
    request_id = f"fallback-{next(_numbers):04}"
    body = {"model": model, "messages": [{"role": "user", "content": "x" * 4 * tokens}]} | members
    answer = gateway.post(SURFACES[surface], body, key=key_of(who), headers={"X-Request-ID": request_id})
    return Seen(answer, gateway.usage(request_id=request_id))


def used(input_price: int, output_price: int) -> int:
    """Of an answer with 7 and 3 tokens."""
    return 7 * input_price + 3 * output_price


def until(what: str, condition: Callable[[], Any], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.01)


# -- an input that is too long ----------------------------------------------------------------------------------------


@ON_SURFACES
@STREAMED
@pytest.mark.parametrize(("tokens", "asked"), [(800, "small"), (1200, "big"), (4200, "huge")])
def test_a_length_that_is_known_beforehand_is_not_even_tried(
    gateway: Gateway, upstream: Upstream, surface: str, stream: bool, tokens: int, asked: str
) -> None:
    before = len(upstream.calls)
    seen = call(gateway, "small", surface=surface, stream=stream, tokens=tokens)
    assert (seen.answer.status, seen.text) == (200, asked)
    assert [each.model for each in upstream.calls[before:]] == [asked]
    assert (seen.row["model"], seen.row["status"]) == (asked, "completed")
    assert seen.answer.headers.get("X-Scaigrid-Fallback") == (None if asked == "small" else asked)
    assert seen.answer.headers["X-Scaigrid-Attempts"] == "1"


@ON_SURFACES
@STREAMED
def test_the_upstream_s_refusal_is_not_the_end(gateway: Gateway, plays: Plays, surface: str, stream: bool) -> None:
    plays.of["small"] = TOO_LONG
    seen = call(gateway, "small", surface=surface, stream=stream)
    assert (seen.answer.status, seen.text) == (200, "big")
    assert seen.asked == ["small", "big"]
    assert seen.money == [used(30, 40), used(7, 8)], "a refusal costs nothing"
    assert seen.answer.headers["X-Scaigrid-Fallback"] == "big"
    assert (seen.row["model"], seen.row["error"]) == ("big", None)


@STREAMED
def test_a_chain_of_two(gateway: Gateway, plays: Plays, stream: bool) -> None:
    plays.of["small"] = plays.of["big"] = TOO_LONG
    seen = call(gateway, "small", stream=stream)
    assert (seen.answer.status, seen.text) == (200, "huge")
    assert seen.asked == ["small", "big", "huge"]
    assert seen.row["model"] == "huge"


def test_when_all_refuse_the_caller_sees_the_refusal(gateway: Gateway, plays: Plays) -> None:
    for name in ("small", "big", "huge"):
        plays.of[name] = TOO_LONG
    seen = call(gateway, "small")
    assert (seen.answer.status, seen.error) == (422, "VALIDATION_ERROR")
    assert seen.asked == ["small", "big", "huge"]
    assert seen.money == [0, 0]


def test_a_model_that_fails_for_another_reason_is_not_left_for_the_next(gateway: Gateway, plays: Plays) -> None:
    plays.of["small"], plays.of["big"] = TOO_LONG, answers(500)
    seen = call(gateway, "small")
    assert (seen.answer.status, seen.error) == (502, "BACKEND_ERROR")
    assert seen.asked == ["small", "big", "big"]


@STREAMED
@pytest.mark.parametrize(
    ("model", "who"), [("once", "acme"), ("small", "narrow"), ("to-closed", "acme")], ids=["budget", "tenant", "off"]
)
def test_where_nobody_may_take_over_the_caller_sees_the_refusal(
    gateway: Gateway, plays: Plays, model: str, who: str, stream: bool
) -> None:
    plays.of["small"] = TOO_LONG
    who_may = call(gateway, model, who=who, stream=stream)
    assert (who_may.answer.status, who_may.error) == (422, "VALIDATION_ERROR")
    assert who_may.asked == ["small"]
    assert "X-Scaigrid-Fallback" not in who_may.answer.headers


# -- a filter ---------------------------------------------------------------------------------------------------------


@ON_SURFACES
@STREAMED
@FILTERS
def test_what_the_filter_takes_away_another_model_answers(
    gateway: Gateway, plays: Plays, surface: str, stream: bool, play: Play
) -> None:
    plays.of["small"] = play
    seen = call(gateway, "small", surface=surface, stream=stream)
    assert (seen.answer.status, seen.text) == (200, "lenient")
    assert b"content_filter" not in seen.answer.body
    assert not stream or (ended(seen.answer.body) and failure_of(seen.answer.body) is None)
    assert seen.asked == ["small", "lenient"]
    assert [attempt["status"] for attempt in seen.row["attempts"]] == ["failed", "completed"]
    price, cost = seen.money
    assert price == used(3, 4)
    ours = cost - used(3, 4)
    if play is OBJECTS:
        assert ours == 0
    elif stream:
        assert ours > 0, "its input, as an estimate"
    else:
        assert ours == used(5, 6), "the upstream worked and told what it used"


@ON_SURFACES
@STREAMED
def test_what_was_said_before_is_the_answer(gateway: Gateway, plays: Plays, surface: str, stream: bool) -> None:
    plays.of["small"] = after_text("half of it")
    seen = call(gateway, "small", surface=surface, stream=stream)
    assert (seen.answer.status, seen.text) == (200, "half of it")
    assert seen.row["finish_reason"] == "content_filter"
    assert seen.asked == ["small"]
    assert seen.money == [used(10, 20), used(5, 6)]


@STREAMED
@pytest.mark.parametrize(
    ("model", "who"), [("once", "acme"), ("small", "narrow"), ("to-closed", "acme")], ids=["budget", "tenant", "off"]
)
def test_where_nobody_may_take_over_the_empty_answer_is_the_answer(
    gateway: Gateway, plays: Plays, model: str, who: str, stream: bool
) -> None:
    plays.of["small"] = filtered
    seen = call(gateway, model, who=who, stream=stream)
    assert seen.answer.status == 200
    assert b"content_filter" in seen.answer.body
    assert (seen.asked, seen.row["status"], seen.row["finish_reason"]) == (["small"], "completed", "content_filter")


@STREAMED
def test_nothing_is_sent_before_the_filter_has_spoken(gateway: Gateway, plays: Plays, stream: bool) -> None:
    """The first model begins its stream, and takes half a second to be filtered; the caller waits for one answer."""

    async def begins_and_is_filtered(call: Call) -> None:
        if not stream:
            await asyncio.sleep(0.3)
            await filtered(call)
            return
        await call.start_stream()
        await call.chunk(chunk({"role": "assistant", "content": ""}))
        await asyncio.sleep(0.3)
        await call.chunk(chunk({}, "content_filter") + DONE)
        await call.end_stream()

    plays.of["small"] = begins_and_is_filtered
    body = {"model": "small", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
    with Wire(gateway.url) as wire:
        wire.send(request_bytes(SURFACES["compat"], body, key_of("acme")))
        assert not wire.closed_within(0.2)
        assert wire.received == b""
        wire.wait_for(b"lenient")


# -- the money --------------------------------------------------------------------------------------------------------


def test_a_budget_that_holds_one_of_the_two_is_enough(gateway: Gateway, plays: Plays) -> None:
    plays.of["small"] = TOO_LONG
    seen = call(gateway, "small", who="tight")
    assert (seen.answer.status, seen.text) == (200, "big")
    assert "X-Scaigrid-Budget-Clamped" not in seen.answer.headers
    reserved = Decimal(seen.row["reserved"]) * 10**6
    assert reserved + HELD_BY_SMALL > 79_000 > reserved, "the case is what it says"
    assert spent(gateway, "tight") == [(seen.row["cost"], "0")]


@pytest.mark.parametrize("play", [TOO_LONG, filtered])
def test_a_budget_that_does_not_hold_the_new_model_refuses_the_call(gateway: Gateway, plays: Plays, play: Play) -> None:
    plays.of["small"] = play
    # Where the filter speaks `lenient` takes over, which is cheap: only `big` is too dear.
    seen = call(gateway, "small", who="poor")
    if play is filtered:
        assert (seen.answer.status, seen.text) == (200, "lenient")
        return
    assert (seen.answer.status, seen.error) == (429, "BUDGET_EXCEEDED")
    assert seen.asked == ["small"]
    assert (seen.row["status"], seen.row["error"], seen.row["cost"]) == ("failed", "BUDGET_EXCEEDED", "0")
    assert [pending for _, pending in spent(gateway, "poor")] == ["0"]


def spent(gateway: Gateway, tenant_id: str) -> list[tuple[str, str]]:
    """What the tenant's budgets have booked, and what they still hold."""
    found = gateway.get(f"/v1/accounting/budgets?scope=tenant&scope_id={tenant_id}").json()["data"]["items"]
    return [(budget["used"]["cost"], budget["pending"]["cost"]) for budget in found]


@STREAMED
def test_who_hangs_up_at_the_second_model_owes_the_second_model(
    gateway: Gateway, upstream: Upstream, plays: Plays, stream: bool
) -> None:
    plays.of["small"], plays.of["big"] = TOO_LONG, faults.never_answer
    request_id = f"fallback-leaves-{stream}"
    body = {"model": "small", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
    before = len(upstream.calls)
    with Wire(gateway.url) as wire:
        wire.send(request_bytes(SURFACES["native"], body, key_of("acme"), {"X-Request-ID": request_id}))
        until("the second is asked", lambda: len(upstream.calls) == before + 2)
        time.sleep(0.05)
        left_at = wire.hang_up()
    second = upstream.calls[-1]
    until("it sees the hang-up", lambda: second.hung_up)
    assert second.hung_up_at - left_at < 0.25
    until("nothing is in flight", lambda: gateway.in_flight() == 0)
    row = gateway.usage_of(request_id)
    assert (row["status"], row["model"]) == ("cancelled", "big")
    assert Decimal(row["cost"]) * 10**6 == 30 * row["tokens_in"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_books_the_call_once_under_the_model_that_was_asked_last(
    when: str, upstream: Upstream, plays: Plays, tmp_path: Path
) -> None:
    """`before`: the first model is still at work. `after`: the second is."""
    plays.of["small"] = faults.never_answer if when == "before" else TOO_LONG
    plays.of["big"] = faults.never_answer
    expected = "small" if when == "before" else "big"
    with running(YAML.replace("URL", upstream.url), tmp_path) as gateway:
        request_id = f"fallback-kill-{when}"
        body = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
        before = len(upstream.calls_of(expected))
        with Wire(gateway.url) as wire:
            wire.send(request_bytes(SURFACES["native"], body, key_of("acme"), {"X-Request-ID": request_id}))
            until("it is asked", lambda: len(upstream.calls_of(expected)) > before)
            gateway.kill()
        gateway.start()
        row = gateway.usage_of(request_id)
        assert (row["status"], row["model"], row["backend_id"]) == ("interrupted", expected, f"up:{expected}")
        price = 10 if when == "before" else 30
        assert Decimal(row["cost"]) * 10**6 == price * row["tokens_in"] > 0
        gateway.kill()
        gateway.start()
        assert gateway.usage_of(request_id)["cost"] == row["cost"], "nor twice at the next start"


def test_no_fallback_leaves_a_traceback(gateway: Gateway) -> None:
    """Runs last."""
    assert "traceback" not in gateway.output().lower()
    assert [line for line in gateway.log_lines() if line.get("level") == "error"] == []
