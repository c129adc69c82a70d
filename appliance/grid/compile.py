"""compile_grid(document): the YAML's meaning. Pure; resolves names to objects and prepares every endpoint once."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Iterable, Sequence

import config
from appliance.exchange import Key, User
from appliance.grid.grid import FrontendModel, Grid, Policy, Target, Tenant
from appliance.grid.prices import Price, Rates
from appliance.limits import Budget, Limits, Scope
from appliance.providers import PROVIDERS
from appliance.providers.base import Endpoint

DEFAULT = "default"
"""The partner and the tenant that always exist (contract section 1)."""

KEY_LIMITS, USER_LIMITS, TENANT_LIMITS, PARTNER_LIMITS, UNAUTHENTICATED = map(Limits, (60, 120, 1000, 5000, 60))
"""What holds when nothing is written: requests per minute (API reference, section 8.4)."""

ADMIN_USER_ID = f"{DEFAULT}:admin"


def compile_grid(loaded: config.Loaded, generation: int) -> Grid:
    """A checked document → Grid. Only called with what `config.load` accepted, so a failure here is our mistake."""
    document = loaded.document
    endpoints = {name: PROVIDERS[entry.type].prepare(name, entry) for name, entry in document.providers.items()}
    models = {name: _model(name, entry, document, endpoints) for name, entry in document.models.items()}
    partners = {DEFAULT: config.Partner()} | dict(document.partners)
    tenants: dict[str, Tenant] = {}
    own_limits: dict[str, Limits] = {}
    for partner_id, partner in partners.items():
        implicit = {DEFAULT: config.Tenant()} if partner_id == DEFAULT else {}
        for tenant_id, tenant in (implicit | dict(partner.tenants)).items():
            tenants[tenant_id] = _tenant(partner_id, partner, tenant_id, tenant, models)
            own_limits |= _own_limits(tenant_id, tenant, tenants[tenant_id])
    return Grid(
        generation=generation,
        hash=loaded.hash,
        endpoints=endpoints,
        models=models,
        tenants=tenants,
        own_limits=own_limits,
        unauthenticated=_limits(document.server.unauthenticated_rate_limits, UNAUTHENTICATED),
        body_limit=document.server.body_limit,
        created_unix=int(time.time()),
    )


def _tenant(
    partner_id: str, partner: config.Partner, tenant_id: str, tenant: config.Tenant, models: Iterable[str]
) -> Tenant:
    return Tenant(
        id=tenant_id,
        partner_id=partner_id,
        display_name=tenant.display_name or tenant_id,
        suspended=tenant.status == "suspended",
        models=frozenset(allowed(models, tenant.models)),
        partner_limits=_limits(partner.rate_limits, PARTNER_LIMITS),
        limits=_limits(tenant.rate_limits, TENANT_LIMITS),
        user_limits=_limits(tenant.user_rate_limits, USER_LIMITS),
        key_limits=_limits(tenant.key_rate_limits, KEY_LIMITS),
    )


def _own_limits(tenant_id: str, tenant: config.Tenant, compiled: Tenant) -> dict[str, Limits]:
    own: dict[str, Limits] = {}
    for name, user in tenant.users.items():
        if user.rate_limits:
            own[f"user:{tenant_id}:{name}"] = _limits(user.rate_limits, compiled.user_limits)
        for key in user.api_keys:
            if key.rate_limits:
                own[f"key:{key_id_of(key.digest)}"] = _limits(key.rate_limits, compiled.key_limits)
    return own


def _limits(entry: config.RateLimits | None, default: Limits) -> Limits:
    """What is written counts, what is not keeps its default, `unlimited` switches a limit off."""
    if entry is None:
        return default

    def chosen(written: int | str | None, otherwise: int | None) -> int | None:
        return otherwise if written is None else None if isinstance(written, str) else written

    return Limits(
        chosen(entry.requests_per_minute, default.requests_per_minute),
        chosen(entry.tokens_per_minute, default.tokens_per_minute),
        chosen(entry.concurrent_requests, default.concurrent_requests),
    )


def budgets(loaded: config.Loaded) -> list[Budget]:
    """The budgets that the YAML declares. Ids are made of names, so that balances carry over a reload."""
    found: list[Budget] = []
    for partner_id, partner in loaded.document.partners.items():
        top = ("partners", partner_id)
        found += _budgets(loaded, top, "partner", f"partner:{partner_id}", partner.budgets)
        for tenant_id, tenant in partner.tenants.items():
            here = (*top, "tenants", tenant_id)
            found += _budgets(loaded, here, "tenant", f"tenant:{tenant_id}", tenant.budgets)
            for name, group in tenant.groups.items():
                found += _budgets(loaded, (*here, "groups", name), "group", f"group:{tenant_id}:{name}", group.budgets)
            for name, user in tenant.users.items():
                there = (*here, "users", name)
                found += _budgets(loaded, there, "user", f"user:{tenant_id}:{name}", user.budgets)
                for position, key in enumerate(user.api_keys):
                    path = (*there, "api_keys", str(position))
                    found += _budgets(loaded, path, "key", f"key:{key_id_of(key.digest)}", key.budgets)
    return found


def _budgets(
    loaded: config.Loaded, path: tuple[str, ...], scope: Scope, subject: str, entries: Iterable[config.Budget]
) -> list[Budget]:
    found: dict[str, Budget] = {}
    for position, entry in enumerate(entries):
        place = loaded.places.get((*path, "budgets", str(position)))
        base = f"{subject}:{entry.name or entry.period}"
        number = sum(1 for known in found if known == base or known.startswith(f"{base}.")) + 1
        budget_id = base if number == 1 else f"{base}.{number}"
        found[budget_id] = Budget(
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
            declared=f"{place.file}:{place.line}" if place else "scaigrid.yaml",
        )
    return list(found.values())


def key_id_of(digest: str) -> str:
    return f"apikey_{digest[:16]}"


def allowed(names: Iterable[str], globs: Sequence[str]) -> list[str]:
    return [name for name in names if any(fnmatch.fnmatchcase(name, glob) for glob in globs)]


def people(loaded: config.Loaded) -> tuple[list[User], list[Key]]:
    """The users and keys that the YAML declares, for state.directory. Ids are stable: `tenant:user`, and by digest."""
    users = [User(ADMIN_USER_ID, "admin", DEFAULT, DEFAULT, ("super_admin",), display_name="Administrator")]
    keys: list[Key] = []
    for partner_id, partner in loaded.document.partners.items():
        for tenant_id, tenant in partner.tenants.items():
            for name, user in tenant.users.items():
                place = loaded.places.get(("partners", partner_id, "tenants", tenant_id, "users", name))
                declared = f"{place.file}:{place.line}" if place else "scaigrid.yaml"
                user_id = f"{tenant_id}:{name}"
                users.append(
                    User(
                        id=user_id,
                        name=name,
                        tenant_id=tenant_id,
                        partner_id=partner_id,
                        roles=tuple(user.roles),
                        status=user.status,
                        email=user.email or "",
                        display_name=user.display_name or name,
                        declared=declared,
                        groups=tuple(sorted(g for g, group in tenant.groups.items() if name in group.users)),
                    )
                )
                keys += [_key(user_id, key, declared) for key in user.api_keys]
    return users, keys


def _key(user_id: str, key: config.ApiKey, declared: str) -> Key:
    return Key(
        id=key_id_of(key.digest),
        digest=key.digest,
        user_id=user_id,
        name=key.name,
        prefix=key.key[:8] if key.key else "sgk_",
        expires_unix=key.expires_at.timestamp() if key.expires_at else None,
        declared=declared,
    )


def _model(
    name: str, entry: config.FrontendModel, document: config.Document, endpoints: dict[str, Endpoint]
) -> FrontendModel:
    price = _price(entry.price)
    if isinstance(entry.route, str):
        policy = _policy(entry.route, document.routing_policies[entry.route], endpoints, price)
    else:
        policy = _policy(name, entry.route, endpoints, price)
    return FrontendModel(
        name=name,
        display_name=entry.display_name or name,
        description=entry.description or "",
        modality=entry.modality,
        context_window=entry.context_window,
        max_output_tokens=entry.max_output_tokens,
        price=price,
        default_params=dict(entry.default_params),
        system_prompt=entry.system_prompt,
        status=entry.status,
        policy=policy,
    )


def _policy(name: str, entry: config.RoutingPolicy, endpoints: dict[str, Endpoint], price: Price) -> Policy:
    targets = [
        Target(
            backend=target.backend,
            endpoint=endpoints[target.provider],
            upstream_model=target.upstream_model,
            priority=priority,
            weight=1 if target.weight is None else target.weight,
            cost=_price(target.cost) if target.cost else price,
            enabled=target.enabled,
        )
        for target, priority in zip(entry.targets, _priorities(entry), strict=True)
    ]
    levels = sorted({target.priority for target in targets})
    tiers = tuple(tuple(target for target in targets if target.priority == level) for level in levels)
    return Policy(name, entry.strategy, tiers, entry.retries, entry.retry_on, entry.deadline)


def _priorities(entry: config.RoutingPolicy) -> list[int]:
    """A plain list means «in this order»; as soon as one target names a priority or weight, the unnamed are 1."""
    plain = all(target.priority is None and target.weight is None for target in entry.targets)
    if plain and entry.strategy == "priority":
        return list(range(1, len(entry.targets) + 1))
    return [1 if target.priority is None else target.priority for target in entry.targets]


def _price(entry: config.Price) -> Price:
    return Price(_rates(entry), tuple(_rates(tier) for tier in entry.tiers), entry.request)


def _rates(entry: config.Price | config.Tier) -> Rates:
    above = entry.above if isinstance(entry, config.Tier) else 0
    return Rates(entry.input, entry.output, entry.cached_input, entry.cache_write, entry.reasoning, above)
