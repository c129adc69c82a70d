from __future__ import annotations

import base64
from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.anthropic_messages import encode_conversation
from appliance.formats.anthropic_reply import decode_reply
from appliance.formats.chat import (
    AudioPart,
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
from support.fixtures import needs_fixtures, recorded_json

HINT = {"type": "ephemeral", "ttl": "1h"}
PIXEL = "iVBORw0KGgo="


def _turns(*messages: Message) -> list[dict[str, Any]]:
    return encode_conversation(list(messages))[1]


def _user_block(part: Part) -> dict[str, Any]:
    (turn,) = _turns(Message("user", [part]))
    (block,) = turn["content"]
    assert isinstance(block, dict)
    return block


def _refusal(*messages: Message) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        encode_conversation(list(messages))
    assert caught.value.code == "VALIDATION_ERROR"
    return caught.value


def _user(text: str) -> Message:
    return Message("user", [TextPart(text)])


# -- system -----------------------------------------------------------------------------------------------------------


def test_no_system_message_means_an_empty_system() -> None:
    assert not encode_conversation([_user("hi")])[0]


def test_system_and_developer_text_is_hoisted_and_joined_wherever_it_stood() -> None:
    system, turns = encode_conversation(
        [
            Message("system", [TextPart("one"), TextPart(" \n")]),
            _user("hi"),
            Message("developer", [TextPart("two")]),
            _user("there"),
        ]
    )
    assert system == "one\ntwo"
    assert turns == [{"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "there"}]}]


def test_a_cache_hint_ends_its_system_block() -> None:
    system, _ = encode_conversation(
        [
            Message("system", [TextPart("a"), TextPart("b", cache=HINT), TextPart("c")]),
            Message("developer", [TextPart("d")]),
            _user("hi"),
        ]
    )
    assert system == [
        {"type": "text", "text": "a\nb", "cache_control": HINT},
        {"type": "text", "text": "c\nd"},
    ]


def test_a_system_message_holds_text_only() -> None:
    error = _refusal(_user("hi"), Message("system", [ImagePart(url="https://x/y.png")]))
    assert error.param == "messages.1.content"


def test_a_conversation_without_any_turn_is_refused() -> None:
    error = _refusal(Message("system", [TextPart("only me")]), _user("  "))
    assert error.param == "messages"


# -- turns ------------------------------------------------------------------------------------------------------------


def test_roles_alternate_and_tool_results_come_first_in_their_turn() -> None:
    turns = _turns(
        _user("look both up"),
        Message("assistant", [TextPart("Sure.")]),
        Message("assistant", [ToolCallPart("c1", "find", '{"q":"a"}'), ToolCallPart("c2", "find", "")]),
        _user("and hurry"),
        Message("tool", [ToolResultPart("c1", [TextPart("A")])]),
        Message("tool", [ToolResultPart("c2", [TextPart("B")], is_error=True, cache=HINT)]),
        _user("please"),
    )
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[1]["content"] == [
        {"type": "text", "text": "Sure."},
        {"type": "tool_use", "id": "c1", "name": "find", "input": {"q": "a"}},
        {"type": "tool_use", "id": "c2", "name": "find", "input": {}},
    ]
    assert turns[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "c1", "content": "A"},
        {"type": "tool_result", "tool_use_id": "c2", "content": "B", "is_error": True, "cache_control": HINT},
        {"type": "text", "text": "and hurry"},
        {"type": "text", "text": "please"},
    ]


def test_empty_text_is_skipped_and_an_empty_turn_joins_its_neighbours() -> None:
    turns = _turns(_user("a"), Message("assistant", [TextPart("")]), Message("user", [TextPart(""), TextPart("b")]))
    assert turns == [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]


def test_white_space_alone_joins_the_text_before_it() -> None:
    parts: list[Part] = [TextPart("\n"), TextPart("The grass"), TextPart(" "), TextPart("is green")]
    turns = _turns(_user("?"), Message("assistant", parts))
    assert [block["text"] for block in turns[1]["content"]] == ["The grass ", "is green"]
    turns = _turns(Message("user", [TextPart("cached", cache=HINT), TextPart(" ")]))
    assert turns[0]["content"] == [{"type": "text", "text": "cached", "cache_control": HINT}]


def test_a_final_assistant_message_keeps_its_trailing_white_space() -> None:
    assert _turns(_user("?"), Message("assistant", [TextPart("It is: ")]))[1]["content"][0]["text"] == "It is: "


def test_a_refusal_goes_back_as_text() -> None:
    turns = _turns(_user("?"), Message("assistant", [RefusalPart("I will not.")]))
    assert turns[1]["content"] == [{"type": "text", "text": "I will not."}]


# -- reasoning --------------------------------------------------------------------------------------------------------


def test_reasoning_goes_back_first_and_only_when_signed() -> None:
    parts: list[Part] = [
        ReasoningPart("unsigned"),
        TextPart("Let me look."),
        ToolCallPart("c1", "find"),
        ReasoningPart("hm", signature="sig"),
        ReasoningPart(redacted="opaque"),
    ]
    turns = _turns(_user("?"), Message("assistant", parts))
    assert turns[1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "opaque"},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "c1", "name": "find", "input": {}},
    ]


def test_interleaved_reasoning_keeps_its_own_order() -> None:
    parts: list[Part] = [
        ReasoningPart("one", signature="1"),
        TextPart("a"),
        ReasoningPart("two", signature="2"),
        ToolCallPart("c1", "find"),
    ]
    turns = _turns(_user("?"), Message("assistant", parts))
    assert [block["type"] for block in turns[1]["content"]] == ["thinking", "text", "thinking", "tool_use"]


@needs_fixtures
@pytest.mark.parametrize("name", ["thinking-tool", "tools-parallel", "text"])
def test_a_recorded_answer_goes_back_block_for_block(name: str) -> None:
    body = recorded_json(f"anthropic/{name}.response.json")
    turns = _turns(_user("?"), Message("assistant", decode_reply(body).choices[0].parts))
    assert turns[1] == {"role": "assistant", "content": body["content"]}


# -- tool calls and results -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", ["{", "[1]", '"text"', "NaN", "[" * 200_000, '{"a": "\ud800"}'])
def test_arguments_that_are_no_json_object_are_refused_where_they_stand(arguments: str) -> None:
    calls: list[Part] = [TextPart("x"), ToolCallPart("c0", "f", "{}"), ToolCallPart("c1", "f", arguments)]
    error = _refusal(_user("?"), Message("assistant", calls))
    assert error.param == "messages.1.tool_calls.1.function.arguments"


def test_call_ids_of_other_models_are_made_fit_on_both_sides() -> None:
    turns = _turns(
        Message("assistant", [ToolCallPart("functions.find:0", "find")]),
        Message("tool", [ToolResultPart("functions.find:0", [])]),
    )
    assert turns[0]["content"][0]["id"] == "functions_find_0"
    assert turns[1]["content"] == [{"type": "tool_result", "tool_use_id": "functions_find_0"}]


def test_a_tool_result_may_hold_several_parts_and_a_hint_on_one() -> None:
    result = ToolResultPart("c1", [TextPart("A", cache=HINT), ImagePart(data=PIXEL, media_type="image/png")])
    (turn,) = _turns(Message("tool", [result]))
    assert turn["content"][0]["content"] == [
        {"type": "text", "text": "A", "cache_control": HINT},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
    ]
    (turn,) = _turns(Message("tool", [ToolResultPart("c1", [TextPart("A", cache=HINT)])]))
    assert turn["content"][0]["content"] == [{"type": "text", "text": "A", "cache_control": HINT}]


def test_a_call_keeps_its_cache_hint() -> None:
    turns = _turns(Message("assistant", [ToolCallPart("c1", "f", "{}", cache=HINT)]))
    assert turns[0]["content"][0]["cache_control"] == HINT


# -- images, files, audio ---------------------------------------------------------------------------------------------


def test_images_by_data_and_by_url() -> None:
    assert _user_block(ImagePart(data=PIXEL, media_type="image/webp", cache=HINT)) == {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/webp", "data": PIXEL},
        "cache_control": HINT,
    }
    assert _user_block(ImagePart(url="https://x/y.png", detail="low")) == {
        "type": "image",
        "source": {"type": "url", "url": "https://x/y.png"},
    }


def test_files_become_documents_or_images() -> None:
    text = base64.b64encode("naïve".encode()).decode()
    sources = {
        "pdf": _user_block(FilePart(data="JVBERg==", media_type="application/pdf", filename="a.pdf", cache=HINT)),
        "url": _user_block(FilePart(url="https://x/a.pdf")),
        "text": _user_block(FilePart(data=text, media_type="text/markdown")),
        "id": _user_block(FilePart(file_id="file_1")),
        "image": _user_block(FilePart(data=PIXEL, media_type="image/png", filename="a.png")),
    }
    assert sources == {
        "pdf": {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
            "title": "a.pdf",
            "cache_control": HINT,
        },
        "url": {"type": "document", "source": {"type": "url", "url": "https://x/a.pdf"}},
        "text": {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "naïve"}},
        "id": {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        "image": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
    }


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (AudioPart("UklGRg==", "wav"), "this target cannot take audio input"),
        (ImagePart(), "neither a URL nor data"),
        (ImagePart(data="Qk0=", media_type="image/bmp"), "got image/bmp"),
        (ImagePart(data="Qk0="), "got None"),
        (FilePart(), "neither a URL nor data nor an id"),
        (FilePart(data="UEs=", media_type="application/zip"), "got application/zip"),
        (FilePart(data="UEs="), "got None"),
        (FilePart(data="Qk0=", media_type="image/bmp"), "got image/bmp"),
        (FilePart(data="/w==", media_type="text/plain"), "not UTF-8"),
        (FilePart(data="no base64!", media_type="text/plain"), "not UTF-8 in base64"),
        (ToolCallPart("c", "f"), "no tool_call part in a message of role user"),
        (ReasoningPart("r"), "no reasoning part in a message of role user"),
    ],
)
def test_input_that_this_target_cannot_take_is_refused_where_it_stands(part: Part, reason: str) -> None:
    error = _refusal(_user("?"), Message("user", [part]))
    assert error.param == "messages.1.content"
    assert reason in error.message


def test_parts_in_messages_of_the_wrong_role_are_refused() -> None:
    assert "text part in a message of role tool" in _refusal(Message("tool", [TextPart("x")])).message
    image = ImagePart(url="https://x/y.png")
    assert "image part in a message of role assistant" in _refusal(Message("assistant", [image])).message
    nested = ToolResultPart("c1", [ToolResultPart("c2", [])])
    assert "tool_result part in a message of role tool" in _refusal(Message("tool", [nested])).message
