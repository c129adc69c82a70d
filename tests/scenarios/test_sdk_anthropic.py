"""The official Anthropic SDK holds one tool-using, structured conversation with three families.

Messages whole and streamed, its stream helper, its tool runner, its parsing of schemas, and count_tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, beta_tool
from pydantic import BaseModel

from support import sdk_anthropic, sdk_google
from support import sdk_story as story
from support.sdk_upstream import FAMILIES, running_families

all_families = pytest.mark.parametrize("model", FAMILIES)
thinking_families = pytest.mark.parametrize("model", ["family-anthropic", "family-google"])
TOOL: Any = {"name": story.TOOL, "description": story.TOOL_DESCRIPTION, "input_schema": story.PARAMETERS}
THINKING = {"type": "enabled", "budget_tokens": 1024}


class Report(BaseModel):
    warmest: str
    degrees: int


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anthropic]:
    with running_families(tmp_path_factory.mktemp("sdk")) as (gateway, upstream):
        base_url, key = f"{gateway.url}/anthropic", gateway.admin_key
        with Anthropic(base_url=base_url, api_key=key, max_retries=0, _strict_response_validation=True) as sdk:
            yield sdk
    # The stand-in for a lost signature is for clients that lose them; this one must not.
    assert sdk_google.signatures(upstream.calls) <= {sdk_google.SIGNATURE}


def opening(model: str, thinking: bool) -> dict[str, Any]:
    turns = [{"role": "user", "content": story.QUESTION}]
    asked = {"model": model, "max_tokens": 4096, "system": story.SYSTEM, "messages": turns, "tools": [TOOL]}
    return asked | ({"thinking": THINKING} if thinking else {})


def answered(asked: dict[str, Any], said: Any) -> dict[str, Any]:
    """The next request: the blocks go back as the SDK's own objects, with what the tool said."""
    assert said.stop_reason == "tool_use"
    assert [block.text for block in said.content if block.type == "text"] == [story.LEAD_IN]
    calls = [block for block in said.content if block.type == "tool_use"]
    assert [(call.name, call.input) for call in calls] == [(story.TOOL, {"city": city}) for city in story.CITIES]
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": story.RESULTS[city]}
        for call, city in zip(calls, story.CITIES, strict=True)
    ]
    turns = [*asked["messages"], {"role": "assistant", "content": said.content}, {"role": "user", "content": results}]
    return asked | {"messages": turns}


def thought_of(message: Any) -> str:
    return "".join(block.thinking for block in message.content if block.type == "thinking")


def check_usage(usage: Any) -> None:
    cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    assert (usage.input_tokens + cached, usage.output_tokens) == (story.INPUT_TOKENS, story.OUTPUT_TOKENS)


@all_families
def test_a_whole_conversation_ends_in_a_parsed_report(client: Anthropic, model: str) -> None:
    asked = opening(model, thinking=False)
    first = client.messages.create(**asked)
    second = client.messages.parse(**answered(asked, first), output_format=Report)
    assert second.parsed_output == Report(**story.REPORT)
    assert second.stop_reason == "end_turn"
    assert second.model == model
    check_usage(second.usage)


@all_families
def test_a_streamed_conversation_ends_in_a_parsed_report(client: Anthropic, model: str) -> None:
    asked = opening(model, thinking=False)
    with client.messages.stream(**asked) as events:
        inputs = [event.partial_json for event in events if event.type == "input_json"]
        first = events.get_final_message()
    assert len(inputs) >= len(story.CITIES)
    with client.messages.stream(**answered(asked, first), output_format=Report) as events:
        pieces = list(events.text_stream)
        second = events.get_final_message()
    assert len(pieces) > 2
    assert second.parsed_output == Report(**story.REPORT)
    check_usage(second.usage)


@thinking_families
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_thoughts_go_round_with_their_signatures(client: Anthropic, model: str, stream: bool) -> None:
    asked = opening(model, thinking=True)
    first = said(client, asked, stream)
    assert thought_of(first) == story.THOUGHT
    assert first.content[0].type == "thinking"
    second = said(client, answered(asked, first), stream)
    assert [block.text for block in second.content if block.type == "text"] == [story.PLAIN_ANSWER]


def said(client: Anthropic, asked: dict[str, Any], stream: bool) -> Any:
    if not stream:
        return client.messages.create(**asked)
    with client.messages.stream(**asked) as events:
        return events.get_final_message()


@all_families
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_tool_runner_runs_to_the_end(client: Anthropic, model: str, stream: bool) -> None:
    asked_for: list[str] = []

    @beta_tool(name=story.TOOL, description=story.TOOL_DESCRIPTION)
    def get_weather(city: str) -> str:
        asked_for.append(city)
        return story.RESULTS[city]

    turns: Any = [{"role": "user", "content": story.QUESTION}]
    runner: Any = client.beta.messages.tool_runner(
        model=model, max_tokens=4096, tools=[get_weather], messages=turns, stream=stream
    )
    last = runner.until_done()
    assert sorted(asked_for) == sorted(story.CITIES)
    assert last.content[0].text == story.PLAIN_ANSWER


@all_families
def test_tokens_are_counted_before_they_are_paid_for(client: Anthropic, model: str) -> None:
    asked = opening(model, thinking=False)
    del asked["max_tokens"]
    counted = client.messages.count_tokens(**asked).input_tokens
    told = {"family-anthropic": sdk_anthropic.COUNTED, "family-google": sdk_google.COUNTED}
    assert counted == told.get(model, counted)
    assert 40 < counted < 500


@all_families
def test_models_are_listed(client: Anthropic, model: str) -> None:
    assert model in [listed.id for listed in client.models.list()]
    assert client.models.retrieve(model).id == model


@all_families
def test_a_faulty_request_is_the_callers_error(client: Anthropic, model: str) -> None:
    turns: Any = [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_none", "content": "18"}]}]
    with pytest.raises(anthropic.BadRequestError) as failure:
        client.messages.create(model=model, max_tokens=64, messages=turns, tools=[TOOL])
    assert failure.value.body["error"]["type"] == "invalid_request_error"  # type: ignore[index]
