"""Counting the tokens of a request before it is made: for callers, and for upstreams of this dialect."""

from __future__ import annotations

from typing import Any

from appliance.formats.anthropic_reply import shape_mismatch


def encode_count(tokens: int) -> dict[str, Any]:
    return {"input_tokens": tokens}


def decode_count(body: Any) -> int:
    tokens = body.get("input_tokens") if isinstance(body, dict) else None
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0:
        raise shape_mismatch("the upstream's answer is no count of tokens")
    return tokens
