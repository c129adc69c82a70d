"""Canonical messages → `input` items of the Responses dialect.

Sent without ids, but for reasoning, whose encrypted content is bound to its own. Reasoning goes back only with opaque
data that this dialect's provider made, or nobody knows who; its bare text cannot. A participant's name, the error mark
of a tool result and cache hints (OpenAI finds cached prefixes itself) have no place, and are left out.
"""

from __future__ import annotations

from typing import Any

from appliance.errors import GatewayError, invalid
from appliance.formats.chat import (
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
from appliance.formats.responses_opaque import ORIGIN
from appliance.formats.responses_text import annotation_of

Item = dict[str, Any]

OWN = (ORIGIN, "")


def encode_input(messages: list[Message]) -> list[Item]:
    return [item for index, message in enumerate(messages) for item in _items(message, f"messages.{index}")]


def _items(message: Message, where: str) -> list[Item]:
    if message.role == "assistant":
        return _assistant(message.parts, where)
    if message.role == "tool":
        return [_result(part, where) for part in message.parts]
    return [{"role": message.role, "content": _content(message.parts, where)}]


def _assistant(parts: list[Part], where: str) -> list[Item]:
    items: list[Item] = []
    said: list[TextPart | RefusalPart] = []
    for part in parts:
        if isinstance(part, TextPart | RefusalPart):
            said.append(part)
            continue
        items += _message(said)
        said = []
        if isinstance(part, ReasoningPart):
            items += _reasoning(part)
        elif isinstance(part, ToolCallPart):
            call = {"call_id": part.id, "name": part.name, "arguments": part.arguments}
            items.append({"type": "function_call", **call})
        else:
            raise _misplaced(part, where)
    return items + _message(said)


def _message(said: list[TextPart | RefusalPart]) -> list[Item]:
    """Plain text in the easy form, which needs no id."""
    if not said:
        return []
    plain = [part.text for part in said if isinstance(part, TextPart) and not part.citations]
    if len(plain) == len(said):
        return [{"role": "assistant", "content": "".join(plain)}]
    return [{"type": "message", "role": "assistant", "content": [_said(part) for part in said]}]


def _said(part: TextPart | RefusalPart) -> Item:
    if isinstance(part, RefusalPart):
        return {"type": "refusal", "refusal": part.text}
    own = [citation for citation in part.citations if citation.origin == ORIGIN]
    annotations = [annotation_of(citation, 0, len(part.text)) for citation in own]
    return {"type": "output_text", "text": part.text, "annotations": annotations}


def _reasoning(part: ReasoningPart) -> list[Item]:
    encrypted = part.signature or part.redacted
    if not encrypted or part.origin not in OWN:
        return []
    summary = [{"type": "summary_text", "text": part.text}] if part.text else []
    known = {"id": part.id} if part.id else {}
    return [{"type": "reasoning", **known, "summary": summary, "encrypted_content": encrypted}]


def _result(part: Part, where: str) -> Item:
    if not isinstance(part, ToolResultPart):
        raise _misplaced(part, where)
    output = _content(part.parts, where) if part.parts else ""
    return {"type": "function_call_output", "call_id": part.call_id, "output": output}


def _content(parts: list[Part], where: str) -> str | list[Item]:
    if len(parts) == 1 and isinstance(only := parts[0], TextPart):
        return only.text
    return [_content_part(part, where) for part in parts]


def _content_part(part: Part, where: str) -> Item:
    match part:
        case TextPart():
            return {"type": "input_text", "text": part.text}
        case ImagePart():
            url = part.url or f"data:{part.media_type};base64,{part.data}"
            return {"type": "input_image", "image_url": url, "detail": part.detail or "auto"}
        case FilePart():
            return {"type": "input_file", **_file(part)}
        case _:
            raise _misplaced(part, where)


def _file(part: FilePart) -> dict[str, str]:
    if part.file_id:
        return {"file_id": part.file_id}
    if part.data is None:
        return {"file_url": part.url or ""}
    return {"filename": part.filename or "document", "file_data": f"data:{part.media_type};base64,{part.data}"}


def _misplaced(part: Part, where: str) -> GatewayError:
    kind = type(part).__struct_config__.tag
    return invalid(f"{where}.content", f"a part of type {kind} cannot be carried to a Responses target; remove it")
