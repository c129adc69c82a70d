"""Anthropic's message object → canonical reply; what streams share with it (usage, stop reasons) is decoded here too.

Blocks of tools that ran at Anthropic's side (server_tool_use, mcp_tool_use, their results, compaction, containers, and
kinds not known yet) are no calls for the caller to execute: they stay out of the content and are listed in
`extra["server_blocks"]`. `stop_details`, which says why an answer was refused, and `stop_sequence` are kept there too.
The reply bears no time, so `created` is 0 and the pipeline's head knows it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.errors import GatewayError
from appliance.formats.anthropic_request import JSON_ANSWER_TOOL
from appliance.formats.chat import (
    ChatReply,
    Choice,
    FinishReason,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    Usage,
)

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

_KEPT_MEMBERS = ("stop_details", "stop_sequence")


def decode_reply(body: Any) -> ChatReply:
    if not isinstance(body, dict) or body.get("type") != "message":
        raise shape_mismatch("the upstream's answer is no message object")
    content = body.get("content")
    if not isinstance(content, list):
        raise shape_mismatch("the upstream's message has no list of content blocks")
    parts: list[Part] = []
    server_blocks: list[Any] = []
    for index, block in enumerate(content):
        part = _part(block, f"content.{index}")
        if part is None:
            server_blocks.append(block)
        else:
            parts.append(part)
    extra: dict[str, Any] = {name: body[name] for name in _KEPT_MEMBERS if body.get(name) is not None}
    if server_blocks:
        extra["server_blocks"] = server_blocks
    return ChatReply(
        id=text_if_said(body, "id"),
        model=text_if_said(body, "model"),
        created=0,
        choices=[_choice(parts, body.get("stop_reason"), is_json_answer=_has_json_answer(content))],
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


def decode_usage(usage: Any) -> Usage | None:
    """Anthropic's `input_tokens` leaves cache reads and writes out: the sum of the three is the input."""
    if not isinstance(usage, dict):
        return None
    cached = _billed(usage, "cache_read_input_tokens")
    written = _billed(usage, "cache_creation_input_tokens")
    details = usage.get("output_tokens_details")
    return Usage(
        input_tokens=_billed(usage, "input_tokens") + written + cached,
        output_tokens=_billed(usage, "output_tokens"),
        cached_input_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=_count(details, "thinking_tokens") if isinstance(details, dict) else 0,
    )


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


def citation_list(block: dict[str, Any]) -> list[Any]:
    citations = block.get("citations")
    return list(citations) if isinstance(citations, list) else []


def shape_mismatch(message: str) -> GatewayError:
    return GatewayError("UPSTREAM_SHAPE_MISMATCH", message)


def _part(block: Any, where: str) -> Part | None:
    """None for what is not the caller's."""
    if not isinstance(block, dict):
        raise shape_mismatch(f"the upstream's {where} is no content block")
    match block.get("type"):
        case "text":
            return TextPart(text_member(block, "text", where), citations=citation_list(block))
        case "thinking":
            return ReasoningPart(
                text_member(block, "thinking", where), signature=text_if_said(block, "signature") or None
            )
        case "redacted_thinking":
            return ReasoningPart(redacted=text_member(block, "data", where))
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


def _choice(parts: list[Part], stop_reason: Any, is_json_answer: bool) -> Choice:
    if not isinstance(stop_reason, str):
        return Choice(index=0, parts=parts)
    finish_reason, native = decode_stop_reason(stop_reason, is_json_answer)
    return Choice(index=0, parts=parts, finish_reason=finish_reason, native_finish_reason=native)


def _billed(usage: dict[str, Any], name: str) -> int:
    """The count over all rounds: where Anthropic went several rounds, the top level may leave some of them out."""
    rounds = usage.get("iterations")
    summed = sum(_count(entry, name) for entry in rounds if isinstance(entry, dict)) if isinstance(rounds, list) else 0
    return max(_count(usage, name), summed)


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
