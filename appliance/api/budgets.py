"""/v1/accounting/budgets: what may be used, per partner, tenant, group, user or key, and how much of it is used.

Who holds accounting:manage_budgets makes, changes and deletes budgets of those whom he may manage. What somebody with a
wider reach put on a whole tenant or partner he cannot lift again; and since every budget that applies must have room,
one that he adds never loosens another. Budgets of the YAML are changed there.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Container
from dataclasses import replace
from typing import Any, cast, get_args
from urllib.parse import unquote

from pydantic import ValidationError

import config
from appliance.api.accept import Call
from appliance.api.budget_record import scope_id_of, settings_of, shown
from appliance.api.envelope import Page, limit_of
from appliance.errors import GatewayError, clipped, invalid
from appliance.limits import Budget, Scope
from appliance.permissions import Scope as Reach
from appliance.permissions import accounting_scope, people_scope
from appliance.state.budgets import NEXT, MadeBudget, add_budget, change_budget, remove_budget
from appliance.state.ledger import Account

SCOPES = get_args(Scope)
_LIMITS = ("cost_limit", "token_limit", "request_limit")
_SETTINGS = ("name", "period", "timezone", *_LIMITS, "soft_limit_pct", "hard_action")
_SELF, _TENANT, _PARTNER, _PLATFORM = range(4)
"""How far up a caller's people scope reaches."""


async def list_budgets(call: Call) -> Page:
    """Those of the caller's scope, and those of his tenant and groups that apply to him."""
    scope, scope_id = call.query.get("scope"), call.query.get("scope_id")
    if scope is not None and scope not in SCOPES:
        raise invalid("scope", f"takes one of {', '.join(SCOPES)}")
    after = call.query.get("cursor", "")
    accounts = sorted(call.state.ledger.accounts(_now_ms()), key=lambda account: account.budget.id)
    seen = [
        account
        for account in accounts
        if account.budget.id > after
        and not account.budget.id.endswith(NEXT)
        and scope in (None, account.budget.scope)
        and scope_id in (None, scope_id_of(account.budget))
        and sees(call, account.budget)
    ]
    limit = limit_of(call.query.get("limit"))
    page = seen[:limit]
    cursor = page[-1].budget.id if len(seen) > limit else None
    return Page([_shown(call, account) for account in page], cursor)


async def get_budget(call: Call) -> dict[str, Any]:
    return _shown(call, _found(call))


async def create_budget(call: Call) -> dict[str, Any]:
    """In force, for calls that run too, and on disk when the answer leaves."""
    body = call.body()
    _refuse_unknown(body)
    scope, subject = _subject(call, body)
    budget = _budget(f"budget_{secrets.token_hex(8)}", scope, subject, body)
    made = MadeBudget(budget, call.principal.user_id, _reach(people_scope(call.principal)), time.time())
    await add_budget(call.state, made)
    return _shown_by_id(call, budget.id)


async def update_budget(call: Call) -> dict[str, Any]:
    """What is sent replaces what was; null takes a limit away. Whose budget it is cannot be changed."""
    budget_id = _changeable(call).budget.id
    body = call.body()
    _refuse_unknown(body)

    def changed(made: MadeBudget) -> MadeBudget:
        old = made.budget
        if body.get("scope", old.scope) != old.scope or body.get("scope_id", scope_id_of(old)) != scope_id_of(old):
            raise invalid("scope_id", "a budget stays whose it is; delete it and make another one")
        return replace(made, budget=_budget(old.id, old.scope, old.subject, settings_of(old) | body))

    await change_budget(call.state, budget_id, changed)
    return _shown_by_id(call, budget_id)


async def delete_budget(call: Call) -> dict[str, Any]:
    budget_id = _changeable(call).budget.id
    await remove_budget(call.state, budget_id)
    return {"id": budget_id, "deleted": True}


def sees(call: Call, budget: Budget) -> bool:
    """The partner's own budget tells what its other tenants use, so it is shown to those only who may see that."""
    principal, place = call.principal, _place(call, budget.scope, scope_id_of(budget))
    if accounting_scope(principal).holds(*place):
        return True
    if budget.scope != "partner" and budget.subject in principal.subjects:
        return True
    return "accounting:manage_budgets" in principal.permissions and people_scope(principal).holds(*place)


# -- whose budget, and who may change it ------------------------------------------------------------------------------


def _found(call: Call) -> Account:
    budget_id = unquote(call.params["budget_id"])
    account = call.state.ledger.account(budget_id, _now_ms())
    if account is None or budget_id.endswith(NEXT) or not sees(call, account.budget):
        raise GatewayError("NOT_FOUND", f"the budget {clipped(budget_id)!r} does not exist")
    return account


def _changeable(call: Call) -> Account:
    account = _found(call)
    budget = account.budget
    reach = people_scope(call.principal)
    if not reach.holds(*_place(call, budget.scope, scope_id_of(budget))):
        raise GatewayError(
            "AUTHZ_PERMISSION_DENIED", f"the budget {budget.id} is of {budget.subject}, not yours to change"
        )
    if budget.declared:
        message = f"the budget {budget.id} is declared in {budget.declared}; change it there"
        raise GatewayError("DECLARED_IN_CONFIG", message)
    made = call.state.usage.budgets.made[budget.id]
    # Within a tenant its administrator is the master; what was put on the tenant itself, or above, binds him too.
    guard = made.made_in if budget.scope in ("partner", "tenant") else min(made.made_in, _TENANT)
    if _reach(reach) < guard:
        message = f"the budget {budget.id} was made by {made.made_by}, whose reach is wider than yours"
        raise GatewayError("AUTHZ_PERMISSION_DENIED", message)
    return account


def _reach(scope: Reach) -> int:
    return _SELF if scope.user_id else _TENANT if scope.tenant_id else _PARTNER if scope.partner_id else _PLATFORM


def _subject(call: Call, body: dict[str, Any]) -> tuple[Scope, str]:
    """Whom a new budget is for. What the caller may not manage does not exist for him."""
    scope, scope_id = body.get("scope"), body.get("scope_id")
    if not isinstance(scope, str) or scope not in SCOPES:
        raise invalid("scope", f"is required and takes one of {', '.join(SCOPES)}")
    if not isinstance(scope_id, str) or not scope_id:
        raise invalid("scope_id", f"is required: {_SCOPE_IDS[scope]}")
    if scope in ("user", "group") and ":" not in scope_id:
        scope_id = f"{call.principal.tenant_id}:{scope_id}"
    place = _place(call, scope, scope_id)
    if not _exists(call, scope, scope_id) or not people_scope(call.principal).holds(*place):
        raise invalid("scope_id", f"the {scope} {clipped(scope_id)!r} does not exist, or is not yours to manage")
    return cast(Scope, scope), f"{scope}:{scope_id}"


_SCOPE_IDS = {
    "partner": "a partner's id, such as acme-reseller",
    "tenant": "a tenant's id, such as acme",
    "group": "a group's id, such as acme:research",
    "user": "a user's id, such as acme:alice",
    "key": "an API key's id, such as apikey_0123456789abcdef",
}


def _place(call: Call, scope: str, scope_id: str) -> tuple[str, str, str]:
    """(partner, tenant, user) that the budget belongs to; empty where it belongs to more, or to nothing any more."""
    users = call.state.directory.users
    if scope == "partner":
        return scope_id, "", ""
    if scope == "key":
        key = call.state.directory.keys.get(scope_id)
        user = users.get(key.user_id) if key else None
        return (user.partner_id, user.tenant_id, user.id) if user else ("", "", "")
    tenant_id = scope_id.partition(":")[0]
    tenant = call.grid.tenants.get(tenant_id)
    return tenant.partner_id if tenant else "", tenant_id, scope_id if scope == "user" else ""


def _exists(call: Call, scope: str, scope_id: str) -> bool:
    users = call.state.directory.users
    if scope == "group":
        tenant_id, _, group = scope_id.partition(":")
        return any(user.tenant_id == tenant_id and group in user.groups for user in users.values())
    serving = call.people.serving
    known: dict[str, Container[str]] = {
        "partner": serving.partners,
        "tenant": serving.tenants,
        "user": users,
        "key": call.state.directory.keys,
    }
    return scope_id in known[scope]


# -- the body ---------------------------------------------------------------------------------------------------------


def _refuse_unknown(body: dict[str, Any]) -> None:
    known = ("scope", "scope_id", *_SETTINGS)
    unknown = sorted(set(body) - set(known))
    if unknown:
        raise invalid(clipped(unknown[0]), f"is not a member of this request; known are {', '.join(known)}")


def _budget(budget_id: str, scope: Scope, subject: str, body: dict[str, Any]) -> Budget:
    """By the rules of scaigrid.yaml, so that a budget means the same wherever it was written."""
    written = {name: body[name] for name in _SETTINGS if body.get(name) is not None}
    try:
        entry = config.Budget.model_validate(written)
    except ValidationError as error:
        raise _refusal(error) from None
    return Budget(
        id=budget_id,
        scope=scope,
        subject=subject,
        period=entry.period,
        timezone=entry.timezone,
        cost_limit=entry.cost_limit,
        token_limit=entry.token_limit,
        request_limit=entry.request_limit,
        soft_ppm=entry.soft_ppm,
        hard_action=entry.hard_action,
        name=entry.name or "",
    )


def _refusal(error: ValidationError) -> GatewayError:
    details: list[dict[str, str]] = []
    for found in error.errors(include_url=False, include_input=False):
        hint = found.get("ctx", {}).get("hint", "")
        message = "is required" if found["type"] == "missing" else found["msg"] + (f"; {hint}" if hint else "")
        details.append({"field": ".".join(map(str, found["loc"])) or "budget", "message": message})
    return GatewayError("VALIDATION_ERROR", f"{details[0]['field']}: {details[0]['message']}", details=details)


def _shown_by_id(call: Call, budget_id: str) -> dict[str, Any]:
    account = call.state.ledger.account(budget_id, _now_ms())
    if account is None:
        raise GatewayError("NOT_FOUND", f"the budget {budget_id} was deleted meanwhile")
    return _shown(call, account)


def _shown(call: Call, account: Account) -> dict[str, Any]:
    return shown(account, call.state.usage.budgets.made.get(account.budget.id))


def _now_ms() -> int:
    return int(time.time() * 1000)
