"""Reasoning in OpenAI's chat form: plain text beside the content, and `reasoning_details` for what must come back.

OpenAI's chat form has no place for signatures, so answers carry OpenRouter's list, and callers send it back unchanged:

    "reasoning_details": [
        {"type": "reasoning.text", "text": "…", "signature": "…"},     the signature is left out when there is none
        {"type": "reasoning.encrypted", "data": "…"}                   reasoning that only the provider can read
    ]

The list and the plain text (`reasoning_content` or `reasoning`) say the same words; they are counted once. In a stream
the lists of all chunks, put behind each other, are the list of the whole answer.
"""

from __future__ import annotations

from typing import Any

from appliance.formats.chat import Part, ReasoningPart

TEXT_TYPES = ("reasoning.text", "reasoning.summary")
ENCRYPTED_TYPE = "reasoning.encrypted"


def reasoning_parts(plain: str | None, details: list[Any] | None) -> list[ReasoningPart]:
    """Both notations as parts. The details win where they have text; entries that are not understood are skipped."""
    parts = [part for entry in details or [] if (part := _detail_part(entry)) is not None]
    if plain and not any(part.text for part in parts):
        parts.insert(0, ReasoningPart(plain))
    return _signed(parts)


def _detail_part(entry: Any) -> ReasoningPart | None:
    if not isinstance(entry, dict):
        return None
    if entry.get("type") == ENCRYPTED_TYPE:
        data = _string(entry.get("data"))
        return ReasoningPart(redacted=data) if data else None
    if entry.get("type") not in TEXT_TYPES:
        return None
    text = _string(entry.get("text")) or _string(entry.get("summary"))
    signature = _string(entry.get("signature")) or None
    return ReasoningPart(text, signature) if text or signature else None


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _signed(parts: list[ReasoningPart]) -> list[ReasoningPart]:
    """A signature that came as an entry of its own belongs to the text before it."""
    joined: list[ReasoningPart] = []
    for part in parts:
        before = joined[-1] if joined else None
        if part.signature and not part.text and before and before.text and not before.signature:
            joined[-1] = ReasoningPart(before.text, part.signature)
        else:
            joined.append(part)
    return joined


def reasoning_text(parts: list[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, ReasoningPart))


def reasoning_details(parts: list[Part]) -> list[dict[str, Any]]:
    """The list for an answer; empty when no part has anything that the plain text does not say."""
    reasoning = [part for part in parts if isinstance(part, ReasoningPart)]
    if not any(part.signature or part.redacted for part in reasoning):
        return []
    return [detail for part in reasoning for detail in details_of(part)]


def details_of(part: ReasoningPart) -> list[dict[str, Any]]:
    details: list[dict[str, Any]] = []
    if part.text or part.signature:
        detail = {"type": "reasoning.text", "text": part.text}
        details.append(detail | {"signature": part.signature} if part.signature else detail)
    if part.redacted:
        details.append({"type": ENCRYPTED_TYPE, "data": part.redacted})
    return details
