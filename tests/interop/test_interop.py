"""The gateway before a real inference server: both surfaces, streamed and not.

What the model says is gibberish, but the same for the same seed: answers that came by different ways can be compared.
"""

from __future__ import annotations

import time
from typing import Any

import openai
import pytest

from support.appliance import Gateway
from support.sse import events, text_of

NATIVE = "/v1/inference/chat"
COMPAT = "/oai/v1/chat/completions"
MESSAGES: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say something."}]
LENGTH = 24
LONG = 3500
both_surfaces = pytest.mark.parametrize("surface", [NATIVE, COMPAT])


def asked(**members: Any) -> Any:
    return {"model": "tiny", "messages": MESSAGES, "seed": 7, "max_tokens": LENGTH} | members


def streamed(gateway: Gateway, surface: str, **members: Any) -> bytes:
    answer = gateway.post(surface, asked(stream=True, **members))
    assert answer.status == 200, answer.body
    return answer.body


def finish_reasons(body: bytes) -> list[str]:
    choices = [choice for _, data in events(body)[:-1] for choice in data["choices"]]
    return [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]


def test_the_sdk_reads_a_whole_answer_of_the_length_asked_for(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(**asked())
    assert answer.model == "tiny"
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens == LENGTH
    assert answer.usage.prompt_tokens > 10


def test_the_sdk_reads_a_streamed_answer_with_usage(sdk: openai.OpenAI) -> None:
    with sdk.chat.completions.create(**asked(stream=True, stream_options={"include_usage": True})) as stream:
        chunks = list(stream)
    assert {chunk.model for chunk in chunks} == {"tiny"}
    assert len([chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]) > 5
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == LENGTH


def test_a_whole_native_answer_has_usage_and_names_its_backend(gateway: Gateway) -> None:
    answer = gateway.post(NATIVE, asked())
    assert answer.status == 200, answer.body
    data, meta = answer.json()["data"], answer.json()["meta"]
    assert data["model"] == "tiny"
    assert data["choices"][0]["finish_reason"] == "length"
    assert data["usage"]["output_tokens"] == LENGTH
    assert data["usage"]["input_tokens"] > 10
    assert data["usage"]["estimated"] is False
    assert (meta["backend"], meta["attempts"]) == ("local:tiny-chat", 1)


def test_a_native_stream_ends_with_usage_and_done(gateway: Gateway) -> None:
    *_, (_, last), (_, end) = events(streamed(gateway, NATIVE))
    assert last["choices"] == []
    assert last["usage"]["output_tokens"] == LENGTH
    assert end == "[DONE]"


def test_a_compat_stream_ends_with_done_though_this_server_sends_none(gateway: Gateway) -> None:
    body = streamed(gateway, COMPAT)
    assert events(body)[-1] == ("", "[DONE]")
    assert finish_reasons(body) == ["length"]


def test_all_four_ways_give_the_same_text(gateway: Gateway) -> None:
    whole = gateway.post(NATIVE, asked()).json()["data"]["choices"][0]["message"]["content"]
    assert len(whole.split()) == LENGTH
    assert gateway.post(COMPAT, asked()).json()["choices"][0]["message"]["content"] == whole
    assert text_of(streamed(gateway, NATIVE)) == whole
    assert text_of(streamed(gateway, COMPAT)) == whole


@both_surfaces
def test_a_stop_text_ends_the_answer(gateway: Gateway, surface: str) -> None:
    words = text_of(streamed(gateway, surface)).split()
    stopped = streamed(gateway, surface, stop=[f" {words[5]}"])
    assert finish_reasons(stopped) == ["stop"]
    # This server leaves the stop text in the answer, others take it out.
    assert text_of(stopped).split() in (words[:5], words[:6])


@both_surfaces
def test_max_tokens_is_honoured(gateway: Gateway, surface: str) -> None:
    assert len(text_of(streamed(gateway, surface, max_tokens=3)).split()) == 3


@both_surfaces
def test_tools_and_their_results_are_taken(gateway: Gateway, surface: str) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Delft"}'}}
    turns = [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "18 degrees"},
    ]
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}]
    short, long = gateway.post(surface, asked()), gateway.post(surface, asked(messages=turns, tools=tools))
    assert long.status == 200, long.body
    assert prompt_tokens(long.json()) > prompt_tokens(short.json()) + 30


def prompt_tokens(reply: dict[str, Any]) -> int:
    return int(reply["data"]["usage"]["input_tokens"] if "data" in reply else reply["usage"]["prompt_tokens"])


def test_a_parameter_that_this_server_refuses_is_the_callers_fault_and_is_named(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="no_such_parameter"):
        sdk.chat.completions.create(**asked(), extra_body={"no_such_parameter": 1})


def test_a_hang_up_stops_the_server_and_does_not_hurt_the_next_call(sdk: openai.OpenAI) -> None:
    started = time.monotonic()
    sdk.chat.completions.create(**asked(max_tokens=LONG // 10))
    tenth = time.monotonic() - started

    with sdk.chat.completions.create(**asked(max_tokens=LONG, stream=True)) as stream:
        for _, _chunk in zip(range(4), stream, strict=False):
            pass

    # The server works at one answer at a time, so a next call that comes soon shows that the long one was given up.
    started = time.monotonic()
    answer = sdk.chat.completions.create(**asked())
    assert answer.choices[0].message.content
    assert time.monotonic() - started < 5 * tenth
