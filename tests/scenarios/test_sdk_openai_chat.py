"""The official OpenAI SDK's chat completions hold one tool-using, structured conversation with three families.

What each provider demands of the second turn (ids, order, signatures, nothing foreign) is checked by the upstream.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from support import sdk_google
from support import sdk_story as story
from support.appliance import Gateway
from support.sdk_upstream import FAMILIES, running_families

all_families = pytest.mark.parametrize("model", FAMILIES)
thinking_or_not = pytest.mark.parametrize("effort", [None, "low"], ids=["plain", "thinking"])
TOOL: Any = {
    "type": "function",
    "function": {
        "name": story.TOOL,
        "description": story.TOOL_DESCRIPTION,
        "parameters": story.PARAMETERS,
        "strict": True,
    },
}


class Report(BaseModel):
    warmest: str
    degrees: int


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_families(tmp_path_factory.mktemp("sdk")) as (gateway, upstream):
        yield gateway
    # The stand-in for a lost signature is for clients that lose them; this one must not.
    assert sdk_google.signatures(upstream.calls) <= {sdk_google.SIGNATURE}


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[OpenAI]:
    base_url = f"{gateway.url}/oai/v1"
    with OpenAI(base_url=base_url, api_key=gateway.admin_key, max_retries=0, _strict_response_validation=True) as sdk:
        yield sdk


def opening(model: str, effort: str | None) -> dict[str, Any]:
    turns = [{"role": "system", "content": story.SYSTEM}, {"role": "user", "content": story.QUESTION}]
    asked = {"model": model, "messages": turns, "tools": [TOOL], "max_completion_tokens": 4096}
    return asked | ({"reasoning_effort": effort} if effort else {})


def answered(asked: dict[str, Any], message: Any) -> dict[str, Any]:
    """The next request: what the SDK was given goes back as it is, with what the tool said."""
    assert message.content == story.LEAD_IN
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls]
    assert calls == [(story.TOOL, {"city": city}) for city in story.CITIES]
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": story.RESULTS[city]}
        for call, city in zip(message.tool_calls, story.CITIES, strict=True)
    ]
    return asked | {"messages": [*asked["messages"], message.model_dump(exclude_none=True), *results]}


def thought_of(message: Any) -> str | None:
    said: str | None = getattr(message, "reasoning_content", None)
    return said


@all_families
@thinking_or_not
def test_a_whole_conversation_ends_in_a_parsed_report(client: OpenAI, model: str, effort: str | None) -> None:
    asked = opening(model, effort)
    first = client.chat.completions.create(**asked)
    assert first.choices[0].finish_reason == "tool_calls"
    shown = story.THOUGHT if effort and model != "family-openai" else None
    assert thought_of(first.choices[0].message) == shown

    second = client.chat.completions.parse(**answered(asked, first.choices[0].message), response_format=Report)
    assert second.choices[0].message.parsed == Report(**story.REPORT)
    assert second.choices[0].finish_reason == "stop"
    assert second.usage is not None
    assert (second.usage.prompt_tokens, second.usage.completion_tokens) == (story.INPUT_TOKENS, story.OUTPUT_TOKENS)


@all_families
@thinking_or_not
def test_a_streamed_conversation_ends_in_a_parsed_report(client: OpenAI, model: str, effort: str | None) -> None:
    asked = opening(model, effort)
    usage: Any = {"stream_options": {"include_usage": True}}
    with client.chat.completions.stream(**asked, **usage) as events:
        arguments = [event for event in events if event.type == "tool_calls.function.arguments.done"]
        first = events.get_final_completion()
    assert [event.parsed_arguments or event.arguments for event in arguments]
    assert len(arguments) == len(story.CITIES)
    assert first.choices[0].finish_reason == "tool_calls"

    with client.chat.completions.stream(
        **answered(asked, first.choices[0].message), response_format=Report, **usage
    ) as events:
        pieces = [event.delta for event in events if event.type == "content.delta"]
        second = events.get_final_completion()
    assert len(pieces) > 2
    assert second.choices[0].message.parsed == Report(**story.REPORT)
    assert second.usage is not None
    assert (second.usage.prompt_tokens, second.usage.completion_tokens) == (story.INPUT_TOKENS, story.OUTPUT_TOKENS)


@all_families
def test_the_asynchronous_client_reads_a_plain_stream(gateway: Gateway, model: str) -> None:
    async def told() -> str:
        async with AsyncOpenAI(base_url=f"{gateway.url}/oai/v1", api_key=gateway.admin_key, max_retries=0) as sdk:
            asked: Any = {"model": model, "messages": [{"role": "user", "content": story.QUESTION}]}
            stream = await sdk.chat.completions.create(**asked, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

    assert asyncio.run(told()) == story.PLAIN_ANSWER


@all_families
def test_a_result_that_answers_no_call_is_the_callers_fault(client: OpenAI, model: str) -> None:
    asked = opening(model, None)
    asked["messages"].append({"role": "tool", "tool_call_id": "call_never_made", "content": "18"})
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**asked)
