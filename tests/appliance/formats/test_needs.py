"""What requests ask for, in each dialect; and that values which change nothing ask for nothing."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from appliance.formats.needs import needs_of_members

TEXT = [{"role": "user", "content": "a"}]
IMAGE_URL = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
IMAGE_DATA = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
CLAUDE_IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
CLAUDE_URL = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}


def needs(surface: str, **members: Any) -> set[str]:
    raw = msgspec.json.decode(json.dumps({"model": "m"} | members).encode(), type=dict[str, Raw])
    return set(needs_of_members(surface, raw))


def user(*parts: Any) -> list[Any]:
    return [*TEXT, {"role": "user", "content": list(parts)}]


@pytest.mark.parametrize("surface", ["openai", "native"])
@pytest.mark.parametrize(
    ("members", "wanted"),
    [
        ({"tools": [{"type": "function"}]}, {"tools"}),
        ({"functions": [{"name": "f"}]}, {"tools"}),
        ({"tool_choice": "required"}, {"tool_choice"}),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"tool_choice"}),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required"}}}, {"tool_choice"}),
        ({"function_call": {"name": "f"}}, {"tool_choice"}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls"}),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, {"json_schema"}),
        ({"response_format": {"type": "json_object"}}, {"json_object"}),
        ({"reasoning_effort": "low"}, {"reasoning"}),
        ({"reasoning": {"effort": "high"}}, {"reasoning"}),
        ({"reasoning": {"max_tokens": 2000}}, {"reasoning"}),
        ({"reasoning": {"enabled": True}}, {"reasoning"}),
        ({"logprobs": True, "top_logprobs": 2}, {"logprobs"}),
        ({"n": 2}, {"n"}),
        ({"seed": 0}, {"seed"}),
        ({"stop": "x"}, {"stop"}),
        ({"stop": ["x"]}, {"stop"}),
        ({"presence_penalty": 0.5}, {"penalties"}),
        ({"frequency_penalty": -1}, {"penalties"}),
        ({"temperature": 0}, {"temperature"}),
        ({"top_p": 0.5}, {"top_p"}),
        ({"top_k": 40}, {"top_k"}),
        ({"stream": True}, {"streaming"}),
        ({"continue_final_message": True}, {"prefill"}),
        ({"messages": user(IMAGE_DATA)}, {"images"}),
        ({"messages": user(IMAGE_DATA, IMAGE_URL)}, {"images", "image_urls"}),
        ({"messages": user({"type": "file", "file": {"file_data": "data:application/pdf;base64,AA"}})}, {"files"}),
        ({"messages": user({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}})}, {"audio"}),
        ({"messages": [*TEXT, {"role": "tool", "tool_call_id": "c", "content": [IMAGE_DATA]}]}, {"images"}),
        ({"messages": [*TEXT, {"role": "assistant", "content": "b", "prefix": True}]}, {"prefill"}),
    ],
)
def test_openai_form(surface: str, members: dict[str, Any], wanted: set[str]) -> None:
    assert needs(surface, **members) == wanted


@pytest.mark.parametrize(
    "members",
    [
        {"tools": []},
        {"tool_choice": "auto"},
        {"tool_choice": "none"},
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto"}}},
        {"function_call": "auto"},
        {"parallel_tool_calls": True},
        {"response_format": {"type": "text"}},
        {"reasoning_effort": "none"},
        {"reasoning": {"enabled": False, "effort": "high"}},
        {"reasoning": {"effort": "none", "max_tokens": 0}},
        {"logprobs": False, "top_logprobs": 0},
        {"n": 1},
        {"stop": []},
        {"stop": ""},
        {"presence_penalty": 0, "frequency_penalty": 0.0},
        {"temperature": 1, "top_p": 1.0, "top_k": -1},
        {"stream": False},
        {"messages": TEXT},
        {"messages": [*TEXT, {"role": "assistant", "content": "b"}]},
        {"messages": [*TEXT, {"role": "assistant", "content": "b", "prefix": False}]},
        {"messages": [{"role": "user", "content": 'what is "image_url" and "file"?'}]},
        {"cache_control": {"type": "ephemeral"}},
    ]
    + [
        {name: None}
        for name in ("tools", "n", "seed", "stop", "temperature", "reasoning", "response_format", "messages")
    ],
    ids=str,
)
def test_what_changes_nothing_needs_nothing(members: dict[str, Any]) -> None:
    assert needs("openai", **members) == set()


@pytest.mark.parametrize(
    "members",
    [
        {"tools": "all", "temperature": "hot", "n": True, "seed": True, "stop": 5, "reasoning": "yes", "top_k": []},
        {"response_format": "json_schema", "reasoning_effort": 3, "tool_choice": 1, "logprobs": "true"},
        {"messages": "hello", "input": 5},
        {"messages": [5, "image_url", [IMAGE_URL]]},
        {"messages": [{"role": 5, "prefix": True}]},
    ],
    ids=str,
)
@pytest.mark.parametrize("surface", ["openai", "anthropic", "responses"])
def test_wrong_types_are_left_to_the_dialects_own_checks(surface: str, members: dict[str, Any]) -> None:
    assert needs(surface, **members) - {"tools", "images", "image_urls"} == set()


@pytest.mark.parametrize(
    ("members", "wanted"),
    [
        ({"tools": [{"name": "f"}], "tool_choice": {"type": "any"}}, {"tools", "tool_choice"}),
        ({"tool_choice": {"type": "tool", "name": "f"}}, {"tool_choice"}),
        ({"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, {"parallel_tool_calls"}),
        ({"tool_choice": {"type": "auto"}}, set()),
        ({"output_config": {"format": {"type": "json_schema", "schema": {}}}}, {"json_schema"}),
        ({"output_format": {"type": "json_schema"}}, {"json_schema"}),
        ({"output_config": {"effort": "low"}}, set()),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"reasoning"}),
        ({"thinking": {"type": "disabled"}}, set()),
        ({"thinking": {"type": "adaptive"}}, set()),
        ({"stop_sequences": ["x"]}, {"stop"}),
        ({"temperature": 0.5, "top_p": 0.5, "top_k": 5}, {"temperature", "top_p", "top_k"}),
        ({"stream": True, "max_tokens": 5}, {"streaming"}),
        ({"messages": user(CLAUDE_IMAGE)}, {"images"}),
        ({"messages": user(CLAUDE_URL)}, {"images", "image_urls"}),
        ({"messages": user({"type": "tool_result", "content": [CLAUDE_IMAGE]})}, {"images"}),
        ({"messages": user({"type": "document", "source": {"type": "base64", "data": "AA"}})}, {"files"}),
        ({"messages": user({"type": "document", "source": {"type": "text", "data": "words"}})}, set()),
        ({"messages": [*TEXT, {"role": "assistant", "content": "b"}]}, {"prefill"}),
        ({"messages": [*TEXT, {"role": "assistant", "content": [{"type": "text", "text": "b"}]}]}, {"prefill"}),
        # A turn that Anthropic paused is sent back as it was: no text of the caller's is to be continued.
        ({"messages": [*TEXT, {"role": "assistant", "content": [{"type": "server_tool_use"}]}]}, set()),
        ({"messages": [*TEXT, {"role": "assistant", "content": "b"}, *TEXT]}, set()),
    ],
)
def test_anthropic_form(members: dict[str, Any], wanted: set[str]) -> None:
    assert needs("anthropic", **members) == wanted


@pytest.mark.parametrize(
    ("members", "wanted"),
    [
        ({"input": "hello"}, set()),
        ({"tools": [{"type": "function"}], "tool_choice": "required"}, {"tools", "tool_choice"}),
        ({"tool_choice": {"type": "function", "name": "f"}}, {"tool_choice"}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls"}),
        ({"text": {"format": {"type": "json_schema"}}}, {"json_schema"}),
        ({"text": {"format": {"type": "json_object"}}}, {"json_object"}),
        ({"text": {"format": {"type": "text"}}}, set()),
        ({"reasoning": {"effort": "low"}}, {"reasoning"}),
        ({"reasoning": {"effort": "none", "summary": "auto"}}, set()),
        ({"top_logprobs": 2}, {"logprobs"}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs"}),
        ({"include": ["reasoning.encrypted_content"]}, set()),
        ({"input": user({"type": "input_image", "image_url": "https://example.org/a.png"})}, {"images", "image_urls"}),
        ({"input": user({"type": "input_image", "image_url": "data:image/png;base64,AA"})}, {"images"}),
        ({"input": user({"type": "input_file", "file_data": "AA"})}, {"files"}),
        ({"input": user({"type": "input_audio", "input_audio": {}})}, {"audio"}),
        (
            {"input": [{"type": "function_call_output", "output": [{"type": "input_image", "file_id": "f"}]}]},
            {"images"},
        ),
        ({"input": [*TEXT, {"role": "assistant", "content": "b"}]}, set()),
    ],
)
def test_responses_form(members: dict[str, Any], wanted: set[str]) -> None:
    assert needs("responses", **members) == wanted


@pytest.mark.parametrize(
    ("surface", "members", "wanted"),
    [
        ("embeddings", {"input": "a"}, {"embeddings"}),
        ("embeddings", {"input": "a", "dimensions": 256}, {"embeddings", "dimensions"}),
        ("images", {"prompt": "a", "n": 2}, {"images_out"}),
        ("transcription", {}, {"transcription"}),
        ("speech", {"input": "a"}, {"speech"}),
        ("rerank", {"query": "a"}, {"rerank"}),
    ],
)
def test_other_operations(surface: str, members: dict[str, Any], wanted: set[str]) -> None:
    assert needs(surface, **members) == wanted


def test_many_needs_at_once() -> None:
    found = needs("openai", tools=[{}], n=2, seed=1, stream=True, messages=user(IMAGE_URL))
    assert found == {"tools", "n", "seed", "streaming", "images", "image_urls"}
