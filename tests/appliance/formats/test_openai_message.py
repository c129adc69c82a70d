"""Messages in OpenAI's form: every part, every role, and the exact member that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import GatewayError
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
from appliance.formats.openai_message import decode_message

HINT = {"type": "ephemeral"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "text": "", "cache_control": HINT}, TextPart("", HINT)),
        (
            {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}, "cache_control": HINT},
            ImagePart(url="https://x/y.png", detail="low", cache=HINT),
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
            ImagePart(data="aGk=", media_type="image/png"),
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/svg+xml;charset=utf-8;base64,aGk="}},
            ImagePart(data="aGk=", media_type="image/svg+xml"),
        ),
        ({"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}, AudioPart("aGk=", "wav")),
        ({"type": "file", "file": {"file_id": "file-1"}}, FilePart(file_id="file-1")),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"}},
            FilePart(data="aGk=", media_type="application/pdf", filename="a.pdf"),
        ),
    ],
)
def test_parts_of_a_user(part: dict[str, Any], expected: Part) -> None:
    assert decode_message(user(part), "messages.0") == Message("user", [expected])


@pytest.mark.parametrize("role", ["system", "developer", "user"])
def test_plain_text_of_every_role(role: Any) -> None:
    message = decode_message({"role": role, "content": "x", "name": "n"}, "messages.0")
    assert message == Message(role, [TextPart("x")], "n")


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"content": "x"}, [TextPart("x")]),
        ({"content": ""}, [TextPart("")]),
        ({"content": None, "tool_calls": [CALL]}, [ToolCallPart("c1", "f", '{"a":1}')]),
        ({"content": "", "tool_calls": [CALL]}, [ToolCallPart("c1", "f", '{"a":1}')]),
        ({"content": "x", "tool_calls": [CALL]}, [TextPart("x"), ToolCallPart("c1", "f", '{"a":1}')]),
        ({"refusal": "no"}, [RefusalPart("no")]),
        (
            {"content": [{"type": "text", "text": "x"}, {"type": "refusal", "refusal": "no"}]},
            [TextPart("x"), RefusalPart("no")],
        ),
        ({"content": "x", "reasoning_content": "why"}, [ReasoningPart("why"), TextPart("x")]),
        ({"content": "x", "reasoning": "why"}, [ReasoningPart("why"), TextPart("x")]),
        (
            {
                "content": "x",
                "reasoning_content": "why",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "why", "signature": "sig"},
                    {"type": "reasoning.encrypted", "data": "blob"},
                ],
                "tool_calls": [
                    CALL | {"extra_content": {"google": {"thought_signature": "g"}}, "cache_control": HINT},
                ],
            },
            [
                ReasoningPart("why", "sig"),
                ReasoningPart(redacted="blob"),
                TextPart("x"),
                ToolCallPart("c1", "f", '{"a":1}', "g", "google", HINT),
            ],
        ),
        (
            {
                "content": "x",
                "reasoning_content": "why",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "", "signature": "sig", "format": "google-gemini-v1"},
                ],
            },
            [ReasoningPart("why"), TextPart("x"), ReasoningPart(signature="sig", origin="google")],
        ),
        ({"content": "x", "annotations": [], "audio": None, "function_call": None, "refusal": None}, [TextPart("x")]),
    ],
)
def test_an_assistant(members: dict[str, Any], expected: list[Part]) -> None:
    assert decode_message({"role": "assistant", **members}, "messages.1").parts == expected


def test_a_call_may_leave_out_its_type_and_have_no_arguments() -> None:
    call = {"id": "c1", "function": {"name": "f", "arguments": ""}}
    message = decode_message({"role": "assistant", "tool_calls": [call]}, "messages.1")
    assert message.parts == [ToolCallPart("c1", "f", "{}")]


def test_a_tool_result() -> None:
    image = {"type": "image_url", "image_url": {"url": "http://x/y"}}
    content = [{"type": "text", "text": "x"}, image]
    message = decode_message({"role": "tool", "tool_call_id": "c1", "content": content}, "messages.2")
    assert message == Message("tool", [ToolResultPart("c1", [TextPart("x"), ImagePart(url="http://x/y")])])


IMAGE = "messages.0.content.0.image_url"
WRONG: list[tuple[Any, str, str]] = [
    ("x", "messages.0", "must be an object, not a string"),
    ({"content": "x"}, "messages.0.role", "is required"),
    (
        {"role": "robot", "content": "x"},
        "messages.0.role",
        'must be "system", "developer", "user", "assistant" or "tool"',
    ),
    ({"role": "function", "content": "x"}, "messages.0.role", 'the legacy role "function" is not served'),
    ({"role": "user"}, "messages.0.content", "is required"),
    ({"role": "user", "content": 1}, "messages.0.content", "must be a string or a list of parts, not an integer"),
    ({"role": "user", "content": []}, "messages.0.content", "must not be an empty list"),
    ({"role": "user", "content": "x", "name": 1}, "messages.0.name", "must be a string"),
    (user("x"), "messages.0.content.0", "must be an object, not a string"),
    (user({"text": "x"}), "messages.0.content.0.type", "is required"),
    (user({"type": "refusal"}), "messages.0.content.0.type", 'must be "text", "image_url", "input_audio" or "file" in'),
    (
        {"role": "system", "content": [{"type": "file"}]},
        "messages.0.content.0.type",
        'must be "text" in a message of role system',
    ),
    (user({"type": "text"}), "messages.0.content.0.text", "is required"),
    (
        user({"type": "text", "text": "x", "cache_control": "yes"}),
        "messages.0.content.0.cache_control",
        "must be an object",
    ),
    (
        user({"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": 1}}),
        "messages.0.content.1.image_url.url",
        "must be a string",
    ),
    (user({"type": "image_url", "image_url": "http://x"}), IMAGE, "must be an object, not a string"),
    (
        user({"type": "image_url", "image_url": {"url": "ftp://x"}}),
        f"{IMAGE}.url",
        "must be an http(s) URL or a base64 data: URL",
    ),
    (user({"type": "image_url", "image_url": {"url": "data:image/png,raw"}}), f"{IMAGE}.url", "must be an http(s) URL"),
    (user({"type": "image_url", "image_url": {"url": "data:;base64,aGk="}}), f"{IMAGE}.url", "must be an http(s) URL"),
    (
        user({"type": "input_audio", "input_audio": {"data": "x"}}),
        "messages.0.content.0.input_audio.format",
        "is required",
    ),
    (user({"type": "file", "file": {}}), "messages.0.content.0.file", "needs either file_id or file_data"),
    (user({"type": "file", "file": {"file_id": "a", "file_data": "b"}}), "messages.0.content.0.file", "needs either"),
    (
        user({"type": "file", "file": {"file_data": "aGk="}}),
        "messages.0.content.0.file.file_data",
        "must be a base64 data: URL",
    ),
    ({"role": "assistant"}, "messages.0.content", "is required in an assistant message without tool_calls"),
    ({"role": "assistant", "content": None, "tool_calls": []}, "messages.0.content", "is required in an assistant"),
    ({"role": "assistant", "function_call": {}}, "messages.0.function_call", "is not served: use tool_calls"),
    ({"role": "assistant", "audio": {"id": "a"}}, "messages.0.audio", "is not served"),
    ({"role": "assistant", "tool_calls": [{"id": "c"}]}, "messages.0.tool_calls.0.function", "is required"),
    (
        {"role": "assistant", "tool_calls": [CALL | {"type": "custom"}]},
        "messages.0.tool_calls.0.type",
        'must be "function"',
    ),
    ({"role": "assistant", "tool_calls": [CALL | {"id": ""}]}, "messages.0.tool_calls.0.id", "must not be empty"),
    (
        {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {}}}]},
        "messages.0.tool_calls.0.function.arguments",
        "must be a string that holds JSON, not an object",
    ),
    ({"role": "assistant", "content": "x", "reasoning": {}}, "messages.0.reasoning", "must be a string"),
    (
        {"role": "assistant", "content": "x", "reasoning_details": [{"type": "thought"}]},
        "messages.0.reasoning_details.0.type",
        "must be",
    ),
    (
        {"role": "assistant", "content": "x", "reasoning_details": [{"type": "reasoning.encrypted", "data": 1}]},
        "messages.0.reasoning_details.0.data",
        "must be a string",
    ),
    ({"role": "tool", "content": "x"}, "messages.0.tool_call_id", "is required"),
    ({"role": "tool", "tool_call_id": "c"}, "messages.0.content", "is required"),
]


@pytest.mark.parametrize(("message", "field", "words"), WRONG, ids=[f"{w[1]} {w[2]}"[:60] for w in WRONG])
def test_a_wrong_member_is_named(message: Any, field: str, words: str) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_message(message, "messages.0")
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", field)
    assert caught.value.message.startswith(f"{field}: {words}")
