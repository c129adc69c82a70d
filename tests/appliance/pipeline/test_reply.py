"""The way back: the caller's dialect and model name, usage and cost where they belong, a typed error when it breaks."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.exchange import Exchange, UpstreamCut
from appliance.pipeline.reply import close, headers
from appliance.pipeline.run import run
from appliance.state import State
from support.build import (
    SECRET,
    FakeClient,
    FakePools,
    FakeUpstream,
    chat_body,
    client_of,
    failure,
    journal_of,
    make_attempt,
    make_budget,
    make_exchange,
    make_grid,
    make_state,
)
from support.sse import ended, events, failure_of, text_of
from support.upstream import DONE, USAGE, chunk, completion, text_stream

FOR_EVER = 60.0
GRID = make_grid(
    """
providers:
  one: {type: custom, base_url: "http://one.test/v1", api_key: secret-of-one, timeouts: {idle: 100ms}}
  claude: {type: anthropic, api_key: secret-of-claude}
models:
  m: {price: {input: "1.00", output: "2.00"}, route: [{backend: "one:a"}]}
  c: {price: {input: "1.00", output: "2.00"}, route: [{backend: "claude:claude-x"}]}
partners: {reseller: {tenants: {acme: {}}}}
"""
)
BOTH = pytest.mark.parametrize("surface", ["native", "openai"])


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


# -- whole answers ----------------------------------------------------------------------------------------------------


async def test_a_native_answer_is_an_envelope_with_usage_cost_and_meta() -> None:
    client, exchange = await answered("native", whole())
    body = client.json()
    assert (client.status, body["status"]) == (200, "ok")
    latency = body["meta"].pop("latency_ms")
    assert isinstance(latency, int)
    assert body["meta"] == {"request_id": "req_of_the_test", "backend": "one:a", "provider": "one", "attempts": 1}
    assert body["data"]["usage"] == {
        "input_tokens": 7,
        "output_tokens": 3,
        "total_tokens": 10,
        "cached_input_tokens": 0,
        "reasoning_tokens": 0,
        "cost": "0.000013",
        "estimated": False,
    }
    assert body["data"]["model"] == "m"
    assert body["data"]["id"] == "chat_0123456789abcdef"
    assert body["data"]["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
    ]
    assert exchange.status == "completed"


async def test_a_compat_answer_is_the_upstream_s_own_under_the_caller_s_model() -> None:
    client, _ = await answered("openai", whole(system_fingerprint="fp_1", unheard_of={"a": [1.10]}))
    more = {"model": "m", "system_fingerprint": "fp_1", "unheard_of": {"a": [1.10]}}
    assert client.json() == completion("hello") | more
    assert b'"unheard_of":{"a": [1.1]}' in client.body, "carried undecoded"


async def test_a_compat_answer_from_another_dialect_is_openai_s() -> None:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [{"type": "text", "text": "hello"}],
        "stop_reason": "max_tokens",
        "usage": {"input_tokens": 5, "output_tokens": 2},
    }
    client, _ = await answered("openai", with_pieces(json.dumps(message).encode()), model="c")
    body = client.json()
    assert (body["object"], body["model"]) == ("chat.completion", "c")
    assert body["choices"][0]["message"]["content"] == "hello"
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["total_tokens"] == 7


async def test_usage_that_the_upstream_kept_to_itself_is_estimated_and_marked() -> None:
    client, exchange = await answered("native", whole(usage=None))
    usage = client.json()["data"]["usage"]
    assert usage["estimated"] is True
    assert usage["input_tokens"] == exchange.input_estimate > 0
    assert usage["output_tokens"] > 0


@BOTH
@pytest.mark.parametrize("stream", [False, True])
async def test_every_answer_names_backend_and_attempts(surface: str, stream: bool) -> None:
    state = with_pieces(*text_stream("a")) if stream else whole()
    client, _ = await answered(surface, state, stream=stream)
    told = {name: value for name, value in client.headers.items() if "Ratelimit" not in name}
    assert told == {"X-Scaigrid-Backend": "one:a", "X-Scaigrid-Attempts": "1"}


@BOTH
@pytest.mark.parametrize("stream", [False, True])
async def test_every_answer_tells_the_tightest_rate_limit(surface: str, stream: bool) -> None:
    state = with_pieces(*text_stream("a")) if stream else whole()
    client, exchange = await answered(surface, state, stream=stream)
    told = {name: int(value) for name, value in client.headers.items() if "Ratelimit" in name}
    assert exchange.rate_limit == (60, 59, told["X-Scaigrid-Ratelimit-Reset"] - int(exchange.received_unix) - 1)
    assert (told["X-Scaigrid-Ratelimit-Limit"], told["X-Scaigrid-Ratelimit-Remaining"]) == (60, 59)


@BOTH
@pytest.mark.parametrize("stream", [False, True])
async def test_a_clamped_answer_says_to_how_many_tokens(surface: str, stream: bool) -> None:
    pieces = text_stream("a") if stream else [json.dumps(completion("hello")).encode()]
    state = make_state(pools=FakePools(FakeUpstream(*pieces)), budgets=[make_budget(token_limit=3000)])
    client, exchange = await answered(surface, state, stream=stream)
    assert exchange.output_cap
    assert client.headers["X-Scaigrid-Budget-Clamped"] == str(exchange.output_cap)


async def test_a_cap_that_was_not_lowered_is_not_called_clamped() -> None:
    pieces = [json.dumps(completion("hello")).encode()]
    state = make_state(pools=FakePools(FakeUpstream(*pieces)), budgets=[make_budget(token_limit=10**6)])
    client, exchange = await answered("native", state)
    assert exchange.output_cap
    assert "X-Scaigrid-Budget-Clamped" not in client.headers


# -- streams ----------------------------------------------------------------------------------------------------------


async def test_a_native_stream_ends_with_usage_and_done() -> None:
    client, exchange = await answered("native", with_pieces(*text_stream("hello ", "world")), stream=True)
    found = events(client.body)
    assert text_of(client.body) == "hello world"
    assert found[-1] == ("", "[DONE]")
    assert found[-2][1]["choices"] == []
    assert found[-2][1]["usage"] == {
        "input_tokens": 7,
        "output_tokens": 3,
        "total_tokens": 10,
        "cached_input_tokens": 0,
        "reasoning_tokens": 0,
        "cost": "0.000013",
        "estimated": False,
    }
    assert {data["model"] for _, data in found[:-1]} == {"m"}
    assert (exchange.status, exchange.finish_reason) == ("completed", "stop")


@pytest.mark.parametrize("asked", [True, False])
async def test_a_compat_stream_shows_usage_to_those_who_asked(asked: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if asked else {}
    client, exchange = await answered("openai", with_pieces(*text_stream("hi")), stream=True, **options)
    chunks = [data for _, data in events(client.body)[:-1]]
    assert text_of(client.body) == "hi"
    assert ended(client.body)
    assert [chunk["usage"] for chunk in chunks if chunk.get("usage")] == ([USAGE] if asked else [])
    assert asked or all("usage" not in chunk for chunk in chunks)
    assert {chunk["model"] for chunk in chunks} == {"m"}
    assert exchange.usage
    assert exchange.usage.total_tokens == 10, "booked, whoever sees it"


@BOTH
async def test_a_streamed_call_costs_what_the_whole_call_costs(surface: str) -> None:
    _, streamed = await answered(surface, with_pieces(*text_stream("hello")), stream=True)
    _, at_once = await answered(surface, whole())
    assert streamed.cost_nano == at_once.cost_nano == 13_000


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


# -- close ------------------------------------------------------------------------------------------------------------


@BOTH
async def test_an_error_has_the_surface_s_body_and_retry_after(surface: str) -> None:
    exchange = make_exchange(GRID, surface=surface)
    exchange.error = GatewayError("BACKEND_RATE_LIMITED", "slow down", retry_after=2.2)
    await close(exchange)
    client = client_of(exchange)
    assert (client.status, client.headers) == (429, {"Retry-After": "3"})
    error = client.json()["error"]
    assert error["message"] == "slow down"
    assert error["code"] == {"native": "BACKEND_RATE_LIMITED", "openai": "rate_limit_exceeded"}[surface]


def test_a_failed_call_names_the_last_backend_that_was_asked() -> None:
    exchange = make_exchange(GRID)
    assert headers(exchange) == {}
    (target,) = GRID.models["m"].policy.targets
    exchange.attempts = [make_attempt(target, place, failure=failure("timeout")) for place in (1, 2)]
    assert headers(exchange) == {"X-Scaigrid-Backend": "one:a", "X-Scaigrid-Attempts": "2"}


@BOTH
async def test_a_refusal_tells_the_rate_limit_too(surface: str) -> None:
    exchange = make_exchange(GRID, surface=surface)
    exchange.rate_limit = (60, 0, 17)
    exchange.error = GatewayError("RATE_LIMITED", "too many", retry_after=5)
    await close(exchange)
    assert client_of(exchange).headers == {
        "X-Scaigrid-Ratelimit-Limit": "60",
        "X-Scaigrid-Ratelimit-Remaining": "0",
        "X-Scaigrid-Ratelimit-Reset": "1700000018",
        "Retry-After": "5",
    }
