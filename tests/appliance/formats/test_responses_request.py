from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance.errors import GatewayError
from appliance.formats.base import RequestHead
from appliance.formats.chat import Message, ReasoningOptions, ResponseFormat, TextPart, Tool, ToolChoice
from appliance.formats.responses_request import decode_request, read_head
from support.fixtures import PROVIDERS, needs_fixtures, recorded_json
from support.golden import check_golden

RECORDED = ["cache-read"]


def body(**members: Any) -> dict[str, Any]:
    return {"model": "m", "input": "hi", **members}


@needs_fixtures
@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_request_reads_as_its_golden_file(name: str) -> None:
    request = decode_request(recorded_json(f"openai-responses/{name}.request.json"))
    check_golden(Path(f"requests/openai-responses/{name}.json"), msgspec.to_builtins(request))


@needs_fixtures
def test_every_recorded_request_that_is_right_has_a_golden_file() -> None:
    recorded = {path.name.split(".")[0] for path in (PROVIDERS / "openai-responses").glob("*.request.json")}
    assert recorded - {"error-400"} == set(RECORDED)


def test_everything_that_can_be_said() -> None:
    request = decode_request(
        body(
            instructions="be brief",
            stream=True,
            stream_options={"include_obfuscation": False},
            temperature=0.5,
            top_p=0.9,
            max_output_tokens=99,
            max_tool_calls=3,
            tools=[{"type": "function", "name": "f", "parameters": None, "strict": None}],
            tool_choice="required",
            parallel_tool_calls=False,
            text={"format": {"type": "json_schema", "name": "n", "schema": {"a": 1}, "strict": True}},
            reasoning={"effort": "low", "summary": "auto", "context": "auto", "mode": "standard"},
            include=["reasoning.encrypted_content", "message.output_text.logprobs"],
            top_logprobs=3,
            user="u",
            metadata={"a": "b"},
            store=True,
            truncation="disabled",
            background=False,
            conversation=None,
            prompt=None,
            previous_response_id=None,
            safety_identifier="s",
            prompt_cache_key="k",
            service_tier="flex",
            moderation=None,
        )
    )
    assert request.messages == [Message("system", [TextPart("be brief")]), Message("user", [TextPart("hi")])]
    assert (request.model, request.stream, request.include_usage, request.dialect) == ("m", True, True, "responses")
    assert (request.temperature, request.top_p, request.max_output_tokens) == (0.5, 0.9, 99)
    assert (request.tools, request.tool_choice) == ([Tool("f")], ToolChoice("required"))
    assert request.parallel_tool_calls is False
    assert request.response_format == ResponseFormat("json_schema", "n", {"a": 1}, True)
    assert request.reasoning == ReasoningOptions("low", summary="auto")
    assert (request.logprobs, request.top_logprobs) == (True, 3)
    assert (request.user, request.metadata) == ("u", {"a": "b"})
    assert request.extra == {"safety_identifier": "s", "prompt_cache_key": "k", "service_tier": "flex"}


def test_what_is_not_said_is_not_known() -> None:
    request = decode_request(body(instructions="", reasoning={}, text={}, include=None, top_logprobs=0))
    assert request.messages == [Message("user", [TextPart("hi")])]
    unsaid = (request.reasoning, request.response_format, request.logprobs, request.top_logprobs)
    assert unsaid == (None, None, None, None)
    assert request.extra == {}


@pytest.mark.parametrize(
    ("text", "wanted", "extra"),
    [
        ({"format": {"type": "text"}, "verbosity": "medium"}, ResponseFormat("text"), {}),
        ({"format": {"type": "json_object"}}, ResponseFormat("json_object"), {}),
        ({"verbosity": "low"}, None, {"verbosity": "low"}),
    ],
)
def test_text_options(text: dict[str, Any], wanted: ResponseFormat | None, extra: dict[str, Any]) -> None:
    request = decode_request(body(text=text))
    assert (request.response_format, request.extra) == (wanted, extra)


def test_the_former_word_for_summary_is_understood() -> None:
    assert decode_request(body(reasoning={"generate_summary": "concise"})).reasoning == ReasoningOptions(
        summary="concise"
    )


def test_asking_for_alternatives_is_asking_for_probabilities() -> None:
    request = decode_request(body(top_logprobs=2))
    assert (request.logprobs, request.top_logprobs) == (True, 2)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"input": None}, "input"),
        ({"instructions": ["x"]}, "instructions"),
        ({"background": True}, "background"),
        ({"background": "yes"}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"truncation": "auto"}, "truncation"),
        ({"include": ["everything"]}, "include.0"),
        ({"include": [5]}, "include.0"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 2.5}, "temperature"),
        ({"metadata": {"a": []}}, "metadata.a"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"text": {"tone": "kind"}}, "text.tone"),
        ({"reasoning": {"context": "all_turns"}}, "reasoning.context"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"reasoning": {"budget": 1}}, "reasoning.budget"),
        ({"tools": [{"type": "mcp"}]}, "tools.0.type"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_what_is_wrong_is_named(members: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_request(body(**members))
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", param)


# -- the head ---------------------------------------------------------------------------------------------------------


def test_the_head_says_what_the_line_must_know() -> None:
    told = body(stream=True, max_output_tokens=50, metadata={"a": "b"}, tools=[{"type": "web_search"}])
    assert read_head(json.dumps(told).encode()) == RequestHead("m", True, True, 50, 1, {"a": "b"})
    assert read_head(b'{"model": "m"}') == RequestHead("m", False, True)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"model": 5}, "model"),
        ({"stream": 1}, "stream"),
        ({"max_output_tokens": "9"}, "max_output_tokens"),
        ({"metadata": []}, "metadata"),
        ({"background": True}, "background"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ],
)
def test_a_wrong_head_is_named(members: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_head(json.dumps(body(**members)).encode())
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", param)


def test_a_body_that_is_no_object_has_no_head() -> None:
    with pytest.raises(GatewayError) as caught:
        read_head(b"[]")
    assert caught.value.code == "VALIDATION_ERROR"
