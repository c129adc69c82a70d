"""Texts that betray every mixing and cutting, and the answers of two dialects that carry them.

A text is `[NONCE|ANSWER|filler|CHECKSUM]`: made from the names alone, so that nobody has to keep it.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass
from random import Random
from typing import Any

from support.upstream import DONE, chunk, completion

CACHED = 3
"""Input tokens of every answer that came from the upstream's cache."""


@dataclass(frozen=True)
class Spent:
    """What an answer reports: all input, the cached part of it, all output."""

    input: int
    output: int
    cached: int = CACHED


def text_of(nonce: str, answer: str, size: int) -> str:
    """About `size` characters."""
    filler = hashlib.shake_128(f"{nonce} {answer}".encode()).hexdigest(max(1, size // 2))
    told = f"[{nonce}|{answer}|{filler}"
    return f"{told}|{zlib.crc32(told.encode()):08x}]"


def named_in(text: str) -> tuple[str, str]:
    """Nonce and answer that a text, or a beginning of one, names; empty where it does not come so far."""
    parts = text.removeprefix("[").split("|")
    if not text.startswith("[") or len(parts) < 3:
        return "", ""
    return parts[0], parts[1]


def pieces_of(text: str, rng: Random, most: int) -> list[str]:
    """The text in up to `most` slices of any length."""
    places = sorted(rng.randrange(1, len(text)) for _ in range(rng.randrange(1, most)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True) if start < end]


def prompt_of(nonce: str, size: int, mark: str = "") -> str:
    """What a caller asks, with its own checksum; `mark` is a word that the upstream heeds."""
    filler = hashlib.shake_128(nonce.encode()).hexdigest(max(1, size // 2))
    return f"nonce={nonce} {mark or 'plain'} {filler} end={zlib.crc32(filler.encode()):08x}"


# -- OpenAI's dialect -------------------------------------------------------------------------------------------------


def openai_usage(spent: Spent) -> dict[str, Any]:
    return {
        "prompt_tokens": spent.input,
        "completion_tokens": spent.output,
        "total_tokens": spent.input + spent.output,
        "prompt_tokens_details": {"cached_tokens": spent.cached},
    }


def openai_whole(text: str, spent: Spent, finish: str = "stop") -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return completion(choices=[choice], usage=openai_usage(spent))


def openai_stream(pieces: list[str], spent: Spent, finish: str = "stop") -> list[bytes]:
    """Its lifecycle event, one event per piece, then the end."""
    first = chunk({"role": "assistant", "content": ""})
    said = [chunk({"content": piece}) for piece in pieces]
    return [first, *said, chunk({}, finish), chunk(None, usage=openai_usage(spent)), DONE]


# -- Anthropic's ------------------------------------------------------------------------------------------------------


def anthropic_usage(spent: Spent) -> dict[str, int]:
    return {
        "input_tokens": spent.input - spent.cached,
        "cache_read_input_tokens": spent.cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": spent.output,
    }


def anthropic_whole(text: str, spent: Spent) -> dict[str, Any]:
    return _message(anthropic_usage(spent)) | {"content": [{"type": "text", "text": text}], "stop_reason": "end_turn"}


def anthropic_stream(pieces: list[str], spent: Spent) -> list[bytes]:
    """Two lifecycle events in the first slice, one event per piece, then the end."""
    usage = anthropic_usage(spent)
    start = _event(type="message_start", message=_message(usage | {"output_tokens": 1}))
    opening = _event(type="content_block_start", index=0, content_block={"type": "text", "text": ""})
    said = [
        _event(type="content_block_delta", index=0, delta={"type": "text_delta", "text": piece}) for piece in pieces
    ]
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    end = _event(type="message_delta", delta=delta, usage={"output_tokens": usage["output_tokens"]})
    return [start + opening, *said, _event(type="content_block_stop", index=0), end, _event(type="message_stop")]


def _message(usage: dict[str, int]) -> dict[str, Any]:
    frame: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x"}
    return frame | {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}


def _event(**data: Any) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()
