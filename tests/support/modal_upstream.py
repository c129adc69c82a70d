"""Upstreams of embeddings, pictures, recordings, speech and rankings for support.upstream: honest answers, in the form
of OpenAI, Google, Cohere and the common one. What they report as used is their own count, so tests can judge by it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

from support.upstream import Call

Play = Callable[[Call], Any]
TOKENS_PER_TEXT = 3
PICTURE = base64.b64encode(b"\x89PNG a picture").decode()
AUDIO_PIECES = [bytes([number]) * 4000 for number in range(1, 6)]
SPOKEN_SECONDS = 90


def by_model(plays: Mapping[str, Play]) -> Play:
    """The play that bears the upstream model's name."""
    return lambda call: plays[model_of(call)](call)


def model_of(call: Call) -> str:
    """Where each kind of request says it: in the JSON, in the form, or (Google) in the URL."""
    if found := re.search(r"/models/([^:?]+):", call.path):
        return found[1]
    if "multipart" in call.headers.get("content-type", ""):
        return form_of(call)["model"][0].decode()
    return call.model


def form_of(call: Call) -> dict[str, list[bytes]]:
    """A multipart body's values by name; the file's too."""
    boundary = call.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    found: dict[str, list[bytes]] = {}
    for part in call.body.split(b"--" + boundary)[1:-1]:
        head, _, value = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]*)"', head)
        assert name, head
        found.setdefault(name[1].decode(), []).append(value.removesuffix(b"\r\n"))
    return found


# -- embeddings -------------------------------------------------------------------------------------------------------


def vector_of(text: Any) -> list[float]:
    """A text that ends in digits has them as its first number; tokens have their sum."""
    if isinstance(text, list):
        return [float(sum(text)), 0.5]
    digits = re.search(r"\d+$", text)
    return [float(digits[0]) if digits else float(len(text)), 0.5]


def as_base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def embeddings(body: dict[str, Any], *, tells: bool = True) -> dict[str, Any]:
    """OpenAI's form; the entries stand in reverse, as only their index counts."""
    asked = body["input"] if isinstance(body["input"], list) else [body["input"]]
    vectors = [vector_of(text) + [0.25] * (body.get("dimensions", 2) - 2) for text in asked]
    shown = [as_base64(vector) if body.get("encoding_format") == "base64" else vector for vector in vectors]
    data = [{"object": "embedding", "index": place, "embedding": entry} for place, entry in enumerate(shown)]
    tokens = TOKENS_PER_TEXT * len(asked)
    usage = {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}} if tells else {}
    return {"object": "list", "data": data[::-1], "model": "up"} | usage


def embeds(call: Call) -> Any:
    return call.reply(200, embeddings(call.json))


def embeds_untold(call: Call) -> Any:
    return call.reply(200, embeddings(call.json, tells=False))


async def embeds_out_of_order(call: Call) -> None:
    """The earlier a part, the later its answer."""
    first = call.json["input"][0]
    await asyncio.sleep(max(0.0, 0.3 - 0.1 * (int(vector_of(first)[0]) // 2048)))
    await embeds(call)


async def embeds_as_google(call: Call) -> None:
    texts = [entry["content"]["parts"][0]["text"] for entry in call.json["requests"]]
    assert all(entry["model"] == f"models/{model_of(call)}" for entry in call.json["requests"])
    await call.reply(200, {"embeddings": [{"values": vector_of(text)} for text in texts]})


def embeds_all_it_may(call: Call) -> Any:
    """As many tokens as a text can have at the most, its frame apart: one for each byte."""
    body = embeddings(call.json)
    tokens = len(str(call.json["input"][0]))
    return call.reply(200, body | {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}})


# -- pictures ---------------------------------------------------------------------------------------------------------


def paints(call: Call) -> Any:
    n = call.json.get("n", 1)
    picture = (
        {"url": "https://pictures.test/1.png"}
        if call.json.get("response_format") == "url"
        else {"b64_json": PICTURE, "revised_prompt": "a better cat"}
    )
    return call.reply(200, {"created": 1_700_000_000, "data": [picture] * n})


def paints_as_gpt_image(call: Call) -> Any:
    n = call.json.get("n", 1)
    usage = {
        "input_tokens": 50,
        "output_tokens": 1056 * n,
        "total_tokens": 50 + 1056 * n,
        "input_tokens_details": {"text_tokens": 40, "image_tokens": 10},
    }
    return call.reply(
        200, {"created": 1_700_000_000, "data": [{"b64_json": PICTURE}] * n, "usage": usage, "size": "1024x1024"}
    )


def paints_as_imagen(call: Call) -> Any:
    n = call.json["parameters"]["sampleCount"]
    return call.reply(200, {"predictions": [{"bytesBase64Encoded": PICTURE, "mimeType": "image/png"}] * n})


# -- recordings -------------------------------------------------------------------------------------------------------

WORDS = [{"word": "hello", "start": 0.0, "end": 0.4}, {"word": "there", "start": 0.5, "end": 0.9}]
SEGMENT = {
    "id": 0,
    "seek": 0,
    "start": 0.0,
    "end": 0.9,
    "text": "hello there",
    "tokens": [1, 2],
    "temperature": 0.0,
    "avg_logprob": -0.1,
    "compression_ratio": 1.0,
    "no_speech_prob": 0.01,
}
TRANSCRIPTS: dict[str, Any] = {
    "json": {"text": "hello there", "usage": {"type": "duration", "seconds": SPOKEN_SECONDS}},
    "verbose_json": {
        "task": "transcribe",
        "language": "english",
        "duration": SPOKEN_SECONDS,
        "text": "hello there",
        "segments": [SEGMENT],
        "usage": {"type": "duration", "seconds": SPOKEN_SECONDS},
    },
    "text": b"hello there\n",
    "srt": b"1\n00:00:00,000 --> 00:01:30,000\nhello there\n",
    "vtt": b"WEBVTT\n\n00:00.000 --> 01:30.000\nhello there\n",
}


def hears(call: Call) -> Any:
    form = form_of(call)
    asked = form["response_format"][0].decode()
    body = TRANSCRIPTS[asked]
    if b"word" in form.get("timestamp_granularities[]", ()):
        body = body | {"words": WORDS}
    kind = "application/json" if isinstance(body, dict) else "text/plain"
    return call.reply(200, body, {"Content-Type": kind})


def hears_in_tokens(call: Call) -> Any:
    usage = {"type": "tokens", "input_tokens": 900, "output_tokens": 30, "total_tokens": 930}
    return call.reply(200, {"text": "hello there", "usage": usage})


def hears_untold(call: Call) -> Any:
    return call.reply(200, {"text": "hello there"})


# -- speech -----------------------------------------------------------------------------------------------------------


async def speaks(call: Call, pause_s: float = 0.0) -> None:
    await call.start_stream("audio/mpeg")
    for piece in AUDIO_PIECES:
        await call.chunk(piece)
        await asyncio.sleep(pause_s)
    await call.end_stream()


async def speaks_slowly(call: Call) -> None:
    await speaks(call, 0.4)


async def speaks_and_is_cut(call: Call) -> None:
    await call.start_stream("audio/mpeg")
    await call.chunk(AUDIO_PIECES[0])
    await asyncio.sleep(0.1)
    await call.chunk(AUDIO_PIECES[1])
    await asyncio.sleep(0.1)
    call.cut()


# -- rankings ---------------------------------------------------------------------------------------------------------


def _ranking(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The longest document is the best; in no order."""
    scores = [len(document) / 100 for document in body["documents"]]
    return [{"index": place, "relevance_score": score} for place, score in enumerate(scores)]


def ranks(call: Call) -> Any:
    tokens = 5 * len(call.json["documents"])
    return call.reply(200, {"model": "up", "results": _ranking(call.json), "usage": {"total_tokens": tokens}})


def ranks_as_cohere(call: Call) -> Any:
    meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
    return call.reply(200, {"id": "r", "results": _ranking(call.json), "meta": meta})


# -- faults -----------------------------------------------------------------------------------------------------------


def fails(call: Call) -> Any:
    return call.reply(500, {"error": {"message": "the upstream fell over", "type": "server_error"}})


async def never(call: Call) -> None:
    await call.until_hung_up()


def refuses(call: Call) -> Any:
    error = {"message": "input is too long", "type": "invalid_request_error", "param": "input", "code": None}
    return call.reply(400, {"error": error})


def says_no_json(call: Call) -> Any:
    return call.reply(200, b"<html>busy</html>", {"Content-Type": "text/html"})


def bytes_of(value: Any) -> bytes:
    return json.dumps(value).encode()
