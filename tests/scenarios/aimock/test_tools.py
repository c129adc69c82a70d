"""Tool calls through the whole appliance, whole and streamed, read by the official SDK."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from support.aimock_gateway import user

both_dialects = pytest.mark.parametrize("model", ["gpt", "claude"])

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "kelvin"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
        # The SDK's stream helper takes no tool without it.
        "strict": True,
    },
}


@both_dialects
def test_a_tool_call_and_its_result_go_round(sdk: openai.OpenAI, model: str) -> None:
    messages = user("What is the weather in Delft?")
    choice = sdk.chat.completions.create(model=model, messages=messages, tools=[WEATHER]).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    [call] = choice.message.tool_calls
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Delft", "unit": "celsius"}

    messages += [choice.message.model_dump(exclude_none=True)]
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "18"}]
    answer = sdk.chat.completions.create(model=model, messages=messages, tools=[WEATHER])
    assert answer.choices[0].message.content == "It is 18 degrees in Delft."
    assert answer.choices[0].finish_reason == "stop"


@both_dialects
def test_streamed_tool_calls_arrive_in_pieces_that_join(sdk: openai.OpenAI, model: str) -> None:
    messages = user("What is the weather in Delft and in Ghent?")
    with sdk.chat.completions.create(model=model, messages=messages, tools=[WEATHER], stream=True) as stream:
        choices = [choice for chunk in stream for choice in chunk.choices]
    pieces = [piece for choice in choices for piece in choice.delta.tool_calls or []]
    heads = [(piece.index, piece.id, piece.function and piece.function.name) for piece in pieces if piece.id]
    assert heads == [(0, "call_delft", "get_weather"), (1, "call_ghent", "get_weather")]
    for index, city in enumerate(("Delft", "Ghent")):
        arguments = [piece.function.arguments or "" for piece in pieces if piece.index == index and piece.function]
        assert json.loads("".join(arguments)) == {"city": city, "unit": "celsius"}
        assert len(arguments) > 3
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["tool_calls"]


@both_dialects
@pytest.mark.parametrize("stream", [False, True])
def test_words_before_a_tool_call_are_kept(sdk: openai.OpenAI, model: str, stream: bool) -> None:
    asked: Any = {"messages": user("What is the weather in Delft, with a word before?"), "tools": [WEATHER]}
    if stream:
        with sdk.chat.completions.stream(model=model, **asked) as events:
            message: Any = events.get_final_completion().choices[0].message
    else:
        message = sdk.chat.completions.create(model=model, **asked).choices[0].message
    assert message.content == "Let me look that up."
    assert [call.id for call in message.tool_calls] == ["call_delft"]
