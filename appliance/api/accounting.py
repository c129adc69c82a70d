"""/v1/accounting: usage rows and their sums, within what the caller may see (API reference, section 8.2)."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from appliance.api.accept import Call
from appliance.api.envelope import Page, cursor_of, iso, limit_of, seq_of, unix_of
from appliance.errors import GatewayError, invalid
from appliance.grid.prices import usd
from appliance.permissions import accounting_scope
from appliance.state.usage import GROUPS, UsageFilter

PERIODS_S = {"hour": 3600, "day": 86_400, "week": 7 * 86_400, "month": 30 * 86_400}
"""`period` without `start` means the last hour, 24 hours, 7 days or 30 days."""


async def list_usage(call: Call) -> Page:
    where = _filter(call)
    limit = limit_of(call.query.get("limit"))
    await _see_own_writes(call)
    rows = await call.state.usage.rows(where, limit + 1, seq_of(call.query.get("cursor")))
    page = rows[:limit]
    return Page([_record(row) for row in page], cursor_of(page[-1]["seq"]) if len(rows) > limit else None)


async def summarize_usage(call: Call) -> list[dict[str, Any]]:
    group_by = call.query.get("group_by", "model")
    if group_by not in GROUPS:
        raise invalid("group_by", f"takes one of {', '.join(GROUPS)}")
    where = _filter(call)
    await _see_own_writes(call)
    return [_sum(row) for row in await call.state.usage.summary(where, group_by)]


async def _see_own_writes(call: Call) -> None:
    """A caller who has his answer finds its row here, although the store gets rows a moment later."""
    await asyncio.to_thread(call.state.journal.flushed)


def _filter(call: Call) -> UsageFilter:
    query = call.query
    scope = accounting_scope(call.principal)
    if "tenant_id" in query and scope.tenant_id and query["tenant_id"] != scope.tenant_id:
        raise GatewayError("AUTHZ_PERMISSION_DENIED", "tenant_id: other tenants need accounting:view_partner")
    user_id = query.get("user_id", "")
    if user_id and ":" not in user_id:
        user_id = f"{query.get('tenant_id', call.principal.tenant_id)}:{user_id}"
    if user_id and scope.user_id and user_id != scope.user_id:
        raise GatewayError("AUTHZ_PERMISSION_DENIED", "user_id: other users need accounting:view_tenant")
    start, end = query.get("start"), query.get("end")
    start_ms = int(unix_of("start", start) * 1000) if start else _period_start_ms(query.get("period"))
    return UsageFilter(
        scope=scope,
        start_ms=start_ms,
        end_ms=int(unix_of("end", end) * 1000) if end else None,
        tenant_id=query.get("tenant_id", ""),
        user_id=user_id,
        model=query.get("model", ""),
        backend_id=query.get("backend_id", ""),
        status=query.get("status", ""),
        request_id=query.get("request_id", ""),
    )


def _period_start_ms(period: str | None) -> int | None:
    if period is None:
        return None
    if period not in PERIODS_S:
        raise invalid("period", f"takes one of {', '.join(PERIODS_S)}")
    return int((time.time() - PERIODS_S[period]) * 1000)


def _record(row: dict[str, Any]) -> dict[str, Any]:
    attempts = json.loads(row["attempts"])
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
        "estimated": row["estimated"],
        "cost": usd(row["cost_nano"]),
        "backend_cost": usd(row["backend_cost_nano"]),
        "latency_ms": row["latency_ms"],
        "time_to_first_token_ms": row["ttft_ms"],
        "finish_reason": row["finish_reason"] or None,
        "error": row["error_code"] or None,
        "attempts": attempts,
        "metadata": json.loads(row["metadata"]) if row["metadata"] else None,
    }


def _sum(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "group_key": row["group_key"],
        "request_count": row["request_count"],
        "input_tokens": row["input_tokens"],
        "output_tokens": row["output_tokens"],
        "total_tokens": row["input_tokens"] + row["output_tokens"],
        "total_cost": usd(row["cost_nano"]),
        "backend_cost": usd(row["backend_cost_nano"]),
    }
