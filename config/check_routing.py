"""Cross references of routing: conditions that never hold, policies that leave calls without a target, fallbacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from fnmatch import fnmatchcase
from typing import get_args

from config.capabilities import FEATURES
from config.conditions import When
from config.document import Document
from config.explain import Finding
from config.models import FrontendModel
from config.problems import Path, meant, shown
from config.routing import RoutingPolicy, Target
from config.tenancy import DEFAULT, Role

Names = Mapping[Path, AbstractSet[str]]
Used = Sequence[FrontendModel]
"""The models that use a policy."""

_OF_OTHERS = {
    "embedding": frozenset({"embeddings", "dimensions"}),
    "image": frozenset({"images_out"}),
    "audio": frozenset({"transcription", "speech"}),
    "rerank": frozenset({"rerank"}),
}
NEVER_NEEDED = "cache_hints"
"""No call is refused for a hint, so none needs it."""

ASKED: Mapping[str, frozenset[str]] = {
    "chat": frozenset(FEATURES).difference(*_OF_OTHERS.values(), {NEVER_NEEDED}),
    **_OF_OTHERS,
}
"""Modality → the features that its calls can ask for."""

ROLES = frozenset(get_args(Role))
RUN_TIME = "right only if it is made at run time"
"""Partners, tenants, groups and roles may also be made over the API, so an unknown one is no mistake for certain."""


def check_routing(document: Document, names: Names) -> Iterator[Finding]:
    """Everything about policies, conditions and fallbacks that one entry alone cannot know."""
    people = _People(document, names)
    for path, policy, used in _policies(document):
        yield from _policy(path, policy)
        for position, target in enumerate(policy.targets):
            if target.when is not None:
                here = (*path, "targets", position, "when")
                yield from people.unknown(here, target.when)
                yield from people.apart(here, target.when)
                yield from _never_asked(here, target, target.when, used)
    yield from _fallbacks(document, names)


def _policies(document: Document) -> Iterator[tuple[Path, RoutingPolicy, Used]]:
    for name, model in document.models.items():
        if isinstance(model.route, RoutingPolicy):
            yield ("models", name, "route"), model.route, (model,)
    for name, policy in document.routing_policies.items():
        used = tuple(model for model in document.models.values() if model.route == name)
        yield ("routing_policies", name), policy, used


def _policy(path: Path, policy: RoutingPolicy) -> Iterator[Finding]:
    enabled = [target for target in policy.targets if target.enabled]
    if "explore" in policy.model_fields_set and policy.strategy != "latency":
        message = f"`explore` has no meaning for the strategy `{policy.strategy}`"
        yield Finding((*path, "explore"), message, "remove it: it is for `latency`", on="key")
    if policy.sticky != "none" and policy.strategy == "latency" and len(enabled) > 1:
        message = "a conversation or user that stays with its target does not go to the fastest"
        hint = "`latency` then only orders the targets after it; write `strategy: weighted`, or remove `sticky`"
        yield Finding((*path, "sticky"), message, hint, on="key", warning=True)
    if policy.hedge is not None and len(enabled) == 1:
        message = "there is no second target to hedge with"
        yield Finding((*path, "hedge"), message, "add a target, or remove `hedge`", on="key", warning=True)
    if enabled and not _covers_all([target.when for target in enabled]):
        message = "every target has a condition, so some calls have no target"
        hint = "add one without `when`, or leave it so on purpose"
        yield Finding((*path, "targets"), message, hint, on="key", warning=True)


def _covers_all(conditions: Iterable[When | None]) -> bool:
    """Some target is for every call, or the ranges of input tokens leave no gap."""
    reached = 0
    ranges = [_range(when) for when in conditions if when is None or _is_range(when)]
    for least, most in sorted(ranges, key=lambda bounds: bounds[0]):
        if least > reached:
            return False
        if most is None:
            return True
        reached = max(reached, most + 1)
    return False


def _is_range(when: When) -> bool:
    return when.model_fields_set == {"input_tokens"}


def _range(when: When | None) -> tuple[int, int | None]:
    if when is None or when.input_tokens is None:
        return 0, None
    return when.input_tokens.min or 0, when.input_tokens.max


# -- people -----------------------------------------------------------------------------------------------------------


class _People:
    """Who is declared: partners, tenants with their partners, groups with their tenants."""

    def __init__(self, document: Document, names: Names) -> None:
        self.partners = {*names.get(("partners",), ()), DEFAULT}
        self.partner_of = {DEFAULT: DEFAULT}
        self.tenants_of_group: dict[str, set[str]] = {}
        for path in names:
            if path[0] == "partners" and len(path) == 5:  # partners, PARTNER, tenants, TENANT, users
                self.partner_of[str(path[3])] = str(path[1])
        for partner in document.partners.values():
            for tenant_name, tenant in partner.tenants.items():
                for group in tenant.groups:
                    self.tenants_of_group.setdefault(group, set()).add(tenant_name)

    def unknown(self, path: Path, when: When) -> Iterator[Finding]:
        """Names that nobody bears."""
        yield from _unknown((*path, "tenants"), when.tenants, self.partner_of, "tenant")
        yield from _unknown((*path, "partners"), when.partners, self.partners, "partner")
        yield from _unknown((*path, "groups"), when.groups, self.tenants_of_group, "group")
        yield from _unknown((*path, "roles"), when.roles, ROLES, "role")

    def apart(self, path: Path, when: When) -> Iterator[Finding]:
        """Names that are known and exclude each other: a tenant is of one partner, a declared group of its tenants."""
        hint = "no caller is both; remove one of the two"
        if when.partners and _all_known(when.tenants, self.partner_of):
            homes = {self.partner_of[tenant] for tenant in when.tenants}
            if not any(_matches(home, when.partners) for home in homes):
                message = "this can never hold: none of these tenants is of one of these partners"
                yield Finding((*path, "tenants"), message, hint)
        if when.tenants and _all_known(when.groups, self.tenants_of_group):
            homes = set[str]().union(*(self.tenants_of_group[group] for group in when.groups))
            known = all(tenant in self.partner_of for tenant in when.tenants)
            if known and not any(_matches(home, when.tenants) for home in homes):
                message = "this can never hold: none of these groups is in one of these tenants"
                yield Finding((*path, "groups"), message, hint)


def _unknown(path: Path, patterns: Sequence[str], known: Iterable[str], what: str) -> Iterator[Finding]:
    known = tuple(known)
    for position, pattern in enumerate(patterns):
        if not any(fnmatchcase(name, pattern) for name in known):
            message = f"{{}} matches no {what} of the configuration"
            hint = meant(pattern, known, RUN_TIME)
            yield Finding((*path, position), message, hint, warning=True, value=pattern)


def _all_known(names: Sequence[str], known: Iterable[str]) -> bool:
    return bool(names) and set(names) <= set(known)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


# -- calls ------------------------------------------------------------------------------------------------------------


def _never_asked(path: Path, target: Target, when: When, used: Used) -> Iterator[Finding]:
    """What no call of these models asks for, or what the target itself is said not to have."""
    if when.needs and used:
        asked = frozenset[str]().union(*(ASKED[model.modality] for model in used))
        if not asked.intersection(when.needs):
            message = "this can never hold: no call of the models that use this target asks for it"
            yield Finding((*path, "needs"), message, _hint_of_needs(when.needs, used))
    said = {name for name, has in target.capabilities.items() if has is False}
    if when.needs and said.issuperset(when.needs):
        message = "this can never hold: the target is for calls that need what its `capabilities` say it lacks"
        yield Finding((*path, "needs"), message, "remove the condition, or the `false`")
    windows = [model.context_window for model in used]
    least = when.input_tokens.min if when.input_tokens else None
    if least and windows and all(window and window < least for window in windows):
        message = "no call with so long an input fits into the model's `context_window`"
        yield Finding((*path, "input_tokens", "min"), message, "lower it, or raise `context_window`", warning=True)


def _hint_of_needs(needs: Sequence[str], used: Used) -> str:
    if NEVER_NEEDED in needs:
        return f"remove {shown(NEVER_NEEDED)}: such a hint is never needed"
    modalities = dict.fromkeys(model.modality for model in used)
    return f"they are of modality {', '.join(shown(modality) for modality in modalities)}"


# -- fallback ---------------------------------------------------------------------------------------------------------


def _fallbacks(document: Document, names: Names) -> Iterator[Finding]:
    models = names.get(("models",), ())
    for name, model in document.models.items():
        for reason, other_name in _fallback_of(model):
            path = ("models", name, "fallback", reason)
            if other_name not in models:
                hint = meant(other_name, models, "declare it under `models`")
                yield Finding(path, "there is no model {}", hint, value=other_name)
            elif _leads_back(document, name, other_name):
                message = "this fallback leads back to the model itself"
                yield Finding(path, message, "let the last model of the row have no fallback")
            elif other := document.models.get(other_name):
                yield from _fallback(path, reason, model, other)


def _fallback_of(model: FrontendModel) -> Iterator[tuple[str, str]]:
    for reason in ("context_window", "content_filter"):
        if other := getattr(model.fallback, reason):
            yield reason, other


def _fallback(path: Path, reason: str, model: FrontendModel, other: FrontendModel) -> Iterator[Finding]:
    if other.modality != model.modality:
        message = f"a model of modality `{model.modality}` cannot fall back to one of modality `{other.modality}`"
        yield Finding(path, message, "name a model that does the same")
    elif other.status == "disabled":
        yield Finding(path, "the model that takes over is disabled", "enable it", warning=True)
    elif reason == "context_window" and _fits_no_more(model, other):
        message = "the window of {} is not larger"
        hint = "name a model with a larger `context_window`"
        yield Finding(path, message, hint, warning=True, value=model.fallback.context_window)


def _fits_no_more(model: FrontendModel, other: FrontendModel) -> bool:
    return bool(model.context_window and other.context_window and other.context_window <= model.context_window)


def _leads_back(document: Document, name: str, first: str) -> bool:
    """Whether a call of `name` that falls back to `first` can come back to `name`, for whatever reasons."""
    seen, ahead = set[str](), [first]
    while ahead:
        current = ahead.pop()
        if current == name:
            return True
        if current not in seen and current in document.models:
            seen.add(current)
            ahead += [other for _, other in _fallback_of(document.models[current])]
    return False
