"""The shape of OpenAI's chat request: a wrong type is named, what servers differ in is let through."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming

from appliance.errors import GatewayError
from appliance.formats.base import RequestHead
from appliance.formats.openai_shape import ChatShape, chat_shape, read_head


def chat_body(model: str = "m", **members: Any) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]} | members).encode()


def refused(body: bytes) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        read_head(body)
    assert caught.value.code == "VALIDATION_ERROR"
    return caught.value


WRONG: list[tuple[str, Any, str]] = [
    ("model", None, "model"),
    ("model", 7, "model"),
    ("model", "", "model"),
    ("messages", None, "messages"),
    ("messages", [], "messages"),
    ("messages", "hello", "messages"),
    ("messages", ["hello"], "messages.0"),
    ("messages", [{"role": "user"}, {"role": "poet", "content": ""}], "messages.1.role"),
    ("messages", [{"content": "x"}], "messages.0.role"),
    ("messages", [{"role": "user", "content": 7}], "messages.0.content"),
    ("messages", [{"role": "user", "content": ["x"]}], "messages.0.content.0"),
    ("stream", "yes", "stream"),
    ("stream", 1, "stream"),
    ("stream_options", True, "stream_options"),
    ("stream_options", {"include_usage": "yes"}, "stream_options.include_usage"),
    ("max_tokens", 0, "max_tokens"),
    ("max_tokens", -1, "max_tokens"),
    ("max_tokens", "100", "max_tokens"),
    ("max_tokens", 1.5, "max_tokens"),
    ("max_completion_tokens", 0, "max_completion_tokens"),
    ("n", 0, "n"),
    ("n", 129, "n"),
    ("n", "2", "n"),
    ("temperature", 2.1, "temperature"),
    ("temperature", -0.1, "temperature"),
    ("temperature", "hot", "temperature"),
    ("top_p", 1.1, "top_p"),
    ("stop", 7, "stop"),
    ("stop", [7], "stop.0"),
    ("seed", "x", "seed"),
    ("presence_penalty", 3, "presence_penalty"),
    ("frequency_penalty", -3, "frequency_penalty"),
    ("logprobs", 5, "logprobs"),
    ("top_logprobs", 21, "top_logprobs"),
    ("tools", {}, "tools"),
    ("tools", ["x"], "tools.0"),
    ("tool_choice", 7, "tool_choice"),
    ("response_format", "json", "response_format"),
    ("parallel_tool_calls", "no", "parallel_tool_calls"),
    ("reasoning_effort", 3, "reasoning_effort"),
    ("user", 3, "user"),
    ("metadata", "x", "metadata"),
    ("logit_bias", [], "logit_bias"),
    ("logit_bias", {"50256": "x"}, "logit_bias...."),
    ("logit_bias", {"50256": 101}, "logit_bias...."),
    ("modalities", "text", "modalities"),
    ("modalities", [1], "modalities.0"),
    ("audio", "alloy", "audio"),
    ("prediction", "x", "prediction"),
    ("web_search_options", [], "web_search_options"),
    ("moderation", True, "moderation"),
    ("service_tier", 1, "service_tier"),
    ("store", "yes", "store"),
    ("verbosity", 1, "verbosity"),
    ("prompt_cache_key", 1, "prompt_cache_key"),
    ("prompt_cache_retention", 24, "prompt_cache_retention"),
    ("prompt_cache_options", "x", "prompt_cache_options"),
    ("safety_identifier", 1, "safety_identifier"),
    ("functions", {}, "functions"),
    ("function_call", 7, "function_call"),
    ("stream_options", {"include_obfuscation": 1}, "stream_options.include_obfuscation"),
    ("messages", [{"role": "assistant", "tool_calls": {}}], "messages.0.tool_calls"),
    ("messages", [{"role": "tool", "content": "x", "tool_call_id": 7}], "messages.0.tool_call_id"),
    ("messages", [{"role": "user", "content": "x", "name": 7}], "messages.0.name"),
]


@pytest.mark.parametrize(("name", "value", "param"), WRONG)
def test_a_wrong_member_is_named(name: str, value: Any, param: str) -> None:
    error = refused(chat_body(**{name: value}))
    # msgspec says which list a wrong entry stands in, not always at which place.
    assert error.param is not None
    assert error.param.replace("messages....", "messages.0.") in (param, param.replace(".1.", ".0."))
    assert error.details == [{"field": error.param, "message": error.message.removeprefix(f"{error.param}: ")}]


@pytest.mark.parametrize("name", ["model", "messages"])
def test_a_missing_member_is_named(name: str) -> None:
    body = json.loads(chat_body())
    del body[name]
    error = refused(json.dumps(body).encode())
    assert (error.param, error.message) == (name, f"{name}: is required")


def test_a_body_that_is_no_json_is_refused() -> None:
    assert refused(b'{"model":').message.startswith("the body is not valid JSON")


def test_the_head_holds_what_the_line_must_know() -> None:
    body = chat_body("gpt", stream=True, stream_options={"include_usage": True}, metadata={"a": "b"}, n=3, max_tokens=9)
    assert read_head(body) == RequestHead("gpt", True, True, 9, 3, {"a": "b"})
    assert read_head(chat_body("gpt")) == RequestHead("gpt")


@pytest.mark.parametrize(
    ("caps", "smaller"),
    [
        ({"max_completion_tokens": 7}, 7),
        ({"max_tokens": 9, "max_completion_tokens": 7}, 7),
        ({"max_tokens": None}, None),
    ],
)
def test_of_two_caps_the_smaller_holds(caps: dict[str, Any], smaller: int | None) -> None:
    assert read_head(chat_body(**caps)).output_cap == smaller


def test_every_parameter_of_openai_s_sdk_is_known() -> None:
    assert set(CompletionCreateParamsStreaming.__annotations__) <= set(ChatShape.__struct_fields__)


OPTIONAL = [name for name in ChatShape.__struct_fields__ if name not in ("model", "messages")]


@pytest.mark.parametrize("name", OPTIONAL)
def test_null_means_not_said(name: str) -> None:
    assert getattr(chat_shape(chat_body()[:-1] + f', "{name}": null}}'.encode()), name) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": [{"role": "user", "content": [{"type": "hologram", "data": {"x": [1]}}]}]},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "c"}], "unheard_of": 1}]},
        {"messages": [{"role": "developer", "content": "x"}, {"role": "function", "name": "f", "content": "y"}]},
        {"service_tier": "on_demand", "prediction": {"type": "content"}, "logit_bias": {"1": -100, "2": 0.5}},
        {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}, "store": True},
        {"web_search_options": {"search_context_size": "low"}, "verbosity": "low", "unheard_of": [1]},
        {"functions": [{"name": "f"}], "function_call": {"name": "f"}},
        {"temperature": 0, "top_p": 1, "presence_penalty": -2},
        {"n": 128, "max_tokens": 1, "seed": -(2**63)},
        {"stop": ["a", "b"], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tools": [{"type": "custom", "custom": {"name": "sh"}}], "tool_choice": {"type": "allowed_tools"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
    ],
)
def test_what_upstreams_may_know_and_we_do_not_is_let_through(changes: dict[str, Any]) -> None:
    assert read_head(chat_body(**changes)).model
