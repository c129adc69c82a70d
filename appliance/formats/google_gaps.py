"""What a caller may ask for and generateContent has no word for: refused by name, all at once, or let go.

A member is let go only when the answer stays the same without it; the reason stands beside it.
"""

from __future__ import annotations

from typing import Any

from appliance.formats.chat import ChatRequest
from appliance.formats.google_models import makes_images
from appliance.formats.refused_members import refuse_uncarriable

TARGET = "a Google target"

PASSED = {
    "safety_settings": "safetySettings",
    "safetySettings": "safetySettings",
    "cached_content": "cachedContent",
    "cachedContent": "cachedContent",
}
"""Members of Google's own dialect that go on as they came → their name there."""

HARMLESS = {
    "betas": "names of the other provider's previews",
    "cache_control": "asks for a prompt cache; Google finds cached prefixes itself",
    "metadata": "labels for the other provider's dashboards",
    "prediction": "may only speed an answer up",
    "prompt_cache_key": "routes to a warm cache; Google finds cached prefixes itself",
    "prompt_cache_retention": "asks for a cache lifetime",
    "safety_identifier": "names the end user to the other provider's abuse watch",
    "service_tier": "chooses among the other provider's capacity classes",
    "store": "asks the other provider to keep the answer for later reading",
    "stream_options": "usage is part of every Google stream",
}

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "background": (False,),
    "function_call": ("auto", "none"),
    "functions": ([],),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "speed": ("standard",),
    "truncation": ("disabled",),
    "verbosity": ("medium",),
}
"""Values that say what would hold anyway; any other value of the same member is refused. None is never refused."""


def refuse_gaps(request: ChatRequest, upstream_model: str) -> None:
    """Raise one VALIDATION_ERROR that lists every member this dialect cannot carry."""
    refuse_uncarriable([*_canonical_gaps(request, upstream_model), *_extra_gaps(request.extra)], TARGET)


def own_members(extra: dict[str, Any]) -> dict[str, Any]:
    return {name: extra[said] for said, name in PASSED.items() if extra.get(said) is not None}


def _canonical_gaps(request: ChatRequest, upstream_model: str) -> list[str]:
    asked = {
        "parallel_tool_calls": request.parallel_tool_calls is False and bool(request.tools),
        f"messages.{len(request.messages) - 1}.prefix": request.prefill,
        # Canonical streams have no event for an image, and an answer must not lose one.
        "stream": request.stream and makes_images(upstream_model),
    }
    return [name for name, is_asked in asked.items() if is_asked]


def _extra_gaps(extra: dict[str, Any]) -> list[str]:
    return [
        name
        for name, value in extra.items()
        if value is not None and name not in PASSED and name not in HARMLESS and value not in NEUTRAL.get(name, ())
    ]
