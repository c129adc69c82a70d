"""Embeddings, pictures and sound for sdk_upstream: OpenAI's protocol, and Google's own forms of the first two."""

from __future__ import annotations

import base64
import email.parser
import email.policy
import struct
from typing import Any

from support.sdk_story import demand, demand_members
from support.upstream import Call

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(64))
MP3 = b"ID3\x04" + bytes(range(256)) * 700
TRANSCRIPT = "Grüße aus Delft. 👋"
RECORDING = b"RIFF\x24\x7d\0\0WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16)
RECORDING += b"data\0\x7d\0\0" + bytes(32_000)
"""One second of silence, 16 kHz."""


def vector(text: str) -> list[float]:
    """One that tells texts apart and that 32 bits hold exactly."""
    return [len(text) / 2, text.count("a") / 4, -1.5]


async def answer(call: Call) -> None:
    path = call.path.partition("?")[0]
    if path.startswith("/v1beta/"):
        demand(call.headers.get("x-goog-api-key") == "goog-test", "API key not valid")
        await call.reply(200, _google_embeddings(call.json) if "Embed" in path else _imagen(call.json))
        return
    demand(call.headers.get("authorization") == "Bearer sk-openai-test", "Incorrect API key provided")
    if path == "/openai/v1/audio/speech":
        demand_members(call.json, "model input voice response_format speed instructions", "body")
        await call.start_stream("audio/mpeg")
        for place in range(0, len(MP3), 50_000):
            await call.chunk(MP3[place : place + 50_000])
        await call.end_stream()
        return
    answers = {"embeddings": _embeddings, "images/generations": _images, "audio/transcriptions": _transcription}
    name = path.removeprefix("/openai/v1/")
    demand(name in answers, f"no {path}")
    await call.reply(200, answers[name](call))


def _embeddings(call: Call) -> dict[str, Any]:
    body = call.json
    demand_members(body, "model input dimensions encoding_format user", "body")
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    packed = body.get("encoding_format") == "base64"
    demand(not packed or body["model"].startswith("text-embedding"), "encoding_format: only float")
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(vector(text)) if packed else vector(text)}
        for index, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 2 * len(texts), "total_tokens": 2 * len(texts)}
    return {"object": "list", "data": data, "model": body["model"], "usage": usage}


def _packed(numbers: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def _google_embeddings(body: dict[str, Any]) -> dict[str, Any]:
    demand_members(body, "requests", "body")
    demand({request["model"] for request in body["requests"]} == {"models/gemini-embedding-001"}, "requests.model")
    texts = [request["content"]["parts"][0]["text"] for request in body["requests"]]
    return {"embeddings": [{"values": vector(text)} for text in texts]}


def _images(call: Call) -> dict[str, Any]:
    body = call.json
    demand_members(body, "model prompt n size quality style response_format background output_format user", "body")
    if "gpt-image" in body["model"]:
        demand("response_format" not in body, "Unknown parameter: 'response_format'.")
        tokens = {"input_tokens": 9, "output_tokens": 1056, "total_tokens": 1065}
        usage = {**tokens, "input_tokens_details": {"text_tokens": 9, "image_tokens": 0}}
        return {"created": 1_760_000_000, "data": [_picture()] * body.get("n", 1), "usage": usage}
    demand(body.get("response_format") == "b64_json", f"response_format: {body.get('response_format')}")
    return {"created": 1_760_000_000, "data": [_picture()] * body.get("n", 1)}


def _picture() -> dict[str, str]:
    return {"b64_json": base64.b64encode(PNG).decode()}


def _imagen(body: dict[str, Any]) -> dict[str, Any]:
    demand_members(body, "instances parameters", "body")
    picture = {"bytesBase64Encoded": base64.b64encode(PNG).decode(), "mimeType": "image/png"}
    return {"predictions": [picture] * body["parameters"]["sampleCount"]}


def _transcription(call: Call) -> dict[str, Any]:
    form = _form(call)
    demand(form["file"] == RECORDING, "file: the recording is another one")
    demand(form.get("language") == b"de", "language")
    plain = {"text": TRANSCRIPT, "usage": {"type": "duration", "seconds": 1}}
    if form.get("response_format") != b"verbose_json":
        return plain
    segment: dict[str, Any] = {"id": 0, "seek": 0, "start": 0.0, "end": 1.0, "text": TRANSCRIPT, "tokens": [1]}
    segment |= {"temperature": 0.0, "avg_logprob": -0.1, "compression_ratio": 1.0, "no_speech_prob": 0.01}
    return {"task": "transcribe", "language": "german", "duration": 1.0, "segments": [segment], **plain}


def _form(call: Call) -> dict[str, bytes]:
    head = f"Content-Type: {call.headers['content-type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + call.body)
    form: dict[str, bytes] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        form[str(name)] = bytes(part.get_payload(decode=True))
    return form
