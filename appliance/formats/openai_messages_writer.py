"""Canonical messages → the `messages` of an OpenAI-protocol request, in the words of one server.

Left out, because the form has no place for it: the error mark of a tool result, citations, and opaque data of another
provider's reasoning, which would be refused. Reasoning of earlier turns goes back only where a server has a place for
it (Quirks.reasoning): OpenAI has none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from appliance.errors import GatewayError, invalid
from appliance.formats.chat import (
    AudioPart,
    ChatRequest,
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
from appliance.formats.openai_call import call_object, signature_member
from appliance.formats.openai_quirks import Quirks, matches
from appliance.formats.openai_reasoning import details_of
from appliance.formats.openai_tool_pictures import with_pictures_apart

Wire = dict[str, Any]


class Writing(Struct, frozen=True):
    """What holds for all messages of one request."""

    quirks: Quirks
    hints: bool
    signed: bool
    stand_in: str
    reasoning: str
    needs_reasoning: bool
    opaque: str | None
    ids: Mapping[str, str]


def encode_messages(request: ChatRequest, quirks: Quirks, upstream_model: str) -> list[Wire]:
    takes_reasoning = matches(quirks.reasoning_models, upstream_model)
    writing = Writing(
        quirks=quirks,
        hints=takes_hints(quirks, upstream_model),
        signed=matches(quirks.signed, upstream_model),
        stand_in=quirks.unsigned[1] if quirks.unsigned and matches(quirks.unsigned[0], upstream_model) else "",
        reasoning=quirks.reasoning if takes_reasoning else "",
        needs_reasoning=quirks.reasoning_needed and takes_reasoning and _has_tools(request),
        opaque=next((origin for models, origin in quirks.opaque if matches(models, upstream_model)), None),
        ids=short_ids(request.messages) if quirks.call_ids == "nine" else {},
    )
    out: list[Wire] = []
    apart = quirks.images and not quirks.tool_images
    numbered = with_pictures_apart(request.messages) if apart else enumerate(request.messages)
    for index, message in numbered:
        for wire in _messages(message, f"messages.{index}", writing):
            _add(out, wire, quirks)
    if request.prefill and quirks.prefill:
        out[-1] |= quirks.prefill
    return out


def takes_hints(quirks: Quirks, upstream_model: str) -> bool:
    return matches(quirks.cache, upstream_model)


def with_hint(out: Wire, cache: dict[str, Any] | None, quirks: Quirks) -> Wire:
    if cache is None:
        return out
    return out | {"cache_control": cache if quirks.cache_ttl else {k: v for k, v in cache.items() if k != "ttl"}}


def _has_tools(request: ChatRequest) -> bool:
    return bool(request.tools) or any(message.role == "tool" for message in request.messages)


def _add(out: list[Wire], wire: Wire, quirks: Quirks) -> None:
    """Put a message behind the others, keeping to the turns that the server insists on."""
    last = out[-1] if out else {}
    if quirks.bridge and last.get("role") == "tool" and wire["role"] == "user":
        out.append({"role": "assistant", "content": quirks.bridge})
    if quirks.alternates and wire["role"] == last.get("role") in ("user", "assistant"):
        out[-1] = last | wire | {"content": [*_as_list(last["content"]), *_as_list(wire["content"])]}
    else:
        out.append(wire)


def _as_list(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content or []


# -- ids --------------------------------------------------------------------------------------------------------------

_NINE = re.compile(r"[a-zA-Z0-9]{9}")
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def short_ids(messages: list[Message]) -> dict[str, str]:
    """Every call id of a conversation → nine letters and digits: the same for the same id, and never one for two."""
    said = dict.fromkeys(call_id for message in messages for part in message.parts if (call_id := _call_id(part)))
    ids = {call_id: call_id for call_id in said if _NINE.fullmatch(call_id)}
    taken = set(ids)
    for call_id in said:
        if call_id not in ids:
            ids[call_id] = _free_id(call_id, taken)
            taken.add(ids[call_id])
    return ids


def _call_id(part: Part) -> str | None:
    return part.id if isinstance(part, ToolCallPart) else part.call_id if isinstance(part, ToolResultPart) else None


def _free_id(call_id: str, taken: set[str]) -> str:
    text = call_id
    while True:
        number = int.from_bytes(hashlib.sha256(text.encode()).digest())
        short = "".join(_DIGITS[number // 62**place % 62] for place in range(9))
        if short not in taken:
            return short
        text += "'"


# -- messages ---------------------------------------------------------------------------------------------------------


def _messages(message: Message, where: str, writing: Writing) -> list[Wire]:
    if message.role == "tool":
        return [_tool_result(part, where, writing) for part in message.parts]
    role = "system" if message.role == "developer" and not writing.quirks.developer else message.role
    out: Wire = {"role": role}
    if message.role == "assistant":
        out |= _assistant(message.parts, where, writing)
    else:
        out["content"] = _content(message.parts, where, writing)
    if message.name and writing.quirks.names:
        out["name"] = message.name
    return [out]


def _assistant(parts: list[Part], where: str, writing: Writing) -> Wire:
    has_member = writing.quirks.refusals
    refusal = "".join(part.text for part in parts if isinstance(part, RefusalPart)) if has_member else ""
    said = [_said(part) for part in parts if _is_said(part, writing)]
    calls = [_call(part, writing) for part in parts if isinstance(part, ToolCallPart)]
    if calls and writing.stand_in and "extra_content" not in calls[0]:
        calls[0]["extra_content"] = signature_member(writing.stand_in)
    out: Wire = {"content": _content(said, where, writing, joint="") if said else None if calls or refusal else ""}
    if refusal:
        out["refusal"] = refusal
    out |= _reasoning_members(parts, writing)
    if calls:
        out["tool_calls"] = calls
    return out


def _is_said(part: Part, writing: Writing) -> bool:
    if isinstance(part, ReasoningPart):
        return writing.reasoning == "chunks" and bool(part.text)
    return not isinstance(part, ToolCallPart) and not (isinstance(part, RefusalPart) and writing.quirks.refusals)


def _said(part: Part) -> Part:
    return TextPart(part.text) if isinstance(part, RefusalPart) else part


def _reasoning_members(parts: list[Part], writing: Writing) -> Wire:
    member = writing.reasoning
    if member in ("", "chunks"):
        return {}
    if member == "details":
        if details := _details(parts, writing):
            return {"reasoning_details": details}
        member = "reasoning"
    text = "".join(part.text for part in parts if isinstance(part, ReasoningPart) and _may_be_read(part, writing))
    return {member: text} if text or writing.needs_reasoning else {}


def _may_be_read(part: ReasoningPart, writing: Writing) -> bool:
    """Reasoning text whose signature the model's provider would not know is refused by those who ask for one."""
    return writing.opaque is None or not part.signature or part.origin in ("", writing.opaque)


def _details(parts: list[Part], writing: Writing) -> list[Wire]:
    """reasoning_details with everything opaque that this model's provider made; empty when nothing is."""
    own = ("", writing.opaque)
    known = [part for part in parts if isinstance(part, ReasoningPart) and part.origin in own]
    details = [detail for part in known for detail in details_of(part)]
    signatures = [
        {"type": "reasoning.encrypted", "data": part.signature, "id": part.id, "format": "google-gemini-v1"}
        for part in parts
        if isinstance(part, ToolCallPart) and part.signature and writing.opaque == "google" and part.origin in own
    ]
    return [*details, *signatures] if signatures or any(p.signature or p.redacted or p.id for p in known) else []


def _call(part: ToolCallPart, writing: Writing) -> Wire:
    call = call_object(part)
    call["id"] = writing.ids.get(part.id, part.id)
    if not writing.signed or part.origin not in ("", "google"):
        call.pop("extra_content", None)
    return with_hint(call, part.cache, writing.quirks) if writing.hints else call


def _tool_result(part: Part, where: str, writing: Writing) -> Wire:
    if not isinstance(part, ToolResultPart):
        raise _cannot_carry(part, where, "in a message of role tool")
    for inner in part.parts:
        if not isinstance(inner, TextPart) and not (writing.quirks.tool_images and isinstance(inner, ImagePart)):
            raise _cannot_carry(inner, where, "in a tool result")
    out: Wire = {"role": "tool", "tool_call_id": writing.ids.get(part.call_id, part.call_id)}
    hint = part.cache if writing.hints else None
    if hint is None and all(isinstance(inner, TextPart) for inner in part.parts):
        return out | {"content": "\n".join(inner.text for inner in part.parts if isinstance(inner, TextPart))}
    content = [_content_part(inner, where, writing) for inner in part.parts] or [{"type": "text", "text": ""}]
    content[-1] = with_hint(content[-1], hint, writing.quirks)
    return out | {"content": content}


# -- content ----------------------------------------------------------------------------------------------------------


def _content(parts: list[Part], where: str, writing: Writing, joint: str = "\n") -> str | list[Wire]:
    """An answer's texts were cut by its provider, so nothing stands between them; a caller's are lines."""
    if len(parts) == 1 and isinstance(only := parts[0], TextPart) and not (writing.hints and only.cache):
        return only.text
    texts = [part.text for part in parts if isinstance(part, TextPart) and not (writing.hints and part.cache)]
    if not writing.quirks.text_lists and len(texts) == len(parts):
        return joint.join(texts)
    return [_content_part(part, where, writing) for part in parts]


def _content_part(part: Part, where: str, writing: Writing) -> Wire:
    out = _part_object(part, where, writing.quirks)
    cache = part.cache if isinstance(part, TextPart | ImagePart | FilePart) else None
    return with_hint(out, cache, writing.quirks) if writing.hints else out


def _part_object(part: Part, where: str, quirks: Quirks) -> Wire:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case ReasoningPart():
            return {"type": "thinking", "thinking": [{"type": "text", "text": part.text}]}
        case ImagePart() if quirks.images:
            image = {"url": part.url or f"data:{part.media_type};base64,{part.data}"}
            return {"type": "image_url", "image_url": image | {"detail": part.detail} if part.detail else image}
        case AudioPart() if quirks.audio:
            return {"type": "input_audio", "input_audio": _audio(part, quirks)}
        case FilePart() if quirks.files == "document":
            return _document(part)
        case FilePart() if quirks.files:
            return {"type": "file", "file": _file(part, where, quirks)}
    raise _cannot_carry(part, where, "in a message's content")


def _audio(part: AudioPart, quirks: Quirks) -> str | dict[str, str]:
    if quirks.audio == "text":
        return part.data
    return {"data": f"data:;base64,{part.data}" if quirks.audio == "data_url" else part.data, "format": part.format}


def _file(part: FilePart, where: str, quirks: Quirks) -> dict[str, str]:
    if part.file_id:
        return {"file_id": part.file_id} | ({"filename": part.filename} if part.filename else {})
    if part.data is None and quirks.files != "object_or_url":
        raise invalid(f"{where}.content", "a file given by URL cannot be sent to this target; send its data")
    return {"filename": part.filename or "document", "file_data": _address(part)}


def _document(part: FilePart) -> Wire:
    if part.file_id:
        return {"type": "file", "file_id": part.file_id}
    name = {"document_name": part.filename} if part.filename else {}
    return {"type": "document_url", "document_url": _address(part)} | name


def _address(part: FilePart) -> str:
    return part.url or f"data:{part.media_type};base64,{part.data}"


def _cannot_carry(part: Part, where: str, place: str) -> GatewayError:
    name = type(part).__struct_config__.tag
    return invalid(f"{where}.content", f"a part of type {name} cannot be sent to this target {place}")
