"""Cross references of budgets and groups: what can never be met, what is said twice, who does not exist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from fnmatch import fnmatchcase

from config.document import Document
from config.explain import Finding
from config.limits import MILLION, SMALLEST_ANSWER, Budget
from config.models import FrontendModel
from config.prices import Price
from config.problems import Path, meant, shown
from config.scalars import NANO
from config.tenancy import ADMIN, DEFAULT, Group, Partner, Tenant

Models = Mapping[str, FrontendModel]


def check_limits(document: Document, names: Mapping[Path, AbstractSet[str]]) -> Iterator[Finding]:
    """Everything about budgets and groups that one entry alone cannot know."""
    for partner_name, partner in document.partners.items():
        path: Path = ("partners", partner_name)
        yield from _budgets(path, partner.budgets, _models_of_partner(document, partner))
        for tenant_name, tenant in partner.tenants.items():
            tenant_path = (*path, "tenants", tenant_name)
            yield from _tenant(tenant_path, tenant, _models_of_tenant(document, tenant))
            users = set(names.get((*tenant_path, "users"), ()))
            if partner_name == tenant_name == DEFAULT:
                users.add(ADMIN)
            for group_name, group in tenant.groups.items():
                yield from _members((*tenant_path, "groups", group_name), group, users, tenant_name)


def _models_of_partner(document: Document, partner: Partner) -> Models:
    """Those of its tenants; all as long as no tenant is declared."""
    models = [_models_of_tenant(document, tenant) for tenant in partner.tenants.values() or [Tenant()]]
    return {name: model for some in models for name, model in some.items()}


def _models_of_tenant(document: Document, tenant: Tenant) -> Models:
    return {
        name: model
        for name, model in document.models.items()
        if model.status != "disabled" and any(fnmatchcase(name, pattern) for pattern in tenant.models)
    }


def _tenant(path: Path, tenant: Tenant, models: Models) -> Iterator[Finding]:
    yield from _budgets(path, tenant.budgets, models)
    for name, group in tenant.groups.items():
        yield from _budgets((*path, "groups", name), group.budgets, models)
    for name, user in tenant.users.items():
        yield from _budgets((*path, "users", name), user.budgets, models)
        for position, key in enumerate(user.api_keys):
            yield from _budgets((*path, "users", name, "api_keys", position), key.budgets, models)


def _budgets(path: Path, budgets: Sequence[Budget], models: Models) -> Iterator[Finding]:
    seen: dict[tuple[object, ...], Path] = {}
    for position, budget in enumerate(budgets):
        here = (*path, "budgets", position)
        if budget.hard_action == "block":
            yield from _never_met(here, budget, models)
        if budget.name is not None and (first := seen.setdefault(("name", budget.name), here)) != here:
            yield Finding((*here, "name"), "two budgets have the name {}", first=(*first, "name"), value=budget.name)
        zone = budget.timezone if budget.period != "total" else ""
        same = (budget.period, zone, budget.kinds, budget.hard_action)
        if (first := seen.setdefault(same, here)) != here:
            message = f"this {budget.period} budget limits the same as another one, so only the tighter one counts"
            yield Finding(here, message, first=first, warning=True)


def _never_met(path: Path, budget: Budget, models: Models) -> Iterator[Finding]:
    if any(model.modality != "chat" for model in models.values()):
        return  # calls of other models may be smaller than the shortest answer
    if budget.token_limit is not None and budget.token_limit < SMALLEST_ANSWER:
        message = f"no call can be served: this is less than the shortest answer of {SMALLEST_ANSWER} tokens"
        yield Finding((*path, "token_limit"), message, "raise the limit", warning=True)
    if budget.cost_limit is None or not models:
        return
    nano, cheapest = min((_shortest_answer(model.price), name) for name, model in models.items())
    if budget.cost_limit < nano:
        message = f"no call can be served: {SMALLEST_ANSWER} tokens of the cheapest model cost more than this"
        hint = f"with {shown(cheapest)} they cost {_usd(nano)} USD"
        yield Finding((*path, "cost_limit"), message, hint, warning=True)


def _shortest_answer(price: Price) -> int:
    """Nano-USD of the fewest output tokens that are asked for, rounded up."""
    return price.request - (-SMALLEST_ANSWER * price.output // MILLION)


def _usd(nano: int) -> str:
    return f"{nano // NANO}.{nano % NANO:09}".rstrip("0").rstrip(".")


def _members(path: Path, group: Group, users: AbstractSet[str], tenant: str) -> Iterator[Finding]:
    for position, user in enumerate(group.users):
        if user not in users:
            hint = meant(user, users, f"declare it under `users` of tenant {shown(tenant)}")
            yield Finding((*path, "users", position), "there is no user {} in this tenant", hint, value=user)
