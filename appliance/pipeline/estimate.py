"""Token counts before and without an upstream's word, from bytes alone: cheap, and never a stall on large prompts.

Two numbers, for two purposes: `estimate` is fair, for calls whose upstream reports nothing; `bound` is safe, for the
reservation: no call with that body can have more input tokens (docs/accounting.md says why).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

BYTES_PER_TOKEN = 4
"""About four bytes of UTF-8 make a token of English; other scripts are near (a Chinese character is three bytes and
about 0.6 to 0.8 tokens)."""
MEDIA_TOKENS = 1_100
"""What a mid-sized image costs at the large providers."""
MEDIA_BOUND_TOKENS = 50_000
"""More than any provider counts for one image or clip of the sizes that they take."""
HIDDEN_BOUND_TOKENS = 2_048
"""More than a provider's own hidden prompts, for tools say, bring."""

_MARKS = (b"image", b"file", b"audio", b"document", b"video", b"\\u")
"""A body with none of these holds text only. An escape could hide any of the words."""
_TEXT_PARTS = frozenset(
    {
        "text",
        "refusal",
        "input_text",
        "output_text",
        "summary_text",
        "reasoning_text",
        "thinking",
        "redacted_thinking",
        "tool_use",
        "server_tool_use",
    }
)
_HOLDERS = frozenset({"tool_result", "function_call_output", "message"})
"""Parts and items that hold parts themselves."""
_CONVERSATIONS = ("messages", "input", "system")
_CONTENTS = ("content", "output")


class Size(NamedTuple):
    """Bytes of text (JSON included), pieces of media, and the bound that the media add."""

    text_bytes: int
    media: int = 0
    media_bound: int = 0


def size_of(body: bytes) -> Size:
    """Measure a chat request's body, in whatever dialect it is written."""
    if not any(mark in body for mark in _MARKS):
        return Size(len(body))
    try:
        parts = _media_parts(msgspec.json.decode(body))
    except (msgspec.DecodeError, RecursionError):
        return Size(len(body))  # it will be refused, or counts as text: bytes bound text in any case
    data = [len(msgspec.json.encode(part)) for part in parts]
    bound = sum(
        max(MEDIA_BOUND_TOKENS, size) if _is_document(part) else MEDIA_BOUND_TOKENS
        for part, size in zip(parts, data, strict=True)
    )
    return Size(max(0, len(body) - sum(data)), len(parts), bound)


def _media_parts(body: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name in _CONVERSATIONS:
        turns = body.get(name) if isinstance(body, dict) else None
        for turn in turns if isinstance(turns, list) else ():
            _look_into(turn, found)
    return found


def _look_into(holder: Any, found: list[dict[str, Any]]) -> None:
    """The parts of a message, or of a tool's result inside one. The body's depth is limited before."""
    for name in _CONTENTS:
        content = holder.get(name) if isinstance(holder, dict) else None
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, dict):
                continue
            kind = part.get("type", "text" if "text" in part else None)  # some servers take parts without a type
            if isinstance(kind, str) and kind in _HOLDERS:
                _look_into(part, found)
            elif not isinstance(kind, str) or kind not in _TEXT_PARTS:
                found.append(part)


def _is_document(part: dict[str, Any]) -> bool:
    """Compressed text in a document can hold more tokens than any image."""
    return part.get("type") not in ("image_url", "image", "input_image", "input_audio", "audio")


def estimate(size: Size) -> int:
    return tokens_of(size.text_bytes) + MEDIA_TOKENS * size.media


def bound(size: Size, system_prompt: str | None, context_window: int | None) -> int:
    """No tokeniser of the providers makes more tokens than bytes, and a message's JSON outweighs what frames it."""
    tokens = size.text_bytes + len((system_prompt or "").encode()) + size.media_bound + HIDDEN_BOUND_TOKENS
    return min(tokens, context_window) if context_window else tokens


def tokens_of(byte_count: int) -> int:
    return -(-byte_count // BYTES_PER_TOKEN)
