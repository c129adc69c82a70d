from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.chat import (
    AudioPart,
    Citation,
    FilePart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from appliance.formats.responses_input_writer import encode_input

NOTE = {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0, "end_index": 1}


def assistant(*parts: Part) -> list[dict[str, Any]]:
    return encode_input([Message("assistant", [*parts])])


def test_a_conversation_in_order() -> None:
    messages = [
        Message("system", [TextPart("be brief")]),
        Message("user", [TextPart("look"), ImagePart(url="https://a.example/x.png")], name="ann"),
        Message(
            "assistant",
            [
                ReasoningPart("t", "gAAAA", origin="responses", id="rs_1"),
                TextPart("so"),
                ToolCallPart("call_1", "f", '{"a":1}', "sig", "google"),
                ToolCallPart("call_2", "g"),
            ],
        ),
        Message("tool", [ToolResultPart("call_1", [TextPart("one")], is_error=True)]),
        Message("tool", [ToolResultPart("call_2", [])]),
    ]
    assert encode_input(messages) == [
        {"role": "system", "content": "be brief"},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "look"},
                {"type": "input_image", "image_url": "https://a.example/x.png", "detail": "auto"},
            ],
        },
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "t"}],
            "encrypted_content": "gAAAA",
        },
        {"role": "assistant", "content": "so"},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call", "call_id": "call_2", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "one"},
        {"type": "function_call_output", "call_id": "call_2", "output": ""},
    ]


@pytest.mark.parametrize(
    "part",
    [
        ReasoningPart("bare text"),
        ReasoningPart("t", "sig", origin="anthropic"),
        ReasoningPart(redacted="opaque", origin="anthropic"),
        ReasoningPart("", "sig", origin="google"),
    ],
)
def test_reasoning_that_another_provider_made_stays_here(part: ReasoningPart) -> None:
    assert assistant(part, TextPart("a")) == [{"role": "assistant", "content": "a"}]


def test_opaque_data_of_nobody_known_is_tried() -> None:
    assert assistant(ReasoningPart("", "sig")) == [{"type": "reasoning", "summary": [], "encrypted_content": "sig"}]
    redacted = ReasoningPart(redacted="gAAAA", origin="responses", id="rs_1")
    assert assistant(redacted)[0]["encrypted_content"] == "gAAAA"


def test_text_after_a_call_is_a_message_of_its_own() -> None:
    items = assistant(TextPart("a"), TextPart("b"), ToolCallPart("call_1", "f"), TextPart("c"))
    assert [item.get("content") for item in items] == ["ab", None, "c"]


def test_refusals_and_the_dialects_own_citations_are_kept() -> None:
    cited = [Citation(native=NOTE, origin="responses", start=0, end=1), Citation("https://b.example")]
    assert assistant(TextPart("a", citations=cited), RefusalPart("no")) == [
        {
            "type": "message",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "a", "annotations": [NOTE]},
                {"type": "refusal", "refusal": "no"},
            ],
        }
    ]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            ImagePart(data="iVBO", media_type="image/png", detail="low"),
            {"type": "input_image", "image_url": "data:image/png;base64,iVBO", "detail": "low"},
        ),
        (FilePart(file_id="file_1", filename="a.pdf"), {"type": "input_file", "file_id": "file_1"}),
        (FilePart(url="https://a.example/a"), {"type": "input_file", "file_url": "https://a.example/a"}),
        (
            FilePart(data="JVBE", media_type="application/pdf"),
            {"type": "input_file", "filename": "document", "file_data": "data:application/pdf;base64,JVBE"},
        ),
    ],
)
def test_media_in_messages_and_in_results(part: Part, expected: dict[str, Any]) -> None:
    assert encode_input([Message("user", [part])]) == [{"role": "user", "content": [expected]}]
    result = Message("tool", [ToolResultPart("call_1", [part])])
    assert encode_input([result]) == [{"type": "function_call_output", "call_id": "call_1", "output": [expected]}]


@pytest.mark.parametrize(
    "message",
    [
        Message("user", [AudioPart("UklG", "wav")]),
        Message("user", [ToolCallPart("call_1", "f")]),
        Message("assistant", [ImagePart(url="https://a.example")]),
        Message("tool", [TextPart("a")]),
        Message("tool", [ToolResultPart("call_1", [AudioPart("UklG", "wav")])]),
    ],
)
def test_what_has_no_place_is_named(message: Message) -> None:
    with pytest.raises(GatewayError) as caught:
        encode_input([Message("user", [TextPart("hi")]), message])
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", "messages.1.content")
