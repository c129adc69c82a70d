"""One attempt on a scripted upstream: what counts as an answer, how each failure is classed, what is given back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.exchange import Attempt, ConnectFailed, Exchange, UpstreamCut
from appliance.pipeline import call as call_file
from appliance.pipeline.admit import admit
from appliance.pipeline.call import call
from appliance.pipeline.translate import translate
from appliance.state import State
from support.build import FakePools, FakeUpstream, chat_body, journal_of, make_exchange, make_grid, make_state
from support.upstream import DONE, chunk, completion, text_stream

SECRET_OF_ONE = "secret-of-one"
FOR_EVER = 60.0
GRID = make_grid(
    """
providers:
  one:
    type: custom
    base_url: http://one.test/v1
    api_key: secret-of-one
    timeouts: {connect: 1s, first_byte: 100ms, idle: 50ms, total: 400ms}
  long: {type: custom, base_url: "http://long.test/v1", timeouts: {first_byte: 100ms}}
  patient: {type: custom, base_url: "http://patient.test/v1"}
models:
  m: {price: free, route: [{backend: "one:a"}]}
  long: {price: free, route: [{backend: "long:a"}]}
  patient: {price: free, route: [{backend: "patient:a"}]}
  hurried: {price: free, route: {targets: [{backend: "patient:a"}], deadline: 20ms}}
partners: {reseller: {tenants: {acme: {}}}}
"""
)


def whole(body: Any = None, status: int = 200, **headers: str) -> FakeUpstream:
    data = body if isinstance(body, bytes) else json.dumps(completion() if body is None else body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return FakeUpstream(data, status=status, headers=named)


async def called(
    *script: FakeUpstream | Exception | float, model: str = "m", surface: str = "openai", **changes: Any
) -> tuple[bool, Exchange, Attempt, State]:
    """One attempt, ready as the line makes it, on an upstream that answers with `script`."""
    pools = FakePools(*script)
    state = make_state(pools=pools)
    clock = asyncio.get_running_loop().time
    exchange = make_exchange(GRID, chat_body(model, **changes), surface=surface, clock=clock)
    admit(exchange, state)
    assert exchange.model
    attempt = Attempt(1, exchange.model.policy.targets[0])
    assert translate(exchange, attempt)
    async with asyncio.timeout(5):
        return await call(exchange, attempt, state), exchange, attempt, state


async def failed(*script: FakeUpstream | Exception | float, **changes: Any) -> tuple[str, str, str]:
    """Kind, code and message of the failure; all that must hold after any failure is asserted here."""
    answered, exchange, attempt, _ = await called(*script, **changes)
    assert answered is False
    assert attempt.failure
    assert exchange.answered is None
    assert exchange.attempts == [attempt]
    assert SECRET_OF_ONE not in attempt.failure.message
    assert SECRET_OF_ONE not in attempt.failure.detail
    for upstream in script:
        assert not isinstance(upstream, FakeUpstream) or upstream.closed
    return attempt.failure.kind, attempt.failure.code, attempt.failure.message


# -- an answer --------------------------------------------------------------------------------------------------------


async def test_a_whole_answer_is_read_understood_and_its_connection_given_back() -> None:
    upstream = whole()
    answered, exchange, attempt, state = await called(upstream)
    assert answered is True
    assert attempt.reply
    assert exchange.answered is attempt
    assert exchange.usage == attempt.reply.usage
    assert attempt.dispatched
    assert attempt.sent
    assert upstream.closed
    assert json.loads(bytes(attempt.reply_members["id"])) == "chatcmpl-1"
    assert [row["id"] for row in journal_of(state).begun] == [exchange.usage_id]


async def test_the_endpoint_gets_the_body_with_its_headers() -> None:
    _, _, attempt, state = await called(whole())
    pools: Any = state.pools
    ((name, url, headers, body),) = pools.opened
    assert (name, url, headers["Authorization"]) == (
        "one",
        "http://one.test/v1/chat/completions",
        f"Bearer {SECRET_OF_ONE}",
    )
    assert body == attempt.body


async def test_an_answer_may_arrive_in_pieces() -> None:
    data = json.dumps(completion("in pieces")).encode()
    answered, _, _, _ = await called(FakeUpstream(data[:10], 0.03, data[10:20], 0.03, data[20:]))
    assert answered


async def test_a_stream_is_an_answer_when_its_first_content_is_here() -> None:
    pieces = text_stream("a", "b")
    upstream = FakeUpstream(pieces[0], pieces[1], FOR_EVER)
    answered, exchange, attempt, _ = await called(upstream, stream=True)
    assert answered is True
    assert attempt.stream
    assert not upstream.closed
    assert exchange.usage is None
    frames = await attempt.stream.frames()
    assert len(frames) == 2, "what was read to see that an answer begins is handed on"


@pytest.mark.parametrize(
    "piece",
    [
        chunk({"content": "x"}),
        chunk({"reasoning_content": "x"}),
        chunk({"refusal": "x"}),
        chunk({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]}),
        chunk({}, "stop"),
    ],
)
async def test_any_kind_of_content_begins_an_answer(piece: bytes) -> None:
    answered, _, _, _ = await called(FakeUpstream(chunk({"role": "assistant"}), piece, FOR_EVER), stream=True)
    assert answered


# -- failures ---------------------------------------------------------------------------------------------------------

BOTH = pytest.mark.parametrize("stream", [False, True])


@BOTH
@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (ConnectFailed(f"refused by {SECRET_OF_ONE}"), "connect", "BACKEND_ERROR"),
        (UpstreamCut(f"garbage with {SECRET_OF_ONE}"), "server_error", "BACKEND_ERROR"),
    ],
)
async def test_no_answer_at_all(stream: bool, error: Exception, kind: str, code: str) -> None:
    assert (await failed(error, stream=stream))[:2] == (kind, code)


@BOTH
async def test_a_first_byte_that_is_too_late(stream: bool) -> None:
    assert (await failed(FOR_EVER, stream=stream))[:2] == ("timeout", "BACKEND_TIMEOUT")


@BOTH
async def test_the_deadline_of_the_call_ends_an_attempt(stream: bool) -> None:
    started = asyncio.get_running_loop().time()
    assert (await failed(FOR_EVER, model="hurried", stream=stream))[0] == "timeout"
    assert asyncio.get_running_loop().time() - started < 2


@BOTH
async def test_an_answer_that_stalls(stream: bool) -> None:
    assert (await failed(FakeUpstream(b'{"id":', FOR_EVER), stream=stream))[:2] == ("timeout", "BACKEND_TIMEOUT")


@BOTH
async def test_an_answer_that_is_cut(stream: bool) -> None:
    upstream = FakeUpstream(b'{"id":', UpstreamCut(f"reset, {SECRET_OF_ONE}"))
    assert (await failed(upstream, stream=stream))[:2] == ("server_error", "BACKEND_ERROR")


async def test_a_whole_answer_that_drips_is_ended_by_total() -> None:
    drops: list[bytes | float | Exception] = [b" ", 0.02] * 1000
    started = asyncio.get_running_loop().time()
    assert (await failed(FakeUpstream(*drops)))[0] == "timeout"
    assert 0.3 < asyncio.get_running_loop().time() - started < 2


async def test_a_stream_of_heartbeats_is_ended_by_first_byte() -> None:
    beats: list[bytes | float | Exception] = [b": ping\n\n", 0.01] * 1000
    started = asyncio.get_running_loop().time()
    assert (await failed(FakeUpstream(*beats), model="long", stream=True))[0] == "timeout"
    assert asyncio.get_running_loop().time() - started < 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"<html>",
        b'{"id":',
        b"[]",
        b"7",
        b"null",
        b'{"error":{"message":"x"}}',
        b'{"choices":[]}',
        b"\xff\xfe",
        b"[" * 5000,
    ],
)
async def test_a_200_that_is_no_answer(body: bytes) -> None:
    kind, code, message = await failed(whole(body))
    assert (kind, code) == ("server_error", "UPSTREAM_SHAPE_MISMATCH")
    assert "one" in message


async def test_an_answer_beyond_the_limit_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_file, "MAX_REPLY_BYTES", 1000)
    assert (await failed(FakeUpstream(*[b" " * 100] * 20)))[:2] == ("server_error", "UPSTREAM_SHAPE_MISMATCH")


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [DONE],
        [chunk({"role": "assistant"}), DONE],
        [chunk({"content": ""}), DONE],
        [b"data: {broken\n\n"],
        [b"<html>no stream</html>"],
        [json.dumps(completion()).encode()],
    ],
    ids=["nothing", "[DONE] alone", "role alone", "empty content", "no JSON", "a page", "a whole answer"],
)
async def test_a_stream_without_content_is_no_answer(pieces: list[bytes]) -> None:
    assert (await failed(FakeUpstream(*pieces), stream=True))[:2] == ("server_error", "UPSTREAM_SHAPE_MISMATCH")


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        ({"message": "overloaded", "type": "server_error"}, "server_error", "BACKEND_ERROR"),
        ({"message": "slow down", "code": 429}, "rate_limited", "BACKEND_RATE_LIMITED"),
        ({"message": "no", "code": 401}, "operator", "BACKEND_ERROR"),
    ],
)
async def test_an_error_event_before_content_can_still_fail_over(error: Any, kind: str, code: str) -> None:
    event = b"data: " + json.dumps({"error": error}).encode() + b"\n\n"
    assert (await failed(FakeUpstream(chunk({"role": "assistant"}), event), stream=True))[:2] == (kind, code)


# -- an answer of another status --------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, "caller", "VALIDATION_ERROR"),
        (401, "operator", "BACKEND_ERROR"),
        (404, "operator", "BACKEND_ERROR"),
        (429, "rate_limited", "BACKEND_RATE_LIMITED"),
        (500, "server_error", "BACKEND_ERROR"),
        (503, "server_error", "BACKEND_ERROR"),
        (504, "timeout", "BACKEND_TIMEOUT"),
        (302, "operator", "BACKEND_ERROR"),
        (204, "operator", "BACKEND_ERROR"),
    ],
)
async def test_the_status_says_whose_fault_it_is(stream: bool, status: int, kind: str, code: str) -> None:
    body = {"error": {"message": f"no, {SECRET_OF_ONE}"}}
    assert (await failed(whole(body, status), stream=stream))[:2] == (kind, code)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"x" * 1000] * 1000,
        [b'{"error":', UpstreamCut("reset")],
        [b'{"error":', FOR_EVER],
        [b"\xff\xfe"],
        [],
    ],
    ids=["endless", "cut", "stalled", "no text", "empty"],
)
@pytest.mark.parametrize(("status", "kind"), [(401, "operator"), (429, "rate_limited"), (503, "server_error")])
async def test_the_status_counts_whatever_becomes_of_the_body(status: int, kind: str, pieces: list[Any]) -> None:
    upstream = FakeUpstream(*pieces, status=status, headers={"retry-after": "9"})
    answered, _, attempt, _ = await called(upstream)
    assert not answered
    assert attempt.failure
    assert (attempt.failure.kind, attempt.failure.status) == (kind, status)
    assert upstream.closed


async def test_who_answers_retry_after_is_spared() -> None:
    _, exchange, attempt, state = await called(whole({"error": {"message": "x"}}, 429, retry_after="9"))
    assert attempt.failure
    assert attempt.failure.retry_after == 9
    assert state.health.wait_s("one:a", exchange.clock()) == pytest.approx(9, abs=0.5)


# -- the journal, the pause, cancellation -----------------------------------------------------------------------------


async def test_nothing_is_sent_when_the_journal_cannot_be_written() -> None:
    state = make_state(pools=FakePools(whole()))
    journal_of(state).failing = True
    exchange = make_exchange(GRID, surface="openai", clock=asyncio.get_running_loop().time)
    admit(exchange, state)
    assert exchange.model
    attempt = Attempt(1, exchange.model.policy.targets[0])
    translate(exchange, attempt)
    with pytest.raises(GatewayError) as caught:
        await call(exchange, attempt, state)
    assert caught.value.code == "JOURNAL_UNAVAILABLE"
    pools: Any = state.pools
    assert pools.opened == []
    assert exchange.attempts == []


async def test_the_pause_comes_before_the_call() -> None:
    state = make_state(pools=FakePools(whole()))
    loop = asyncio.get_running_loop()
    exchange = make_exchange(GRID, surface="openai", clock=loop.time)
    admit(exchange, state)
    assert exchange.model
    attempt = Attempt(2, exchange.model.policy.targets[0], delay_s=0.05)
    translate(exchange, attempt)
    before = loop.time()
    assert await call(exchange, attempt, state)
    assert attempt.started_at - before >= 0.045
    assert attempt.latency_ms < 45, "the pause is ours, not the upstream's"


@BOTH
@pytest.mark.parametrize("seconds", [0.0, 0.02])
async def test_a_caller_who_leaves_cancels_the_upstream_at_once(stream: bool, seconds: float) -> None:
    upstream = FakeUpstream(FOR_EVER)
    task = asyncio.ensure_future(called(seconds, upstream, model="patient", stream=stream))
    await asyncio.sleep(0.05)
    assert upstream.reads
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert upstream.closed


class Busy(FakePools):
    """All connections are taken for the time being."""

    async def open(self, *_: Any) -> Any:
        await asyncio.sleep(FOR_EVER)


async def test_a_caller_who_leaves_before_a_connection_is_free_had_nothing_sent() -> None:
    state = make_state(pools=Busy())
    exchange = make_exchange(GRID, chat_body("patient"), surface="openai", clock=asyncio.get_running_loop().time)
    admit(exchange, state)
    assert exchange.model
    attempt = Attempt(1, exchange.model.policy.targets[0])
    assert translate(exchange, attempt)
    task = asyncio.ensure_future(call(exchange, attempt, state))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert attempt.dispatched
    assert not attempt.sent


async def test_a_provider_in_this_process_is_at_work_at_once() -> None:
    grid = make_grid(
        """
providers: {p: {type: demo}}
models: {m: {price: free, route: [{backend: "p:x"}]}}
partners: {reseller: {tenants: {acme: {}}}}
"""
    )
    state = make_state()
    exchange = make_exchange(grid, clock=asyncio.get_running_loop().time)
    admit(exchange, state)
    attempt = Attempt(1, grid.models["m"].policy.targets[0])
    assert translate(exchange, attempt)
    assert await call(exchange, attempt, state)
    assert attempt.sent
