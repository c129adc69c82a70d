"""Anthropic's message object → canonical reply; stop reasons and citations, which streams share, are decoded here too.

Blocks of tools that ran at Anthropic's side (server_tool_use, mcp_tool_use, their results, compaction, containers, and
kinds not known yet) are no calls for the caller to execute: they stay out of the content and are listed in
`extra["server_blocks"]`. `stop_details`, which says why an answer was refused, is kept there too, and its explanation
is a refusal to every caller. The reply bears no time, so `created` is 0 and the pipeline's head knows it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.errors import GatewayError
from appliance.formats.anthropic_citations import OWN, citation_of
from appliance.formats.anthropic_usage import decode_usage
from appliance.formats.chat import (
    ChatReply,
    Choice,
    Citation,
    FinishReason,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)
from appliance.formats.json_answer import JSON_ANSWER_TOOL

__all__ = ["STOP_REASONS", "decode_reply", "decode_stop_reason", "decode_usage"]

STOP_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "stop",
    "refusal": "content_filter",
}

NATIVE_KEPT = ("pause_turn", "refusal")
"""Known stop reasons that say more than their canonical word, so the original is kept beside it."""


def decode_reply(body: Any) -> ChatReply:
    if not isinstance(body, dict) or body.get("type") != "message":
        raise shape_mismatch("the upstream's answer is no message object")
    content = body.get("content")
    if not isinstance(content, list):
        raise shape_mismatch("the upstream's message has no list of content blocks")
    parts: list[Part] = []
    server_blocks: list[Any] = []
    said = 0
    for index, block in enumerate(content):
        part = _part(block, f"content.{index}", said)
        if part is None:
            server_blocks.append(block)
            continue
        parts.append(part)
        said += len(part.text) if isinstance(part, TextPart) else 0
    details = body.get("stop_details")
    if explanation := stop_explanation(details):
        parts.append(RefusalPart(explanation))
    extra: dict[str, Any] = {} if details is None else {"stop_details": details}
    if server_blocks:
        extra["server_blocks"] = server_blocks
    return ChatReply(
        id=text_if_said(body, "id"),
        model=text_if_said(body, "model"),
        created=0,
        choices=[_choice(parts, body, is_json_answer=_has_json_answer(content))],
        usage=decode_usage(body.get("usage")),
        extra=extra,
    )


def decode_stop_reason(stop_reason: str, is_json_answer: bool) -> tuple[FinishReason, str | None]:
    """The canonical word, and the original where it says more. A JSON answer's forced call is an ordinary end."""
    if is_json_answer and stop_reason == "tool_use":
        return "stop", None
    known = STOP_REASONS.get(stop_reason)
    if known is None:
        return "stop", stop_reason
    return known, stop_reason if stop_reason in NATIVE_KEPT else None


def json_text(value: Any) -> str:
    """Compact JSON text of a tool's input."""
    return msgspec.json.encode(value).decode()


def text_member(holder: dict[str, Any], name: str, where: str) -> str:
    value = holder.get(name)
    if not isinstance(value, str):
        raise shape_mismatch(f"the upstream's {where} has no text in {name!r}")
    return value


def text_if_said(holder: dict[str, Any], name: str) -> str:
    """Empty where the member is missing: not every server of this dialect names its answers."""
    value = holder.get(name)
    return value if isinstance(value, str) else ""


def citation_list(raw: Any, start: int, end: int) -> list[Citation]:
    """A text block's citations; what stands between `start` and `end` rests on them."""
    listed = raw if isinstance(raw, list) else []
    return [found for each in listed if (found := citation_of(each, start, end)) is not None]


def stop_explanation(details: Any) -> str:
    """Why an answer was refused, in words for a reader; empty where nobody says."""
    return text_if_said(details, "explanation") if isinstance(details, dict) else ""


def shape_mismatch(message: str) -> GatewayError:
    return GatewayError("UPSTREAM_SHAPE_MISMATCH", message)


def _part(block: Any, where: str, said: int) -> Part | None:
    """None for what is not the caller's. `said` is the length of the text before it."""
    if not isinstance(block, dict):
        raise shape_mismatch(f"the upstream's {where} is no content block")
    match block.get("type"):
        case "text":
            text = text_member(block, "text", where)
            return TextPart(text, citations=citation_list(block.get("citations"), said, said + len(text)))
        case "thinking":
            signature = text_if_said(block, "signature") or None
            return ReasoningPart(text_member(block, "thinking", where), signature, origin=OWN)
        case "redacted_thinking":
            return ReasoningPart(redacted=text_member(block, "data", where), origin=OWN)
        case "tool_use":
            return _tool_part(block, where)
    return None


def _tool_part(block: dict[str, Any], where: str) -> Part:
    arguments = json_text(tool_input(block, where))
    name = text_member(block, "name", where)
    if name == JSON_ANSWER_TOOL:
        return TextPart(arguments)
    return ToolCallPart(text_member(block, "id", where), name, arguments)


def tool_input(block: dict[str, Any], where: str) -> dict[str, Any]:
    value = block.get("input")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise shape_mismatch(f"the upstream's {where} has an input that is no object")
    return value


def _has_json_answer(content: list[Any]) -> bool:
    return any(block.get("type") == "tool_use" and block.get("name") == JSON_ANSWER_TOOL for block in content)


def _choice(parts: list[Part], body: dict[str, Any], is_json_answer: bool) -> Choice:
    stop_reason = body.get("stop_reason")
    if not isinstance(stop_reason, str):
        return Choice(index=0, parts=parts)
    finish_reason, native = decode_stop_reason(stop_reason, is_json_answer)
    stop_sequence = text_if_said(body, "stop_sequence") or None
    return Choice(0, parts, finish_reason, native, stop_sequence)
