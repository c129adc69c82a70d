"""A budget as the API shows it: its limits, what is used, pending and left, its period and its state."""

from __future__ import annotations

from typing import Any, Literal

from appliance.api.envelope import iso
from appliance.grid.prices import usd
from appliance.limits import Budget
from appliance.state.budgets import MadeBudget
from appliance.state.ledger import Account, Balance
from appliance.state.periods import NEVER_MS


def shown(account: Account, made: MadeBudget | None) -> dict[str, Any]:
    """`made` says who made it; a declared budget has none."""
    budget, balance = account.budget, account.balance
    soft, hard = (_reached(budget, balance, ppm) for ppm in (budget.soft_ppm, 1_000_000))
    return {
        "id": budget.id,
        "scope": budget.scope,
        "scope_id": scope_id_of(budget),
        **settings_of(budget),
        "used": _amount(balance.cost, balance.tokens, balance.requests),
        "overrun": usd(balance.overrun),
        "pending": _amount(balance.pending_cost, balance.pending_tokens, balance.pending_requests),
        "remaining": _remaining(budget, balance),
        "period_start": iso(balance.start_ms / 1000),
        "period_end": iso(balance.end_ms / 1000) if balance.end_ms < NEVER_MS else None,
        "soft_limit_reached": soft,
        "hard_limit_reached": hard,
        "state": _state(soft=soft, hard=hard),
        "declared_in": budget.declared or None,
        "created_by": made.made_by if made else None,
        "created_at": iso(made.created_unix) if made else None,
    }


def scope_id_of(budget: Budget) -> str:
    return budget.subject.partition(":")[2]


def _amount(cost: int, tokens: int, requests: int) -> dict[str, Any]:
    return {"cost": usd(cost), "tokens": tokens, "requests": requests}


def _remaining(budget: Budget, balance: Balance) -> dict[str, Any]:
    """What one more call could reserve; null where nothing is limited."""
    left: dict[str, Any] = {"cost": None, "tokens": None, "requests": None}
    for name, limit in budget.limits():
        free = max(0, limit - balance.posted(name) - balance.pending(name))
        left[name] = usd(free) if name == "cost" else free
    return left


def _reached(budget: Budget, balance: Balance, ppm: int) -> bool:
    return any(balance.posted(name) * 1_000_000 >= limit * ppm for name, limit in budget.limits())


def _state(*, soft: bool, hard: bool) -> Literal["ok", "soft", "exceeded"]:
    return "exceeded" if hard else "soft" if soft else "ok"


def settings_of(budget: Budget) -> dict[str, Any]:
    """The budget as its body would say it."""
    return {
        "name": budget.name or None,
        "period": budget.period,
        "timezone": budget.timezone,
        "cost_limit": None if budget.cost_limit is None else usd(budget.cost_limit),
        "token_limit": budget.token_limit,
        "request_limit": budget.request_limit,
        "soft_limit_pct": budget.soft_ppm / 1_000_000,
        "hard_action": budget.hard_action,
    }
