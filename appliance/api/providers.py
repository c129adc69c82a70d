"""/v1/providers and /v1/backends: what is configured, and what a provider offers when it is asked."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote

import msgspec

from appliance.api.accept import Call
from appliance.api.envelope import Page, limit_of
from appliance.errors import GatewayError, clipped
from appliance.grid.grid import Target
from appliance.grid.prices import usd_price
from appliance.providers.base import Endpoint
from appliance.upstream_list import NoAnswer, ask_for_models

MAX_LIST_BYTES = 16 * 1024 * 1024
DISCOVER_S = 20.0


async def list_providers(call: Call) -> Page:
    limit = limit_of(call.query.get("limit"))
    names = [name for name in sorted(call.grid.endpoints) if name > call.query.get("cursor", "")]
    return Page([_provider(call, name) for name in names[:limit]], names[limit - 1] if len(names) > limit else None)


async def get_provider(call: Call) -> dict[str, Any]:
    return _provider(call, _endpoint(call).name)


async def list_backends(call: Call) -> Page:
    """Backend models in the order of their ids, which are `provider:upstream_model`."""
    limit = limit_of(call.query.get("limit"))
    known = _backends(call)
    ids = [backend for backend in sorted(known) if backend > call.query.get("cursor", "")]
    page = [_backend(call, backend, known[backend]) for backend in ids[:limit]]
    return Page(page, ids[limit - 1] if len(ids) > limit else None)


async def get_backend(call: Call) -> dict[str, Any]:
    backend = unquote(call.params["backend_id"])
    targets = _backends(call).get(backend)
    if targets is None:
        raise GatewayError("BACKEND_NOT_FOUND", f"there is no backend model {clipped(backend)!r}")
    return _backend(call, backend, targets)


async def get_backend_health(call: Call) -> dict[str, Any]:
    """How it fares, from the calls of late; nobody is asked for it."""
    backend = unquote(call.params["backend_id"])
    targets = _backends(call).get(backend)
    if targets is None:
        raise GatewayError("BACKEND_NOT_FOUND", f"there is no backend model {clipped(backend)!r}")
    now = asyncio.get_running_loop().time()
    usable = any(target.usable for _, target in targets)
    status = call.state.health.status(backend, now, usable=usable)
    return {"id": backend, "health_status": status, "diagnostics": call.state.health.diagnostics(backend, now)}


async def discover(call: Call) -> dict[str, Any]:
    """Ask the provider which models it offers. Nothing is kept; `configured` says which of them a policy names."""
    endpoint = _endpoint(call)
    if endpoint.unconfigured:
        raise GatewayError("PROVIDER_DISCOVERY_ERROR", f"provider {endpoint.name}: {endpoint.unconfigured}")
    if endpoint.provider.in_process:
        raise GatewayError("PROVIDER_DISCOVERY_ERROR", f"provider {endpoint.name} answers to every model name")
    try:
        answer = await ask_for_models(endpoint, call.state, DISCOVER_S, MAX_LIST_BYTES)
    except NoAnswer as error:
        raise GatewayError("PROVIDER_DISCOVERY_ERROR", error.message) from error
    if answer.status != 200:
        told = answer.endpoint.scrub(endpoint.format.decode_error(answer.status, answer.body).message)
        message = f"provider {endpoint.name} answered {answer.status}: {told}"
        raise GatewayError("PROVIDER_DISCOVERY_ERROR", message)
    try:
        models = _named(endpoint.provider.models_of(msgspec.json.decode(answer.body)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        message = f"provider {endpoint.name} answered with what is no list of models"
        raise GatewayError("PROVIDER_DISCOVERY_ERROR", message) from None
    configured = _backends(call)
    items = [model | {"configured": f"{endpoint.name}:{model['id']}" in configured} for model in models]
    return {"provider": endpoint.name, "items": sorted(items, key=lambda item: item["id"])}


def _named(models: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not all(isinstance(model["id"], str) for model in models):
        raise TypeError("a model's id is no text")
    return models


def _endpoint(call: Call) -> Endpoint:
    name = unquote(call.params["provider_id"])
    endpoint = call.grid.endpoints.get(name)
    if endpoint is None:
        raise GatewayError("PROVIDER_NOT_FOUND", f"there is no provider {clipped(name)!r}")
    return endpoint


def _backends(call: Call) -> dict[str, list[tuple[str, Target]]]:
    """Backend → the frontend models and targets that lead to it."""
    found: dict[str, list[tuple[str, Target]]] = {}
    for name, model in call.grid.models.items():
        for target in model.policy.targets:
            found.setdefault(target.backend, []).append((name, target))
    return found


def _provider(call: Call, name: str) -> dict[str, Any]:
    endpoint = call.grid.endpoints[name]
    return {
        "id": name,
        "name": name,
        "provider_type": endpoint.provider.type,
        "dialect": endpoint.dialect,
        "base_url": endpoint.base_url,
        "status": "unconfigured" if endpoint.unconfigured else "active",
        "unconfigured": endpoint.unconfigured,
        "backend_count": sum(backend.partition(":")[0] == name for backend in _backends(call)),
    }


def _backend(call: Call, backend: str, targets: list[tuple[str, Target]]) -> dict[str, Any]:
    _, target = targets[0]
    usable = any(target.usable for _, target in targets)
    now = asyncio.get_running_loop().time()
    return {
        "id": backend,
        "uri": backend,
        "provider_id": target.endpoint.name,
        "provider_type": target.endpoint.provider.type,
        "upstream_model": target.upstream_model,
        "enabled": any(target.enabled for _, target in targets),
        "health_status": call.state.health.status(backend, now, usable=usable),
        "circuit_breaker": call.state.health.breaker_state(backend, now),
        "in_flight": call.state.health.in_flight(backend),
        "lacks": sorted(target.lacks),
        "input_cost_per_mtok": usd_price(target.cost.base.input),
        "output_cost_per_mtok": usd_price(target.cost.base.output),
        "models": sorted({name for name, _ in targets}),
    }
