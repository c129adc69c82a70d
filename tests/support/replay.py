"""The recorded provider answers as cases that replay through a running gateway: who serves them, cut up how."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from support.fixtures import PROVIDERS, recorded, recorded_meta
from support.streams import sliced
from support.upstream import Call, Script

ENTRIES: dict[str, str] = {
    "anthropic": "type: anthropic, base_url: '{url}', api_key: some-key",
    "azure": "type: azure, base_url: '{url}', api_key: some-key, api_version: '2024-10-21'",
    "custom": "type: custom, base_url: '{url}/v1'",
    "deepseek": "type: deepseek, base_url: '{url}/v1', api_key: some-key",
    "gemini": "type: gemini, base_url: '{url}/v1', api_key: some-key",
    "google": "type: google, base_url: '{url}', api_key: some-key",
    "groq": "type: groq, base_url: '{url}/v1', api_key: some-key",
    "mistral": "type: mistral, base_url: '{url}/v1', api_key: some-key",
    "ollama": "type: ollama, base_url: '{url}/v1'",
    "openai": "type: openai, base_url: '{url}/v1', api_key: some-key",
    "openrouter": "type: openrouter, base_url: '{url}/v1', api_key: some-key",
    "qwen": "type: qwen, base_url: '{url}/v1', api_key: some-key",
    "responses": "type: openai, api: responses, base_url: '{url}/v1', api_key: some-key",
    "vllm": "type: vllm, base_url: '{url}/v1'",
    "xai": "type: xai, base_url: '{url}/v1', api_key: some-key",
}
"""Provider of the replay → its entry in the YAML; `{url}` is the upstream's."""

SERVED_BY: dict[str, tuple[str, ...]] = {
    "anthropic": ("anthropic",),
    "azure": ("azure",),
    "deepseek": ("deepseek",),
    "gemini-compatible": ("gemini", "custom"),
    "google": ("google",),
    "groq": ("groq",),
    "mistral": ("mistral",),
    "openai": ("openai",),
    "openai-responses": ("responses",),
    "openrouter": ("openrouter",),
    "qwen": ("qwen",),
    "self-hosted": ("custom", "ollama", "vllm"),
    "xai": ("xai",),
}
"""Family of recordings → the providers that they are replayed by."""

RELAYED = frozenset({"azure", "custom", "openai", "openrouter", "xai"})
"""Providers whose chunks reach callers of OpenAI's dialect as they came."""

PRICE = {"input": 3_000, "cached_input": 300, "cache_write": 3_750, "output": 15_000}
"""nano-USD a token, of every model here."""

ONE_BYTE_LIMIT = 3000
_MODEL = re.compile(rb'"model(?:Version)?":\s*"([^"]+)"')
_TEXT_TYPES = ("text/event-stream", "application/json", "text/plain")


@dataclass(frozen=True)
class Case:
    """One recording behind one provider."""

    recording: str
    provider: str
    body: bytes
    status: int
    content_type: str
    stream: bool
    api: str

    @property
    def name(self) -> str:
        return f"{self.recording}@{self.provider}"

    @property
    def model(self) -> str:
        """The frontend model."""
        return f"{self.provider}/{self.recording}"

    @property
    def family(self) -> str:
        return self.recording.partition("/")[0]

    @property
    def upstream_model(self) -> str:
        found = _MODEL.search(self.body)
        return found[1].decode() if found else "some-model"

    @property
    def choices(self) -> int:
        """How many answers the recorded call had asked for."""
        return 3 if self.recording.endswith("-n3") else 1


def cases() -> list[Case]:
    """Every recording of a chat, once for each provider that serves its family."""
    found = []
    for family, providers in SERVED_BY.items():
        for file in sorted((PROVIDERS / family).glob("*.response.*")):
            recording = f"{family}/{file.name}"
            meta = recorded_meta(recording)
            assert meta["content_type"].startswith(_TEXT_TYPES), meta
            for provider in providers:
                found.append(
                    Case(
                        recording.partition(".response.")[0],
                        provider,
                        recorded(recording),
                        meta["status"],
                        meta["content_type"],
                        meta["stream"],
                        meta["api"],
                    )
                )
    return found


def yaml_of(cases: list[Case], url: str) -> str:
    """Every provider, and a frontend model for each case: however often a case fails, it is played."""
    lines = ["providers:"]
    lines += [f"  {name}: {{{entry.format(url=url)}}}" for name, entry in ENTRIES.items()]
    lines += ["models:"]
    prices = ", ".join(f"{name}: '{nano / 1000}'" for name, nano in PRICE.items())
    for case in cases:
        targets = f"targets: [{{backend: '{case.provider}:{case.upstream_model}'}}]"
        route = f"strategy: priority, {targets}, retries: 0, circuit_breaker: off"
        rest = f"max_output_tokens: 4000, price: {{{prices}}}, route: {{{route}}}"
        lines.append(f"  '{case.model}': {{{rest}}}")
    return "\n".join(lines)


# -- the ways a body can arrive ---------------------------------------------------------------------------------------


def ways(case: Case) -> dict[str, list[bytes]]:
    """The body, cut up in ways that no reader may notice; seeded by the case's name."""
    rng = random.Random(case.name)
    body = case.body
    cut = {
        "random": sliced(body, rng),
        "at once": [body],
        "wounded": list(wounded(body)),
        "bytes": [body[place : place + 1] for place in range(len(body))]
        if len(body) <= ONE_BYTE_LIMIT
        else sliced(body, rng, 17),
    }
    if case.stream and b"\r" not in body:
        # Another way to write the same events; every event then ends in the middle of a line end.
        cut["wounded"] = list(wounded(body.replace(b"\n", b"\r\n")))
    return cut


def wounded(body: bytes) -> Iterator[bytes]:
    """Cut inside every UTF-8 character and between every CR and LF, else only at every 500th byte."""
    last = 0
    for place in range(1, len(body)):
        inside_character = body[place] & 0xC0 == 0x80
        inside_line_end = body[place - 1 : place + 1] == b"\r\n"
        if inside_character or inside_line_end or place - last >= 500:
            yield body[last:place]
            last = place
    yield body[last:]


def serves(case: Case, pieces: list[bytes]) -> Script:
    """The recording's status and content type, and its body in these pieces."""

    async def play(call: Call) -> None:
        head = f"HTTP/1.1 {case.status} Recorded\r\nContent-Type: {case.content_type}\r\n"
        await call.raw(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for piece in pieces:
            await call.chunk(piece)
        await call.end_stream()

    return play


def expected_path(case: Case) -> str:
    """Where the provider has to be asked."""
    verb = "streamGenerateContent?alt=sse" if case.stream else "generateContent"
    return {
        "anthropic": "/v1/messages",
        "azure": f"/openai/deployments/{case.upstream_model}/chat/completions?api-version=2024-10-21",
        "google": f"/v1beta/models/{case.upstream_model}:{verb}",
        "responses": "/v1/responses",
    }.get(case.provider, "/v1/chat/completions")


def cost_of(usage: Any) -> int:
    """What the caller pays for a usage, in nano-USD: every class once, by hand."""
    plain = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
    return int(
        plain * PRICE["input"]
        + usage.cached_input_tokens * PRICE["cached_input"]
        + usage.cache_write_tokens * PRICE["cache_write"]
        + usage.output_tokens * PRICE["output"]
    )
