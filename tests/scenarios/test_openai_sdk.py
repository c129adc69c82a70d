"""The official OpenAI SDK, unchanged but for the base URL, with strict response validation, over both families."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from support import anthropic_upstream
from support.appliance import Gateway, running
from support.upstream import Upstream

YAML = """
providers:
  demo: {{type: demo}}
  claude: {{type: anthropic, base_url: "{upstream}", api_key: sk-ant-test}}
  broken: {{type: anthropic, base_url: "{upstream}", api_key: sk-ant-wrong}}
models:
  family-openai:
    price: {{input: "1", output: "2"}}
    max_output_tokens: 4096
    route: [{{backend: "demo:demo"}}]
  family-anthropic:
    price: {{input: "1", output: "2"}}
    max_output_tokens: 4096
    route: [{{backend: "claude:claude-test"}}]
  limited: {{price: free, route: {{targets: [{{backend: "demo:x,fail=429,retry_after=7"}}], retries: 0}}}}
  busy: {{price: free, route: {{targets: [{{backend: "claude:claude-busy"}}], retries: 0}}}}
  bad-key: {{price: free, route: [{{backend: "broken:claude-test"}}]}}
  broken-stream: {{price: free, route: [{{backend: "demo:x,fail=cut,tokens=20"}}]}}
"""
FAMILIES = ["family-openai", "family-anthropic"]
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "the weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


class Weather(BaseModel):
    city: str
    degrees: int


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Upstream() as upstream:
        upstream.answer(anthropic_upstream.answer)
        with running(YAML.format(upstream=upstream.url), tmp_path_factory.mktemp("sdk")) as gateway:
            yield gateway


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[OpenAI]:
    base_url = f"{gateway.url}/oai/v1"
    with OpenAI(
        base_url=base_url, api_key=gateway.admin_key, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


def ask(text: str) -> Any:
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]


@pytest.mark.parametrize("model", FAMILIES)
def test_a_chat_completion_is_answered(client: OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=ask("Good morning"))
    assert answer.model == model
    assert "Good morning" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


def test_cached_tokens_are_part_of_the_prompt(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="family-anthropic", messages=ask("Hi"))
    assert answer.usage
    assert answer.usage.prompt_tokens == 11 + 2 + 1
    assert answer.usage.prompt_tokens_details
    assert answer.usage.prompt_tokens_details.cached_tokens == 2


@pytest.mark.parametrize("model", FAMILIES)
def test_a_stream_says_the_same_as_the_whole_answer(client: OpenAI, model: str) -> None:
    whole = client.chat.completions.create(model=model, messages=ask("Good morning"))
    chunks = list(
        client.chat.completions.create(
            model=model, messages=ask("Good morning"), stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert {chunk.model for chunk in chunks} == {model}
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage


@pytest.mark.parametrize("model", FAMILIES)
def test_the_usage_chunk_comes_only_when_asked_for(client: OpenAI, model: str) -> None:
    chunks = list(client.chat.completions.create(model=model, messages=ask("Hi"), stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


@pytest.mark.parametrize("model", FAMILIES)
def test_a_tool_is_called_and_its_result_is_understood(client: OpenAI, model: str) -> None:
    messages = ask("Please use get_weather for Paris")
    first = client.chat.completions.create(model=model, messages=messages, tools=[TOOL])  # type: ignore[list-item]
    assert first.choices[0].finish_reason == "tool_calls"
    (call,) = first.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert "city" in json.loads(call.function.arguments)
    messages += [
        first.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"},
    ]
    second = client.chat.completions.create(model=model, messages=messages, tools=[TOOL])  # type: ignore[list-item]
    assert "21 degrees" in (second.choices[0].message.content or "")


@pytest.mark.parametrize("model", FAMILIES)
def test_streamed_tool_calls_arrive_whole(client: OpenAI, model: str) -> None:
    with client.chat.completions.stream(
        model=model,
        messages=ask("Please use get_weather"),
        tools=[TOOL],  # type: ignore[list-item]
    ) as stream:
        final = stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls or []
    assert call.function.name == "get_weather"
    assert "city" in json.loads(call.function.arguments)
    assert final.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("model", FAMILIES)
def test_structured_output_is_parsed(client: OpenAI, model: str) -> None:
    answer = client.chat.completions.parse(model=model, messages=ask("How warm is it?"), response_format=Weather)
    assert isinstance(answer.choices[0].message.parsed, Weather)


def test_the_models_are_listed_and_found(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert set(FAMILIES) <= set(names)
    assert client.models.retrieve("family-openai").id == "family-openai"


def test_a_wrong_key_is_an_authentication_error(gateway: Gateway) -> None:
    with OpenAI(base_url=f"{gateway.url}/oai/v1", api_key="sgk_wrong_wrong_wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.chat.completions.create(model="family-openai", messages=ask("Hi"))
        assert caught.value.code == "invalid_api_key"


def test_an_unknown_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="nobody", messages=ask("Hi"))
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_an_upstream_limit_is_a_rate_limit_error_with_its_wait(client: OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="limited", messages=ask("Hi"))
    assert caught.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize("model", FAMILIES)
def test_a_wrong_value_is_a_bad_request_that_names_the_member(client: OpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=model, messages=ask("Hi"), temperature=9)
    assert caught.value.param == "temperature"


def test_what_anthropic_cannot_carry_is_refused_by_name(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="family-anthropic", messages=ask("Hi"), logprobs=True)
    assert caught.value.param == "logprobs"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="family-anthropic", messages=ask("Hi"), extra_body={"frobnicate": 1})
    assert caught.value.param == "frobnicate"


def test_an_overloaded_upstream_is_a_server_error(client: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="busy", messages=ask("Hi"))
    assert caught.value.status_code == 502


def test_the_operators_bad_key_is_never_the_callers_401(client: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="bad-key", messages=ask("Hi"))
    assert caught.value.status_code == 503


def test_a_cut_stream_raises_instead_of_ending(client: OpenAI) -> None:
    with pytest.raises(openai.APIError, match="cut its answer short"):
        list(client.chat.completions.create(model="broken-stream", messages=ask("Hi"), stream=True))
