from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from pydantic import TypeAdapter

from appliance.errors import GatewayError
from appliance.formats.chat import (
    ChatRequest,
    Message,
    ReasoningOptions,
    ResponseFormat,
    TextPart,
    Tool,
    ToolChoice,
)
from appliance.formats.responses_request_writer import encode_request

PARAMS: TypeAdapter[Any] = TypeAdapter(ResponseCreateParamsNonStreaming)
STREAMING: TypeAdapter[Any] = TypeAdapter(ResponseCreateParamsStreaming)


def encoded(model: str = "gpt-5", **members: Any) -> dict[str, Any]:
    request = ChatRequest("front", [Message("user", [TextPart("hi")])], **members)
    body = encode_request(request, model)
    (STREAMING if request.stream else PARAMS).validate_python(body)
    return body


def test_the_least_that_can_be_asked() -> None:
    assert encoded() == {
        "model": "gpt-5",
        "input": [{"role": "user", "content": "hi"}],
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }


def test_everything_that_has_a_place() -> None:
    body = encoded(
        stream=True,
        include_usage=True,
        max_output_tokens=99,
        temperature=0.5,
        top_p=0.9,
        tools=[Tool("f", "d", {"type": "object"}, True), Tool("g")],
        tool_choice=ToolChoice("tool", "f"),
        parallel_tool_calls=False,
        response_format=ResponseFormat("json_schema", "n", {"a": 1}, True, "d"),
        reasoning=ReasoningOptions("low", summary="auto"),
        logprobs=True,
        top_logprobs=2,
        user="u",
        metadata={"a": "b"},
        presence_penalty=0,
    )
    assert body == {
        "model": "gpt-5",
        "input": [{"role": "user", "content": "hi"}],
        "store": False,
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "stream": True,
        "max_output_tokens": 99,
        "temperature": 0.5,
        "top_p": 0.9,
        "tools": [
            {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
            {"type": "function", "name": "g", "parameters": {"type": "object", "properties": {}}, "strict": False},
        ],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": False,
        "text": {
            "format": {"type": "json_schema", "name": "n", "schema": {"a": 1}, "strict": True, "description": "d"}
        },
        "reasoning": {"effort": "low", "summary": "auto"},
        "top_logprobs": 2,
        "user": "u",
    }


@pytest.mark.parametrize("model", ["gpt-4o-prod", "openai/gpt-4.1", "gpt-3.5-turbo", "gpt-5-chat-latest"])
def test_models_that_do_not_reason_are_not_asked_for_it(model: str) -> None:
    assert "include" not in encoded(model)


@pytest.mark.parametrize("model", ["o4-mini", "gpt-5.1-chat-latest", "prod", "gpt-6-astra"])
def test_all_others_are(model: str) -> None:
    assert encoded(model)["include"] == ["reasoning.encrypted_content"]


@pytest.mark.parametrize(
    ("options", "members"),
    [
        (ReasoningOptions(), None),
        (ReasoningOptions(budget_tokens=0), {"effort": "none"}),
        (ReasoningOptions(budget_tokens=4000), {"effort": "low"}),
        (ReasoningOptions("high", summary="none"), {"effort": "high"}),
    ],
)
def test_reasoning(options: ReasoningOptions, members: Any) -> None:
    assert encoded(reasoning=options).get("reasoning") == members


@pytest.mark.parametrize("mode", ["auto", "none", "required"])
def test_tool_choices(mode: Any) -> None:
    assert encoded(tools=[Tool("f")], tool_choice=ToolChoice(mode))["tool_choice"] == mode


def test_text_formats_stand_beside_verbosity() -> None:
    body = encoded(response_format=ResponseFormat("json_object"), extra={"verbosity": "low"})
    assert body["text"] == {"verbosity": "low", "format": {"type": "json_object"}}


def test_what_openais_dialects_share_goes_on() -> None:
    extra = {
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "service_tier": "flex",
        "store": True,
        "stream_options": {"include_obfuscation": False},
        "prediction": {"type": "content", "content": "x"},
        "logit_bias": {},
        "modalities": ["text"],
        "audio": None,
    }
    body = encoded(extra=extra)
    shared = {name: extra[name] for name in ("prompt_cache_key", "safety_identifier", "service_tier")}
    assert body == encoded() | shared


def test_the_own_dialects_members_go_on() -> None:
    extra = {"context_management": [{"type": "compaction"}], "verbosity": "high"}
    body = encoded(extra=extra, dialect="responses", tools=[Tool("f")])
    assert body["context_management"] == [{"type": "compaction"}]
    assert body["text"] == {"verbosity": "high"}


def test_strict_left_out_means_what_it_meant_to_the_caller() -> None:
    request = ChatRequest("m", [Message("user", [TextPart("hi")])], tools=[Tool("f")], dialect="responses")
    assert "strict" not in encode_request(request, "gpt-5")["tools"][0]
    request.dialect = "anthropic"
    assert encode_request(request, "gpt-5")["tools"][0]["strict"] is False


@pytest.mark.parametrize(
    ("members", "params"),
    [
        ({"stop": ["x"]}, ["stop"]),
        ({"stop": ["x"], "dialect": "anthropic"}, ["stop_sequences"]),
        ({"n": 2, "seed": 0}, ["n", "seed"]),
        ({"presence_penalty": 0.5, "frequency_penalty": -0.5}, ["presence_penalty", "frequency_penalty"]),
        ({"top_k": 5}, ["top_k"]),
        ({"prefill": True}, ["messages"]),
        ({"extra": {"logit_bias": {"5": 1}}}, ["logit_bias"]),
        ({"extra": {"audio": {"voice": "a"}, "modalities": ["audio"]}}, ["audio", "modalities"]),
        ({"extra": {"web_search_options": {}}}, ["web_search_options"]),
        ({"extra": {"verbosity": "low"}, "dialect": "anthropic"}, ["verbosity"]),
        ({"extra": {"mcp_servers": [1]}, "dialect": "anthropic"}, ["mcp_servers"]),
    ],
)
def test_what_the_dialect_lacks_is_refused_by_name(members: dict[str, Any], params: list[str]) -> None:
    with pytest.raises(GatewayError) as caught:
        encoded(**members)
    assert caught.value.code == "VALIDATION_ERROR"
    assert [entry["field"] for entry in caught.value.details or []] == params
