"""Counting the tokens of a request before it is made: for callers, and for upstreams of this dialect."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from appliance.formats.anthropic_reply import shape_mismatch
from appliance.formats.anthropic_request import encode_request
from appliance.formats.chat import ChatRequest

_COUNTED = ("model", "system", "messages", "tools", "tool_choice", "thinking", "output_config", "cache_control")
_NO_CAP = 1_000_000
"""No output is made, so no budget for reasoning may be found too large for it."""


def encode_count(tokens: int) -> dict[str, Any]:
    return {"input_tokens": tokens}


def encode_count_request(request: ChatRequest, upstream_model: str) -> dict[str, Any]:
    body = encode_request(replace(request, max_output_tokens=_NO_CAP), upstream_model)
    return {name: body[name] for name in _COUNTED if name in body}


def decode_count(body: Any) -> int:
    tokens = body.get("input_tokens") if isinstance(body, dict) else None
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0:
        raise shape_mismatch("the upstream's answer is no count of tokens")
    return tokens
