"""compile_grid(document): the YAML's meaning. Pure; resolves names to objects and prepares every endpoint once."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Iterable, Sequence

import config
from appliance.exchange import Key, User
from appliance.grid.grid import FrontendModel, Grid, Policy, Target, Tenant
from appliance.grid.prices import Price
from appliance.providers import PROVIDERS
from appliance.providers.base import Endpoint

DEFAULT = "default"
"""The partner and the tenant that always exist (contract section 1)."""

ADMIN_USER_ID = f"{DEFAULT}:admin"


def compile_grid(loaded: config.Loaded, generation: int) -> Grid:
    """A checked document → Grid. Only called with what `config.load` accepted, so a failure here is our mistake."""
    document = loaded.document
    endpoints = {name: PROVIDERS[entry.type].prepare(name, entry) for name, entry in document.providers.items()}
    models = {name: _model(name, entry, document, endpoints) for name, entry in document.models.items()}
    tenants = {DEFAULT: Tenant(DEFAULT, DEFAULT, "Default", False, frozenset(models))}
    for partner_id, partner in document.partners.items():
        for tenant_id, tenant in partner.tenants.items():
            tenants[tenant_id] = Tenant(
                id=tenant_id,
                partner_id=partner_id,
                display_name=tenant.display_name or tenant_id,
                suspended=tenant.status == "suspended",
                models=frozenset(allowed(models, tenant.models)),
            )
    return Grid(
        generation=generation,
        hash=loaded.hash,
        endpoints=endpoints,
        models=models,
        tenants=tenants,
        body_limit=document.server.body_limit,
        created_unix=int(time.time()),
    )


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
                    )
                )
                keys += [_key(user_id, key, declared) for key in user.api_keys]
    return users, keys


def _key(user_id: str, key: config.ApiKey, declared: str) -> Key:
    return Key(
        id=f"apikey_{key.digest[:16]}",
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
    return Price(entry.input, entry.output, entry.cached_input, entry.cache_write)
