"""A whole answer → Anthropic's message object, for a caller. The dialect has one choice: the first.

What streams share with it (stop reasons, the object around the content) is made here too.
"""

from __future__ import annotations

from typing import Any

from appliance.formats.anthropic_citations import citation_objects
from appliance.formats.anthropic_input import input_of
from appliance.formats.anthropic_packing import call_block, reasoning_block
from appliance.formats.anthropic_reply import STOP_REASONS
from appliance.formats.anthropic_usage import encode_usage
from appliance.formats.base import ReplyHead
from appliance.formats.chat import (
    ChatReply,
    Choice,
    FinishReason,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)

Block = dict[str, Any]

_STOP_REASONS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


def encode_reply(reply: ChatReply, head: ReplyHead) -> dict[str, Any]:
    choice = next((choice for choice in reply.choices if choice.index == 0), Choice(0, []))
    calls = any(isinstance(part, ToolCallPart) for part in choice.parts)
    refusal = "".join(part.text for part in choice.parts if isinstance(part, RefusalPart))
    body = message_object(head, [block for part in choice.parts for block in blocks_of(part)])
    body |= stop_members(choice.finish_reason, choice.native_finish_reason, choice.stop_sequence, calls, refusal)
    return body | {"usage": encode_usage(reply.usage)}


def message_object(head: ReplyHead, content: list[Block]) -> dict[str, Any]:
    message_id = head.id if head.id.startswith("msg_") else f"msg_{head.id}"
    return {"id": message_id, "type": "message", "role": "assistant", "model": head.model, "content": content}


def stop_members(
    finish_reason: FinishReason | None,
    native: str | None,
    stop_sequence: str | None,
    calls: bool,
    refusal: str,
) -> dict[str, Any]:
    """`stop_reason` and what goes with it; null where no upstream gave a reason."""
    members: dict[str, Any] = {
        "stop_reason": _stop_reason(finish_reason, native, stop_sequence, calls, bool(refusal)),
        "stop_sequence": stop_sequence,
    }
    if refusal and members["stop_reason"] == "refusal":
        members["stop_details"] = {"type": "refusal", "category": None, "explanation": refusal}
    return members


def _stop_reason(
    finish_reason: FinishReason | None, native: str | None, stop_sequence: str | None, calls: bool, refused: bool
) -> str | None:
    if finish_reason is None:
        return None
    if native is not None and STOP_REASONS.get(native) == finish_reason:
        return native
    if finish_reason != "stop":
        return _STOP_REASONS[finish_reason]
    if refused:
        return "refusal"
    if stop_sequence is not None:
        return "stop_sequence"
    # Some upstreams end a forced call with `stop`; clients of this dialect run calls only on `tool_use`.
    return "tool_use" if calls else "end_turn"


def blocks_of(part: Part) -> list[Block]:
    match part:
        case TextPart():
            return _text(part)
        case RefusalPart():
            return [{"type": "text", "text": part.text}] if part.text else []
        case ReasoningPart():
            return [reasoning_block(part)] if part.text or part.signature or part.redacted or part.id else []
        case ToolCallPart():
            return _call(part)
        case _:
            return []


def _text(part: TextPart) -> list[Block]:
    citations = citation_objects(part.citations)
    if not part.text and not citations:
        return []
    block: Block = {"type": "text", "text": part.text}
    return [block | {"citations": citations}] if citations else [block]


def _call(part: ToolCallPart) -> list[Block]:
    call = {"type": "tool_use", "id": part.id, "name": part.name, "input": input_of(part.arguments)}
    return [call_block(part.signature, part.origin), call] if part.signature else [call]
