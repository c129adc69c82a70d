"""POST, PUT and DELETE of /v1/models: frontend models are entries of the YAML, and are changed there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import config
from appliance.api import models
from appliance.api.accept import Call
from appliance.api.config_writes import refuse_unless_allowed, write
from appliance.api.config_written import written
from appliance.api.configuration import configuration_of
from appliance.api.entry_members import check, checked_name, differing, sent
from appliance.api.members import named
from appliance.api.policy_record import policy_of_model
from appliance.errors import GatewayError, clipped, invalid
from config.scalars import ModelName

PRICES = {"input_price_per_mtok": "input", "output_price_per_mtok": "output"}
OWN = ("price", "route", "system_prompt", "fallback")
"""Members of the YAML that callers do not see in GET."""
NAMES = ("id", "slug", "name")


async def create_model(call: Call) -> dict[str, Any]:
    refuse_unless_allowed(call)
    body = sent(call)
    slug = checked_name(next((body.pop(key) for key in NAMES if key in body), None), ModelName, "slug")
    prices = _prices(body)
    if len(prices) == 1:
        raise invalid(next(name for name in PRICES if PRICES[name] not in prices), "is required beside the other price")
    entry = {name: value for name, value in body.items() if value is not None} | ({"price": prices} if prices else {})
    check(entry, config.FrontendModel, whole=True)

    def make(loaded: config.Loaded) -> list[config.Change]:
        if slug in loaded.document.models:
            raise GatewayError("SLUG_CONFLICT", f"the name {clipped(slug)!r} is already taken", param="slug")
        return [config.Change(("models", slug), entry)]

    done = await write(call, make)
    return await _shown(call, slug) | done


async def update_model(call: Call) -> dict[str, Any]:
    """Applies the members that are sent; null takes one away, `route` and `price` are replaced as a whole."""
    refuse_unless_allowed(call)
    slug, body = named(call, "slug"), sent(call)
    before = await _shown(call, slug)

    def make(loaded: config.Loaded) -> list[config.Change]:
        policy_of_model(loaded, slug)
        changed = differing(body, before)
        prices = _prices(changed)
        check(changed | ({"price": prices} if prices else {}), config.FrontendModel, whole=False)
        said = written(loaded, "models")[slug]
        return [*_changed_prices(said, slug, prices), *_changed_members(said, slug, changed)]

    done = await write(call, make)
    return await _shown(call, slug) | done


async def delete_model(call: Call) -> dict[str, Any]:
    """Only one that serves nobody: its status is disabled, or all of its targets are switched off."""
    refuse_unless_allowed(call)
    slug = named(call, "slug")

    def make(loaded: config.Loaded) -> list[config.Change]:
        policy = policy_of_model(loaded, slug)
        on = list(dict.fromkeys(target.backend for target in policy.entry.targets if target.enabled))
        if on and loaded.document.models[slug].status != "disabled":
            message = f"{slug} serves, over {', '.join(on)}: set its `status` to disabled first, or switch them off"
            raise GatewayError("IN_USE", message)
        used = [
            name
            for name, model in loaded.document.models.items()
            if name != slug and slug in (model.fallback.context_window, model.fallback.content_filter)
        ]
        if used:
            raise GatewayError("IN_USE", f"it is the fallback of {', '.join(used)}: take it out there first")
        return [config.Change(("models", slug))]

    return {"id": slug, "slug": slug, "deleted": True} | await write(call, make)


# -- what is to change ------------------------------------------------------------------------------------------------


def _prices(body: dict[str, Any]) -> dict[str, Any]:
    """Takes the two prices of the API's own out of the body."""
    found = {PRICES[name]: body.pop(name) for name in PRICES if name in body}
    if found and "price" in body:
        raise invalid("price", "send `price`, or the prices per million tokens, not both")
    for name, short in PRICES.items():
        if short in found and not isinstance(found[short], str):
            raise invalid(name, 'takes an amount of money as a text, like "2.50"')
    return found


def _changed_prices(said: dict[str, Any], slug: str, prices: dict[str, Any]) -> Iterator[config.Change]:
    if isinstance(said["price"], dict):
        yield from (config.Change(("models", slug, "price", name), amount) for name, amount in prices.items())
    elif len(prices) == 1:
        missing = next(name for name in PRICES if PRICES[name] not in prices)
        raise invalid(missing, f"is required as well, for the price is `{said['price']}` now")
    elif prices:
        yield config.Change(("models", slug, "price"), prices)


def _changed_members(said: dict[str, Any], slug: str, changed: dict[str, Any]) -> Iterator[config.Change]:
    for name, value in changed.items():
        if value is not None:
            yield config.Change(("models", slug, name), value)
        elif config.FrontendModel.model_fields[name].is_required():
            raise invalid(name, "cannot be taken away")
        elif name in said:
            yield config.Change(("models", slug, name))


async def _shown(call: Call, slug: str) -> dict[str, Any]:
    """As GET shows it to callers, also when it is disabled, and what only the YAML says."""
    loaded = configuration_of(call).loaded
    said = (await asyncio.to_thread(written, loaded, "models")).get(slug)
    model = call.grid.models.get(slug)
    if said is None or model is None:
        raise GatewayError("MODEL_NOT_FOUND", f"the model {clipped(slug)!r} does not exist", param="model")
    return models.shown(model, call.state.health) | {name: said.get(name) for name in OWN}
