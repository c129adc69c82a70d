"""Google's GenerateContentResponse → canonical reply; what streams share with it (parts, finish reasons) stands here.

Code that Google ran itself, and what came of it, are no text and no calls for the caller: they stay out of the content
and are kept, with what explains the answer's end, in `extra` in Google's own words. A signature on text becomes a
reasoning part without text right behind it.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from datetime import datetime
from typing import Any

import msgspec

from appliance.formats.chat import (
    ChatReply,
    Choice,
    FinishReason,
    ImagePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
)
from appliance.formats.google_citations import ORIGIN, citations_of
from appliance.formats.google_error import error_in
from appliance.formats.google_usage import decode_usage
from appliance.formats.reply_object import count, mismatch, object_in

FINISH_REASONS: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
"""All others (MALFORMED_FUNCTION_CALL, UNEXPECTED_TOOL_CALL, LANGUAGE, OTHER and those to come) are `stop`."""

PLAIN_REASONS = ("STOP", "MAX_TOKENS")
"""Words that say no more than their canonical ones; every other one is kept beside it."""

EXPLAINS_END = ("finishMessage", "safetyRatings", "groundingMetadata", "urlContextMetadata", "avgLogprobs")

_ID = re.compile(r"[A-Za-z0-9_-]{1,28}")
"""Answer ids that make a call's id of at most 40 characters, which is what OpenAI's callers take."""


def decode_reply(body: Any) -> ChatReply:
    answer = answer_object(body)
    candidates = candidates_of(answer)
    blocked = block_reason(answer)
    if not candidates and blocked is None:
        raise mismatch("has no candidates")
    answer_id = text_if_said(answer, "responseId") or uuid.uuid4().hex
    extra: dict[str, Any] = {}
    if isinstance(answer.get("promptFeedback"), dict):
        extra["promptFeedback"] = answer["promptFeedback"]
    kept = [_kept(candidate, index_of(candidate, i)) for i, candidate in enumerate(candidates)]
    if any(len(entry) > 1 for entry in kept):
        extra["candidates"] = [entry for entry in kept if len(entry) > 1]
    return ChatReply(
        id=text_if_said(answer, "responseId"),
        model=text_if_said(answer, "modelVersion"),
        created=created_of(answer),
        choices=[_choice(candidate, i, answer_id) for i, candidate in enumerate(candidates)]
        or [Choice(0, [], "content_filter", blocked)],
        usage=decode_usage(answer.get("usageMetadata")),
        extra=extra,
    )


def answer_object(body: Any) -> dict[str, Any]:
    if isinstance(body, list):
        error = error_in(body)
        raise mismatch(f"is an error with status 200: {error['message']}" if error else "is a list, no single object")
    if not isinstance(body, dict):
        raise mismatch("is no JSON object")
    error = error_in(body)
    if error is not None:
        raise mismatch(f"is an error with status 200: {error['message']}")
    return body


def candidates_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    candidates = answer.get("candidates")
    if candidates is None:
        return []
    if not isinstance(candidates, list) or not all(isinstance(candidate, dict) for candidate in candidates):
        raise mismatch("has candidates that are no list of objects")
    return candidates


def block_reason(answer: dict[str, Any]) -> str | None:
    """Why the prompt was refused, which is an answer without a word."""
    reason = object_in(answer.get("promptFeedback")).get("blockReason")
    return reason if isinstance(reason, str) and reason else None


def index_of(candidate: dict[str, Any], position: int) -> int:
    index = count(candidate.get("index"))
    return position if index is None else index


def created_of(answer: dict[str, Any]) -> int:
    """Unix seconds; Vertex says when, the Gemini API does not."""
    try:
        return int(datetime.fromisoformat(text_if_said(answer, "createTime")).timestamp())
    except (ValueError, OverflowError):
        return 0


def text_if_said(holder: dict[str, Any], name: str) -> str:
    value = holder.get(name)
    return value if isinstance(value, str) else ""


# -- parts ------------------------------------------------------------------------------------------------------------


def content_parts(candidate: dict[str, Any]) -> list[dict[str, Any]]:
    """A candidate that was stopped before its first word has a content without parts, or none at all."""
    parts = object_in(candidate.get("content")).get("parts")
    if parts is None:
        return []
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise mismatch("has content parts that are no list of objects")
    return parts


def said_parts(part: dict[str, Any], call_id: str) -> list[Part] | None:
    """What one of Google's parts says to the caller; None for what is not the caller's. `call_id` is for a call that
    Google gave no id."""
    signature = text_if_said(part, "thoughtSignature") or None
    if isinstance(part.get("functionCall"), dict):
        return [_call(part["functionCall"], signature, call_id)]
    if isinstance(text := part.get("text"), str):
        if part.get("thought") is True:
            return [ReasoningPart(text, signature, origin=ORIGIN)] if text or signature else []
        return [*([TextPart(text)] if text else []), *_signature(signature)]
    if (image := _image(part)) is not None and part.get("thought") is not True:
        return [image, *_signature(signature)]
    # A part of nothing but a signature closes some answers.
    return _signature(signature) if part.keys() <= {"thoughtSignature", "thought"} else None


def made_call_id(answer_id: str, choice: int, call: int) -> str:
    """The same for a whole answer and for its stream, and another one for every call there is."""
    safe = answer_id if _ID.fullmatch(answer_id) else hashlib.sha256(answer_id.encode()).hexdigest()[:28]
    return f"call_{safe}_{choice}_{call}"


def _signature(signature: str | None) -> list[Part]:
    return [ReasoningPart(signature=signature, origin=ORIGIN)] if signature else []


def _call(call: dict[str, Any], signature: str | None, call_id: str) -> ToolCallPart:
    name, arguments = call.get("name"), call.get("args")
    if not isinstance(name, str) or not name:
        raise mismatch("has a call without a name")
    if arguments is not None and not isinstance(arguments, dict):
        raise mismatch("has a call whose arguments are no object")
    said = text_if_said(call, "id") or call_id
    text = msgspec.json.encode(arguments or {}).decode()
    return ToolCallPart(said, name, text, signature, ORIGIN if signature else "")


def _image(part: dict[str, Any]) -> ImagePart | None:
    blob = object_in(part.get("inlineData"))
    media_type = text_if_said(blob, "mimeType")
    if not media_type.startswith("image/") or not isinstance(blob.get("data"), str):
        return None
    return ImagePart(data=blob["data"], media_type=media_type)


# -- choices ----------------------------------------------------------------------------------------------------------


def _choice(candidate: dict[str, Any], position: int, answer_id: str) -> Choice:
    index = index_of(candidate, position)
    parts: list[Part] = []
    text, part_starts = "", list[int | None]()
    calls = 0
    for part in content_parts(candidate):
        said = said_parts(part, made_call_id(answer_id, index, calls)) or []
        words = "".join(entry.text for entry in said if isinstance(entry, TextPart))
        part_starts.append(len(text.encode("utf-8", "surrogatepass")) if words else None)
        text += words
        calls += sum(isinstance(entry, ToolCallPart) for entry in said)
        parts += said
    last_text = next((part for part in reversed(parts) if isinstance(part, TextPart)), None)
    if last_text is not None:
        last_text.citations = citations_of(candidate, text, part_starts)
    finish_reason, native = decode_finish_reason(candidate.get("finishReason"), has_calls=calls > 0)
    return Choice(index, parts, finish_reason, native, logprobs=decode_logprobs(candidate.get("logprobsResult")))


def decode_finish_reason(said: Any, has_calls: bool) -> tuple[FinishReason | None, str | None]:
    """The canonical word, and Google's own where it says more. Google's STOP does not tell calls from a last word."""
    if not isinstance(said, str) or not said:
        return None, None
    if said == "STOP" and has_calls:
        return "tool_calls", None
    return FINISH_REASONS.get(said, "stop"), None if said in PLAIN_REASONS else said


def decode_logprobs(result: Any) -> Any:
    """OpenAI's form; None where Google gave none."""
    chosen, tops = object_in(result).get("chosenCandidates"), object_in(result).get("topCandidates")
    if not isinstance(chosen, list) or not chosen:
        return None
    others = tops if isinstance(tops, list) else []
    content = []
    for position, entry in enumerate(chosen):
        top = object_in(others[position]).get("candidates") if position < len(others) else None
        listed = [_logprob(candidate) for candidate in top] if isinstance(top, list) else []
        content.append(_logprob(entry) | {"top_logprobs": listed})
    return {"content": content, "refusal": None}


def _logprob(entry: Any) -> dict[str, Any]:
    """A probability of one is left out by Google, since its logarithm is zero."""
    token = text_if_said(object_in(entry), "token")
    said = object_in(entry).get("logProbability")
    logprob = float(said) if isinstance(said, int | float) and not isinstance(said, bool) else 0.0
    return {"token": token, "logprob": logprob, "bytes": list(token.encode("utf-8", "surrogatepass"))}


def _kept(candidate: dict[str, Any], index: int) -> dict[str, Any]:
    """A candidate's words about itself, and its parts that are not the caller's."""
    kept: dict[str, Any] = {"index": index}
    kept |= {name: candidate[name] for name in EXPLAINS_END if candidate.get(name) not in (None, {}, [])}
    parts = [part for part in content_parts(candidate) if said_parts(part, "unused") is None]
    return kept | ({"parts": parts} if parts else {})
