"""The official OpenAI SDK's Responses hold one tool-using, structured conversation with three families.

The second turn is told in both ways: by the items of the first, and by the id of an answer that the gateway kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from support import sdk_google
from support import sdk_story as story
from support.sdk_upstream import FAMILIES, running_families

all_families = pytest.mark.parametrize("model", FAMILIES)
thinking_or_not = pytest.mark.parametrize("effort", [None, "low"], ids=["plain", "thinking"])
by_items_or_id = pytest.mark.parametrize("kept", [False, True], ids=["items", "id"])
TOOL: Any = {
    "type": "function",
    "name": story.TOOL,
    "description": story.TOOL_DESCRIPTION,
    "parameters": story.PARAMETERS,
    "strict": True,
}


class Report(BaseModel):
    warmest: str
    degrees: int


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    with running_families(tmp_path_factory.mktemp("sdk")) as (gateway, upstream):
        base_url = f"{gateway.url}/oai/v1"
        key = gateway.admin_key
        with OpenAI(base_url=base_url, api_key=key, max_retries=0, _strict_response_validation=True) as sdk:
            yield sdk
    # The stand-in for a lost signature is for clients that lose them; this one must not.
    assert sdk_google.signatures(upstream.calls) <= {sdk_google.SIGNATURE}


def opening(model: str, effort: str | None, kept: bool) -> dict[str, Any]:
    asked: dict[str, Any] = {"model": model, "instructions": story.SYSTEM, "tools": [TOOL], "max_output_tokens": 4096}
    asked |= {"store": kept} if kept else {"store": False, "include": ["reasoning.encrypted_content"]}
    if effort:
        asked["reasoning"] = {"effort": effort, "summary": "auto"}
    return asked | {"input": [{"role": "user", "content": story.QUESTION}]}


def answered(asked: dict[str, Any], first: Any, kept: bool) -> dict[str, Any]:
    calls = [item for item in first.output if item.type == "function_call"]
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [
        (story.TOOL, {"city": city}) for city in story.CITIES
    ]
    assert first.output_text == story.LEAD_IN
    results = [
        {"type": "function_call_output", "call_id": call.call_id, "output": story.RESULTS[city]}
        for call, city in zip(calls, story.CITIES, strict=True)
    ]
    if kept:
        return asked | {"input": results, "previous_response_id": first.id}
    items = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in first.output]
    return asked | {"input": [*asked["input"], *items, *results]}


@all_families
@thinking_or_not
@by_items_or_id
def test_a_whole_conversation_ends_in_a_parsed_report(
    client: OpenAI, model: str, effort: str | None, kept: bool
) -> None:
    asked = opening(model, effort, kept)
    first = client.responses.create(**asked)
    assert first.status == "completed"
    thoughts = [item for item in first.output if item.type == "reasoning"]
    shown = "".join(part.text for item in thoughts for part in item.summary)
    assert shown == (story.THOUGHT if effort and model != "family-openai" else "")

    second = client.responses.parse(**answered(asked, first, kept), text_format=Report)
    assert second.output_parsed == Report(**story.REPORT)
    assert second.usage is not None
    assert (second.usage.input_tokens, second.usage.output_tokens) == (story.INPUT_TOKENS, story.OUTPUT_TOKENS)


@all_families
@thinking_or_not
@by_items_or_id
def test_a_streamed_conversation_ends_in_a_parsed_report(
    client: OpenAI, model: str, effort: str | None, kept: bool
) -> None:
    asked = opening(model, effort, kept)
    with client.responses.stream(**asked) as events:
        seen = [event.type for event in events]
        first = events.get_final_response()
    assert seen.count("response.function_call_arguments.done") == len(story.CITIES)

    with client.responses.stream(**answered(asked, first, kept), text_format=Report) as events:
        pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
        second = events.get_final_response()
    assert len(pieces) > 2
    assert second.output_parsed == Report(**story.REPORT)


@all_families
def test_a_kept_answer_can_be_read_and_forgotten(client: OpenAI, model: str) -> None:
    made = client.responses.create(model=model, input=story.QUESTION)
    assert made.output_text == story.PLAIN_ANSWER
    assert client.responses.retrieve(made.id).output_text == story.PLAIN_ANSWER
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)
