from __future__ import annotations

from pathlib import Path
from typing import Any

import anthropic.types
import msgspec
import pytest
from pydantic import TypeAdapter

from appliance.errors import GatewayError
from appliance.formats.anthropic_decode_request import HARMLESS, decode_count_request, decode_request
from appliance.formats.chat import ChatRequest, Message, ReasoningOptions, ResponseFormat, TextPart, ToolResultPart
from support.fixtures import PROVIDERS, needs_fixtures, recorded_json
from support.golden import check_golden

HELLO = [{"role": "user", "content": "hello"}]
HINT = {"type": "ephemeral"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": False}

REFEREE: TypeAdapter[Any] = TypeAdapter(anthropic.types.MessageCreateParams)

AGENT = {
    "model": "claude-opus",
    "max_tokens": 32000,
    "stream": True,
    "system": [
        {"type": "text", "text": "You are a coding agent."},
        {"type": "text", "text": "The project is in Python.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<reminder>Today is Monday.</reminder>"},
                {"type": "text", "text": "Fix the test.", "cache_control": HINT},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "I should look first.", "signature": "c2ln"},
                {"type": "text", "text": "I look at the file."},
                {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "test.py"}},
                {"type": "tool_use", "id": "toolu_2", "name": "Read", "input": {"path": "code.py"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [{"type": "text", "text": "1\tassert f()"}],
                },
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_2",
                    "content": "no such file",
                    "is_error": True,
                    "cache_control": HINT,
                },
                {"type": "text", "text": "Go on."},
            ],
        },
    ],
    "tools": [
        {
            "name": "Read",
            "description": "Reads a file.",
            "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
            "cache_control": HINT,
        }
    ],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 31999, "display": "summarized"},
    "metadata": {"user_id": "user_0123"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
}


def _decoded(**members: Any) -> ChatRequest:
    return decode_request({"model": "m", "max_tokens": 4096, "messages": HELLO, **members})


def _refused(**members: Any) -> str:
    with pytest.raises(GatewayError) as caught:
        _decoded(**members)
    assert caught.value.code == "VALIDATION_ERROR"
    return caught.value.param or ""


def test_an_agents_request_reads_as_its_golden_file() -> None:
    REFEREE.validate_python(AGENT)
    check_golden(Path("requests/anthropic/decoded-agent.json"), msgspec.to_builtins(decode_request(AGENT)))


@needs_fixtures
def test_every_recorded_request_is_read_or_refused_by_name() -> None:
    refused = {}
    for path in sorted((PROVIDERS / "anthropic").glob("*.request.json")):
        body = recorded_json(f"anthropic/{path.name}")
        try:
            assert decode_request(body).max_output_tokens == body["max_tokens"]
        except GatewayError as error:
            refused[path.name.split(".")[0]] = error.param
    assert refused == {"stream-pause-turn": "tools.0.type"}


def test_a_plain_request_says_no_more_than_it_must() -> None:
    assert _decoded() == ChatRequest(
        "m", [Message("user", [TextPart("hello")])], include_usage=True, max_output_tokens=4096, dialect="anthropic"
    )


def test_sampling_and_stops() -> None:
    request = _decoded(temperature=0.5, top_p=0.9, top_k=40, stop_sequences=["END"], stream=True)
    assert (request.temperature, request.top_p, request.top_k, request.stop, request.stream) == (
        0.5,
        0.9,
        40,
        ["END"],
        True,
    )


def test_a_last_assistant_message_is_a_begun_answer() -> None:
    assert _decoded(messages=[*HELLO, {"role": "assistant", "content": "It is"}]).prefill
    assert not _decoded(messages=[*HELLO, {"role": "assistant", "content": ""}]).prefill
    assert not _decoded().prefill


OFF = ReasoningOptions(budget_tokens=0, if_possible=True)


@pytest.mark.parametrize(
    ("members", "options"),
    [
        ({}, None),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, ReasoningOptions(summary="none")),
        (
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "max"}},
            ReasoningOptions("max", summary="auto"),
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, ReasoningOptions(budget_tokens=1024)),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, OFF),
        ({"thinking": {"type": "between_tools"}}, OFF),
        ({"output_config": {"effort": "low"}}, ReasoningOptions("low")),
        ({"output_config": {"effort": None}}, None),
    ],
)
def test_how_much_to_think(members: dict[str, Any], options: ReasoningOptions | None) -> None:
    assert _decoded(**members).reasoning == options


def test_a_schema_for_the_answer_is_strict() -> None:
    wanted = ResponseFormat("json_schema", schema=SCHEMA, strict=True)
    schema = {"type": "json_schema", "schema": SCHEMA}
    assert _decoded(output_config={"format": schema}).response_format == wanted
    assert _decoded(output_format=schema).response_format == wanted
    assert _decoded(output_config={"format": None}).response_format is None


def test_a_hint_beside_the_messages_stands_on_their_last_block() -> None:
    assert _decoded(cache_control=HINT).messages[-1].parts == [TextPart("hello", HINT)]
    own = {"type": "ephemeral", "ttl": "1h"}
    turns = [{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": own}]}]
    assert _decoded(messages=turns, cache_control=HINT).messages[-1].parts == [TextPart("a", own)]
    turns = [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "x"}]}]
    last = _decoded(messages=turns, cache_control=HINT).messages[-1]
    assert last.parts == [ToolResultPart("c", [TextPart("x")], cache=HINT)]
    assert _decoded(cache_control=HINT).extra == {}


def test_only_what_matters_and_is_not_known_is_kept_aside() -> None:
    harmless = {name: {"any": "thing"} for name in HARMLESS}
    neutral: dict[str, Any] = {"mcp_servers": [], "speed": "standard", "container": None}
    assert _decoded(**harmless, **neutral).extra == {}
    request = _decoded(speed="fast", inference_geo="us", output_config={"effort": "low", "task_budget": {"total": 9}})
    assert request.extra == {
        "speed": "fast",
        "inference_geo": "us",
        "output_config": {"task_budget": {"total": 9}},
    }


def test_counting_needs_no_cap() -> None:
    body = {"model": "m", "messages": HELLO, "thinking": {"type": "enabled", "budget_tokens": 2000}}
    request = decode_count_request(body)
    assert (request.max_output_tokens, request.reasoning) == (None, ReasoningOptions(budget_tokens=2000))
    with pytest.raises(GatewayError, match="max_tokens: is required"):
        decode_request(body)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"model": ""}, "model"),
        ({"messages": None}, "messages"),
        ({"temperature": 1.1}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"stop_sequences": [5]}, "stop_sequences.0"),
        ({"stream": "yes"}, "stream"),
        ({"system": [{"type": "image"}]}, "system.0.type"),
        ({"tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}]}, "tools.0.type"),
        ({"tool_choice": {"type": "required"}}, "tool_choice.type"),
        ({"thinking": {"type": "sometimes"}}, "thinking.type"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1023}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "adaptive", "display": "loud"}}, "thinking.display"),
        ({"output_config": {"effort": "heroic"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "json_object"}}}, "output_config.format.type"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"metadata": {"user_id": 5}}, "metadata.user_id"),
        ({"metadata": {"team": "a"}}, "metadata.team"),
    ],
)
def test_a_wrong_member_is_named(members: dict[str, Any], param: str) -> None:
    assert _refused(**members) == param


def test_a_long_label_of_the_end_user_is_told_as_its_hash() -> None:
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    kept = decode_request(body | {"metadata": {"user_id": "u" * 64}}).user
    hashed = decode_request(body | {"metadata": {"user_id": "u" * 65}}).user
    assert kept == "u" * 64
    assert hashed is not None
    assert len(hashed) == 64
    assert hashed != kept
