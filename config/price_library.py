"""What `price: auto` and `cost: auto` mean: looked up in the offline price library, never on the network.

The library is imported only when `auto` is used, because that takes a good part of a second. The newest price that it
lists counts, whatever today's date is, so that the same file always means the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from config.catalog import Provider
from config.check_prices import modalities_of_policies
from config.document import Document
from config.explain import Finding
from config.models import FrontendModel
from config.parameters import Modality
from config.prices import WRITE, Price
from config.problems import Path, shown
from config.routing import RoutingPolicy, Target
from config.scalars import NANO
from config.services import SERVICES

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

LIBRARY = "genai-prices"
CLASSES = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "reasoning": "output_reasoning_mtok",
}
"""Our token class → the library's."""

NOT_COUNTED = {"cache_write_1h_mtok", "web_searches_kcount", "storage_searches_kcount"}
"""What a caller may add to a plain chat; any further class means that the model is no plain chat model."""

NEEDED = {"embedding": {"input_mtok"}, "rerank": {"input_mtok"}}
"""Modality → the library's classes without which there is no price; other modalities need input and output."""

HOURS = {"audio_hours", "input_audio_hours"}
CHARACTERS = "input_mchars"
"""The library's names for sound by its length, and for text that is spoken."""


class UnknownPrice(Exception):
    """The library gives no price; `{}` in the message stands for the backend."""


def resolve(document: Document) -> tuple[Document, list[Finding]]:
    """The document with every `auto` replaced by a price, and those that could not be."""
    search = _Search(document.providers)
    used = modalities_of_policies(document)
    policies = {
        name: search.policy(policy, ("routing_policies", name), used.get(name, ("chat",))[0])
        for name, policy in document.routing_policies.items()
    }
    models = {name: search.model(model, ("models", name), policies) for name, model in document.models.items()}
    if not search.found:
        return document, search.findings
    return document.model_copy(update={"models": models, "routing_policies": policies}), search.findings


class _Search:
    """Goes through a document; entries without `auto` are handed back as they are."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self.providers = providers
        self.found = 0
        self.findings: list[Finding] = []

    def model(self, model: FrontendModel, path: Path, policies: Mapping[str, RoutingPolicy]) -> FrontendModel:
        if not isinstance(model.route, RoutingPolicy):
            policy_path: Path = ("routing_policies", model.route)
            price = self.model_price(model, path, policies.get(model.route), policy_path)
            return model.model_copy(update={"price": price})
        route = self.policy(model.route, (*path, "route"), model.modality)
        price = self.model_price(model, path, route, (*path, "route"))
        return model.model_copy(update={"route": route, "price": price})

    def model_price(self, model: FrontendModel, path: Path, policy: RoutingPolicy | None, policy_path: Path) -> Price:
        if policy is None or not model.price.unresolved:
            return model.price
        first = (*policy_path, "targets", 0)
        return self.price((*path, "price"), policy.targets[0], first, model.modality) or model.price

    def policy(self, policy: RoutingPolicy, path: Path, modality: Modality) -> RoutingPolicy:
        targets = [
            self.target(target, (*path, "targets", place), modality) for place, target in enumerate(policy.targets)
        ]
        return policy.model_copy(update={"targets": tuple(targets)})

    def target(self, target: Target, path: Path, modality: Modality) -> Target:
        if target.cost is None or not target.cost.unresolved:
            return target
        cost = self.price((*path, "cost"), target, path, modality) or target.cost
        return target.model_copy(update={"cost": cost})

    def price(self, path: Path, target: Target, target_path: Path, modality: Modality) -> Price | None:
        provider = self.providers.get(target.provider)
        if provider is None:  # reported by itself
            return None
        try:
            price = known_price(provider.type, target.upstream_model, modality)
        except UnknownPrice as trouble:
            written_at = (*target_path, "backend")
            self.findings.append(Finding(path, str(trouble), WRITE, value=target.backend, value_at=written_at))
            return None
        self.found += 1
        return price


def known_price(provider_type: str, upstream_model: str, modality: Modality = "chat") -> Price:
    """The published price of a model, from the library that is installed."""
    library_id = SERVICES[provider_type].prices
    if not library_id:
        raise UnknownPrice(f"there is no known price for {{}}: its provider is of type {shown(provider_type)}")
    import genai_prices
    from genai_prices.data import providers

    provider = next(entry for entry in providers if entry.id == library_id)
    model = provider.find_model(upstream_model)
    if model is None:
        raise UnknownPrice("there is no known price for {}")
    source = f"{LIBRARY} {genai_prices.__version__}: {model.id}"
    return Price.found(_written(_newest(model.prices), modality), source)


def _newest(prices: Any) -> ModelPrice:
    from genai_prices.types import ModelPrice, StartDateConstraint

    if isinstance(prices, ModelPrice):
        return prices
    dated: list[tuple[date, ModelPrice]] = []
    for entry in prices:
        if not isinstance(entry.constraint, StartDateConstraint | None):
            raise UnknownPrice("the price of {} changes with the time of day, so `auto` cannot give it")
        dated.append((entry.constraint.start_date if entry.constraint else date.min, entry.prices))
    return sorted(dated, key=lambda pair: pair[0])[-1][1]


def _written(price: ModelPrice, modality: Modality = "chat") -> dict[str, Any]:
    """A price of the library's as it would be written in the YAML."""
    listed = {key: value for key, value in vars(price).items() if value is not None}
    if modality == "audio" and set(listed) <= {*HOURS, CHARACTERS} and (pieces := _pieces(listed)):
        return pieces
    if not NEEDED.get(modality, {"input_mtok", "output_mtok"}) <= set(listed):
        raise UnknownPrice("there is no known price for the tokens of {}")
    if set(listed) - set(CLASSES.values()) - NOT_COUNTED:
        raise UnknownPrice("the price of {} depends on more than its tokens, so `auto` cannot give it")
    amounts = {ours: listed[theirs] for ours, theirs in CLASSES.items() if theirs in listed}
    starts = sorted({tier.start for amount in amounts.values() for tier in getattr(amount, "tiers", ())} - {0})
    tiers = [{"above": start, **_amounts_at(amounts, start)} for start in starts]
    return {**_amounts_at(amounts, 0), "tiers": tiers}


def _pieces(listed: Mapping[str, Any]) -> dict[str, str]:
    """The price of sound by its length or of speech by its characters; nothing when the library gives two of them."""
    amounts = list(listed.values())
    if not amounts or any(amount != amounts[0] or not isinstance(amount, Decimal) for amount in amounts):
        return {}
    if CHARACTERS not in listed:
        return {"audio_minute": usd(amounts[0], 60)}
    return {"characters": usd(amounts[0])} if len(listed) == 1 else {}


def _amounts_at(amounts: Mapping[str, Any], start: int) -> dict[str, str]:
    return {key: usd(_amount_at(amount, start)) for key, amount in amounts.items()}


def _amount_at(amount: Any, start: int) -> Decimal:
    """The amount for more than `start` input tokens; a class without tiers is the same everywhere."""
    if isinstance(amount, Decimal):
        return amount
    begun = [tier.price for tier in amount.tiers if tier.start <= start]
    found: Decimal = begun[-1] if begun else amount.base
    return found


def usd(amount: Decimal, parts: int = 1) -> str:
    """A part of an amount as money is written; rounded up where nano-USD do not suffice."""
    numerator, denominator = amount.as_integer_ratio()
    nano = -(-numerator * NANO // (denominator * parts))
    return f"{nano // NANO}.{nano % NANO:09}"
