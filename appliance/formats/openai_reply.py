"""A whole answer in OpenAI's chat form ↔ ChatReply.

A 200 that is no chat completion is UPSTREAM_SHAPE_MISMATCH; inside a completion, odd values are read leniently.
"""

from __future__ import annotations

from typing import Any

from appliance.errors import GatewayError
from appliance.formats.base import ReplyHead
from appliance.formats.chat import ChatReply, Choice, Citation, Part, RefusalPart, TextPart, ToolCallPart
from appliance.formats.openai_call import call_object, call_part
from appliance.formats.openai_citations import citations_in, listed_citations, parts_annotations
from appliance.formats.openai_content import finish_words, known_logprobs, said_parts, stop_text
from appliance.formats.openai_error import error_in
from appliance.formats.openai_reasoning import reasoning_details, reasoning_text
from appliance.formats.openai_usage import decode_usage, encode_usage

SERVICE_TIERS = ("auto", "default", "flex", "scale", "priority", "fast")
"""OpenAI's words; another server's own word stays out of an answer, since strict clients refuse it."""


def decode_reply(body: Any) -> ChatReply:
    if not isinstance(body, dict):
        raise _mismatch("is no JSON object")
    if body.get("error"):
        raise _mismatch(f"is an error with status 200: {error_in(body).message}")
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise _mismatch("has no choices")
    listed = listed_citations(body.get("search_results"), body.get("citations"))
    return ChatReply(
        id=_string(body.get("id")),
        model=_string(body.get("model")),
        created=seconds(body.get("created")),
        choices=[_decode_choice(choice, i, listed) for i, choice in enumerate(choices)],
        usage=decode_usage(body.get("usage")),
        extra=reply_extra(body.get("system_fingerprint"), body.get("service_tier")),
    )


def _decode_choice(choice: Any, position: int, listed_sources: list[Citation]) -> Choice:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise _mismatch(f"has no message in choice {position}")
    content = message.get("content")
    if content is not None and not isinstance(content, str | list):
        raise _mismatch(f"has content of another type than text in choice {position}")
    reasoning = [message.get("reasoning_content"), message.get("reasoning")]
    details, extra_content = message.get("reasoning_details"), message.get("extra_content")
    said: list[Part] = [*said_parts(content, message.get("refusal"), reasoning, details, extra_content)]
    _cite(said, citations_in(message.get("annotations")) or listed_sources)
    calls = message.get("tool_calls")
    listed = calls if isinstance(calls, list) else []
    if isinstance(legacy := message.get("function_call"), dict):
        listed = [*listed, {"function": legacy}]
    index = choice.get("index")
    finish_reason, native = finish_words(choice.get("finish_reason"))
    return Choice(
        index=index if type(index) is int else position,
        parts=[*said, *(part for call in listed if (part := call_part(call)) is not None)],
        finish_reason=finish_reason,
        native_finish_reason=native,
        stop_sequence=stop_text(choice.get("stop_reason"), choice.get("matched_stop"))
        if finish_reason == "stop"
        else None,
        logprobs=known_logprobs(choice.get("logprobs")),
    )


def _cite(parts: list[Part], citations: list[Citation]) -> None:
    """The places of citations count in the whole text, so they may stand with its last part."""
    last = next((part for part in reversed(parts) if isinstance(part, TextPart)), None)
    if last is not None:
        last.citations = citations


def reply_extra(system_fingerprint: Any, service_tier: Any) -> dict[str, Any]:
    """What OpenAI says beside the answer; kept when it says something."""
    said = {"system_fingerprint": system_fingerprint, "service_tier": service_tier}
    return {name: value for name, value in said.items() if isinstance(value, str) and value}


def seconds(created: Any) -> int:
    if isinstance(created, bool) or not isinstance(created, int | float) or not 0 <= created < 2**53:
        return 0
    return int(created)


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _mismatch(what: str) -> GatewayError:
    return GatewayError("UPSTREAM_SHAPE_MISMATCH", f"the upstream's answer {what}")


# -- to the client ----------------------------------------------------------------------------------------------------


def encode_reply(reply: ChatReply, head: ReplyHead) -> dict[str, Any]:
    """A finish reason that the upstream did not give stays null: none is invented."""
    body: dict[str, Any] = {
        "id": head.id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": [_encode_choice(choice) for choice in reply.choices],
    }
    if reply.usage is not None:
        body["usage"] = encode_usage(reply.usage)
    return body | client_extra(reply.extra)


def client_extra(extra: dict[str, Any]) -> dict[str, Any]:
    """What of a reply's extra members a client may see."""
    seen = {"system_fingerprint": extra["system_fingerprint"]} if extra.get("system_fingerprint") else {}
    return seen | ({"service_tier": extra["service_tier"]} if extra.get("service_tier") in SERVICE_TIERS else {})


def _encode_choice(choice: Choice) -> dict[str, Any]:
    message = encode_message(choice, "reasoning_content")
    out = {
        "index": choice.index,
        "message": {"refusal": None} | message,
        "logprobs": choice.logprobs,
        "finish_reason": choice.finish_reason,
    }
    return out | ({"native_finish_reason": choice.native_finish_reason} if choice.native_finish_reason else {})


def encode_message(choice: Choice, reasoning_member: str, *, sources: bool = False) -> dict[str, Any]:
    """The message of a choice. Content is null when calls or a refusal stand in its place.

    `sources` also shows citations without an address.
    """
    parts = choice.parts
    content = "".join(part.text for part in parts if isinstance(part, TextPart))
    refusal = "".join(part.text for part in parts if isinstance(part, RefusalPart))
    calls = [call_object(part) for part in parts if isinstance(part, ToolCallPart)]
    message: dict[str, Any] = {"role": "assistant", "content": None if not content and (calls or refusal) else content}
    if refusal:
        message["refusal"] = refusal
    if annotations := parts_annotations(parts, sources=sources):
        message["annotations"] = annotations
    if reasoning := reasoning_text(parts):
        message[reasoning_member] = reasoning
    if details := reasoning_details(parts):
        message["reasoning_details"] = details
    if calls:
        message["tool_calls"] = calls
    return message
