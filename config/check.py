"""Cross references: whatever one entry alone cannot know. All findings at once; nothing is changed here."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from fnmatch import fnmatchcase

from config.check_limits import check_limits
from config.check_prices import check_prices
from config.check_providers import check_providers
from config.check_routing import check_routing
from config.document import Document
from config.explain import Finding
from config.models import FrontendModel
from config.parameters import PARAMETERS
from config.problems import Path, meant, shown
from config.routing import RoutingPolicy
from config.tenancy import ADMIN, DEFAULT, ApiKey, Tenant

Names = Mapping[Path, AbstractSet[str]]
"""Path of a section → names written in it, those of entries that could not be decoded included."""


def check(document: Document, names: Names) -> list[Finding]:
    """Everything that does not fit together; `names` saves an unreadable entry from being called unknown."""
    return [
        *check_providers(document),
        *_models(document, names),
        *_policies(document, names),
        *check_routing(document, names),
        *_tenants(document, names),
        *_keys(document),
        *check_limits(document, names),
        *check_prices(document),
    ]


def _models(document: Document, names: Names) -> Iterator[Finding]:
    policies = names.get(("routing_policies",), ())
    for name, model in document.models.items():
        path = ("models", name)
        yield from _model(path, model)
        if isinstance(model.route, RoutingPolicy):
            yield from _policy((*path, "route"), model.route, names)
        elif model.route not in policies:
            hint = meant(model.route, policies, "declare it under `routing_policies`, or list the targets here")
            yield Finding((*path, "route"), "there is no routing policy {}", hint, value=model.route)


def _model(path: Path, model: FrontendModel) -> Iterator[Finding]:
    most = model.max_output_tokens
    if most and model.context_window and most > model.context_window:
        message = "`max_output_tokens` is larger than `context_window`"
        yield Finding((*path, "max_output_tokens"), message, "the window holds input and output together")
    default = model.default_params.get("max_tokens")
    if most and default and default > most:
        message = "the default `max_tokens` is larger than `max_output_tokens`"
        yield Finding((*path, "default_params", "max_tokens"), message, f"at most {most}")
    yield from _only_for_others(path, model)


def _only_for_others(path: Path, model: FrontendModel) -> Iterator[Finding]:
    """Chat parameters of a model that does not chat, and the like: they would be lost without a word."""
    known = PARAMETERS[model.modality]
    where = f"has no meaning for a model of modality `{model.modality}`"
    for name in model.default_params:
        if name not in known:
            hint = f"known here: {', '.join(known)}" if known else "remove it"
            yield Finding((*path, "default_params", name), f"`{name}` {where}", hint, on="key")
    if model.modality != "chat" and model.system_prompt is not None:
        yield Finding((*path, "system_prompt"), f"`system_prompt` {where}", "remove it", on="key")


def _policies(document: Document, names: Names) -> Iterator[Finding]:
    used = {model.route for model in document.models.values() if isinstance(model.route, str)}
    for name, policy in document.routing_policies.items():
        path = ("routing_policies", name)
        yield from _policy(path, policy, names)
        if name not in used:
            yield Finding(path, f"no model uses the policy {shown(name)}", on="key", warning=True)


def _policy(path: Path, policy: RoutingPolicy, names: Names) -> Iterator[Finding]:
    providers = names.get(("providers",), ())
    for position, target in enumerate(policy.targets):
        if target.provider not in providers:
            hint = meant(target.provider, providers, "declare it under `providers`")
            backend = (*path, "targets", position, "backend")
            yield Finding(backend, "there is no provider {}", hint, value=target.provider)
    if not any(target.enabled for target in policy.targets):
        message = "every target is disabled, so no call can be served"
        yield Finding((*path, "targets"), message, "set `enabled: true` on one", on="key", warning=True)
    elif not any(target.weight != 0 for target in policy.targets if target.enabled):
        yield Finding((*path, "targets"), "every enabled target has weight 0", "give one a weight above 0", on="key")


def _tenants(document: Document, names: Names) -> Iterator[Finding]:
    homes: dict[str, Path] = {}
    for partner_name, partner in document.partners.items():
        for name, tenant in partner.tenants.items():
            path: Path = ("partners", partner_name, "tenants", name)
            if name == DEFAULT and partner_name != DEFAULT:
                message = "the tenant `default` belongs to the partner `default`"
                yield Finding(path, message, "choose another name", on="key")
            elif (first := homes.setdefault(name, path)) != path:
                message = f"the tenant {shown(name)} is declared in two partners"
                yield Finding(path, message, on="key", first=first)
            yield from _tenant(path, tenant, names.get(("models",), ()))
    default = document.partners.get(DEFAULT)
    if default and DEFAULT in default.tenants and ADMIN in default.tenants[DEFAULT].users:
        path = ("partners", DEFAULT, "tenants", DEFAULT, "users", ADMIN)
        message = "the user `admin` of tenant `default` always exists and cannot be declared"
        yield Finding(path, message, "choose another name; the key of `admin` lies in data_dir/admin.key", on="key")


def _tenant(path: Path, tenant: Tenant, models: Collection[str]) -> Iterator[Finding]:
    for position, pattern in enumerate(tenant.models):
        if not any(fnmatchcase(model, pattern) for model in models):
            hint = meant(pattern, models)
            yield Finding((*path, "models", position), "{} matches no model", hint, warning=True, value=pattern)


def _keys(document: Document) -> Iterator[Finding]:
    seen: dict[str, Path] = {}
    for path, key in _all_keys(document):
        if (first := seen.setdefault(key.digest, path)) != path:
            yield Finding(path, "the same API key is written twice", first=first)


def _all_keys(document: Document) -> Iterator[tuple[Path, ApiKey]]:
    for partner_name, partner in document.partners.items():
        for tenant_name, tenant in partner.tenants.items():
            for user_name, user in tenant.users.items():
                path = ("partners", partner_name, "tenants", tenant_name, "users", user_name, "api_keys")
                for position, key in enumerate(user.api_keys):
                    yield (*path, position), key
