"""A whole answer in the Responses dialect → ChatReply; what streams share with it is decoded here too.

Items of tools that run at the provider's side, and kinds not known yet, are no calls for the caller to execute: they
stay out of the content and are listed in `extra["server_items"]`. A 200 that is no finished response is
UPSTREAM_SHAPE_MISMATCH; inside one, odd values are read leniently.
"""

from __future__ import annotations

from typing import Any

from appliance.errors import GatewayError
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
from appliance.formats.openai_call import arguments_text, new_call_id
from appliance.formats.openai_error import error_in
from appliance.formats.openai_reply import reply_extra, seconds
from appliance.formats.reply_object import object_in
from appliance.formats.responses_opaque import ORIGIN
from appliance.formats.responses_text import canonical_logprobs, citations_of
from appliance.formats.responses_usage import decode_usage

OWN_ITEMS = ("message", "reasoning", "function_call")

PARAGRAPH = "\n\n"
"""What stands between the summary parts of one reasoning item, once they are one text."""

_INCOMPLETE: dict[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}


def decode_reply(body: Any) -> ChatReply:
    if not isinstance(body, dict):
        raise _mismatch("is no JSON object")
    if body.get("error"):
        raise _mismatch(f"is an error with status 200: {error_in(body).message}")
    output = body.get("output")
    if not isinstance(output, list):
        raise _mismatch("has no list of output items")
    if (status := body.get("status")) not in (None, "completed", "incomplete"):
        raise _mismatch(f"is not finished: its status is {status}")
    parts: list[Part] = []
    logprobs: list[Any] = []
    others: list[Any] = []
    chars = 0
    for item in output:
        if not isinstance(item, dict) or item.get("type") not in OWN_ITEMS:
            others.append(item)
            continue
        said = item_parts(item, chars)
        chars += sum(len(part.text) for part in said if isinstance(part, TextPart))
        parts += said
        logprobs += item_logprobs(item)
    finish_reason, native = finish_words(body, any(isinstance(part, ToolCallPart) for part in parts))
    extra = reply_extra(None, body.get("service_tier"))
    return ChatReply(
        id=text_in(body, "id"),
        model=text_in(body, "model"),
        created=seconds(body.get("created_at")),
        choices=[Choice(0, parts, finish_reason, native, logprobs=canonical_logprobs(logprobs))],
        usage=decode_usage(body.get("usage")),
        extra=extra | {"server_items": others} if others else extra,
    )


def item_parts(item: dict[str, Any], base: int) -> list[Part]:
    """The parts of one of OWN_ITEMS; `base` is how many characters of text stand before it."""
    match item.get("type"):
        case "message":
            return _message_parts(item.get("content"), base)
        case "reasoning":
            signature = text_in(item, "encrypted_content") or None
            said = reasoning_text(item)
            if not said and not signature:
                return []
            return [ReasoningPart(said, signature, origin=ORIGIN, id=text_in(item, "id") or None)]
        case _:
            call_id = text_in(item, "call_id") or new_call_id()
            arguments = arguments_text(item.get("arguments")) or "{}"
            return [ToolCallPart(call_id, text_in(item, "name"), arguments)] if text_in(item, "name") else []


def _message_parts(content: Any, base: int) -> list[Part]:
    parts: list[Part] = []
    for entry in content if isinstance(content, list) else []:
        if not isinstance(entry, dict):
            continue
        if refusal := text_in(entry, "refusal"):
            parts.append(RefusalPart(refusal))
        said = text_in(entry, "text")
        citations = citations_of(entry.get("annotations"), base)
        if said or citations:
            parts.append(TextPart(said, citations=citations))
            base += len(said)
    return parts


def reasoning_text(item: dict[str, Any]) -> str:
    """The reasoning itself where the provider shows it, else its summary."""
    for name in ("content", "summary"):
        listed = item.get(name)
        texts = (
            [text_in(entry, "text") for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        )
        if any(texts):
            return PARAGRAPH.join(texts)
    return ""


def item_logprobs(item: dict[str, Any]) -> list[Any]:
    content = item.get("content")
    listed = [object_in(entry).get("logprobs") for entry in content] if isinstance(content, list) else []
    return [token for tokens in listed if isinstance(tokens, list) for token in tokens]


def finish_words(response: dict[str, Any], has_calls: bool) -> tuple[FinishReason, str | None]:
    """One of the four, and the upstream's own word where it is another one."""
    if response.get("status") == "incomplete":
        said = text_in(object_in(response.get("incomplete_details")), "reason") or "incomplete"
        known = _INCOMPLETE.get(said)
        return (known, None) if known else ("stop", said)
    return "tool_calls" if has_calls else "stop", None


def text_in(holder: dict[str, Any], name: str) -> str:
    value = holder.get(name)
    return value if isinstance(value, str) else ""


def _mismatch(what: str) -> GatewayError:
    return GatewayError("UPSTREAM_SHAPE_MISMATCH", f"the upstream's answer {what}")
