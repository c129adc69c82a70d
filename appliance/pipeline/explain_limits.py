"""What would hold a call back: rate limits, budgets, and the worst case that has to fit into them. Part of explain.py.

It looks only: nothing is counted, and nothing is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from appliance.errors import GatewayError
from appliance.exchange import Exchange
from appliance.formats.chat import Usage
from appliance.grid.prices import Price, usd
from appliance.limits import Limits
from appliance.pipeline import rates, reserve
from appliance.state import State
from appliance.state.budgets import NEXT
from appliance.state.ledger import Account, Amount, Balance, BudgetExceeded, check_room
from appliance.state.limiter import Limiter
from appliance.state.periods import NEVER_MS


@dataclass(frozen=True, slots=True)
class Plan:
    """What `reserve` would do. `bound` is the most that the call can use; `amount` what would be held for it."""

    bound: Usage
    amount: Amount
    accounts: list[Account]
    clamped_to: int | None = None
    """Output tokens per choice, where the budgets cover no longer answer."""
    refused: GatewayError | None = None

    def worst(self, price: Price) -> int:
        return price.worst_of(self.bound)


def plan(exchange: Exchange, state: State) -> Plan:
    """Once the call is measured."""
    assert exchange.principal
    now_ms = int(exchange.received_unix * 1000)
    accounts = _applying(exchange.principal.subjects, state.ledger.accounts(now_ms))
    worst = reserve.worst_of(exchange, state.ledger, now_ms)
    refused = _refused(exchange, accounts, worst.amount)
    bound = exchange.bound or Usage(exchange.input_bound, (worst.cap or 0) * exchange.n)
    return Plan(bound, worst.amount, accounts, worst.cap if worst.clamped and not refused else None, refused)


def _applying(subjects: Sequence[str], accounts: Iterable[Account]) -> list[Account]:
    """In the order in which `reserve` looks at them."""
    places = {subject: place for place, subject in enumerate(subjects)}
    applying = [account for account in accounts if account.budget.subject in places]
    named = [account for account in applying if not account.budget.id.endswith(NEXT)]
    return sorted(named, key=lambda account: places[account.budget.subject])


def _refused(exchange: Exchange, accounts: list[Account], amount: Amount) -> GatewayError | None:
    try:
        check_room(accounts, amount)
    except BudgetExceeded as exceeded:
        return reserve.refusal(exchange, exceeded)
    return None


# -- as people see it -------------------------------------------------------------------------------------------------


def worst_case_shown(planned: Plan) -> dict[str, Any]:
    pieces = {name: getattr(planned.bound, name) for name in ("images", "audio_ms", "characters", "searches")}
    return {
        "input_tokens": planned.bound.input_tokens,
        "output_tokens": planned.bound.output_tokens,
        "units": {name: count for name, count in pieces.items() if count},
        "clamped_to": planned.clamped_to,
        "cost": usd(planned.amount.cost),
    }


def budgets_shown(planned: Plan, sees_partner: bool) -> dict[str, Any]:
    return {
        "fits": planned.refused is None,
        "refused": planned.refused.body() if planned.refused else None,
        "items": [
            _budget(account, planned.amount, hidden=_is_hidden(account.budget.subject, sees_partner))
            for account in planned.accounts
        ],
    }


def _budget(account: Account, amount: Amount, *, hidden: bool) -> dict[str, Any]:
    budget, balance = account.budget, account.balance
    limits = dict(budget.limits())
    fits = all(
        balance.posted(name) + balance.pending(name) + getattr(amount, name) <= limit for name, limit in limits.items()
    )
    return {
        "id": budget.id,
        "subject": budget.subject,
        "name": budget.name or None,
        "period": budget.period,
        "hard_action": budget.hard_action,
        **{name: None if hidden else _balance(balance, name, limits.get(name)) for name in _KINDS},
        "resets_at": _moment(balance.end_ms),
        "fits": fits,
    }


_KINDS = ("cost", "tokens", "requests")


def _balance(balance: Balance, name: str, limit: int | None) -> dict[str, Any] | None:
    if limit is None:
        return None
    posted, pending = balance.posted(name), balance.pending(name)
    told = usd if name == "cost" else int
    left = max(0, limit - posted - pending)
    return {"limit": told(limit), "used": told(posted), "reserved": told(pending), "remaining": told(left)}


def _moment(end_ms: int) -> str | None:
    return None if end_ms >= NEVER_MS else f"{datetime.fromtimestamp(end_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def rates_shown(exchange: Exchange, state: State, sees_partner: bool) -> dict[str, Any]:
    """`tokens`: what the call would count until it is known what it used."""
    wanted = rates.limits_of(exchange, state)
    tokens, now = rates.tokens_counted(exchange, wanted), exchange.received_at
    items = [
        _limit(state.limiter, subject, limits, tokens, now, hidden=_is_hidden(subject, sees_partner))
        for subject, limits in wanted
    ]
    return {"fits": not any(item["refused"] for item in items), "tokens": tokens, "items": items}


def _limit(limiter: Limiter, subject: str, limits: Limits, tokens: int, now: float, *, hidden: bool) -> dict[str, Any]:
    """A subject without a name is any key, or any user: nobody's numbers."""
    named = not subject.endswith(":")
    used = _used(limiter, subject, now) if named and not hidden else {}
    limited = limiter.refusal(subject, limits, tokens, now)
    names = ("requests_per_minute", "tokens_per_minute", "concurrent_requests")
    return {
        "subject": subject if named else f"{subject}*",
        **{name: _counted(getattr(limits, name), used.get(name)) for name in names},
        "refused": rates.refusal(limited).body() if limited else None,
    }


def _used(limiter: Limiter, subject: str, now: float) -> dict[str, int]:
    requests, tokens, running = limiter.used(subject, now)
    return {"requests_per_minute": requests, "tokens_per_minute": tokens, "concurrent_requests": running}


def _counted(limit: int | None, used: int | None) -> dict[str, int | None] | None:
    if limit is None:
        return None
    return {"limit": limit, "used": used, "remaining": None if used is None else max(0, limit - used)}


def _is_hidden(subject: str, sees_partner: bool) -> bool:
    """What a partner uses tells what its other tenants use."""
    return not sees_partner and subject.startswith("partner:")
