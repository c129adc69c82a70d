"""compile_grid(document): the YAML's meaning. Pure; resolves names to objects and prepares every endpoint once."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping
from typing import cast

import config
from appliance.exchange import Key, User
from appliance.grid.conditions import compile_condition
from appliance.grid.grid import Breaker, Fallback, FrontendModel, Grid, Hedge, Policy, Queue, Target, Tenant
from appliance.grid.prices import Price, Rates
from appliance.grid.tenants import UNAUTHENTICATED, compile_tenants, declared_at, limits_of, rates_of
from appliance.limits import Budget, Limits, Scope
from appliance.people import ADMIN_USER_ID, DEFAULT, Overlay
from appliance.providers import PROVIDERS
from appliance.providers.base import Endpoint
from appliance.providers.capabilities import RESPONSES_LACKS, lacks


def compile_grid(loaded: config.Loaded, generation: int, overlay: Overlay | None = None) -> Grid:
    """A checked document, and what was made at run time → Grid.

    Only called with what `config.load` accepted, so a failure here is our mistake.
    """
    document = loaded.document
    endpoints = {name: PROVIDERS[entry.type].prepare(name, entry) for name, entry in document.providers.items()}
    models = {name: _model(name, entry, document, endpoints) for name, entry in document.models.items()}
    tenants = _weighted(compile_tenants(loaded, overlay or Overlay(), models), document)
    return Grid(
        generation=generation,
        hash=loaded.hash,
        endpoints=endpoints,
        models=models,
        tenants=tenants,
        own_limits=_own_limits(document, tenants),
        unauthenticated=limits_of(rates_of(document.server.unauthenticated_rate_limits), UNAUTHENTICATED),
        body_limit=document.server.body_limit,
        created_unix=int(time.time()),
        queues={name: _queue(entry) for name, entry in document.providers.items()},
        probes={name: entry.probe.interval for name, entry in document.providers.items() if entry.probe},
    )


def recompile_tenants(grid: Grid, loaded: config.Loaded, generation: int, overlay: Overlay) -> Grid:
    """The same document with other tenants at run time: models and endpoints stay the objects that they are."""
    tenants = _weighted(compile_tenants(loaded, overlay, grid.models), loaded.document)
    return dataclasses.replace(grid, generation=generation, tenants=tenants)


def _weighted(tenants: dict[str, Tenant], document: config.Document) -> dict[str, Tenant]:
    """The tenants, each with the weight that the YAML gives it."""
    for partner in document.partners.values():
        for name, entry in partner.tenants.items():
            if entry.weight != 1:
                tenants[name] = dataclasses.replace(tenants[name], weight=entry.weight)
    return tenants


def _queue(provider: config.Provider) -> Queue:
    return Queue(provider.max_connections, provider.queue.size, provider.queue.wait)


def _own_limits(document: config.Document, tenants: dict[str, Tenant]) -> dict[str, Limits]:
    own: dict[str, Limits] = {}
    for partner in document.partners.values():
        for tenant_id, tenant in partner.tenants.items():
            for name, user in tenant.users.items():
                if user.rate_limits:
                    limits = limits_of(rates_of(user.rate_limits), tenants[tenant_id].user_limits)
                    own[f"user:{tenant_id}:{name}"] = limits
                for key in user.api_keys:
                    if key.rate_limits:
                        limits = limits_of(rates_of(key.rate_limits), tenants[tenant_id].key_limits)
                        own[f"key:{key_id_of(key.digest)}"] = limits
    return own


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
            declared=declared_at(loaded, (*path, "budgets", str(position))),
        )
    return list(found.values())


def key_id_of(digest: str) -> str:
    return f"apikey_{digest[:16]}"


def people(loaded: config.Loaded) -> tuple[list[User], list[Key]]:
    """The users and keys that the YAML declares, for state.directory. Ids are stable: `tenant:user`, and by digest."""
    users = [User(ADMIN_USER_ID, "admin", DEFAULT, DEFAULT, ("super_admin",), display_name="Administrator")]
    keys: list[Key] = []
    for partner_id, partner in loaded.document.partners.items():
        for tenant_id, tenant in partner.tenants.items():
            for name, user in tenant.users.items():
                declared = declared_at(loaded, ("partners", partner_id, "tenants", tenant_id, "users", name))
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
        policy = _policy(entry.route, document.routing_policies[entry.route], document, endpoints, price)
    else:
        policy = _policy(name, entry.route, document, endpoints, price)
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
        fallback=Fallback(entry.fallback.context_window or "", entry.fallback.content_filter or ""),
    )


def _policy(
    name: str, entry: config.RoutingPolicy, document: config.Document, endpoints: dict[str, Endpoint], price: Price
) -> Policy:
    targets = [
        Target(
            backend=target.backend,
            endpoint=endpoints[target.provider],
            upstream_model=target.upstream_model,
            priority=priority,
            weight=1 if target.weight is None else target.weight,
            cost=_price(target.cost) if target.cost else price,
            enabled=target.enabled,
            lacks=_lacks(document.providers[target.provider], target),
            when=compile_condition(target.when) if target.when else None,
        )
        for target, priority in zip(entry.targets, _priorities(entry), strict=True)
    ]
    levels = sorted({target.priority for target in targets})
    tiers = tuple(tuple(target for target in targets if target.priority == level) for level in levels)
    breaker, hedge = entry.circuit_breaker, entry.hedge
    return Policy(
        name=name,
        strategy=entry.strategy,
        tiers=tiers,
        retries=entry.retries,
        retry_on=entry.retry_on,
        deadline_s=entry.deadline,
        explore=entry.explore,
        sticky=entry.sticky,
        breaker=Breaker(breaker.failures, breaker.window, breaker.cooldown) if breaker else None,
        hedge=Hedge(hedge.percentile, hedge.min_delay, hedge.max_share) if hedge else None,
    )


def _lacks(provider: config.Provider, target: config.Target) -> frozenset[str]:
    said = cast(Mapping[str, bool], target.capabilities)
    known = lacks(provider.type, target.upstream_model, said)
    if provider.api != "responses":
        return known
    return known | {name for name in RESPONSES_LACKS if not said.get(name)}


def _priorities(entry: config.RoutingPolicy) -> list[int]:
    """A plain list means «in this order»; as soon as one target names a priority or weight, the unnamed are 1."""
    plain = all(target.priority is None and target.weight is None for target in entry.targets)
    if plain and entry.strategy == "priority":
        return list(range(1, len(entry.targets) + 1))
    return [1 if target.priority is None else target.priority for target in entry.targets]


def _price(entry: config.Price) -> Price:
    return Price(
        _rates(entry),
        tuple(_rates(tier) for tier in entry.tiers),
        request=entry.request,
        image=entry.image,
        audio_minute=entry.audio_minute,
        characters=entry.characters,
        search=entry.search,
        # `free` and `auto` are no lists of prices: they hold for whatever is charged.
        written=EVERYTHING if entry.free or entry.auto else frozenset(entry.model_fields_set),
    )


EVERYTHING = frozenset(config.Price.model_fields)


def _rates(entry: config.Price | config.Tier) -> Rates:
    above = entry.above if isinstance(entry, config.Tier) else 0
    return Rates(entry.input, entry.output, entry.cached_input, entry.cache_write, entry.reasoning, above)
