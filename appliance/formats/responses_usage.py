"""Usage in the Responses dialect ↔ Usage. Must not guess: usage that cannot be understood is None."""

from __future__ import annotations

from typing import Any

from appliance.formats.chat import Usage
from appliance.formats.reply_object import count, object_in


def decode_usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    taken, made = count(usage.get("input_tokens")), count(usage.get("output_tokens"))
    if taken is None or made is None:
        return None
    details = object_in(usage.get("input_tokens_details"))
    # The parts may not outgrow the whole: prices are taken from the difference.
    cached = min(count(details.get("cached_tokens")) or 0, taken)
    written = min(count(details.get("cache_write_tokens")) or 0, taken - cached)
    reasoning = count(object_in(usage.get("output_tokens_details")).get("reasoning_tokens")) or 0
    return Usage(
        input_tokens=taken,
        output_tokens=made,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=min(reasoning, made),
    )


def encode_usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
