"""A usage row and a sum as the API shows them. Money becomes a decimal text here."""

from __future__ import annotations

import json
from typing import Any

from appliance.api.envelope import iso
from appliance.grid.prices import usd

_COUNTS = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens")


def record_of(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "request_id": row["request_id"],
        "created_at": iso(row["created_ms"] / 1000),
        "status": row["status"],
        "model": row["model"],
        "backend_id": row["backend_id"],
        "provider": row["provider"],
        "partner_id": row["partner_id"],
        "tenant_id": row["tenant_id"],
        "user_id": row["user_id"],
        "key_id": row["key_id"],
        "surface": row["surface"],
        "operation": row["operation"],
        "stream": row["stream"],
        "tokens_in": row["input_tokens"],
        "tokens_out": row["output_tokens"],
        "input_tokens": row["input_tokens"],
        "output_tokens": row["output_tokens"],
        "total_tokens": row["input_tokens"] + row["output_tokens"],
        "cached_input_tokens": row["cached_input_tokens"],
        "cache_write_tokens": row["cache_write_tokens"],
        "reasoning_tokens": row["reasoning_tokens"],
        "units": json.loads(row["units"]) if row["units"] else {},
        "estimated": row["estimated"],
        "cost": usd(row["cost_nano"]),
        "backend_cost": usd(row["backend_cost_nano"]),
        "reserved": usd(row["reserved_nano"]),
        "latency_ms": row["latency_ms"],
        "time_to_first_token_ms": row["ttft_ms"],
        "finish_reason": row["finish_reason"] or None,
        "error": row["error_code"] or None,
        "attempts": json.loads(row["attempts"]),
        "metadata": json.loads(row["metadata"]) if row["metadata"] else None,
    }


def sum_of(group: dict[str, Any]) -> dict[str, Any]:
    """`margin` is what is left of what callers paid after the upstreams have been paid."""
    return {
        "group_key": group["group_key"],
        "request_count": group["requests"],
        "failed_count": group["failed"],
        "estimated_count": group["estimated"],
        **{name: group[name] for name in _COUNTS},
        "total_tokens": group["input_tokens"] + group["output_tokens"],
        "total_cost": usd(group["cost_nano"]),
        "backend_cost": usd(group["backend_cost_nano"]),
        "margin": usd(group["cost_nano"] - group["backend_cost_nano"]),
    }
