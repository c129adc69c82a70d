from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.anthropic_decode_messages import decode_messages, system_messages
from appliance.formats.anthropic_input import RAW_ARGUMENTS
from appliance.formats.chat import Message, Part, ReasoningPart, TextPart, ToolCallPart, ToolResultPart

HINT = {"type": "ephemeral"}


def _assistant(*blocks: dict[str, Any]) -> list[Part]:
    (message,) = decode_messages([{"role": "assistant", "content": list(blocks)}])
    return message.parts


def _thinking(text: str, signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": signature}


def _call(call_id: str, **members: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": "f", "input": {}, **members}


def test_tool_results_come_before_the_rest_of_their_turn() -> None:
    content = [
        {"type": "text", "text": "and hurry"},
        {"type": "tool_result", "tool_use_id": "c1", "content": "A"},
        {"type": "tool_result", "tool_use_id": "c2", "content": "B", "is_error": True},
    ]
    assert decode_messages([{"role": "user", "content": content}]) == [
        Message("tool", [ToolResultPart("c1", [TextPart("A")])]),
        Message("tool", [ToolResultPart("c2", [TextPart("B")], is_error=True)]),
        Message("user", [TextPart("and hurry")]),
    ]
    assert [message.role for message in decode_messages([{"role": "user", "content": content[1:]}])] == ["tool", "tool"]


def test_instructions_in_the_middle_keep_their_role() -> None:
    turns = [{"role": "system", "content": "a"}, {"role": "developer", "content": [{"type": "text", "text": "b"}]}]
    assert decode_messages(turns) == [Message("system", [TextPart("a")]), Message("developer", [TextPart("b")])]


def test_the_system_prompt_keeps_its_blocks_and_hints() -> None:
    blocks = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": HINT}]
    assert system_messages(blocks) == [Message("system", [TextPart("a"), TextPart("b", HINT)])]
    assert system_messages("a") == [Message("system", [TextPart("a")])]
    assert system_messages(None) == system_messages("") == system_messages([]) == []


def test_an_assistant_turn_in_its_order() -> None:
    assert _assistant(
        _thinking("hm", "sig"),
        {"type": "redacted_thinking", "data": "opaque"},
        {"type": "text", "text": "Let me look."},
        _call("c1", input={"q": [1, "é"]}, cache_control=HINT, caller={"type": "direct"}),
        _call("c2", input={RAW_ARGUMENTS: '{"q": '}),
    ) == [
        ReasoningPart("hm", "sig", origin="anthropic"),
        ReasoningPart(redacted="opaque", origin="anthropic"),
        TextPart("Let me look."),
        ToolCallPart("c1", "f", '{"q":[1,"é"]}', cache=HINT),
        ToolCallPart("c2", "f", '{"q": '),
    ]


def test_what_other_providers_signed_is_unpacked() -> None:
    assert _assistant(
        _thinking("hm", ""),
        {"type": "thinking", "thinking": "and"},
        _thinking("so", "scaigrid.google.sig"),
        {"type": "redacted_thinking", "data": "scaigrid.responses.opaque"},
        _thinking("summary", 'scaigrid.responses-item.{"id":"rs_1","redacted":"x"}'),
        _thinking("", "scaigrid.google-call.s1"),
        _call("c1"),
        _call("c2"),
        _thinking("", 'scaigrid.google-called.["c2","s2"]'),
    ) == [
        ReasoningPart("hm"),
        ReasoningPart("and"),
        ReasoningPart("so", "sig", origin="google"),
        ReasoningPart(redacted="opaque", origin="responses"),
        ReasoningPart("summary", None, "x", "responses", "rs_1"),
        ToolCallPart("c1", "f", "{}", "s1", "google"),
        ToolCallPart("c2", "f", "{}", "s2", "google"),
    ]


def test_a_signature_without_its_call_says_nothing() -> None:
    assert _assistant(_thinking("", 'scaigrid.google-called.["c9","s"]'), {"type": "text", "text": "x"}) == [
        TextPart("x")
    ]
    assert _assistant({"type": "text", "text": "x"}, _thinking("", "scaigrid.google-call.s")) == [TextPart("x")]


def test_an_empty_assistant_turn_is_no_message() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}, {"role": "user", "content": "b"}]
    assert [message.role for message in decode_messages(turns)] == ["user", "user"]
    assert decode_messages([{"role": "assistant", "content": [_thinking("", "")]}]) == []


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ("text", "messages"),
        ([], "messages"),
        (["text"], "messages.0"),
        ([{"role": "tool", "content": "x"}], "messages.0.role"),
        ([{"role": "user"}], "messages.0.content"),
        ([{"role": "user", "content": []}], "messages.0.content"),
        ([{"role": "user", "content": [_call("c")]}], "messages.0.content.0.type"),
        ([{"role": "user", "content": [_thinking("a", "b")]}], "messages.0.content.0.type"),
        ([{"role": "assistant", "content": [{"type": "image"}]}], "messages.0.content.0.type"),
        ([{"role": "assistant", "content": [{"type": "server_tool_use"}]}], "messages.0.content.0.type"),
        ([{"role": "assistant", "content": [{"type": "thinking"}]}], "messages.0.content.0.thinking"),
        ([{"role": "assistant", "content": [_thinking("a", "scaigrid.x.y")]}], "messages.0.content.0.signature"),
        (
            [{"role": "assistant", "content": [_call("c"), _thinking("", "scaigrid.google-called.x")]}],
            "messages.0.content.1.signature",
        ),
        ([{"role": "assistant", "content": [{"type": "redacted_thinking"}]}], "messages.0.content.0.data"),
        (
            [{"role": "assistant", "content": [{"type": "redacted_thinking", "data": "scaigrid.x.y"}]}],
            "messages.0.content.0.data",
        ),
        ([{"role": "assistant", "content": [_call("c", input="{}")]}], "messages.0.content.0.input"),
        ([{"role": "assistant", "content": [_call("c", input=None)]}], "messages.0.content.0.input"),
        ([{"role": "assistant", "content": [_call("c", input={"a": "\ud800"})]}], "messages.0.content.0.input"),
        ([{"role": "assistant", "content": [_call("")]}], "messages.0.content.0.id"),
    ],
)
def test_what_is_wrong_or_cannot_be_carried_is_named(messages: Any, param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_messages(messages)
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", param)
