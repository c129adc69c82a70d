"""One scripted server that is all families at once, told apart by path, and the gateway's configuration before it.

A request that its provider would refuse is answered with that provider's 400, whose text names what was wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import sdk_anthropic, sdk_google, sdk_openai, sdk_units
from support.appliance import Gateway, running
from support.sdk_story import Refused
from support.upstream import Call, Upstream

FAMILIES = ("family-openai", "family-anthropic", "family-google")

TARGETS = {
    "family-openai": "openai:gpt-5.1",
    "family-anthropic": "anthropic:claude-sonnet-4-5",
    "family-google": "google:gemini-3-pro-preview",
}
UNITS = {
    "embed-openai": ("embedding", "openai:text-embedding-3-small"),
    "embed-google": ("embedding", "google:gemini-embedding-001"),
    "embed-mistral": ("embedding", "mistral:mistral-embed"),
    "image-openai": ("image", "openai:gpt-image-1"),
    "image-google": ("image", "google:imagen-4.0-generate-001"),
    "image-xai": ("image", "xai:grok-2-image"),
    "hear-openai": ("audio", "openai:whisper-1"),
    "hear-mistral": ("audio", "mistral:voxtral-mini-latest"),
    "hear-groq": ("audio", "groq:whisper-large-v3"),
    "speak-openai": ("audio", "openai:tts-1"),
    "speak-groq": ("audio", "groq:playai-tts"),
    "speak-custom": ("audio", "local:kokoro"),
}
PRICE = {"input": "1.00", "output": "2.00", "image": "0.01", "audio_minute": "0.006", "characters": "15.00"}


async def answer(call: Call) -> None:
    path = call.path.partition("?")[0]
    try:
        if path == "/openai/v1/chat/completions":
            await sdk_openai.answer(call)
        elif path.startswith("/v1/messages"):
            await sdk_anthropic.answer(call)
        elif path.endswith((":generateContent", ":streamGenerateContent", ":countTokens")):
            await sdk_google.answer(call)
        else:
            await sdk_units.answer(call)
    except Refused as refused:
        await call.reply(400, _error(path, str(refused)))


def _error(path: str, text: str) -> dict[str, Any]:
    if path.startswith("/v1/messages"):
        return {"type": "error", "error": {"type": "invalid_request_error", "message": text}}
    if path.startswith("/v1beta"):
        return {"error": {"code": 400, "message": text, "status": "INVALID_ARGUMENT"}}
    return {"error": {"message": text, "type": "invalid_request_error", "param": None, "code": None}}


def sdk_yaml(url: str) -> str:
    openai_like = {"api_key": "sk-openai-test", "base_url": f"{url}/openai/v1"}
    providers = {
        "openai": {"type": "openai", **openai_like},
        "anthropic": {"type": "anthropic", "api_key": "sk-ant-test", "base_url": url},
        "google": {"type": "google", "api_key": "goog-test", "base_url": url},
        "mistral": {"type": "mistral", **openai_like},
        "groq": {"type": "groq", **openai_like},
        "xai": {"type": "xai", **openai_like},
        "local": {"type": "custom", **openai_like},
    }
    chats = {name: _model("chat", target) | {"max_output_tokens": 8192} for name, target in TARGETS.items()}
    units = {name: _model(modality, target) for name, (modality, target) in UNITS.items()}
    # YAML contains JSON.
    return f"providers: {json.dumps(providers)}\nmodels: {json.dumps(chats | units)}\n"


def _model(modality: str, target: str) -> dict[str, Any]:
    price = {"input": "1.00", "output": "2.00"} if modality in ("chat", "embedding") else "free"
    return {"modality": modality, "price": price, "route": {"targets": [{"backend": target}], "retries": 0}}


@contextmanager
def running_families(folder: Path) -> Iterator[tuple[Gateway, Upstream]]:
    with Upstream() as upstream:
        upstream.answer(answer)
        with running(sdk_yaml(upstream.url), folder) as gateway:
            yield gateway, upstream
