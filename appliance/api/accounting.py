"""/v1/accounting: usage rows and their sums, within what the caller may see (API reference, section 8.2)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from sanic.response import ResponseStream

from appliance.api import budgets
from appliance.api.accept import Call
from appliance.api.envelope import Page, cursor_of, iso, limit_of, seq_of, unix_of
from appliance.api.export import download
from appliance.api.usage_record import record_of, sum_of
from appliance.errors import GatewayError, invalid
from appliance.grid.prices import usd
from appliance.limits import Budget
from appliance.permissions import accounting_scope
from appliance.state.budgets import flushed
from appliance.state.ledger import Amount
from appliance.state.retention import latest_ms, prune
from appliance.state.rollup import GROUPS
from appliance.state.usage import UsageFilter

PERIODS_S = {"hour": 3600, "day": 86_400, "week": 7 * 86_400, "month": 30 * 86_400}
"""`period` without `start` means the last hour, 24 hours, 7 days or 30 days."""


async def list_usage(call: Call) -> Page:
    where = _filter(call)
    limit = limit_of(call.query.get("limit"))
    await _see_own_writes(call)
    rows = await call.state.usage.rows(where, limit + 1, seq_of(call.query.get("cursor")))
    page = rows[:limit]
    return Page([record_of(row) for row in page], cursor_of(page[-1]["seq"]) if len(rows) > limit else None)


async def summarize_usage(call: Call) -> list[dict[str, Any]]:
    group_by = call.query.get("group_by", "model")
    if group_by not in GROUPS:
        raise invalid("group_by", f"takes one of {', '.join(GROUPS)}")
    where = _filter(call)
    await _see_own_writes(call)
    return [sum_of(group) for group in await call.state.usage.summary(where, group_by)]


async def export_usage(call: Call) -> ResponseStream:
    answer = download(call, _filter(call))
    await _see_own_writes(call)
    return answer


async def verify_balances(call: Call) -> dict[str, Any]:
    """Every balance that the caller may see, counted anew from the rows; and the rollups, of rows that he may see."""
    state, scope = call.state, accounting_scope(call.principal)
    async with state.usage.budgets.changing:
        now_ms = int(time.time() * 1000)
        accounts = [account for account in state.ledger.accounts(now_ms) if budgets.sees(call, account.budget)]
        # No await between these lines: the balances are those of the calls with lower entries, to the nano-USD.
        kept = [(account.budget, account.balance.start_ms, account.balance.end_ms) for account in accounts]
        amounts = [Amount(*(account.balance.posted(name) for name in _KINDS)) for account in accounts]
        bound = state.ledger.next_entry
    await flushed(state)
    recounted = await state.usage.recount([(budget.subject, start, end) for budget, start, end in kept], bound)
    differences: list[dict[str, Any]] = []
    for (budget, start_ms, _), balance, rows in zip(kept, amounts, recounted, strict=True):
        differences += _differences(budget, start_ms, balance, rows)
    differences += [
        {"what": "rollup", "day": day, "sum": name, "kept": str(left), "by_rows": str(right)}
        for day, name, left, right in await state.usage.differences(scope)
    ]
    return {"budgets_checked": len(kept), "differences": differences}


async def prune_usage(call: Call) -> dict[str, Any]:
    """`done` is false when there was more than one request may delete; then ask again."""
    if "super_admin" not in call.principal.roles:
        raise GatewayError("AUTHZ_PERMISSION_DENIED", "only a super_admin may delete usage rows")
    text = call.query.get("before")
    if not text:
        raise invalid("before", "is required: rows of calls made before this time are deleted for ever")
    before_ms = int(unix_of("before", text) * 1000)
    now_ms = int(time.time() * 1000)
    latest, held_by = latest_ms(call.state.ledger.accounts(now_ms), now_ms)
    if before_ms > latest:
        reason = f"the budget {held_by} counts them" if held_by else "calls of the last day may still run"
        raise invalid("before", f"rows since {iso(latest / 1000)} must stay: {reason}")
    deleted, done = await prune(call.state.store, before_ms)
    return {"deleted": deleted, "done": done}


_KINDS = ("cost", "tokens", "requests")


def _differences(budget: Budget, start_ms: int, balance: Amount, rows: Amount) -> list[dict[str, Any]]:
    pairs = [(name, getattr(balance, name), getattr(rows, name)) for name in _KINDS]
    return [
        {
            "what": "balance",
            "budget_id": budget.id,
            "period_start": iso(start_ms / 1000),
            "sum": name,
            "kept": usd(left) if name == "cost" else str(left),
            "by_rows": usd(right) if name == "cost" else str(right),
        }
        for name, left, right in pairs
        if left != right
    ]


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
        key_id=query.get("key_id", ""),
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
