"""/v1/providers and /v1/backends: what is configured, and what a provider offers when it is asked."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from appliance.api.accept import Call
from appliance.api.envelope import Page, limit_of
from appliance.errors import GatewayError, clipped
from appliance.exchange import ConnectFailed, UpstreamCut
from appliance.grid.grid import Target
from appliance.grid.prices import usd_price
from appliance.providers.base import Endpoint
from appliance.state.tokens import TokenRefused

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
    page = [_backend(backend, known[backend]) for backend in ids[:limit]]
    return Page(page, ids[limit - 1] if len(ids) > limit else None)


async def get_backend(call: Call) -> dict[str, Any]:
    backend = unquote(call.params["backend_id"])
    targets = _backends(call).get(backend)
    if targets is None:
        raise GatewayError("BACKEND_NOT_FOUND", f"there is no backend model {clipped(backend)!r}")
    return _backend(backend, targets)


async def discover(call: Call) -> dict[str, Any]:
    """Ask the provider which models it offers. Nothing is kept; `configured` says which of them a policy names."""
    endpoint = _endpoint(call)
    if endpoint.unconfigured:
        raise GatewayError("PROVIDER_DISCOVERY_ERROR", f"provider {endpoint.name}: {endpoint.unconfigured}")
    if endpoint.provider.in_process:
        raise GatewayError("PROVIDER_DISCOVERY_ERROR", f"provider {endpoint.name} answers to every model name")
    headers = await _headers(call, endpoint)
    status, body = await _fetch(call, endpoint, headers)
    if status == 401 and endpoint.credential:
        call.state.tokens.forget(endpoint.credential, headers["Authorization"].removeprefix("Bearer "))
    if status != 200:
        told = endpoint.format.decode_error(status, body).message
        message = f"provider {endpoint.name} answered {status}: {_guarded(endpoint, headers).scrub(told)}"
        raise GatewayError("PROVIDER_DISCOVERY_ERROR", message)
    try:
        models = _named(endpoint.provider.models_of(msgspec.json.decode(body)))
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


async def _headers(call: Call, endpoint: Endpoint) -> Mapping[str, str]:
    if not endpoint.credential:
        return endpoint.headers
    try:
        return {**endpoint.headers, **await call.state.tokens.headers(endpoint.credential)}
    except (ConnectFailed, TokenRefused, TimeoutError) as error:
        message = f"provider {endpoint.name} could not be asked: {endpoint.scrub(str(error)) or 'no token in time'}"
        raise GatewayError("PROVIDER_DISCOVERY_ERROR", message) from error


def _guarded(endpoint: Endpoint, headers: Mapping[str, str]) -> Endpoint:
    """A token that was sent counts among the secrets."""
    if not endpoint.credential:
        return endpoint
    token = headers["Authorization"].removeprefix("Bearer ")
    return dataclasses.replace(endpoint, secrets=(*endpoint.secrets, token))


async def _fetch(call: Call, endpoint: Endpoint, headers: Mapping[str, str]) -> tuple[int, bytes]:
    try:
        async with asyncio.timeout(DISCOVER_S):
            upstream = await call.state.pools.open(
                endpoint.name,
                endpoint.url("models"),
                headers,
                b"",
                endpoint.max_connections,
                endpoint.connect_s,
                lambda: None,
                method="GET",
            )
            try:
                body = b""
                while len(body) <= MAX_LIST_BYTES and (chunk := await upstream.chunk()):
                    body += chunk
            finally:
                upstream.close()
            return upstream.status, body
    except (ConnectFailed, UpstreamCut) as error:
        message = f"provider {endpoint.name} could not be asked: {_guarded(endpoint, headers).scrub(str(error))}"
        raise GatewayError("PROVIDER_DISCOVERY_ERROR", message) from error
    except TimeoutError:
        message = f"provider {endpoint.name} gave no list within {DISCOVER_S:g} s"
        raise GatewayError("PROVIDER_DISCOVERY_ERROR", message) from None


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


def _backend(backend: str, targets: list[tuple[str, Target]]) -> dict[str, Any]:
    _, target = targets[0]
    usable = any(target.usable for _, target in targets)
    return {
        "id": backend,
        "uri": backend,
        "provider_id": target.endpoint.name,
        "provider_type": target.endpoint.provider.type,
        "upstream_model": target.upstream_model,
        "enabled": any(target.enabled for _, target in targets),
        "health_status": "healthy" if usable else "unavailable",
        "lacks": sorted(target.lacks),
        "input_cost_per_mtok": usd_price(target.cost.base.input),
        "output_cost_per_mtok": usd_price(target.cost.base.output),
        "models": sorted({name for name, _ in targets}),
    }
