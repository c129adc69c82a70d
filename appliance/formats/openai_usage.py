"""Usage in OpenAI's chat form ↔ Usage, so that a token class means the same for every OpenAI-protocol server.

Must not guess: usage that cannot be understood is None, and the caller of this file estimates.
"""

from __future__ import annotations

from typing import Any

from appliance.formats.chat import Usage


def decode_usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    if prompt is None or completion is None:
        return None
    prompt_details = _object(usage.get("prompt_tokens_details"))
    cached = _count(prompt_details.get("cached_tokens"))
    if cached is None:
        cached = _count(usage.get("prompt_cache_hit_tokens")) or 0
    written = _count(prompt_details.get("cache_write_tokens")) or 0
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


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if value >= 0 and value == value // 1 else None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
