"""Answers held to a JSON schema, parsed by the official SDK: passed on, translated, and forced through a tool."""

from __future__ import annotations

import openai
import pytest
from openai.lib.streaming.chat import ContentDoneEvent
from pydantic import BaseModel

from support.aimock_gateway import user

all_ways = pytest.mark.parametrize("model", ["gpt", "claude", "old-claude"])


class City(BaseModel):
    name: str
    country: str
    inhabitants: int
    canals: bool


DELFT = City(name="Delft", country="Netherlands", inhabitants=109577, canals=True)


@all_ways
def test_the_sdk_parses_a_whole_answer(sdk: openai.OpenAI, model: str) -> None:
    answer = sdk.chat.completions.parse(model=model, messages=user("Describe a city"), response_format=City)
    assert answer.choices[0].message.parsed == DELFT
    assert answer.choices[0].finish_reason == "stop"
    assert not answer.choices[0].message.tool_calls


@all_ways
def test_the_sdk_parses_a_streamed_answer(sdk: openai.OpenAI, model: str) -> None:
    with sdk.chat.completions.stream(model=model, messages=user("Describe a city"), response_format=City) as events:
        done = [event for event in events if isinstance(event, ContentDoneEvent)]
        assert events.get_final_completion().choices[0].finish_reason == "stop"
    assert [event.parsed for event in done] == [DELFT]
