"""A chat's answer: when it is in hand, what still fails over, and how one that breaks half-way is told and booked."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from appliance.exchange import Exchange, UpstreamCut
from appliance.pipeline.run import run
from appliance.state import State
from support.build import (
    SECRET,
    FakeClient,
    FakePools,
    FakeUpstream,
    chat_body,
    client_of,
    journal_of,
    make_exchange,
    make_grid,
    make_state,
)
from support.line import FOR_EVER, SECRET_OF_ONE, called, failed
from support.line import whole as whole_upstream
from support.sse import ended, failure_of, text_of
from support.upstream import DONE, chunk, completion, text_stream

GRID = make_grid(
    """
providers:
  one: {type: custom, base_url: "http://one.test/v1", api_key: secret-of-one, timeouts: {idle: 100ms}}
models:
  m: {price: {input: "1.00", output: "2.00"}, route: [{backend: "one:a"}]}
partners: {reseller: {tenants: {acme: {}}}}
"""
)
BOTH = pytest.mark.parametrize("surface", ["native", "openai"])
EITHER = pytest.mark.parametrize("stream", [False, True])


def with_pieces(*pieces: bytes | float | Exception) -> State:
    return make_state(pools=FakePools(FakeUpstream(*pieces)))


async def answered(surface: str, state: State, **changes: Any) -> tuple[FakeClient, Exchange]:
    exchange = make_exchange(GRID, chat_body(**changes), surface=surface, clock=asyncio.get_running_loop().time)
    async with asyncio.timeout(5):
        await run(exchange, state)
    client = client_of(exchange)
    assert client.ended
    return client, exchange


def whole(**changes: Any) -> State:
    return with_pieces(json.dumps(completion("hello") | changes).encode())


# -- in hand ----------------------------------------------------------------------------------------------------------


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


@EITHER
async def test_an_answer_that_stalls(stream: bool) -> None:
    assert (await failed(FakeUpstream(b'{"id":', FOR_EVER), stream=stream))[:2] == ("timeout", "BACKEND_TIMEOUT")


@EITHER
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
    kind, code, message = await failed(whole_upstream(body))
    assert (kind, code) == ("server_error", "UPSTREAM_SHAPE_MISMATCH")
    assert "one" in message


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


# -- sent on ----------------------------------------------------------------------------------------------------------


TOOL_CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Zürich"}'}}
SAID: dict[str, dict[str, Any]] = {
    "text": {"content": "Grüße aus Zürich"},
    "reasoning": {"reasoning_content": "Let me think.", "content": "No."},
    "a refusal": {"refusal": "I will not say that."},
    "a tool call": {"tool_calls": [TOOL_CALL]},
    "text and a tool call": {"content": "One moment.", "tool_calls": [TOOL_CALL]},
}


@BOTH
@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
async def test_without_a_reported_usage_too_a_stream_costs_what_the_whole_call_costs(
    surface: str, said: dict[str, Any]
) -> None:
    delta = said | {"tool_calls": [call | {"index": 0} for call in said.get("tool_calls", [])]}
    streamed = with_pieces(chunk(delta), chunk({}, "stop"), DONE)
    message = {"role": "assistant", "content": None} | said
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    (_, as_stream), (_, as_whole) = (
        await answered(surface, streamed, stream=True),
        await answered(surface, whole(usage=None, choices=choices)),
    )
    assert (as_stream.estimated, as_whole.estimated) == (True, True)
    assert as_stream.usage
    assert as_whole.usage
    assert as_stream.usage.output_tokens == as_whole.usage.output_tokens > 0


@BOTH
async def test_each_frame_is_sent_as_it_arrives(surface: str) -> None:
    state = with_pieces(*text_stream("a", "b", "c"))
    client, _ = await answered(surface, state, stream=True)
    assert [text for piece in client.sent if (text := text_of(piece))] == ["a", "b", "c"]


# -- what breaks after the first content ------------------------------------------------------------------------------

START = [chunk({"role": "assistant"}), chunk({"content": "half"})]
ERROR_EVENT = b'data: {"error":{"message":"secret-of-one is overloaded","type":"server_error"}}\n\n'


@BOTH
@pytest.mark.parametrize(
    ("pieces", "code", "kind"),
    [
        ([FOR_EVER], "BACKEND_TIMEOUT", "timeout"),
        ([UpstreamCut("reset, secret-of-one")], "BACKEND_ERROR", "server_error"),
        ([], "BACKEND_ERROR", "server_error"),
        ([ERROR_EVENT, DONE], "BACKEND_ERROR", "server_error"),
        ([b"data: {broken\n\n", DONE], "UPSTREAM_SHAPE_MISMATCH", "server_error"),
    ],
    ids=["silence", "cut", "no end mark", "error event", "garbage"],
)
async def test_a_stream_that_breaks_ends_with_a_typed_error(
    surface: str, pieces: list[Any], code: str, kind: str
) -> None:
    upstream = FakeUpstream(*START, *pieces)
    state = make_state(pools=FakePools(upstream))
    client, exchange = await answered(surface, state, stream=True)
    assert text_of(client.body).startswith("half")
    told = failure_of(client.body)
    assert told
    assert told["code"] == (code if surface == "native" else code.lower())
    assert ended(client.body)
    assert b"secret-of-one" not in client.body
    (row,) = journal_of(state).ended
    assert (row["status"], row["error_code"], row["estimated"]) == ("failed", code, True)
    assert row["output_tokens"] >= 1
    attempt = exchange.attempts[0]
    assert attempt.failure
    assert attempt.failure.kind == kind
    assert "secret-of-one" not in attempt.failure.detail
    assert upstream.closed


@BOTH
async def test_a_revoked_key_ends_its_running_stream(surface: str) -> None:
    upstream = FakeUpstream(*START, 0.05, chunk({"content": "never seen"}), *text_stream("x"))
    state = make_state(pools=FakePools(upstream))
    asyncio.get_running_loop().call_later(0.02, state.directory.revoke_key, "apikey_1")
    client, exchange = await answered(surface, state, stream=True)
    assert text_of(client.body) == "half"
    assert failure_of(client.body)
    assert ended(client.body)
    assert exchange.error
    assert exchange.error.code == "AUTH_TOKEN_INVALID"
    assert upstream.closed
    assert SECRET.encode() not in client.body


@BOTH
async def test_a_suspended_tenant_ends_its_running_streams(surface: str) -> None:
    state = make_state(pools=FakePools(FakeUpstream(*START, 0.05, *text_stream("never seen"))))
    directory = state.directory

    def suspend() -> None:
        directory.declare(list(directory.users.values()), list(directory.keys.values()), ["acme"])

    asyncio.get_running_loop().call_later(0.02, suspend)
    client, exchange = await answered(surface, state, stream=True)
    assert text_of(client.body) == "half"
    assert exchange.error
    assert exchange.error.code == "AUTHZ_PERMISSION_DENIED"
