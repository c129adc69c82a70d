"""Every URL that calls a model, with a good request for it: the matrices of the scenarios run over this table.

A new inference URL needs a line here; tests/scenarios/test_access.py compares the table with the appliance's own list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from support.appliance import Answer, Gateway
from support.refusals import Surface
from support.wire import Wire, request_bytes

BOUNDARY = "a-boundary-of-the-tests"
WAV = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80>\0\0\0}\0\0\x02\0\x10\0data\0\0\0\0"
TURNS = [{"role": "user", "content": "hi"}]


@dataclass(frozen=True)
class InferenceUrl:
    """`members` is a good request without its model; `operation` is the word of the usage row."""

    path: str
    surface: Surface
    operation: str
    members: Mapping[str, Any]
    modality: str = "chat"
    streams: bool = False
    upload: bool = False

    def request(self, model: str, members: Mapping[str, Any] | None = None) -> tuple[bytes | dict[str, Any], str]:
        """The body, and its content type. A member whose value is `...` is left out."""
        wanted = {"model": model, **self.members, **(members or {})}
        wanted = {name: value for name, value in wanted.items() if value is not ...}
        if self.upload:
            return form(wanted), f"multipart/form-data; boundary={BOUNDARY}"
        return wanted, "application/json"

    def post(
        self,
        gateway: Gateway,
        model: str,
        members: Mapping[str, Any] | None = None,
        *,
        key: str | None = "",
        request_id: str = "",
        timeout_s: float = 30,
    ) -> Answer:
        body, content_type = self.request(model, members)
        headers = {"Content-Type": content_type} | ({"X-Request-ID": request_id} if request_id else {})
        return gateway.post(self.path, body, key=key, headers=headers, timeout_s=timeout_s)

    def send(
        self, wire: Wire, gateway: Gateway, model: str, request_id: str, members: Mapping[str, Any] | None = None
    ) -> None:
        """The same request over a connection of one's own."""
        body, content_type = self.request(model, members)
        headers = {"X-Request-ID": request_id, "Content-Type": content_type}
        wire.send(request_bytes(self.path, body, gateway.admin_key, headers))


def form(fields: Mapping[str, Any]) -> bytes:
    """A multipart form; the field `file` is the file, a list is a field that stands several times."""
    parts = b""
    for name, value in fields.items():
        for each in value if isinstance(value, list) else [value]:
            is_file = name == "file" and isinstance(each, bytes)
            head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'
            head += '; filename="speech.wav"\r\nContent-Type: audio/wav' if is_file else ""
            parts += f"{head}\r\n\r\n".encode() + (each if isinstance(each, bytes) else str(each).encode()) + b"\r\n"
    return parts + f"--{BOUNDARY}--\r\n".encode()


def _chat(path: str, surface: Surface, **members: Any) -> InferenceUrl:
    return InferenceUrl(path, surface, "chat", members, streams=True)


URLS: dict[str, InferenceUrl] = {
    "chat": _chat("/v1/inference/chat", "native", messages=TURNS),
    "generate": _chat("/v1/inference/generate", "native", prompt="hi"),
    "embed": InferenceUrl("/v1/inference/embed", "native", "embed", {"input": "hi"}, "embedding"),
    "images": InferenceUrl("/v1/inference/images/generate", "native", "image", {"prompt": "a cat"}, "image"),
    "transcribe": InferenceUrl(
        "/v1/inference/audio/transcribe", "native", "transcribe", {"file": WAV}, "audio", upload=True
    ),
    "synthesize": InferenceUrl(
        "/v1/inference/audio/synthesize", "native", "speak", {"input": "hi", "voice": "alloy"}, "audio"
    ),
    "rerank": InferenceUrl(
        "/v1/inference/rerank", "native", "rerank", {"query": "cat", "documents": ["a cat", "a dog"]}, "rerank"
    ),
    "oai-chat": _chat("/oai/v1/chat/completions", "compat", messages=TURNS),
    "oai-completions": _chat("/oai/v1/completions", "compat", prompt="hi"),
    "oai-responses": _chat("/oai/v1/responses", "compat", input="hi"),
    "oai-embeddings": InferenceUrl("/oai/v1/embeddings", "compat", "embed", {"input": "hi"}, "embedding"),
    "oai-images": InferenceUrl("/oai/v1/images/generations", "compat", "image", {"prompt": "a cat"}, "image"),
    "oai-transcriptions": InferenceUrl(
        "/oai/v1/audio/transcriptions", "compat", "transcribe", {"file": WAV}, "audio", upload=True
    ),
    "oai-translations": InferenceUrl(
        "/oai/v1/audio/translations", "compat", "translate", {"file": WAV}, "audio", upload=True
    ),
    "oai-speech": InferenceUrl("/oai/v1/audio/speech", "compat", "speak", {"input": "hi", "voice": "alloy"}, "audio"),
    "oai-rerank": InferenceUrl(
        "/oai/v1/rerank", "compat", "rerank", {"query": "cat", "documents": ["a cat", "a dog"]}, "rerank"
    ),
    "anthropic-messages": _chat("/anthropic/v1/messages", "anthropic", messages=TURNS, max_tokens=100),
    "anthropic-count": InferenceUrl(
        "/anthropic/v1/messages/count_tokens", "anthropic", "count", {"messages": TURNS}, "chat"
    ),
}
BY_PATH = {url.path: url for url in URLS.values()}
NEW = {name: url for name, url in URLS.items() if name not in ("chat", "oai-chat")}
"""Those that have no scenarios of their own besides these matrices."""
CALLING = {name: url for name, url in NEW.items() if url.operation != "count"}
"""Counting tokens asks an upstream only where that one offers it."""
MODALITIES = ("chat", "embedding", "image", "audio", "rerank")


def models(price: str, backend: str, start: str = "") -> str:
    """YAML lines: a frontend model per modality, named like it, with `start` before the name.

    Their one backend model is asked however often it has failed: the matrices have it fail at every URL.
    """
    route = f'{{retries: 0, circuit_breaker: off, targets: [{{backend: "{backend}"}}]}}'
    return "\n".join(f"  {start}{name}: {{modality: {name}, price: {price}, route: {route}}}" for name in MODALITIES)
