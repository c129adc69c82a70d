from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Required, Union, get_args, get_origin

import anthropic.types
import pytest
from anthropic._types import SequenceNotStr
from pydantic import TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict, get_type_hints, is_typeddict

from appliance.errors import GatewayError
from appliance.formats.anthropic_request import DEFAULT_MAX_TOKENS, encode_request
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
from appliance.formats.json_answer import JSON_ANSWER_TOOL
from support.golden import check_golden

HINT = {"type": "ephemeral"}
HELLO = [Message("user", [TextPart("hello")])]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
CITY_FORMAT = ResponseFormat("json_schema", name="city", schema=SCHEMA, strict=True, description="Where it is.")
FIND = Tool("find", "Finds things.", {"type": "object", "properties": {"q": {"type": "string"}}})
NATIVE_MODEL = "claude-sonnet-4-5"
OLD_MODEL = "claude-sonnet-4-20250514"
NEW_MODEL = "claude-opus-4-7"

SENT_AS_EXTRA_BODY = {"temperature", "top_p", "top_k"}
"""Members that the API still takes from the models that know them, but the SDK's types no longer name."""


@cache
def _strict(kind: Any) -> Any:
    """The SDK's request type without its leniency: real lists, no unknown members, no types of replies."""
    if is_typeddict(kind):
        hints = {name: _strict(hint) for name, hint in get_type_hints(kind, include_extras=True).items()}
        config = getattr(kind, "__pydantic_config__", {"extra": "forbid"})
        return with_config(config)(TypedDict(kind.__name__, hints, total=False))  # type: ignore[arg-type, operator]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Union:
        return Union[tuple(_strict(argument) for argument in arguments)]  # noqa: UP007
    if hasattr(kind, "model_fields"):
        return Literal["a reply's type, which nothing of a request matches"]
    if origin is Annotated:
        return _strict(arguments[0])
    if origin in (Iterable, SequenceNotStr):
        return list[_strict(arguments[0])]  # type: ignore[misc]
    if origin is Required:
        return Required[_strict(arguments[0])]
    return kind


REFEREE: TypeAdapter[Any] = TypeAdapter(_strict(anthropic.types.MessageCreateParams))


def _referee(body: dict[str, Any]) -> None:
    REFEREE.validate_python({name: value for name, value in body.items() if name not in SENT_AS_EXTRA_BODY})


def _encoded(model: str = NATIVE_MODEL, /, **members: Any) -> dict[str, Any]:
    body = encode_request(ChatRequest("front", HELLO, **members), model)
    _referee(body)
    return body


def _refusal(model: str = NATIVE_MODEL, /, **members: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        encode_request(ChatRequest("front", HELLO, **members), model)
    assert caught.value.code == "VALIDATION_ERROR"
    return caught.value


def _conversation() -> ChatRequest:
    return ChatRequest(
        "front",
        [
            Message("system", [TextPart("You are brief.")]),
            Message("developer", [TextPart("Answer in Dutch.", cache=HINT)]),
            Message(
                "user",
                [
                    TextPart("What are these, and who made them?"),
                    ImagePart(data="iVBORw0KGgo=", media_type="image/png"),
                    ImagePart(url="https://example.org/cat.jpg", cache=HINT),
                    FilePart(data="JVBERi0=", media_type="application/pdf", filename="report.pdf"),
                    FilePart(data="aGFsbG8=", media_type="text/plain"),
                ],
            ),
            Message(
                "assistant",
                [
                    TextPart("Let me look both up."),
                    ToolCallPart("toolu_1", "find", '{"q": "cat", "depth": 1.0}'),
                    ToolCallPart("toolu_2", "now", ""),
                ],
            ),
            Message("tool", [ToolResultPart("toolu_1", [TextPart("a cat")])]),
            Message("tool", [ToolResultPart("toolu_2", [TextPart("clock is broken")], is_error=True, cache=HINT)]),
            Message("user", [TextPart("Go on.")]),
            Message("system", [TextPart("Mention the time.")]),
        ],
        stream=True,
        max_output_tokens=1000,
        temperature=0.2,
        top_p=0.9,
        stop=["END", "\n\nHuman:"],
        tools=[FIND, Tool("now", strict=True, cache=HINT)],
        tool_choice=ToolChoice("auto"),
        parallel_tool_calls=False,
        user="alice",
        top_k=40,
        extra={"store": True, "stream_options": {"include_usage": True}},
    )


def _thinking() -> ChatRequest:
    return ChatRequest(
        "front",
        [
            Message("user", [TextPart("What is the largest city in my country?")]),
            Message(
                "assistant",
                [
                    ReasoningPart("I need the country first.", signature="c2lnbmVk"),
                    ReasoningPart(redacted="b3BhcXVl"),
                    ReasoningPart("dropped, since nobody signed it"),
                    ReasoningPart("dropped, since another provider signed it", signature="c2ln", origin="google"),
                    TextPart("Let me see."),
                    ToolCallPart("toolu_1", "find", '{"q":"country"}'),
                ],
            ),
            Message("tool", [ToolResultPart("toolu_1", [TextPart("Mexico")])]),
        ],
        max_output_tokens=8000,
        tools=[FIND],
        reasoning=ReasoningOptions(budget_tokens=2000),
    )


def _json_schema() -> ChatRequest:
    effort = ReasoningOptions(effort="minimal")
    return ChatRequest("front", HELLO, response_format=CITY_FORMAT, reasoning=effort, max_output_tokens=2000)


def _json_object() -> ChatRequest:
    return ChatRequest("front", HELLO, response_format=ResponseFormat("json_object"))


GOLDENS: list[tuple[str, Callable[[], ChatRequest], str]] = [
    ("conversation", _conversation, NATIVE_MODEL),
    ("thinking", _thinking, NATIVE_MODEL),
    ("json-schema-native", _json_schema, NATIVE_MODEL),
    ("json-schema-forced", lambda: ChatRequest("front", HELLO, response_format=CITY_FORMAT), OLD_MODEL),
    ("json-object", _json_object, NATIVE_MODEL),
]


@pytest.mark.parametrize(("name", "build", "model"), GOLDENS, ids=[name for name, _, _ in GOLDENS])
def test_a_request_is_rendered_as_recorded_and_pleases_the_sdk(
    name: str, build: Callable[[], ChatRequest], model: str
) -> None:
    body = encode_request(build(), model)
    _referee(body)
    check_golden(Path(f"requests/anthropic/{name}.json"), body)


@pytest.mark.parametrize(("name", "build", "model"), GOLDENS, ids=[name for name, _, _ in GOLDENS])
def test_equal_requests_give_equal_bytes_and_stay_as_they_were(
    name: str, build: Callable[[], ChatRequest], model: str
) -> None:
    request = build()
    first = json.dumps(encode_request(request, model))
    assert json.dumps(encode_request(request, model)) == first == json.dumps(encode_request(build(), model))
    assert request == build()


def test_schemas_and_arguments_keep_the_order_they_were_written_in() -> None:
    """Anthropic's prompt cache compares what it is sent, and models answer in the order of the schema."""
    parameters = {"type": "object", "properties": {"z": {}, "a": {}}}
    call = ToolCallPart("toolu_1", "f", '{"z": 1, "a": [2]}')
    messages = [*HELLO, Message("assistant", [call])]
    sent = json.dumps(encode_request(ChatRequest("front", messages, tools=[Tool("f", parameters=parameters)]), "m"))
    assert '"input_schema": {"type": "object", "properties": {"z": {}, "a": {}}}' in sent
    assert '"input": {"z": 1, "a": [2]}' in sent


def test_a_forced_answer_always_has_an_object_schema() -> None:
    wanted = ResponseFormat("json_schema", schema={"$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}})
    (tool,) = _encoded(OLD_MODEL, response_format=wanted)["tools"]
    assert tool["input_schema"] == {"type": "object", **(wanted.schema or {})}


def test_the_referee_refuses_what_anthropic_would_refuse() -> None:
    text = {"type": "text", "text": "x"}
    for wrong in ({"type": "txt", "text": "x"}, {**text, "detail": "low"}, {**text, "cache_control": {"type": "x"}}):
        with pytest.raises(ValidationError):
            _referee(
                {**encode_request(ChatRequest("m", HELLO), "m"), "messages": [{"role": "user", "content": [wrong]}]}
            )
    with pytest.raises(ValidationError):
        _referee({**encode_request(ChatRequest("m", HELLO), "m"), "seed": 1})


def test_a_plain_request_says_no_more_than_it_must() -> None:
    assert _encoded() == {
        "model": NATIVE_MODEL,
        "max_tokens": DEFAULT_MAX_TOKENS,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
    }


# -- sampling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_temperatures_that_anthropic_accepts_are_sent(temperature: float) -> None:
    assert _encoded(temperature=temperature)["temperature"] == temperature


@pytest.mark.parametrize("temperature", [1.5, -0.1])
def test_other_temperatures_are_refused(temperature: float) -> None:
    error = _refusal(temperature=temperature)
    assert error.message == f"temperature: this target accepts 0 to 1, got {temperature}"


@pytest.mark.parametrize("sequence", ["", " \n"])
def test_stop_sequences_of_white_space_are_refused(sequence: str) -> None:
    assert _refusal(stop=["END", sequence]).param == "stop"


def test_what_cannot_be_carried_is_refused_before_anything_else() -> None:
    assert _refusal(seed=1, temperature=9.0).param == "seed"


def test_the_top_level_cache_hint_goes_on() -> None:
    assert _encoded(extra={"cache_control": HINT})["cache_control"] == HINT


# -- what a model refuses ---------------------------------------------------------------------------------------------


def test_a_model_that_takes_no_sampling_parameters_is_sent_none() -> None:
    body = _encoded(NEW_MODEL, temperature=1.0, top_p=1.0)
    assert not {"temperature", "top_p", "top_k"} & body.keys()
    for name, value in (("temperature", 0.7), ("top_p", 0.9), ("top_k", 1)):
        error = _refusal(NEW_MODEL, **{name: value})
        assert error.param == name
        assert error.details == [{"field": name, "message": error.message.removeprefix(f"{name}: ")}]


def test_an_answer_is_begun_only_where_the_model_goes_on_with_it() -> None:
    begun = ChatRequest("front", [*HELLO, Message("assistant", [TextPart("It is")])], prefill=True)
    assert encode_request(begun, NATIVE_MODEL)["messages"][-1]["role"] == "assistant"
    with pytest.raises(GatewayError, match="end with a message of another role") as caught:
        encode_request(begun, NEW_MODEL)
    assert caught.value.param == "messages.1"


def test_a_call_is_forced_only_where_the_model_can_be_forced() -> None:
    auto = _encoded("claude-opus-5-5", tools=[FIND], tool_choice=ToolChoice("auto"))
    assert auto["tool_choice"] == {"type": "auto"}
    assert _refusal("claude-opus-5-5", tools=[FIND], tool_choice=ToolChoice("required")).param == "tool_choice"
    assert _refusal("claude-opus-5-5", response_format=ResponseFormat("json_object")).param == "response_format"


# -- reasoning --------------------------------------------------------------------------------------------------------


def test_reasoning_stands_in_two_members() -> None:
    body = _encoded(NEW_MODEL, reasoning=ReasoningOptions(effort="high"))
    assert (body["thinking"], body["output_config"]) == ({"type": "adaptive"}, {"effort": "high"})


@pytest.mark.parametrize(
    "beside",
    [
        {"tools": [FIND], "tool_choice": ToolChoice("required")},
        {"tools": [FIND], "tool_choice": ToolChoice("tool", "find")},
        {"response_format": ResponseFormat("json_object")},
        {"temperature": 0.5},
        {"top_k": 5},
    ],
)
def test_an_effort_does_not_think_beside_what_forbids_it(beside: dict[str, Any]) -> None:
    body = _encoded("claude-opus-4-6", reasoning=ReasoningOptions(effort="low"), **beside)
    assert "thinking" not in body
    assert body["output_config"] == {"effort": "low"}
    assert _refusal(NATIVE_MODEL, reasoning=ReasoningOptions(effort="low"), **beside).param == "reasoning_effort"


@pytest.mark.parametrize(
    ("beside", "param"),
    [
        ({"tools": [FIND], "tool_choice": ToolChoice("required")}, "tool_choice"),
        ({"temperature": 0.5}, "temperature"),
        ({"top_k": 5}, "top_k"),
    ],
)
def test_a_budget_beside_what_forbids_it_is_refused(beside: dict[str, Any], param: str) -> None:
    assert _refusal(reasoning=ReasoningOptions(budget_tokens=2000), **beside).param == param
    assert _refusal(extra={"thinking": {"type": "adaptive"}}, **beside).param == param


def _resumed(*thought: ReasoningPart) -> list[Message]:
    called = Message("assistant", [*thought, TextPart("I look."), ToolCallPart("toolu_1", "find", "{}")])
    return [*HELLO, called, Message("tool", [ToolResultPart("toolu_1", [TextPart("found")])])]


@pytest.mark.parametrize("options", [ReasoningOptions(effort="low"), ReasoningOptions(budget_tokens=2000)])
def test_a_step_whose_thought_got_lost_goes_on_without_thinking(options: ReasoningOptions) -> None:
    def thinking(messages: list[Message], model: str = NATIVE_MODEL) -> str | None:
        request = ChatRequest("front", messages, reasoning=options, tools=[FIND], max_output_tokens=8000)
        body = encode_request(request, model)
        _referee(body)
        kind: str | None = body.get("thinking", {}).get("type")
        return kind

    assert thinking(_resumed(ReasoningPart("Hm.", "sig", origin="anthropic"))) == "enabled"
    assert thinking(_resumed(ReasoningPart("Hm.", "sig", origin="google"))) is None
    assert thinking(_resumed()) is None
    # What the user says next begins a new turn.
    assert thinking([*_resumed(), Message("assistant", [TextPart("There.")]), *HELLO]) == "enabled"


def test_adaptive_thinking_asks_for_no_thought_before() -> None:
    request = ChatRequest("front", _resumed(), reasoning=ReasoningOptions(effort="low"), tools=[FIND])
    assert encode_request(request, "claude-opus-4-6")["thinking"]["type"] == "adaptive"


def test_a_budget_makes_the_default_cap_larger() -> None:
    body = _encoded(reasoning=ReasoningOptions(budget_tokens=10_000))
    assert body["max_tokens"] == DEFAULT_MAX_TOKENS + 10_000


def test_anthropics_own_thinking_member_goes_on_as_it_came() -> None:
    own = {"type": "adaptive", "display": "omitted"}
    body = _encoded("claude-opus-4-6", extra={"thinking": own}, reasoning=ReasoningOptions(effort="low"))
    assert (body["thinking"], body["output_config"]) == (own, {"effort": "low"})
    assert _refusal(extra={"thinking": own}, reasoning=ReasoningOptions(budget_tokens=0)).param == "thinking"
    assert _refusal(extra={"thinking": True}).param == "thinking"


# -- tools ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "parallel", "sent"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("auto"), None, {"type": "auto"}),
        (ToolChoice("none"), False, {"type": "none"}),
        (ToolChoice("required"), True, {"type": "any"}),
        (ToolChoice("required"), False, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice("tool", "find"), None, {"type": "tool", "name": "find"}),
        (ToolChoice("tool", "find"), False, {"type": "tool", "name": "find", "disable_parallel_tool_use": True}),
    ],
)
def test_tool_choices(choice: ToolChoice | None, parallel: bool | None, sent: dict[str, Any] | None) -> None:
    body = _encoded(tools=[FIND], tool_choice=choice, parallel_tool_calls=parallel)
    assert body.get("tool_choice") == sent


def test_a_tool_choice_needs_tools_and_a_name() -> None:
    assert _refusal(tool_choice=ToolChoice("required")).param == "tool_choice"
    assert _refusal(tool_choice=ToolChoice("tool", "find")).param == "tool_choice"
    assert _refusal(tools=[FIND], tool_choice=ToolChoice("tool")).param == "tool_choice"
    assert "tool_choice" not in _encoded(tool_choice=ToolChoice("none"), parallel_tool_calls=False)


@pytest.mark.parametrize(
    ("parameters", "sent"),
    [
        (None, {"type": "object", "properties": {}}),
        ({}, {"type": "object", "properties": {}}),
        ({"properties": {"q": {}}}, {"type": "object", "properties": {"q": {}}}),
        (SCHEMA, SCHEMA),
    ],
)
def test_a_tool_always_has_an_object_schema(parameters: dict[str, Any] | None, sent: dict[str, Any]) -> None:
    assert _encoded(tools=[Tool("f", parameters=parameters)])["tools"] == [{"name": "f", "input_schema": sent}]


def test_strict_tools_stay_strict_where_the_model_knows_schemas() -> None:
    tools = [Tool("f", parameters=SCHEMA, strict=True), Tool("g", parameters=SCHEMA, strict=False)]
    assert [tool.get("strict") for tool in _encoded(tools=tools)["tools"]] == [True, None]
    assert [tool.get("strict") for tool in _encoded(OLD_MODEL, tools=tools)["tools"]] == [None, None]


def test_the_reserved_tool_name_is_refused() -> None:
    assert _refusal(tools=[FIND, Tool(JSON_ANSWER_TOOL)]).param == "tools.1.function.name"


# -- response formats -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "is_native"),
    [
        ("claude-opus-4-1", True),
        ("claude-opus-4-5-20251101", True),
        ("claude-haiku-4-5", True),
        ("claude-fable-5", True),
        ("claude-3-7-sonnet-20250219", False),
        ("claude-2.1", False),
        ("claude-instant-1.2", False),
        ("claude-sonnet-4-0", False),
        ("claude-sonnet-4-20250514", False),
        ("claude-opus-4-0", False),
        ("claude-opus-4-20250514", False),
    ],
)
def test_a_schema_goes_native_where_the_model_can_and_through_a_forced_tool_elsewhere(
    model: str, is_native: bool
) -> None:
    body = _encoded(model, response_format=CITY_FORMAT)
    assert ("output_config" in body, "tools" in body) == (is_native, not is_native)


def test_the_native_schema_stands_beside_tools_thinking_and_effort() -> None:
    body = _encoded(
        "claude-opus-4-6",
        response_format=CITY_FORMAT,
        tools=[FIND],
        reasoning=ReasoningOptions(effort="low", budget_tokens=2000),
    )
    assert body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}}
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert [tool["name"] for tool in body["tools"]] == ["find"]


@pytest.mark.parametrize(("model", "wanted"), [(OLD_MODEL, CITY_FORMAT), (NATIVE_MODEL, ResponseFormat("json_object"))])
@pytest.mark.parametrize(
    "other",
    [
        {"tools": [FIND]},
        {"reasoning": ReasoningOptions(budget_tokens=2000)},
        {"extra": {"thinking": {"type": "adaptive"}}},
    ],
)
def test_a_forced_tool_answer_bears_neither_tools_nor_thinking(
    model: str, wanted: ResponseFormat, other: dict[str, Any]
) -> None:
    assert _refusal(model, response_format=wanted, **other).param == "response_format"


OPEN_SCHEMA = {"type": "object", "additionalProperties": {"type": "number"}}


def test_objects_that_were_left_open_are_closed_and_limits_are_told() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}
    for strict in (True, False, None):
        body = _encoded(response_format=ResponseFormat("json_schema", schema=schema, strict=strict))
        assert body["output_config"]["format"]["schema"] == {
            "type": "object",
            "properties": {"n": {"type": "integer", "description": "(minimum: 1)"}},
            "additionalProperties": False,
        }
    (tool,) = _encoded(tools=[Tool("f", parameters=schema, strict=True)])["tools"]
    assert tool["input_schema"]["additionalProperties"] is False
    (tool,) = _encoded(tools=[Tool("f", parameters=schema)])["tools"]
    assert tool["input_schema"] == schema


def test_a_schema_of_any_keys_is_enforced_nowhere_and_so_a_strict_one_is_refused() -> None:
    body = _encoded(response_format=ResponseFormat("json_schema", schema=OPEN_SCHEMA))
    assert (body["tools"][0]["input_schema"], "output_config" in body) == (OPEN_SCHEMA, False)
    assert _refusal(response_format=ResponseFormat("json_schema", schema=OPEN_SCHEMA, strict=True)).param == (
        "response_format"
    )
    (tool,) = _encoded(tools=[Tool("f", parameters=OPEN_SCHEMA, strict=True)])["tools"]
    assert (tool["input_schema"], tool["strict"]) == (OPEN_SCHEMA, True)


def test_a_forced_tool_answer_bears_thinking_that_is_off() -> None:
    body = _encoded(response_format=ResponseFormat("json_object"), reasoning=ReasoningOptions(effort="none"))
    assert body["tool_choice"] == {"type": "tool", "name": JSON_ANSWER_TOOL, "disable_parallel_tool_use": True}


def test_a_schema_format_without_a_schema_is_refused_and_text_is_nothing() -> None:
    assert _refusal(response_format=ResponseFormat("json_schema")).param == "response_format"
    assert _encoded(response_format=ResponseFormat("text")) == _encoded()
