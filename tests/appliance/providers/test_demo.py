"""The demo provider: its script, the same bytes for the same request, and a stream that says what the whole says."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.exchange import ConnectFailed, Upstream, UpstreamCut
from appliance.formats import openai
from appliance.formats.sse import SseSplitter
from appliance.grid.compile import compile_grid
from appliance.providers.base import Endpoint
from appliance.providers.demo import Demo, parse_script
from support.build import load_yaml

ENDPOINT: Endpoint = compile_grid(load_yaml("providers: {demo: {type: demo}}\n"), 1).endpoints["demo"]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def body(model: str = "demo", text: str = "Hello", **changes: Any) -> bytes:
    messages = [{"role": "user", "content": text}]
    return json.dumps({"model": model, "messages": messages} | changes).encode()


async def fetch(request: bytes, demo: Demo | None = None) -> tuple[int, bytes]:
    upstream = await (demo or Demo()).open(ENDPOINT, "chat", request)
    pieces: list[bytes] = []
    async with asyncio.timeout(5):
        await read_into(pieces, upstream)
    upstream.close()
    return upstream.status, b"".join(pieces)


async def read_into(pieces: list[bytes], upstream: Upstream) -> None:
    while piece := await upstream.chunk():
        pieces.append(piece)


async def whole(model: str = "demo", text: str = "Hello", **changes: Any) -> dict[str, Any]:
    status, data = await fetch(body(model, text, **changes))
    assert status == 200
    reply: dict[str, Any] = json.loads(data)
    openai.decode_reply(reply)
    return reply


async def said(model: str = "demo", text: str = "Hello", **changes: Any) -> str:
    return str((await whole(model, text, **changes))["choices"][0]["message"]["content"])


async def streamed(model: str = "demo", text: str = "Hello", **changes: Any) -> list[dict[str, Any]]:
    """The chunks of a stream that ended in order."""
    options = {"stream": True, "stream_options": {"include_usage": True}}
    status, data = await fetch(body(model, text, **options, **changes))
    assert status == 200
    decoder, splitter = openai.stream_decoder(), SseSplitter()
    found = [*splitter.feed(data), *splitter.rest()]
    for event in found:
        decoder.feed(event)
    assert decoder.complete
    assert found[-1].data == b"[DONE]"
    return [json.loads(event.data) for event in found[:-1]]


def joined(chunks: list[dict[str, Any]], member: str, choice: int = 0) -> str:
    deltas = [each["delta"] for chunk in chunks for each in chunk["choices"] if each["index"] == choice]
    return "".join(delta.get(member) or "" for delta in deltas)


# -- the script -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "script"),
    [
        ("demo", {}),
        ("anything at all", {}),
        ("slow,first=2s,pace=50ms,tokens=200", {"first": "2s", "pace": "50ms", "tokens": "200"}),
        ("x, fail=503 , every=3", {"fail": "503", "every": "3"}),
        ("x,first=1.5s,usage=none", {"first": "1.5s", "usage": "none"}),
        ("x,fail=refuse", {"fail": "refuse"}),
        ("x,tokens=1,tokens=2", {"tokens": "2"}),
    ],
)
def test_settings_behind_the_base_name(model: str, script: dict[str, str]) -> None:
    assert parse_script(model) == script


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("x,speed=9", "'speed' is not one of"),
        ("x,", "'' is not one of"),
        ("x,tokens", "tokens takes a whole number"),
        ("x,tokens=0", "tokens takes a whole number"),
        ("x,tokens=-1", "tokens takes a whole number"),
        ("x,tokens=1.5", "tokens takes a whole number"),
        ("x,tokens=99999999", "tokens takes a whole number"),
        ("x,input=x", "input takes a whole number"),
        ("x,every=0", "every takes a whole number"),
        ("x,first=2", "is no duration"),
        ("x,first=-1s", "is no duration"),
        ("x,pace=", "is no duration"),
        ("x,fail=200", "fail takes a status"),
        ("x,fail=600", "fail takes a status"),
        ("x,fail=maybe", "fail takes a status"),
        ("x,usage=all", "usage takes none"),
    ],
)
async def test_a_wrong_setting_is_an_unknown_model_that_says_what_is_wrong(model: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_script(model)
    status, data = await fetch(body(model))
    assert status == 404
    assert words in json.loads(data)["error"]["message"]


async def test_a_request_that_is_none_is_the_caller_s_fault() -> None:
    status, data = await fetch(b'{"model":"demo","messages":[]}')
    assert status == 400
    assert json.loads(data)["error"]["param"] == "messages"


# -- answers ----------------------------------------------------------------------------------------------------------


async def test_the_answer_admits_what_it_is_and_quotes_the_question() -> None:
    text = await said(text="What is 6 times 7?")
    assert "demo" in text
    assert "no language model" in text
    assert "“What is 6 times 7?”" in text


@pytest.mark.parametrize("stream", [False, True])
async def test_the_same_request_gets_the_same_bytes(stream: bool) -> None:
    request = body("demo,reasoning=3", stream=stream)
    assert await fetch(request) == await fetch(request)
    assert await fetch(request) != await fetch(body("demo,reasoning=3", "Another", stream=stream))


@settings(deadline=None, max_examples=60)
@given(
    script=st.sampled_from(["", ",tokens=5", ",tokens=40", ",reasoning=4", ",reasoning=4,tokens=9", ",input=77"]),
    text=st.text(max_size=40),
    changes=st.fixed_dictionaries(
        {},
        optional={
            "max_tokens": st.integers(1, 30),
            "n": st.integers(1, 3),
            "stop": st.sampled_from(["demo", ["no", "language"], "never said"]),
            "tools": st.just([TOOL]),
            "tool_choice": st.sampled_from(["auto", "none", "required"]),
            "response_format": st.sampled_from([{"type": "json_object"}, {"type": "text"}]),
        },
    ),
)
def test_a_stream_says_what_the_whole_answer_says(script: str, text: str, changes: dict[str, Any]) -> None:
    if "tools" not in changes:
        changes.pop("tool_choice", None)

    async def both() -> tuple[dict[str, Any], list[dict[str, Any]]]:
        return await whole("demo" + script, text, **changes), await streamed("demo" + script, text, **changes)

    reply, chunks = asyncio.run(both())
    for choice in reply["choices"]:
        index, message = choice["index"], choice["message"]
        assert joined(chunks, "content", index) == (message["content"] or "")
        assert joined(chunks, "reasoning_content", index) == message.get("reasoning_content", "")
        finishes = [
            each["finish_reason"]
            for chunk in chunks
            for each in chunk["choices"]
            if each["index"] == index and each["finish_reason"]
        ]
        assert finishes == [choice["finish_reason"]]
        calls = [
            call
            for chunk in chunks
            for each in chunk["choices"]
            for call in each["delta"].get("tool_calls", [])
            if each["index"] == index
        ]
        arguments = "".join(call["function"].get("arguments", "") for call in calls)
        assert arguments == "".join(call["function"]["arguments"] for call in message.get("tool_calls", []))
    assert [chunk["usage"] for chunk in chunks if chunk.get("usage")] == [reply["usage"]]
    assert len(reply["choices"]) == changes.get("n", 1)


async def test_usage_counts_words_as_tokens() -> None:
    usage = (await whole("demo,tokens=12,reasoning=3,input=50"))["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (50, 15, 65)
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 3}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("cap", [1, 5])
async def test_max_tokens_cuts_the_answer_and_says_so(name: str, cap: int) -> None:
    capped: dict[str, Any] = {name: cap}
    reply = await whole(**capped)
    assert len(reply["choices"][0]["message"]["content"].split()) == cap
    assert (reply["choices"][0]["finish_reason"], reply["usage"]["completion_tokens"]) == ("length", cap)


async def test_reasoning_counts_against_max_tokens() -> None:
    reply = await whole("demo,reasoning=5", max_tokens=3)
    assert reply["choices"][0]["message"]["content"] is None
    assert (reply["usage"]["completion_tokens"], reply["choices"][0]["finish_reason"]) == (3, "length")


async def test_an_answer_that_fits_is_not_cut() -> None:
    reply = await whole("demo,tokens=5", max_tokens=5)
    assert (reply["choices"][0]["finish_reason"], reply["usage"]["completion_tokens"]) == ("stop", 5)


@pytest.mark.parametrize("stop", ["language", ["language", "demo"]])
async def test_stop_ends_the_answer_before_the_word(stop: Any) -> None:
    reply = await whole(stop=stop)
    text = reply["choices"][0]["message"]["content"]
    assert "language" not in text
    assert (await said()).startswith(text)
    assert reply["choices"][0]["finish_reason"] == "stop"


async def test_usage_can_be_kept_back() -> None:
    assert "usage" not in await whole("demo,usage=none")
    assert not any(chunk.get("usage") for chunk in await streamed("demo,usage=none"))


async def test_a_long_question_is_quoted_in_part() -> None:
    assert len(await said(text="word " * 10_000)) < 700


# -- tools and JSON ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "changes", "called"),
    [
        ("Please use get_weather.", {}, True),
        ("Hello", {}, False),
        ("Hello", {"tool_choice": "required"}, True),
        ("Hello", {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}}, True),
        ("Please use get_weather.", {"tool_choice": "none"}, False),
    ],
)
async def test_a_tool_is_called_when_it_is_named_or_forced(text: str, changes: dict[str, Any], called: bool) -> None:
    (choice,) = (await whole(text=text, tools=[TOOL], **changes))["choices"]
    assert choice["finish_reason"] == ("tool_calls" if called else "stop")
    if called:
        (call,) = choice["message"]["tool_calls"]
        assert call["function"]["name"] == "get_weather"
        assert isinstance(json.loads(call["function"]["arguments"])["city"], str)


async def test_the_tool_s_result_is_answered_with_words() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Please use get_weather."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny, 20 degrees"},
    ]
    assert "sunny, 20 degrees" in await said(messages=messages, tools=[TOOL])


async def test_json_is_json() -> None:
    assert isinstance(json.loads(await said(response_format={"type": "json_object"})), dict)


# -- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503, 529])
async def test_fail_with_a_status(status: int) -> None:
    upstream = await Demo().open(ENDPOINT, "chat", body(f"x,fail={status},retry_after=7"))
    assert upstream.status == status
    assert upstream.headers["retry-after"] == "7"
    assert "told to fail" in json.loads(await upstream.chunk())["error"]["message"]


async def test_fail_refuse_is_no_connection() -> None:
    with pytest.raises(ConnectFailed):
        await Demo().open(ENDPOINT, "chat", body("x,fail=refuse"))


async def test_fail_hang_never_answers() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await Demo().open(ENDPOINT, "chat", body("x,fail=hang"))


@pytest.mark.parametrize("stream", [False, True])
async def test_fail_cut_breaks_off_in_the_middle(stream: bool) -> None:
    upstream = await Demo().open(ENDPOINT, "chat", body("x,fail=cut", stream=stream))
    pieces: list[bytes] = []
    with pytest.raises(UpstreamCut):
        await read_into(pieces, upstream)
    assert pieces
    assert b"[DONE]" not in b"".join(pieces)


@pytest.mark.parametrize(("how", "expected"), [("empty", b""), ("garbage", b"<html>this is not a completion</html>")])
async def test_fail_with_a_200_that_is_no_answer(how: str, expected: bytes) -> None:
    assert await fetch(body(f"x,fail={how}")) == (200, expected)


async def test_every_nth_call_fails() -> None:
    demo = Demo()
    statuses = [(await fetch(body("x,fail=500,every=3"), demo))[0] for _ in range(7)]
    assert statuses == [200, 200, 500, 200, 200, 500, 200]


async def test_pauses_are_made() -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    await fetch(body("x,first=50ms,pace=10ms,tokens=5", stream=True))
    assert loop.time() - started >= 0.09
