"""A transcription as the upstream wrote it: checked, its usage read, and handed on as it is.

On the native surface the JSON forms are the `data` object, and the text forms are the body itself.
"""

from __future__ import annotations

import math
import re
from typing import Any

from msgspec import Raw, Struct

from appliance.formats.chat import Usage
from appliance.formats.reply_object import count, mismatch, object_in, reply_object
from appliance.formats.transcription import JSON_FORMATS

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain; charset=utf-8"
LONGEST_SECONDS = 10_000_000
"""A hundred days and more: what is above is no duration."""

_ENDS = re.compile(rb"-->\s*(?:(\d{1,4}):)?(\d\d):(\d\d)[.,](\d{3})")


class TranscriptionReply(Struct):
    """`body` is the caller's, byte for byte. `estimated`: usage is the last timestamp, which silence may follow."""

    body: bytes
    response_format: str
    usage: Usage | None = None
    estimated: bool = False


def content_type(response_format: str) -> str:
    return JSON_TYPE if response_format in JSON_FORMATS else TEXT_TYPE


def decode_reply(body: bytes, response_format: str) -> TranscriptionReply:
    if response_format not in JSON_FORMATS:
        return _text_reply(body, response_format)
    reply = reply_object(body)
    if not isinstance(reply.get("text"), str):
        raise mismatch("has no text")
    usage, estimated = _usage(reply)
    return TranscriptionReply(body, response_format, usage, estimated)


def native_data(reply: TranscriptionReply) -> Raw | None:
    """The `data` of the native envelope; None where the body itself is the answer."""
    return Raw(reply.body) if reply.response_format in JSON_FORMATS else None


# -- the JSON forms ---------------------------------------------------------------------------------------------------


def _usage(reply: dict[str, Any]) -> tuple[Usage | None, bool]:
    told = object_in(reply.get("usage"))
    seconds = next(
        (
            found
            for said in (told.get("seconds"), told.get("prompt_audio_seconds"), reply.get("duration"))
            if (found := _seconds(said)) is not None
        ),
        None,
    )
    audio_ms = math.ceil(seconds * 1000) if seconds is not None else 0
    tokens = _tokens(told)
    if tokens is not None:
        tokens.audio_ms = audio_ms
        return tokens, False
    if seconds is not None:
        return Usage(audio_ms=audio_ms), False
    ends = [end for name in ("segments", "words") for end in _ends(reply.get(name))]
    return (Usage(audio_ms=math.ceil(max(ends) * 1000)), True) if ends else (None, False)


def _tokens(told: dict[str, Any]) -> Usage | None:
    """OpenAI says input and output, Mistral prompt and completion."""
    entered = count(told.get("input_tokens", told.get("prompt_tokens")))
    made = count(told.get("output_tokens", told.get("completion_tokens")))
    return Usage(input_tokens=entered, output_tokens=made) if entered is not None and made is not None else None


def _seconds(said: Any) -> float | None:
    """A duration; older servers write it as text."""
    if isinstance(said, bool) or not isinstance(said, int | float | str):
        return None
    try:
        seconds = float(said)
    except ValueError:
        return None
    return seconds if 0 < seconds <= LONGEST_SECONDS else None


def _ends(entries: Any) -> list[float]:
    listed = entries if isinstance(entries, list) else []
    return [end for entry in listed if (end := _seconds(object_in(entry).get("end"))) is not None]


# -- the text forms ---------------------------------------------------------------------------------------------------


def _text_reply(body: bytes, response_format: str) -> TranscriptionReply:
    """Subtitles may be empty, as silence has none, but then they are not something else."""
    text = body.removeprefix(b"\xef\xbb\xbf").strip()
    if response_format == "text":
        if text.startswith(b'{"error"'):
            reply_object(text)  # says what the error was
        return TranscriptionReply(body, response_format)
    if response_format == "vtt" and not text.startswith(b"WEBVTT"):
        raise mismatch("is no WebVTT")
    times = [_time(*found) for found in _ENDS.findall(text)]
    if response_format == "srt" and text and not times:
        raise mismatch("is no SubRip")
    usage = Usage(audio_ms=max(times)) if times else None
    return TranscriptionReply(body, response_format, usage, usage is not None)


def _time(hours: bytes, minutes: bytes, seconds: bytes, milliseconds: bytes) -> int:
    return ((int(hours or 0) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(milliseconds)
