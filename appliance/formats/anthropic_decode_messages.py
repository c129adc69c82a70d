"""A caller's turns → canonical messages. Tool results become messages of their own, before the rest of their turn.

What other providers signed comes back packed in thinking blocks and is unpacked here (anthropic_packing).
"""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.errors import invalid
from appliance.formats.anthropic_decode_blocks import (
    cache_of,
    content_blocks,
    input_parts,
    text_part,
    text_parts,
    tool_result,
    unknown_block,
)
from appliance.formats.anthropic_input import arguments_of
from appliance.formats.anthropic_packing import Packed, call_signature, reasoning_part, signed
from appliance.formats.chat import Message, Part, ReasoningPart, ToolCallPart
from appliance.formats.members import Members, kind, text

ROLES = ("user", "assistant", "system", "developer")
CHANGED = "was changed since the gateway sent it; send thinking blocks back as they came"
ASSISTANT_TYPES = ("text", "thinking", "redacted_thinking", "tool_use")


def decode_messages(value: Any) -> list[Message]:
    if not isinstance(value, list):
        raise invalid("messages", f"must be a list, not {kind(value)}")
    if not value:
        raise invalid("messages", "must hold at least one message")
    return [message for index, turn in enumerate(value) for message in _messages(turn, f"messages.{index}")]


def system_messages(value: Any) -> list[Message]:
    """The system prompt, a string or blocks of text; none where it says nothing."""
    if value is None or value == "":
        return []
    parts = text_parts(value, "system", "the system prompt")
    return [Message("system", parts)] if parts else []


def _messages(value: Any, path: str) -> list[Message]:
    turn = Members(value, path)
    role = turn.word("role", ROLES)
    content, where = turn.needed("content"), turn.at("content")
    if role == "user":
        return _user(content_blocks(content, where), where)
    if role == "assistant":
        parts = _assistant(content_blocks(content, where))
        return [Message("assistant", parts)] if parts else []
    return [Message("system" if role == "system" else "developer", text_parts(content, where, f"a {role} message"))]


def _user(blocks: list[Members], path: str) -> list[Message]:
    results: list[Message] = []
    parts: list[Part] = []
    for block in blocks:
        if block.value("type") == "tool_result":
            results.append(Message("tool", [tool_result(block)]))
        else:
            parts += input_parts(block)
    if not results and not parts:
        raise invalid(path, "must not be empty in a user message")
    return [*results, Message("user", parts)] if parts else results


def _assistant(blocks: list[Members]) -> list[Part]:
    parts: list[Part] = []
    coming: Packed | None = None
    for block in blocks:
        match block.value("type"):
            case "text":
                if block.value("text") != "":
                    parts.append(text_part(block))
            case "thinking" | "redacted_thinking":
                found = _thinking(block)
                if isinstance(found, ReasoningPart):
                    parts.append(found)
                elif found.kind == "call":
                    coming = found
                else:
                    parts = [_signed_late(part, found, block) for part in parts]
            case "tool_use":
                call = _call(block)
                parts.append(signed(call, coming) if coming else call)
                coming = None
            case unknown:
                raise unknown_block(block, unknown, ASSISTANT_TYPES)
    return [part for part in parts if part != ReasoningPart()]


def _thinking(block: Members) -> ReasoningPart | Packed:
    """Reasoning, or the signature of a call. Some clients drop an empty signature."""
    redacted = block.value("type") == "redacted_thinking"
    needed, opaque = ("data", "data") if redacted else ("thinking", "signature")
    found = {needed: text(block.needed(needed), block.at(needed)), "type": block.value("type")}
    if not redacted:
        found[opaque] = block.text(opaque) or ""
    try:
        return call_signature(found) or reasoning_part(found)
    except ValueError:
        raise invalid(block.at(opaque), CHANGED) from None


def _signed_late(part: Part, packed: Packed, block: Members) -> Part:
    try:
        return signed(part, packed) if isinstance(part, ToolCallPart) else part
    except ValueError:
        raise invalid(block.at("signature"), CHANGED) from None


def _call(block: Members) -> ToolCallPart:
    block.needed_members("input")
    try:
        arguments = arguments_of(block.value("input"))
    except (msgspec.MsgspecError, UnicodeError):
        raise invalid(block.at("input"), "holds text that is not valid Unicode") from None
    return ToolCallPart(block.needed_text("id"), block.needed_text("name"), arguments, cache=cache_of(block))
