"""Messages of a caller's request in OpenAI's chat form → Message, checked member by member.

Beyond OpenAI's own members it reads `reasoning_content` or `reasoning` and `reasoning_details` of assistant messages
(see openai_reasoning.py), `cache_control` on content parts and tool calls, and a call's thought signature. What an SDK
adds to an answer that is sent back (annotations, empty members) is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, cast

from appliance.errors import invalid
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
from appliance.formats.members import Members, kind, one_of, text
from appliance.formats.openai_call import call_signature
from appliance.formats.openai_reasoning import ENCRYPTED_TYPE, TEXT_TYPES, reasoning_parts, stands_alone

Role = Literal["system", "developer", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = ("system", "developer", "user", "assistant", "tool")

_PART_TYPES: dict[Role, tuple[str, ...]] = {
    "system": ("text",),
    "developer": ("text",),
    "user": ("text", "image_url", "input_audio", "file"),
    "assistant": ("text", "refusal"),
    "tool": ("text", "image_url", "file"),
}
_DATA_URL = re.compile(r"data:(?P<media_type>[^;,\s]+)(?:;[^;,]*)*;base64,(?P<data>\S+)", re.IGNORECASE)


def decode_message(value: Any, path: str) -> Message:
    message = Members(value, path)
    if message.value("role") == "function":
        raise invalid(message.at("role"), 'the legacy role "function" is not served; use "tool" with tool_call_id')
    role = cast(Role, message.word("role", ROLES))
    name = message.text("name")
    if role == "assistant":
        return Message(role, _assistant_parts(message), name)
    content = message.needed("content")
    parts = _content_parts(content, message.at("content"), role)
    if role == "tool":
        parts = [ToolResultPart(message.needed_text("tool_call_id"), parts)]
    return Message(role, parts, name)


def _assistant_parts(message: Members) -> list[Part]:
    for name, instead in (("function_call", "use tool_calls"), ("audio", "audio of earlier answers cannot be sent")):
        if message.value(name) is not None:
            raise invalid(message.at(name), f"is not served: {instead}")
    calls = [_call_part(call, f"{message.at('tool_calls')}.{i}") for i, call in enumerate(message.items("tool_calls"))]
    reasoning = _reasoning(message)
    signatures = [part for part in reasoning if stands_alone(part)]
    parts: list[Part] = [part for part in reasoning if not stands_alone(part)]
    content, refusal = message.value("content"), message.text("refusal")
    # An empty string beside calls is how many servers write null; some providers refuse empty text.
    if content is not None and not (content == "" and (calls or parts or refusal)):
        parts += _content_parts(content, message.at("content"), "assistant")
    parts += signatures
    if refusal:
        parts.append(RefusalPart(refusal))
    parts += calls
    if not parts:
        raise invalid(message.at("content"), "is required in an assistant message without tool_calls")
    return parts


def _reasoning(message: Members) -> list[ReasoningPart]:
    plain = message.text("reasoning_content") or message.text("reasoning")
    details = message.items("reasoning_details")
    for i, value in enumerate(details):
        detail = Members(value, f"{message.at('reasoning_details')}.{i}")
        detail.word("type", (*TEXT_TYPES, ENCRYPTED_TYPE))
        for name in ("text", "summary", "signature", "data", "format", "id"):
            detail.text(name)
    return reasoning_parts(plain, details)


def _call_part(value: Any, path: str) -> ToolCallPart:
    call = Members(value, path)
    if call.value("type") is not None:
        call.word("type", ("function",))
    function = call.needed_members("function")
    arguments = function.needed("arguments")
    if not isinstance(arguments, str):
        raise invalid(function.at("arguments"), f"must be a string that holds JSON, not {kind(arguments)}")
    signature = call_signature(call.value("extra_content"))
    return ToolCallPart(
        id=call.needed_text("id"),
        name=function.needed_text("name"),
        arguments=arguments or "{}",
        signature=signature,
        origin="google" if signature else "",
        cache=call.plain_object("cache_control"),
    )


# -- content ----------------------------------------------------------------------------------------------------------


def _content_parts(content: Any, path: str, role: Role) -> list[Part]:
    if isinstance(content, str):
        return [TextPart(content)]
    if not isinstance(content, list):
        raise invalid(path, f"must be a string or a list of parts, not {kind(content)}")
    if not content:
        raise invalid(path, "must not be an empty list")
    return [_content_part(part, f"{path}.{i}", role) for i, part in enumerate(content)]


def _content_part(value: Any, path: str, role: Role) -> Part:
    part = Members(value, path)
    said = part.needed("type")
    if said not in _PART_TYPES[role]:
        raise invalid(part.at("type"), f"must be {one_of(_PART_TYPES[role])} in a message of role {role}")
    return _PARTS[said](part)


def _text_part(part: Members) -> Part:
    return TextPart(text(part.needed("text"), part.at("text")), part.plain_object("cache_control"))


def _refusal_part(part: Members) -> Part:
    return RefusalPart(part.needed_text("refusal"))


def _image_part(part: Members) -> Part:
    image = part.needed_members("image_url")
    url, detail, cache = image.needed_text("url"), image.text("detail"), part.plain_object("cache_control")
    if url.startswith(("http://", "https://")):
        return ImagePart(url=url, detail=detail, cache=cache)
    media_type, data = _data_url(url, image.at("url"), "must be an http(s) URL or a base64 data: URL")
    return ImagePart(data=data, media_type=media_type, detail=detail, cache=cache)


def _audio_part(part: Members) -> Part:
    audio = part.needed_members("input_audio")
    return AudioPart(audio.needed_text("data"), audio.needed_text("format"))


def _file_part(part: Members) -> Part:
    file = part.needed_members("file")
    file_id, filename, file_data = file.text("file_id"), file.text("filename"), file.text("file_data")
    cache = part.plain_object("cache_control")
    if bool(file_id) == bool(file_data):
        raise invalid(file.path, "needs either file_id or file_data")
    if not file_data:
        return FilePart(file_id=file_id, filename=filename, cache=cache)
    media_type, data = _data_url(file_data, file.at("file_data"), "must be a base64 data: URL")
    return FilePart(data=data, media_type=media_type, filename=filename, cache=cache)


_PARTS: dict[str, Callable[[Members], Part]] = {
    "text": _text_part,
    "refusal": _refusal_part,
    "image_url": _image_part,
    "input_audio": _audio_part,
    "file": _file_part,
}


def _data_url(url: str, path: str, otherwise: str) -> tuple[str, str]:
    match = _DATA_URL.fullmatch(url)
    if not match:
        raise invalid(path, f"{otherwise}, such as data:image/png;base64,iVBORw0…")
    return match["media_type"], match["data"]
