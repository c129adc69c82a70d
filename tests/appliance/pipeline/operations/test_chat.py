"""Chats: what is read of a request in each dialect, how large it may be, and the last bytes of its answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.exchange import Exchange
from appliance.pipeline.admit import admit
from appliance.pipeline.estimate import HIDDEN_BOUND_TOKENS, MEDIA_BOUND_TOKENS
from appliance.pipeline.operations.chat import MAX_METADATA_BYTES
from appliance.pipeline.run import run
from appliance.state import State
from support.build import (
    FakeClient,
    FakePools,
    FakeUpstream,
    chat_body,
    client_of,
    make_exchange,
    make_grid,
    make_state,
)
from support.sse import ended, events, text_of
from support.upstream import USAGE, completion, text_stream

GRID = make_grid(
    """
providers:
  one: {type: custom, base_url: "http://one.test/v1", api_key: secret-of-one, timeouts: {idle: 100ms}}
  claude: {type: anthropic, api_key: secret-of-claude}
models:
  m: {price: {input: "1.00", output: "2.00"}, route: [{backend: "one:a"}]}
  c: {price: {input: "1.00", output: "2.00"}, route: [{backend: "claude:claude-x"}]}
  told: {price: free, context_window: 700, system_prompt: "Be brief.", route: [{backend: "one:a"}]}
partners: {reseller: {tenants: {acme: {}}}}
"""
)
DETAILS = {"prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}}
"""What OpenAI's clients rely on is there, whatever the upstream leaves out."""
BOTH = pytest.mark.parametrize("surface", ["native", "openai"])


def admitted(body: bytes | None = None, surface: str = "native") -> Exchange:
    exchange = make_exchange(GRID, body, surface=surface)
    admit(exchange, make_state())
    return exchange


def refused(body: bytes, surface: str = "native") -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        admitted(body, surface)
    return caught.value


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


# -- read and measured ------------------------------------------------------------------------------------------------


@BOTH
def test_the_bound_holds_for_whatever_the_body_may_become(surface: str) -> None:
    exchange = admitted(surface=surface)
    assert exchange.input_bound == len(exchange.body) + HIDDEN_BOUND_TOKENS
    part = {"type": "image_url", "image_url": {"url": "https://pictures.test/a.png"}}
    pictured = admitted(chat_body(messages=[{"role": "user", "content": [part]}]), surface)
    assert pictured.input_bound > MEDIA_BOUND_TOKENS


@BOTH
def test_the_model_s_window_bounds_the_input_and_the_estimate_stays_under_it(surface: str) -> None:
    small = admitted(chat_body("told"), surface)
    assert small.input_bound == 700
    large = admitted(chat_body("told", messages=[{"role": "user", "content": "x" * 9000}]), surface)
    assert (large.input_bound, large.input_estimate) == (700, 700)


@pytest.mark.parametrize(
    ("changes", "asked", "n"),
    [
        ({}, None, 1),
        ({"max_tokens": None, "n": None}, None, 1),
        ({"max_tokens": 7}, 7, 1),
        ({"max_completion_tokens": 9}, 9, 1),
        ({"max_tokens": 7, "max_completion_tokens": 9}, 7, 1),
        ({"max_tokens": 9, "max_completion_tokens": 7, "n": 3}, 7, 3),
    ],
)
def test_the_cap_that_the_caller_wrote_and_how_many_answers_he_wants(
    changes: dict[str, Any], asked: int | None, n: int
) -> None:
    exchange = admitted(chat_body(**changes), "openai")
    assert (exchange.asked_cap, exchange.n) == (asked, n)


@pytest.mark.parametrize(("changes", "asked"), [({}, None), ({"max_tokens": 7}, 7), ({"max_completion_tokens": 9}, 9)])
def test_the_native_surface_reads_them_too(changes: dict[str, Any], asked: int | None) -> None:
    exchange = admitted(chat_body(n=2, **changes))
    assert (exchange.asked_cap, exchange.n) == (asked, 2)


@pytest.mark.parametrize(
    ("changes", "stream", "include_usage"),
    [
        ({}, False, False),
        ({"stream": None}, False, False),
        ({"stream": True}, True, False),
        ({"stream": True, "stream_options": {"include_usage": True}}, True, True),
        ({"stream": True, "stream_options": {}}, True, False),
        ({"stream": True, "stream_options": None}, True, False),
    ],
)
def test_openai_s_stream_shows_usage_to_those_who_ask(
    changes: dict[str, Any], stream: bool, include_usage: bool
) -> None:
    exchange = admitted(chat_body(**changes), "openai")
    assert (exchange.stream, exchange.include_usage) == (stream, include_usage)
    assert exchange.head
    assert exchange.head.include_usage == include_usage


@pytest.mark.parametrize("stream", [True, False])
def test_the_native_stream_always_shows_usage(stream: bool) -> None:
    exchange = admitted(chat_body(stream=stream))
    assert (exchange.stream, exchange.include_usage) == (stream, True)


def test_the_native_surface_names_all_members_it_does_not_know() -> None:
    error = refused(chat_body(temprature=1, foo=2))
    assert error.code == "VALIDATION_ERROR"
    assert [detail["field"] for detail in error.details or []] == ["temprature", "foo"]


def test_the_compat_surface_lets_unknown_members_through() -> None:
    assert bytes(admitted(chat_body(foo={"bar": 1}), "openai").members["foo"]) == b'{"bar": 1}'


@BOTH
def test_the_caller_s_own_notes_are_kept_for_the_usage_row(surface: str) -> None:
    assert admitted(chat_body(metadata={"ticket": "A-1"}), surface).metadata == {"ticket": "A-1"}


def test_native_notes_do_not_travel_upstream() -> None:
    request = admitted(chat_body(metadata={"ticket": "A-1"})).request
    assert request
    assert request.metadata is None


@BOTH
def test_notes_have_a_limit(surface: str) -> None:
    error = refused(chat_body(metadata={"x": "y" * MAX_METADATA_BYTES}), surface)
    assert (error.code, error.param) == ("VALIDATION_ERROR", "metadata")


@BOTH
def test_a_value_that_cannot_be_read_is_the_caller_s_fault_and_no_fault_of_ours(surface: str) -> None:
    body = chat_body(metadata={"x": "here"}).replace(b'"here"', b'"\\ud800"')
    assert json.loads(body)["metadata"]["x"] == "\ud800"
    assert refused(body, surface).code == "VALIDATION_ERROR"


# -- the answer -------------------------------------------------------------------------------------------------------


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
    assert client.json() == completion("hello") | more | {"usage": USAGE | DETAILS}
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
    assert [chunk["usage"] for chunk in chunks if chunk.get("usage")] == ([USAGE | DETAILS] if asked else [])
    assert asked or all("usage" not in chunk for chunk in chunks)
    assert {chunk["model"] for chunk in chunks} == {"m"}
    assert exchange.usage
    assert exchange.usage.total_tokens == 10, "booked, whoever sees it"


@BOTH
async def test_a_streamed_call_costs_what_the_whole_call_costs(surface: str) -> None:
    _, streamed = await answered(surface, with_pieces(*text_stream("hello")), stream=True)
    _, at_once = await answered(surface, whole())
    assert streamed.cost_nano == at_once.cost_nano == 13_000
