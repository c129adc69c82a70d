from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance.errors import GatewayError
from appliance.formats.chat import (
    ChatRequest,
    FilePart,
    ImagePart,
    Message,
    ReasoningOptions,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from appliance.formats.google_request import decode_count, encode_count, encode_request
from support.golden import check_golden

HELLO = [Message("user", [TextPart("hello")])]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CITY_FORMAT = ResponseFormat("json_schema", name="city", schema=SCHEMA, strict=True, description="Where it is.")
FIND = Tool("find", "Finds things.", {"type": "object", "properties": {"q": {"type": "string"}}})
NEW, MIDDLE, OLD = "gemini-3-flash-preview", "gemini-2.5-flash", "gemini-2.0-flash"


def _encoded(model: str = MIDDLE, /, **members: Any) -> dict[str, Any]:
    return encode_request(ChatRequest("front", **({"messages": HELLO} | members)), model)


def _config(model: str = MIDDLE, /, **members: Any) -> dict[str, Any]:
    config: dict[str, Any] = _encoded(model, **members)["generationConfig"]
    return config


def _refusal(model: str = MIDDLE, /, **members: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        _encoded(model, **members)
    assert caught.value.code == "VALIDATION_ERROR"
    return caught.value


def _conversation() -> ChatRequest:
    hint = {"type": "ephemeral"}
    return ChatRequest(
        "front",
        [
            Message("system", [TextPart("You are brief.")]),
            Message("developer", [TextPart("Answer in Dutch.", cache=hint)]),
            Message(
                "user",
                [
                    TextPart("What are these, and who made them?"),
                    ImagePart(data="iVBORw0KGgo=", media_type="image/png", detail="low"),
                    ImagePart(url="https://example.org/cat.jpg", cache=hint),
                    FilePart(data="JVBERi0=", media_type="application/pdf", filename="report.pdf"),
                ],
            ),
            Message(
                "assistant",
                [
                    ReasoningPart("I should look."),
                    TextPart("Let me look both up."),
                    ToolCallPart("call_1", "find", '{"q": "cat", "depth": 1.0}', signature="c2ln", origin="google"),
                    ToolCallPart("call_2", "now", ""),
                ],
            ),
            Message("tool", [ToolResultPart("call_2", [TextPart("clock is broken")], is_error=True)]),
            Message("tool", [ToolResultPart("call_1", [TextPart("a cat")])]),
        ],
        stream=True,
        max_output_tokens=1000,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop=["END"],
        seed=7,
        tools=[FIND, Tool("now")],
        tool_choice=ToolChoice("auto"),
        reasoning=ReasoningOptions("low"),
        user="alice",
        metadata={"team": "x"},
        extra={"safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}], "store": True},
    )


def test_a_whole_conversation() -> None:
    check_golden(Path("requests/google/conversation.json"), encode_request(_conversation(), NEW))


def test_structured_output() -> None:
    check_golden(Path("requests/google/json-schema.json"), _encoded(response_format=CITY_FORMAT, n=2, logprobs=True))


def test_equal_requests_give_equal_bytes_and_stay_as_they_are() -> None:
    request = _conversation()
    before = msgspec.json.encode(request)
    first = msgspec.json.encode(encode_request(request, NEW))
    assert first == msgspec.json.encode(encode_request(_conversation(), NEW))
    assert msgspec.json.encode(request) == before


def test_a_plain_request_says_nothing_that_was_not_said() -> None:
    assert _encoded() == {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}


# -- generation config ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"top_k": 5}, {"topK": 5}),
        ({"n": 3}, {"candidateCount": 3}),
        ({"seed": 0}, {"seed": 0}),
        ({"presence_penalty": 0.5, "frequency_penalty": -1.0}, {"presencePenalty": 0.5, "frequencyPenalty": -1.0}),
        ({"logprobs": True, "top_logprobs": 3}, {"responseLogprobs": True, "logprobs": 3}),
        ({"logprobs": True}, {"responseLogprobs": True}),
        ({"stop": ["a", "b"]}, {"stopSequences": ["a", "b"]}),
        ({"reasoning": ReasoningOptions("none")}, {"thinkingConfig": {"thinkingBudget": 0}}),
        ({"response_format": ResponseFormat("json_object")}, {"responseMimeType": "application/json"}),
    ],
)
def test_members_of_the_generation_config(members: dict[str, Any], expected: dict[str, Any]) -> None:
    assert _config(**members) == expected


@pytest.mark.parametrize(
    "members",
    [{"n": 1}, {"logprobs": False}, {"stop": []}, {"response_format": ResponseFormat("text")}],
)
def test_defaults_are_left_out(members: dict[str, Any]) -> None:
    assert "generationConfig" not in _encoded(**members)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"stop": list("abcdef")}, "stop"),
        ({"seed": 2**31}, "seed"),
        ({"seed": -(2**31)}, "seed"),
        ({"response_format": ResponseFormat("json_schema")}, "response_format"),
        ({"reasoning": ReasoningOptions("enormous")}, "reasoning_effort"),
        ({"extra": {"logit_bias": {"1": 1}}}, "logit_bias"),
    ],
)
def test_what_is_out_of_reach_is_named(members: dict[str, Any], param: str) -> None:
    assert _refusal(**members).param == param


def test_a_json_answer_beside_tools_needs_a_new_model() -> None:
    for wanted in (CITY_FORMAT, ResponseFormat("json_object")):
        assert _refusal(MIDDLE, tools=[FIND], response_format=wanted).param == "response_format"
        assert _config(NEW, tools=[FIND], response_format=wanted)["responseMimeType"] == "application/json"


def test_the_formats_description_does_not_replace_the_schemas() -> None:
    described = ResponseFormat("json_schema", schema={**SCHEMA, "description": "Own."}, description="Other.")
    assert _config(response_format=described)["responseJsonSchema"]["description"] == "Own."


# -- tools ------------------------------------------------------------------------------------------------------------


def test_a_function_without_parameters_has_no_schema() -> None:
    assert _encoded(tools=[Tool("now"), Tool("then", parameters={})])["tools"] == [
        {"functionDeclarations": [{"name": "now"}, {"name": "then"}]}
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        (ToolChoice("auto"), {"mode": "AUTO"}),
        (ToolChoice("none"), {"mode": "NONE"}),
        (ToolChoice("required"), {"mode": "ANY"}),
        (ToolChoice("tool", "find"), {"mode": "ANY", "allowedFunctionNames": ["find"]}),
    ],
)
def test_tool_choice(choice: ToolChoice | None, expected: dict[str, Any] | None) -> None:
    config = _encoded(tools=[FIND], tool_choice=choice).get("toolConfig")
    assert config == (None if expected is None else {"functionCallingConfig": expected})


def test_a_strict_tool_is_validated_where_the_model_can() -> None:
    strict = Tool("find", parameters=FIND.parameters, strict=True)
    for choice in (None, ToolChoice("auto")):
        config = _encoded(MIDDLE, tools=[strict, FIND], tool_choice=choice)["toolConfig"]
        assert config == {"functionCallingConfig": {"mode": "VALIDATED"}}
    assert "toolConfig" not in _encoded(OLD, tools=[strict])
    required = _encoded(tools=[strict], tool_choice=ToolChoice("required"))["toolConfig"]
    assert required == {"functionCallingConfig": {"mode": "ANY"}}


def test_a_tools_schema_is_refused_where_it_stands() -> None:
    bad = Tool("f", parameters={"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}})
    assert _refusal(tools=[FIND, bad]).param == "tools.1.function.parameters.properties.a.$ref"


def test_a_choice_of_tools_needs_tools_and_a_name() -> None:
    assert _refusal(tool_choice=ToolChoice("required")).param == "tool_choice"
    assert _refusal(tools=[FIND], tool_choice=ToolChoice("tool")).param == "tool_choice"
    assert "toolConfig" not in _encoded(tool_choice=ToolChoice("none"))


# -- counting ---------------------------------------------------------------------------------------------------------


def test_a_count_holds_all_that_is_input() -> None:
    request = ChatRequest(
        "front",
        [Message("system", [TextPart("brief")]), *HELLO],
        tools=[FIND],
        tool_choice=ToolChoice("required"),
        response_format=CITY_FORMAT,
        temperature=0.3,
        extra={"logit_bias": {"1": 1}},
    )
    wrapped = encode_count(request, NEW)["generateContentRequest"]
    assert wrapped["model"] == f"models/{NEW}"
    assert set(wrapped) == {"model", "systemInstruction", "contents", "tools", "toolConfig", "generationConfig"}
    assert set(wrapped["generationConfig"]) == {"responseMimeType", "responseJsonSchema"}
    plain = encode_count(request, NEW, on_vertex=True)
    assert plain == {name: wrapped[name] for name in wrapped if name not in ("model", "toolConfig")}


def test_a_count_of_a_few_words() -> None:
    contents = [{"role": "user", "parts": [{"text": "hello"}]}]
    request = ChatRequest("front", HELLO)
    assert encode_count(request, "models/m") == {"generateContentRequest": {"model": "models/m", "contents": contents}}
    assert encode_count(request, "m", on_vertex=True) == {"contents": contents}


def test_the_counted_tokens() -> None:
    assert decode_count({"totalTokens": 31, "promptTokensDetails": []}) == 31


@pytest.mark.parametrize("body", [None, [], {}, {"totalTokens": "31"}, {"error": {"code": 500}}])
def test_what_counts_nothing_is_a_shape_mismatch(body: Any) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_count(body)
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"
