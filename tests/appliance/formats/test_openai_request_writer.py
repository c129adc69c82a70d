"""What an OpenAI-protocol upstream gets."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.chat import (
    AudioPart,
    ChatRequest,
    FilePart,
    ImagePart,
    Message,
    Part,
    ReasoningOptions,
    ReasoningPart,
    RefusalPart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from appliance.formats.openai_quirks import ANY, Quirks, Thinking
from appliance.formats.openai_request import decode_request
from appliance.formats.openai_request_writer import encode_request

HINT = {"type": "ephemeral"}


def ask(*messages: Message, **members: Any) -> ChatRequest:
    return ChatRequest("front", list(messages) or [Message("user", [TextPart("Hello")])], **members)


def full_request() -> ChatRequest:
    return ask(
        Message("system", [TextPart("Be brief.")]),
        Message("developer", [TextPart("a"), TextPart("b")]),
        Message(
            "user",
            [
                TextPart("look"),
                ImagePart(url="https://x/y.png", detail="high"),
                ImagePart(data="aGk=", media_type="image/png"),
                AudioPart("aGk=", "wav"),
                FilePart(data="aGk=", media_type="application/pdf", filename="a.pdf"),
                FilePart(file_id="file-1"),
            ],
            name="alice",
        ),
        Message("assistant", [TextPart("well"), ToolCallPart("c1", "f", '{"a": 1}'), ToolCallPart("c2", "g")]),
        Message("tool", [ToolResultPart("c1", [TextPart("1")])]),
        Message("tool", [ToolResultPart("c2", [TextPart("2")])]),
        Message("assistant", [RefusalPart("no")]),
        Message("user", [TextPart("why?")]),
        stream=True,
        include_usage=True,
        max_output_tokens=100,
        temperature=0.5,
        top_p=1.0,
        stop=["x"],
        seed=1,
        n=3,
        tools=[Tool("f", "d", {"type": "object"}, True), Tool("g")],
        tool_choice=ToolChoice("tool", "f"),
        parallel_tool_calls=False,
        response_format=ResponseFormat("json_schema", "s", {"type": "object"}, True, "d"),
        reasoning=ReasoningOptions("low"),
        logprobs=True,
        top_logprobs=2,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        user="u",
        metadata={"a": "b"},
        extra={"store": True, "logit_bias": {"1": 2}, "stream_options": {"include_obfuscation": False}},
    )


@pytest.mark.parametrize("upstream_model", ["gpt-4o", "gpt-5-mini"])
def test_what_was_written_is_read_back(upstream_model: str) -> None:
    request = full_request()
    before = copy.deepcopy(request)
    body = encode_request(request, upstream_model)
    assert request == before
    request.model = upstream_model
    assert decode_request(body) == request


def test_a_small_request_says_nothing_more() -> None:
    expected = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
    assert encode_request(ask(), "gpt-4o") == expected


def test_short_forms() -> None:
    choice = ToolChoice("required")
    request = ask(tools=[Tool("f")], tool_choice=choice, response_format=ResponseFormat("json_object"))
    body = encode_request(request, "gpt-4o")
    assert (body["tool_choice"], body["response_format"]) == ("required", {"type": "json_object"})


def test_a_stream_always_asks_for_usage() -> None:
    body = encode_request(ask(stream=True, include_usage=False), "gpt-4o")
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})
    assert "stream_options" not in encode_request(ask(extra={"stream_options": {"x": 1}}), "gpt-4o")


@pytest.mark.parametrize(
    ("upstream_model", "member"),
    [
        ("gpt-4o", "max_tokens"),
        ("gpt-4.1-mini", "max_tokens"),
        ("gpt-oss-120b", "max_tokens"),
        ("gpt-3.5-turbo", "max_tokens"),
        ("mistral-large-latest", "max_tokens"),
        ("o200-custom", "max_tokens"),
        ("llama-o1x", "max_tokens"),
        ("o1-mini", "max_completion_tokens"),
        ("o3", "max_completion_tokens"),
        ("o4-mini-2025-04-16", "max_completion_tokens"),
        ("gpt-5", "max_completion_tokens"),
        ("gpt-5.6-sol", "max_completion_tokens"),
        ("openai/gpt-5-nano", "max_completion_tokens"),
    ],
)
def test_the_name_of_the_output_cap(upstream_model: str, member: str) -> None:
    body = encode_request(ask(max_output_tokens=7), upstream_model)
    caps = {name: value for name, value in body.items() if name.startswith("max_")}
    assert caps == {member: 7}


@pytest.mark.parametrize(
    ("options", "effort"),
    [
        (ReasoningOptions("high", 10), "high"),
        (ReasoningOptions(None, 0), "none"),
        (ReasoningOptions(None, 4096), "low"),
        (ReasoningOptions(None, 4097), "medium"),
        (ReasoningOptions(None, 50000), "high"),
        (ReasoningOptions(), None),
    ],
)
def test_a_thinking_budget_becomes_a_word(options: ReasoningOptions, effort: str | None) -> None:
    assert encode_request(ask(reasoning=options), "gpt-5.1").get("reasoning_effort") == effort


@pytest.mark.parametrize("model", ["gpt-5", "gpt-5-mini", "o3", "openai/o4-mini"])
def test_models_that_always_think_cannot_be_told_not_to(model: str) -> None:
    with pytest.raises(GatewayError, match="not none"):
        encode_request(ask(reasoning=ReasoningOptions(budget_tokens=0)), model)


def test_metadata_goes_along_only_with_store() -> None:
    assert "metadata" not in encode_request(ask(metadata={"a": "b"}), "gpt-4o")
    assert encode_request(ask(metadata={"a": "b"}, extra={"store": True}), "gpt-4o")["metadata"] == {"a": "b"}


def test_canonical_members_win_over_extra_ones() -> None:
    body = encode_request(ask(extra={"model": "evil", "messages": [], "temperature": 9}, temperature=1.0), "gpt-4o")
    assert (body["model"], body["temperature"], len(body["messages"])) == ("gpt-4o", 1.0, 1)


def test_reasoning_of_earlier_turns_stays_here() -> None:
    parts: list[Part] = [ReasoningPart("why", "sig"), TextPart("x"), ToolCallPart("c", "f", "{}", signature="g")]
    (message,) = encode_request(ask(Message("assistant", parts)), "gpt-4o")["messages"]
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert message == {"role": "assistant", "content": "x", "tool_calls": [call]}


@pytest.mark.parametrize(
    ("parts", "content"),
    [([ReasoningPart("why")], ""), ([ToolCallPart("c", "f")], None), ([RefusalPart("no")], None)],
)
def test_an_assistant_without_text(parts: list[Part], content: str | None) -> None:
    (message,) = encode_request(ask(Message("assistant", parts)), "gpt-4o")["messages"]
    assert message["content"] == content


def test_gemini_gets_its_thought_signature_back() -> None:
    parts: list[Part] = [ToolCallPart("c", "f", "{}", signature="g")]
    (message,) = encode_request(ask(Message("assistant", parts)), "google/gemini-3-pro")["messages"]
    assert message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "g"}}


def test_cache_hints_go_only_to_those_who_take_them() -> None:
    messages = (
        Message("user", [TextPart("x", HINT)]),
        Message("assistant", [ToolCallPart("c", "f", cache=HINT)]),
    )
    request = ask(*messages, tools=[Tool("f", cache=HINT)])
    assert "cache_control" not in str(encode_request(request, "gpt-4o"))
    body = encode_request(request, "anthropic/claude-sonnet-4.5")
    assert body["messages"][0]["content"] == [{"type": "text", "text": "x", "cache_control": HINT}]
    assert body["messages"][1]["tool_calls"][0]["cache_control"] == HINT
    assert body["tools"][0]["cache_control"] == HINT


def test_texts_of_a_tool_result_are_joined() -> None:
    result = ToolResultPart("c", [TextPart("a"), TextPart("b")], is_error=True)
    (message,) = encode_request(ask(Message("tool", [result])), "gpt-4o")["messages"]
    assert message == {"role": "tool", "tool_call_id": "c", "content": "a\nb"}


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (Message("tool", [ToolResultPart("c", [FilePart(url="http://x")])]), "type file cannot be sent"),
        (Message("tool", [TextPart("x")]), "type text cannot be sent"),
        (Message("user", [ToolCallPart("c", "f")]), "type tool_call cannot be sent"),
        (Message("user", [FilePart(url="http://x/a.pdf")]), "a file given by URL cannot be sent"),
    ],
)
def test_what_cannot_be_carried_is_named(message: Message, words: str) -> None:
    with pytest.raises(GatewayError) as caught:
        encode_request(ask(message), "gpt-4o")
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", "messages.0.content")
    assert words in caught.value.message


# -- quirks -----------------------------------------------------------------------------------------------------------


def members(request: ChatRequest, **quirks: Any) -> dict[str, Any]:
    body = encode_request(request, "some-model", Quirks(**quirks))
    return {name: value for name, value in body.items() if name not in ("model", "messages", "tools")}


ONE, TWO = [Tool("f")], [Tool("f"), Tool("g")]
NAMED = {"type": "function", "function": {"name": "f"}}
BUDGET = (Thinking(ANY, "budget"),)


@pytest.mark.parametrize(
    ("request_", "quirks", "expected"),
    [
        (ask(max_output_tokens=5), {"long_cap": ANY}, {"max_completion_tokens": 5}),
        (ask(max_output_tokens=5), {"long_cap": None}, {"max_tokens": 5}),
        (ask(seed=1), {"seed": "random_seed"}, {"random_seed": 1}),
        (ask(stream=True), {"asks_usage": False}, {"stream": True}),
        (ask(metadata={"a": 1}), {"metadata": "always"}, {"metadata": {"a": 1}}),
        (ask(metadata={"a": 1}, extra={"store": True}), {"metadata": "never"}, {"store": True}),
        (ask(user="u"), {"user": False}, {}),
        (ask(top_k=3), {"top_k": True}, {"top_k": 3}),
        (ask(presence_penalty=0), {"lacks": frozenset({"presence_penalty"})}, {}),
        (ask(presence_penalty=0), {"model_lacks": ((ANY, frozenset({"presence_penalty"})),)}, {}),
        (ask(extra={"store": True, "own": 1}), {"extras": frozenset({"own"})}, {"own": 1}),
        (ask(tools=TWO, tool_choice=ToolChoice("required")), {"required": "any"}, {"tool_choice": "any"}),
        (
            ask(tools=ONE, tool_choice=ToolChoice("required")),
            {"tool_choices": ("auto", "tool")},
            {"tool_choice": NAMED},
        ),
        (ask(tools=ONE, tool_choice=ToolChoice("tool", "f")), {}, {"tool_choice": NAMED}),
        (ask(tools=ONE, parallel_tool_calls=True), {"lacks": frozenset({"parallel_tool_calls"})}, {}),
        (ask(), {"defaults": ((ANY, {"a": 1}, ("b",)),)}, {"a": 1}),
        (ask(extra={"b": 2}), {"defaults": ((ANY, {"a": 1}, ("b",)),)}, {"b": 2}),
        (ask(extra={"a": 2}), {"defaults": ((ANY, {"a": 1}, ()),)}, {"a": 2}),
        (ask(prefill=True), {"prefill": {}, "prefill_options": {"go_on": True}}, {"go_on": True}),
        (
            ask(response_format=ResponseFormat("json_schema", "s", {}, True)),
            {"schema_member": "value"},
            {"response_format": {"type": "json_schema", "value": {"name": "s", "schema": {}, "strict": True}}},
        ),
    ],
)
def test_how_a_member_is_spelt(request_: ChatRequest, quirks: dict[str, Any], expected: dict[str, Any]) -> None:
    assert members(request_, **quirks) == expected


def test_a_server_that_cannot_leave_its_tools_alone_does_not_see_them() -> None:
    request = ask(tools=ONE, tool_choice=ToolChoice("none"), parallel_tool_calls=True)
    assert set(encode_request(request, "m", Quirks(tool_choices=("auto",)))) == {"model", "messages"}
    assert "tools" in encode_request(request, "m")


def test_strict_is_left_out_where_it_is_not_known() -> None:
    (tool,) = encode_request(ask(tools=[Tool("f", strict=True)]), "m", Quirks(lacks=frozenset({"strict"})))["tools"]
    assert tool == {"type": "function", "function": {"name": "f"}}


def test_a_schema_by_a_forced_tool() -> None:
    request = ask(response_format=ResponseFormat("json_schema", "s", {"properties": {}}))
    body = encode_request(request, "m", Quirks(json_schema=None, json_by_tool=True))
    assert body["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert body["tool_choice"]["function"]["name"] == body["tools"][0]["function"]["name"] == "scaigrid_json_answer"
    assert "response_format" not in body


def test_what_is_forced_is_not_thought_about_where_both_cannot_be() -> None:
    forced = ask(tools=ONE, tool_choice=ToolChoice("required"))
    assert members(forced, forcing_stops_thinking=True, thinking=BUDGET)["enable_thinking"] is False
    assert "enable_thinking" not in members(forced, forcing_stops_thinking=True, thinking=())
    assert "enable_thinking" not in members(ask(tools=ONE), forcing_stops_thinking=True, thinking=BUDGET)
    forced.reasoning = ReasoningOptions("none")
    assert members(forced, forcing_stops_thinking=True, thinking=BUDGET)["enable_thinking"] is False
    forced.reasoning = ReasoningOptions("high")
    with pytest.raises(GatewayError, match="cannot think when a tool is forced"):
        members(forced, forcing_stops_thinking=True, thinking=BUDGET)


def test_models_that_think_in_streams_only_are_told_not_to_think_in_other_answers() -> None:
    quirks = {"thinks_in_streams_only": ANY, "thinking": BUDGET}
    assert members(ask(), **quirks) == {"enable_thinking": False}
    assert "enable_thinking" not in members(ask(stream=True), **quirks)
    assert members(ask(extra={"enable_thinking": True}), **quirks) == {"enable_thinking": True}
    assert members(ask(reasoning=ReasoningOptions("none")), **quirks) == {"enable_thinking": False}
    with pytest.raises(GatewayError, match="streamed answers only"):
        members(ask(reasoning=ReasoningOptions("low")), **quirks)
