"""Whether a price says what its model is charged by: no unit that is used may be without a price."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from config.document import Document
from config.explain import Finding
from config.parameters import Modality
from config.prices import TOKEN_CLASSES, Price
from config.problems import Path
from config.routing import RoutingPolicy

_TOKENS = frozenset((*TOKEN_CLASSES, "tiers"))
_BOTH = ("input", "output")

CHARGED: Mapping[Modality, frozenset[str]] = {
    "chat": _TOKENS | {"request"},
    "embedding": frozenset(("input", "tiers", "request")),
    "image": _TOKENS | {"image", "request"},
    "audio": _TOKENS | {"audio_minute", "characters", "request"},
    "rerank": frozenset(("input", "tiers", "search", "request")),
}
"""Modality → the units by which its calls can be charged."""

NEEDED: Mapping[Modality, tuple[tuple[str, ...], ...]] = {
    "chat": (_BOTH,),
    "embedding": (("input",),),
    "image": (("image",), _BOTH),
    "audio": (("audio_minute",), ("characters",), _BOTH),
    "rerank": (("search",), ("input",)),
}
"""Modality → sets of units, one of which has to be priced."""

ARTICLE = {"embedding": "an", "image": "an", "audio": "an"}


def check_prices(document: Document) -> Iterator[Finding]:
    """Everything about prices and costs that depends on what their models do."""
    used = modalities_of_policies(document)
    for name, model in document.models.items():
        yield from _price(("models", name, "price"), model.price, (model.modality,))
        if isinstance(model.route, RoutingPolicy):
            yield from _costs(("models", name, "route"), model.route, (model.modality,))
    for name, policy in document.routing_policies.items():
        yield from _costs(("routing_policies", name), policy, used.get(name, ()))


def modalities_of_policies(document: Document) -> dict[str, tuple[Modality, ...]]:
    """Name of a shared policy → what the models that use it do."""
    used: dict[str, dict[Modality, None]] = {}
    for model in document.models.values():
        if isinstance(model.route, str):
            used.setdefault(model.route, {})[model.modality] = None
    return {name: tuple(modalities) for name, modalities in used.items()}


def _costs(path: Path, policy: RoutingPolicy, modalities: Sequence[Modality]) -> Iterator[Finding]:
    for position, target in enumerate(policy.targets):
        if target.cost is not None:
            yield from _price((*path, "targets", position, "cost"), target.cost, modalities)


def _price(path: Path, price: Price, modalities: Sequence[Modality]) -> Iterator[Finding]:
    if price.unresolved or not modalities:
        return
    for modality in modalities:
        yield from _missing(path, price, modality)
    charged = frozenset[str]().union(*(CHARGED[modality] for modality in modalities))
    for unit in price.model_fields_set - charged if not price.auto else ():
        if getattr(price, unit):
            message = f"no model of modality {_all(modalities, 'or')} is charged by `{unit}`"
            yield Finding((*path, unit), message, "remove it: it is never counted", on="key", warning=True)


def _missing(path: Path, price: Price, modality: Modality) -> Iterator[Finding]:
    ways = NEEDED[modality]
    if any(price.model_fields_set.issuperset(way) for way in ways):
        return
    if len(ways) == 1:
        for unit in ways[0]:
            if unit not in price.model_fields_set:
                meaning = str(Price.model_fields[unit].description)
                yield Finding((*path, unit), f"`{unit}` is missing", meaning, on="parent")
        return
    message = f"this price does not say what {ARTICLE.get(modality, 'a')} {modality} model costs"
    hint = "write " + ", or ".join(_all(way, "and") for way in ways)
    yield Finding((*path, ways[0][0]), message, hint, on="parent")


def _all(names: Sequence[str], word: str) -> str:
    return f" {word} ".join(f"`{name}`" for name in names)
