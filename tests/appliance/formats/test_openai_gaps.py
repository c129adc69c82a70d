"""What an OpenAI-protocol server has no word for is refused by name, all at once, unless the answer stays the same."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.chat import (
    ChatRequest,
    ImagePart,
    Message,
    ReasoningOptions,
    ResponseFormat,
    TextPart,
    Tool,
    ToolChoice,
    ToolResultPart,
)
from appliance.formats.openai_gaps import (
    FOREIGN_HARMLESS,
    HARMLESS,
    NEUTRAL,
    kept_extra,
    lacks,
    refuse_uncarriable,
)
from appliance.formats.openai_quirks import ANY, Quirks, Thinking

TOOLS = [Tool("f"), Tool("g")]
STRICT = Quirks(extras=frozenset())


def ask(*messages: Message, **members: Any) -> ChatRequest:
    return ChatRequest("front", list(messages) or [Message("user", [TextPart("Hello")])], **members)


def refused(request: ChatRequest, quirks: Quirks) -> dict[str, str]:
    try:
        refuse_uncarriable(request, quirks, "m")
    except GatewayError as error:
        return {str(detail["field"]): str(detail["message"]) for detail in error.details or []}
    return {}


@pytest.mark.parametrize(
    ("members", "name"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"seed": 0}, "seed"),
        ({"stop": ["x"]}, "stop"),
        ({"temperature": 0.0}, "temperature"),
        ({"top_p": 0.5}, "top_p"),
        ({"presence_penalty": 0.1}, "presence_penalty"),
        ({"frequency_penalty": -0.1}, "frequency_penalty"),
        ({"tools": TOOLS}, "tools"),
        ({"tools": TOOLS, "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"extra": {"logit_bias": {"1": 1}}}, "logit_bias"),
    ],
)
def test_a_member_that_the_server_lacks(members: dict[str, Any], name: str) -> None:
    assert list(refused(ask(**members), Quirks(lacks=frozenset({name})))) == [name]
    assert list(refused(ask(**members), Quirks(model_lacks=((ANY, frozenset({name})),)))) == [name]
    assert refused(ask(**members), Quirks()) == {}


@pytest.mark.parametrize(
    "members",
    [
        {"n": 1, "logprobs": False, "top_logprobs": 0, "presence_penalty": 0, "frequency_penalty": 0},
        {"tools": TOOLS, "parallel_tool_calls": True},
        {"parallel_tool_calls": False},
        {"extra": {"logit_bias": {}}},
        {"extra": {"logit_bias": None}},
    ],
)
def test_what_would_hold_anyway_is_never_refused(members: dict[str, Any]) -> None:
    names = "n logprobs top_logprobs presence_penalty frequency_penalty parallel_tool_calls logit_bias"
    assert refused(ask(**members), Quirks(lacks=frozenset(names.split()))) == {}


def test_all_at_once() -> None:
    quirks = Quirks(lacks=frozenset({"n", "seed"}), extras=frozenset())
    request = ask(n=2, seed=1, extra={"own": 1})
    assert list(refused(request, quirks)) == ["n", "seed", "own"]
    with pytest.raises(
        GatewayError, match=r"^n, seed, own: these cannot be carried to this target; remove them"
    ) as one:
        refuse_uncarriable(request, quirks, "m")
    assert (one.value.code, one.value.param) == ("VALIDATION_ERROR", "n")
    with pytest.raises(GatewayError, match=r"^n, messages: see details for each$"):
        refuse_uncarriable(ask(n=2, prefill=True), quirks, "m")


def test_top_k_is_no_word_of_openai() -> None:
    assert list(refused(ask(top_k=1), Quirks())) == ["top_k"]
    assert refused(ask(top_k=1), Quirks(top_k=True)) == {}


def test_how_much_to_think() -> None:
    quirks = Quirks(thinking=(Thinking(ANY, "effort", {"low": "low"}),), thinks_in_streams_only=ANY)
    assert (
        "takes low, not high"
        in refused(ask(reasoning=ReasoningOptions("high"), stream=True), quirks)["reasoning_effort"]
    )
    assert "set stream" in refused(ask(reasoning=ReasoningOptions("low")), quirks)["reasoning_effort"]
    assert refused(ask(reasoning=ReasoningOptions("low"), stream=True), quirks) == {}
    assert refused(ask(reasoning=ReasoningOptions(summary="auto")), quirks) == {}


@pytest.mark.parametrize(
    ("choice", "tools", "is_refused"),
    [
        (ToolChoice("required"), TOOLS, True),
        (ToolChoice("required"), TOOLS[:1], False),
        (ToolChoice("tool", "f"), TOOLS, False),
        (ToolChoice("none"), TOOLS, False),
        (ToolChoice("auto"), TOOLS, False),
        (ToolChoice("auto"), [], False),
        (ToolChoice("required"), [], True),
    ],
)
def test_tool_choice(choice: ToolChoice, tools: list[Tool], is_refused: bool) -> None:
    found = refused(ask(tools=tools, tool_choice=choice), Quirks(tool_choices=("auto", "tool")))
    assert ("tool_choice" in found) is is_refused
    if is_refused and tools:
        assert found["tool_choice"].startswith("this target takes auto, a named tool only")


def test_a_model_that_always_thinks_is_not_made_to_call() -> None:
    quirks = Quirks(forcing_stops_thinking=True, thinking=(Thinking(ANY, "switch", {"low": "low"}),))
    assert "always thinks" in refused(ask(tools=TOOLS, tool_choice=ToolChoice("required")), quirks)["tool_choice"]
    assert refused(ask(tools=TOOLS, tool_choice=ToolChoice("auto")), quirks) == {}


@pytest.mark.parametrize(
    ("kind", "quirks", "is_refused"),
    [
        ("json_schema", {"json_schema": None}, True),
        ("json_schema", {"json_schema": None, "json_by_tool": True}, False),
        ("json_schema", {"json_object": False}, False),
        ("json_object", {"json_object": False}, True),
        ("json_object", {"json_schema": None}, False),
        ("text", {"json_object": False, "json_schema": None}, False),
    ],
)
def test_response_format(kind: Any, quirks: dict[str, Any], is_refused: bool) -> None:
    assert ("response_format" in refused(ask(response_format=ResponseFormat(kind)), Quirks(**quirks))) is is_refused


def test_the_reserved_tool_is_reserved_where_it_is_used() -> None:
    request = ask(tools=[Tool("scaigrid_json_answer")])
    assert "reserved" in refused(request, Quirks(json_by_tool=True))["tools"]
    assert refused(request, Quirks()) == {}


def test_a_prefill_needs_a_server_that_can_go_on() -> None:
    assert list(refused(ask(prefill=True), Quirks())) == ["messages"]
    assert refused(ask(prefill=True), Quirks(prefill={})) == {}


def test_images_are_counted_in_results_too() -> None:
    image = ImagePart(url="https://x.test/a.png")
    messages = [Message("user", [image, image]), Message("tool", [ToolResultPart("c", [image])])]
    assert refused(ask(*messages), Quirks(max_images=3)) == {}
    assert refused(ask(*messages), Quirks(max_images=2)) == {
        "messages": "hold 3 images, but this target takes 2 at most"
    }


def test_extra_members() -> None:
    own = {"own": 1, "other": 2}
    assert refused(ask(extra=own), Quirks()) == {}
    assert kept_extra(ask(extra=own), Quirks(), "m") == own
    assert list(refused(ask(extra=own), Quirks(extras=frozenset({"own"})))) == ["other"]
    assert kept_extra(ask(extra=own), Quirks(extras=frozenset({"own"})), "m") == {"own": 1}


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_members_are_let_go(name: str) -> None:
    assert refused(ask(extra={name: "x"}), STRICT) == {}
    assert kept_extra(ask(extra={name: "x"}), STRICT, "m") == {}


@pytest.mark.parametrize("name", NEUTRAL)
def test_neutral_values_are_let_go_and_others_refused(name: str) -> None:
    for value in NEUTRAL[name]:
        assert refused(ask(extra={name: value}), STRICT) == {}
    assert list(refused(ask(extra={name: "another"}), STRICT)) == [name]


@pytest.mark.parametrize(
    ("dialect", "name"), [(dialect, name) for dialect, names in FOREIGN_HARMLESS.items() for name in names]
)
def test_harmless_members_of_other_dialects_are_let_go(dialect: str, name: str) -> None:
    request = ask(dialect=dialect, extra={name: "x"})
    assert refused(request, Quirks()) == {}
    assert kept_extra(request, Quirks(), "m") == {}


def test_members_of_other_dialects_go_along_only_where_they_mean_the_same() -> None:
    request = ask(dialect="responses", extra={"prompt_cache_key": "k", "store": True})
    assert kept_extra(request, Quirks(), "m") == {"prompt_cache_key": "k", "store": True}
    assert list(refused(ask(dialect="anthropic", extra={"prompt_cache_key": "k"}), Quirks())) == ["prompt_cache_key"]
    assert list(refused(ask(dialect="anthropic", extra={"mcp_servers": []}), Quirks())) == ["mcp_servers"]


def test_what_a_model_lacks_is_added_to_what_the_server_lacks() -> None:
    quirks = Quirks(lacks=frozenset({"n"}), model_lacks=((ANY, frozenset({"stop"})),))
    assert lacks(quirks, "m") == {"n", "stop"}
