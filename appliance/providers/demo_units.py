"""What the demo provider answers to everything that is no chat: made from the request alone, the same every time.

Vectors of texts that share words are near to each other, pictures have the colour of their prompt, speech is a tone as
long as the text: enough to try a program out, and to see that the right thing arrives.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

DIMENSIONS = 256
MOST_DIMENSIONS = 4096
PICTURE_PIXELS = 64
RATE = 16_000
TONE_HZ = 440
SECONDS_PER_CHARACTER = 0.06
MOST_SECONDS = 60.0
CREATED = 1_700_000_000


def embeddings(body: Mapping[str, Any]) -> bytes:
    said = body["input"]
    texts = [said] if isinstance(said, str) else [text if isinstance(text, str) else str(text) for text in said]
    size = min(int(body.get("dimensions") or DIMENSIONS), MOST_DIMENSIONS)
    data = [
        {"object": "embedding", "index": place, "embedding": _vector(text, size)} for place, text in enumerate(texts)
    ]
    tokens = sum(len(text.split()) for text in texts) or 1
    return _json({"object": "list", "data": data, "model": body["model"], "usage": _used(tokens)})


def _vector(text: str, size: int) -> list[float]:
    """Each word has a direction of its own; a text is the sum of its words', of length 1."""
    vector = [0.0] * size
    for word in _words(text) or [text]:
        digest = hashlib.sha256(word.encode("utf-8", "replace")).digest()
        for place in range(0, 32, 4):
            number = int.from_bytes(digest[place : place + 4], "little")
            vector[number % size] += 1.0 if number & 0x8000_0000 else -1.0
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [round(value / length, 6) for value in vector]


def images(body: Mapping[str, Any]) -> bytes:
    digest = hashlib.sha256(str(body["prompt"]).encode("utf-8", "replace")).digest()
    data = [
        {"b64_json": base64.b64encode(_png(digest[3 * number : 3 * number + 3])).decode()}
        for number in range(int(body.get("n") or 1))
    ]
    return _json({"created": CREATED, "data": data})


def _png(colour: bytes) -> bytes:
    """A square of one colour (the PNG specification, sections 5 and 11)."""
    rows = (b"\0" + colour * PICTURE_PIXELS) * PICTURE_PIXELS
    header = struct.pack(">IIBBBBB", PICTURE_PIXELS, PICTURE_PIXELS, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def speech(body: Mapping[str, Any]) -> bytes:
    """A WAV file, whatever format was asked: a tone that lasts as long as the text would."""
    seconds = min(len(str(body["input"])) * SECONDS_PER_CHARACTER, MOST_SECONDS)
    step = 2 * math.pi * TONE_HZ / RATE
    samples = b"".join(struct.pack("<h", int(6000 * math.sin(step * i))) for i in range(int(seconds * RATE)))
    form = struct.pack("<HHIIHH", 1, 1, RATE, RATE * 2, 2, 16)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def rerank(body: Mapping[str, Any]) -> bytes:
    query = set(_words(str(body["query"])))
    results = [
        {"index": place, "relevance_score": round(len(query & set(_words(str(document)))) / max(1, len(query)), 6)}
        for place, document in enumerate(body["documents"])
    ]
    results.sort(key=lambda result: -result["relevance_score"])
    tokens = len(_words(str(body["query"]))) + sum(len(_words(str(document))) for document in body["documents"])
    return _json({"model": body["model"], "results": results[: body.get("top_n")], "usage": _used(max(1, tokens))})


def transcript(size_bytes: int, fields: Mapping[str, str]) -> bytes:
    """It cannot hear; it says so, in the format that was asked."""
    text = f"This is the demo provider, which cannot hear: the recording has {size_bytes} bytes."
    asked = fields.get("response_format", "json")
    if asked == "srt":
        return f"1\n00:00:00,000 --> 00:00:03,000\n{text}\n".encode()
    if asked == "vtt":
        return f"WEBVTT\n\n00:00:00.000 --> 00:00:03.000\n{text}\n".encode()
    if asked == "text":
        return f"{text}\n".encode()
    said: dict[str, Any] = {"text": text, "usage": {"type": "duration", "seconds": 3}}
    if asked == "verbose_json":
        segment = {"id": 0, "seek": 0, "start": 0.0, "end": 3.0, "text": text, "tokens": [], "temperature": 0.0}
        segment |= {"avg_logprob": 0.0, "compression_ratio": 1.0, "no_speech_prob": 0.0}
        said |= {"task": "transcribe", "language": "english", "duration": 3.0, "segments": [segment]}
    return _json(said)


ANSWERS: dict[str, tuple[Callable[[Mapping[str, Any]], bytes], str]] = {
    "embed": (embeddings, "application/json"),
    "image": (images, "application/json"),
    "speak": (speech, "audio/wav"),
    "rerank": (rerank, "application/json"),
}
"""Operation → who answers, and the type of the answer."""


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _used(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)
