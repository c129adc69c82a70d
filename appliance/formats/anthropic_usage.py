"""Anthropic's usage object ↔ Usage: there the three classes of input stand side by side, here the sum is the input."""

from __future__ import annotations

from typing import Any

from appliance.formats.chat import Usage


def decode_usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    cached = _billed(usage, "cache_read_input_tokens")
    written = _billed(usage, "cache_creation_input_tokens")
    details = usage.get("output_tokens_details")
    return Usage(
        input_tokens=_billed(usage, "input_tokens") + written + cached,
        output_tokens=_billed(usage, "output_tokens"),
        cached_input_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=_count(details, "thinking_tokens") if isinstance(details, dict) else 0,
    )


def encode_usage(usage: Usage | None) -> dict[str, Any]:
    """All zeros where nothing is known: Anthropic's clients insist on the object."""
    known = usage or Usage()
    members: dict[str, Any] = {
        "input_tokens": max(0, known.input_tokens - known.cached_input_tokens - known.cache_write_tokens),
        "cache_creation_input_tokens": known.cache_write_tokens,
        "cache_read_input_tokens": known.cached_input_tokens,
        "output_tokens": known.output_tokens,
    }
    if known.reasoning_tokens:
        members["output_tokens_details"] = {"thinking_tokens": known.reasoning_tokens}
    return members


def _billed(usage: dict[str, Any], name: str) -> int:
    """The count over all rounds: where Anthropic went several rounds, the top level may leave some of them out."""
    rounds = usage.get("iterations")
    summed = sum(_count(entry, name) for entry in rounds if isinstance(entry, dict)) if isinstance(rounds, list) else 0
    return max(_count(usage, name), summed)


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
