"""What a caller may ask for and Anthropic's Messages API has no word for: refused by name, all at once, or let go.

A member is let go only when the answer stays the same without it; the reason stands beside it. Anthropic's own members
`container`, `mcp_servers`, `speed` and `inference_geo` are refused with the rest: they reach state that all tenants of
a provider key share, or change the price behind the ledger's back.
"""

from __future__ import annotations

from typing import Any

from appliance.formats import refused_members
from appliance.formats.chat import ChatRequest

PASSED = ("cache_control", "thinking")
"""Members of Anthropic's own dialect that go on as they came."""

HARMLESS = {
    "include": "asks for more about the answer, such as encrypted reasoning, which Anthropic always sends",
    "metadata": "labels for the other provider's dashboards",
    "prediction": "may only speed an answer up",
    "prompt_cache_key": "routes to a warm cache; Anthropic finds cached prefixes itself",
    "prompt_cache_retention": "asks for a cache lifetime; Anthropic's is said in cache hints",
    "safety_identifier": "names the end user to the other provider's abuse watch",
    "service_tier": "chooses among the other provider's capacity classes",
    "store": "asks the other provider to keep the answer for later reading",
    "stream_options": "usage is part of every Anthropic stream",
}

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "background": (False,),
    "function_call": ("auto", "none"),
    "functions": ([],),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "truncation": ("disabled",),
    "verbosity": ("medium",),
}
"""Values that say what would hold anyway; any other value of the same member is refused. None is never refused."""


def refuse_uncarriable(request: ChatRequest) -> None:
    """Raise one VALIDATION_ERROR that lists every member this dialect cannot carry."""
    refused_members.refuse_uncarriable([*_canonical_gaps(request), *_extra_gaps(request.extra)], "an Anthropic target")


def _canonical_gaps(request: ChatRequest) -> list[str]:
    asked = {
        "n": request.n > 1,
        "logprobs": bool(request.logprobs),
        "top_logprobs": bool(request.top_logprobs),
        "seed": request.seed is not None,
        "presence_penalty": bool(request.presence_penalty),
        "frequency_penalty": bool(request.frequency_penalty),
    }
    return [name for name, is_asked in asked.items() if is_asked]


def _extra_gaps(extra: dict[str, Any]) -> list[str]:
    return [
        name
        for name, value in extra.items()
        if value is not None and name not in PASSED and name not in HARMLESS and value not in NEUTRAL.get(name, ())
    ]
