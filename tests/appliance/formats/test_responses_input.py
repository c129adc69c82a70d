from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.chat import ImagePart, Message, ReasoningPart, TextPart, ToolCallPart, ToolResultPart
from appliance.formats.responses_input import decode_input

USER = {"role": "user", "content": "hi"}


def call(n: int, arguments: str = "{}") -> dict[str, Any]:
    return {"type": "function_call", "id": f"fc_{n}", "call_id": f"call_{n}", "name": "f", "arguments": arguments}


def summary(*texts: str) -> list[dict[str, str]]:
    return [{"type": "summary_text", "text": text} for text in texts]


def test_text_is_a_users_message() -> None:
    assert decode_input("hi") == [Message("user", [TextPart("hi")])]


def test_a_whole_conversation_in_order() -> None:
    items: list[Any] = [
        {"role": "developer", "content": "be brief"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "reasoning", "id": "rs_1", "summary": summary("a", "b"), "encrypted_content": "gAAAA"},
        {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "so"}]},
        call(1, ""),
        call(2, '{"x":1}'),
        {"type": "function_call_output", "call_id": "call_1", "output": "one"},
        {
            "type": "function_call_output",
            "call_id": "call_2",
            "output": [
                {"type": "input_text", "text": "two"},
                {"type": "input_image", "image_url": "https://a.example/x.png"},
            ],
        },
        {"role": "assistant", "content": "done"},
        USER,
    ]
    assert decode_input(items) == [
        Message("developer", [TextPart("be brief")]),
        Message("user", [TextPart("hi")]),
        Message(
            "assistant",
            [
                ReasoningPart("a\n\nb", "gAAAA", origin="responses", id="rs_1"),
                TextPart("so"),
                ToolCallPart("call_1", "f", "{}"),
                ToolCallPart("call_2", "f", '{"x":1}'),
            ],
        ),
        Message("tool", [ToolResultPart("call_1", [TextPart("one")])]),
        Message("tool", [ToolResultPart("call_2", [TextPart("two"), ImagePart(url="https://a.example/x.png")])]),
        Message("assistant", [TextPart("done")]),
        Message("user", [TextPart("hi")]),
    ]


@pytest.mark.parametrize(
    ("item", "part"),
    [
        ({"summary": summary("t")}, ReasoningPart("t")),
        ({"summary": [], "content": [{"type": "reasoning_text", "text": "t"}]}, ReasoningPart("t")),
        (
            {"summary": summary("t"), "encrypted_content": "scaigrid.anthropic.Ev", "id": "rs_scaigrid_a_0"},
            ReasoningPart("t", "Ev", origin="anthropic"),
        ),
        ({"encrypted_content": "scaigrid.google.Cs"}, ReasoningPart("", "Cs", origin="google")),
        (
            {"encrypted_content": "scaigrid.anthropic-redacted.Em"},
            ReasoningPart(redacted="Em", origin="anthropic"),
        ),
        ({"encrypted_content": "gAAAA", "id": "rs_scaigrid_a_0"}, ReasoningPart("", "gAAAA", origin="responses")),
    ],
)
def test_reasoning_finds_back_to_its_origin(item: dict[str, Any], part: ReasoningPart) -> None:
    assert decode_input([USER, {"type": "reasoning", **item}])[1:] == [Message("assistant", [part])]


def test_a_calls_signature_stands_before_it_and_belongs_to_it_alone() -> None:
    signature = {"type": "reasoning", "summary": [], "encrypted_content": "scaigrid.google-call.Cs"}
    assert decode_input([USER, signature, call(1), call(2)])[1].parts == [
        ToolCallPart("call_1", "f", "{}", "Cs", "google"),
        ToolCallPart("call_2", "f", "{}"),
    ]


def test_an_empty_assistant_item_says_nothing() -> None:
    empty = [{"role": "assistant", "content": ""}, {"role": "assistant", "content": []}, {"type": "reasoning"}]
    assert decode_input([USER, *empty]) == [Message("user", [TextPart("hi")])]


@pytest.mark.parametrize(
    ("items", "param", "words"),
    [
        (5, "input", "must be a string or a list"),
        ([], "input", "at least one"),
        (["hi"], "input.0", "must be an object"),
        ([{"content": "hi"}], "input.0.type", "must be one of"),
        ([{"type": {}}], "input.0.type", "must be one of"),
        ([USER, {"type": "item_reference", "id": "msg_1"}], "input.1", "is not stored here"),
        ([{"type": "web_search_call", "id": "ws_1"}], "input.0.type", "built-in tools"),
        ([{"role": "tool", "content": "x"}], "input.0.role", "must be"),
        ([{"role": "user", "content": []}], "input.0.content", "empty"),
        ([{"role": "user"}], "input.0.content", "is required"),
        ([{"type": "function_call", "name": "f", "arguments": "{}"}], "input.0.call_id", "is required"),
        ([{**call(1), "arguments": {}}], "input.0.arguments", "a string that holds JSON"),
        ([{"type": "function_call_output", "call_id": "c", "output": {}}], "input.0.output", "a string or a list"),
        ([{"type": "function_call_output", "output": "x"}], "input.0.call_id", "is required"),
        ([{"type": "reasoning", "summary": "s"}], "input.0.summary", "must be a list"),
        ([{"type": "reasoning", "encrypted_content": 5}], "input.0.encrypted_content", "must be a string"),
    ],
)
def test_what_is_wrong_is_named(items: Any, param: str, words: str) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_input(items)
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", param)
    assert words in caught.value.message
