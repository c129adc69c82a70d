"""Usage in OpenAI's chat form ↔ Usage, so that a token class means the same for every OpenAI-protocol server.

Must not guess: usage that cannot be understood is None, and the caller of this file estimates.
"""

from __future__ import annotations

from typing import Any

from appliance.formats.chat import Usage

_CACHED_BESIDE = ("prompt_cache_hit_tokens", "cached_tokens")
_CACHE_WRITES = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
_UPSTREAM_MONEY = frozenset({"cost", "cost_details", "cost_in_usd_ticks", "estimated_cost", "is_byok"})


def decode_usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    if prompt is None or completion is None:
        return None
    prompt_details = _object(usage.get("prompt_tokens_details"))
    cached = _first(prompt_details.get("cached_tokens"), *(usage.get(name) for name in _CACHED_BESIDE))
    written = _first(*(prompt_details.get(name) for name in _CACHE_WRITES))
    reasoning = _count(_object(usage.get("completion_tokens_details")).get("reasoning_tokens")) or 0
    outside = (_count(usage.get("total_tokens")) or 0) - prompt - completion
    if outside > 0 and reasoning in (0, outside):
        # The total holds more output than the two counts: reasoning (xAI), or thinking that the server did not break
        # down (Gemini's OpenAI-compatible API), unless the cache counts are exactly what is missing.
        if not reasoning and cached + written == outside:
            prompt += outside
        else:
            completion += outside
            reasoning = outside
    # The parts may not outgrow the whole: prices are taken from the difference.
    cached = min(cached, prompt)
    return Usage(
        input_tokens=prompt,
        output_tokens=completion,
        cached_input_tokens=cached,
        cache_write_tokens=min(written, prompt - cached),
        reasoning_tokens=min(reasoning, completion),
    )


def encode_usage(usage: Usage) -> dict[str, Any]:
    prompt_details = {"cached_tokens": usage.cached_input_tokens}
    if usage.cache_write_tokens:
        prompt_details["cache_write_tokens"] = usage.cache_write_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def client_usage(own: Any, usage: Usage) -> dict[str, Any]:
    """The upstream's own object with the counts as they were understood, so that its further counts survive.

    What the upstream charges the operator is none of the caller's business.
    """
    exact = encode_usage(usage)
    if not isinstance(own, dict):
        return exact
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        told = {key: count for key, count in _object(own.get(name)).items() if not isinstance(count, float)}
        exact[name] = told | exact[name]
    return {name: value for name, value in own.items() if name not in _UPSTREAM_MONEY} | exact


def _first(*values: Any) -> int:
    return next((count for value in values if (count := _count(value)) is not None), 0)


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if value >= 0 and value == value // 1 else None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
