"""Reasoning in OpenAI's chat form: plain text beside the content, and `reasoning_details` for what must come back.

OpenAI's chat form has no place for signatures, so answers carry OpenRouter's list, and callers send it back unchanged:

    "reasoning_details": [
        {"type": "reasoning.text", "text": "…", "signature": "…"},     the signature is left out when there is none
        {"type": "reasoning.encrypted", "data": "…"}                   reasoning that only the provider can read
    ]

`format` says whose provider made an entry, `id` is the item's id in the Responses dialect; both may be missing. The
list and the plain text (`reasoning_content` or `reasoning`) say the same words; they are counted once. In a stream
the lists of all chunks, put behind each other, are the list of the whole answer.
"""

from __future__ import annotations

from typing import Any

from appliance.formats.chat import Part, ReasoningPart

TEXT_TYPES = ("reasoning.text", "reasoning.summary")
ENCRYPTED_TYPE = "reasoning.encrypted"
FORMAT_OF_ORIGIN = {
    "anthropic": "anthropic-claude-v1",
    "google": "google-gemini-v1",
    "responses": "openai-responses-v1",
}
_ORIGIN_OF_FORMAT = {name: origin for origin, name in FORMAT_OF_ORIGIN.items()}


def reasoning_parts(plain: str | None, details: list[Any] | None) -> list[ReasoningPart]:
    """Both notations as parts. The details win where they have text; entries that are not understood are skipped."""
    parts = [part for entry in details or [] if (part := _detail_part(entry)) is not None]
    if plain and not any(part.text for part in parts):
        parts.insert(0, ReasoningPart(plain))
    return _joined(parts)


def _detail_part(entry: Any) -> ReasoningPart | None:
    if not isinstance(entry, dict):
        return None
    origin, item_id = _ORIGIN_OF_FORMAT.get(_string(entry.get("format")), ""), _string(entry.get("id")) or None
    if entry.get("type") == ENCRYPTED_TYPE:
        data = _string(entry.get("data"))
        return ReasoningPart(redacted=data, origin=origin, id=item_id) if data else None
    if entry.get("type") not in TEXT_TYPES:
        return None
    text = _string(entry.get("text")) or _string(entry.get("summary"))
    signature = _string(entry.get("signature")) or None
    return ReasoningPart(text, signature, None, origin, item_id) if text or signature else None


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _joined(parts: list[ReasoningPart]) -> list[ReasoningPart]:
    """What came as two entries and is one: a signature behind its text, an item's readable and its encrypted half."""
    joined: list[ReasoningPart] = []
    for part in parts:
        before = joined[-1] if joined else None
        if before is not None and (_signs(part, before) or _completes(part, before)):
            joined[-1] = ReasoningPart(
                before.text,
                part.signature or before.signature,
                part.redacted or before.redacted,
                part.origin or before.origin,
                part.id or before.id,
            )
        else:
            joined.append(part)
    return joined


def _signs(part: ReasoningPart, before: ReasoningPart) -> bool:
    return bool(part.signature and not part.text and before.text and not before.signature) and not stands_alone(part)


def _completes(part: ReasoningPart, before: ReasoningPart) -> bool:
    return bool(part.id and part.id == before.id and part.redacted and not part.text and not before.redacted)


def stands_alone(part: ReasoningPart) -> bool:
    """Google signs its text parts; such a signature stands behind the text and never belongs to a thought."""
    return part.origin == "google" and not part.text and bool(part.signature)


def reasoning_text(parts: list[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, ReasoningPart))


def reasoning_details(parts: list[Part]) -> list[dict[str, Any]]:
    """The list for an answer; empty when no part has anything that the plain text does not say."""
    reasoning = [part for part in parts if isinstance(part, ReasoningPart)]
    if not any(part.signature or part.redacted for part in reasoning):
        return []
    return [detail for part in reasoning for detail in details_of(part)]


def details_of(part: ReasoningPart) -> list[dict[str, Any]]:
    known = {"format": FORMAT_OF_ORIGIN.get(part.origin), "id": part.id}
    beside = {name: value for name, value in known.items() if value}
    details: list[dict[str, Any]] = []
    if part.text or part.signature:
        detail = {"type": "reasoning.text", "text": part.text}
        details.append((detail | {"signature": part.signature} if part.signature else detail) | beside)
    if part.redacted:
        details.append({"type": ENCRYPTED_TYPE, "data": part.redacted} | beside)
    return details
