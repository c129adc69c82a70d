"""The configuration of a gateway before aimock, in both dialects, and the bodies to ask it with."""

from __future__ import annotations

import json
from typing import Any

from support.aimock import API_KEY, Aimock

NATIVE = "/v1/inference/chat"
COMPAT = "/oai/v1/chat/completions"

FAULTS = ("400", "401", "404", "429", "500", "529", "garbage", "hang-up", "break")
TARGETS = {
    "gpt": "openai-like:gpt-4.1-mini",
    # aimock keeps reasoning back from models that it knows to have none, gpt-4.1 among them.
    "gpt-thinker": "openai-like:thinker-1",
    "claude": "anthropic-like:claude-sonnet-4-5",
    "old-claude": "anthropic-like:claude-3-5-haiku-20241022",
    "locked-gpt": "openai-like-locked:gpt-4.1-mini",
    "locked-claude": "anthropic-like-locked:claude-sonnet-4-5",
    # Each fault has a target of its own, so that no test suffers from the pause that another's target asked for.
    **{f"gpt-{fault}": f"openai-like:fault-{fault}" for fault in FAULTS},
    **{f"claude-{fault}": f"anthropic-like:fault-{fault}" for fault in FAULTS},
}
WRONG_KEY = "canary-not-the-upstream-key"


def aimock_yaml(upstream: Aimock) -> str:
    """Providers and models; nothing is retried and no failing target left alone, so that an upstream's error is what
    the caller reads."""
    openai_like = {"type": "custom", "base_url": upstream.openai_base_url}
    anthropic_like = {"type": "anthropic", "base_url": upstream.anthropic_base_url}
    providers = {
        "openai-like": openai_like | {"api_key": API_KEY},
        "anthropic-like": anthropic_like | {"api_key": API_KEY},
        "openai-like-locked": openai_like | {"api_key": WRONG_KEY},
        "anthropic-like-locked": anthropic_like | {"api_key": WRONG_KEY},
    }
    models = {
        name: {
            "price": {"input": "1.00", "output": "2.00"},
            "max_output_tokens": 4096,
            "route": {"targets": [{"backend": target}], "retries": 0, "circuit_breaker": "off"},
        }
        for name, target in TARGETS.items()
    }
    # YAML contains JSON.
    return f"providers: {json.dumps(providers)}\nmodels: {json.dumps(models)}\n"


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def chat_body(model: str, text: str, **members: Any) -> dict[str, Any]:
    return {"model": model, "messages": user(text)} | members
