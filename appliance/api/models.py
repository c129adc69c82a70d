"""/v1/models: the frontend models that the caller's tenant may use."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote

from appliance.api.accept import Call
from appliance.api.envelope import Page, limit_of
from appliance.errors import GatewayError, clipped, invalid
from appliance.formats.features import FEATURES
from appliance.grid.grid import FrontendModel
from appliance.grid.prices import usd_price
from appliance.state.health import Health, Status


async def list_models(call: Call) -> Page:
    """Sorted by slug; the cursor is the last slug, so it stays right when models come and go."""
    wanted = {name: call.query[name] for name in ("modality", "status") if name in call.query}
    if wanted.get("status") not in (None, "active", "deprecated"):
        raise invalid("status", "takes active or deprecated")
    models = [
        model
        for model in visible(call)
        if model.name > call.query.get("cursor", "") and all(getattr(model, name) == wanted[name] for name in wanted)
    ]
    limit = limit_of(call.query.get("limit"))
    page = models[:limit]
    return Page([shown(model, call.state.health) for model in page], page[-1].name if len(models) > limit else None)


async def get_model(call: Call) -> dict[str, Any]:
    return shown(find(call), call.state.health)


def visible(call: Call) -> list[FrontendModel]:
    tenant = call.grid.tenants.get(call.principal.tenant_id)
    names = sorted(tenant.models) if tenant else []
    return [call.grid.models[name] for name in names if call.grid.models[name].status != "disabled"]


def find(call: Call) -> FrontendModel:
    """The model of the path. One that the tenant may not use is not admitted to exist."""
    slug = unquote(call.params["slug"])
    for model in visible(call):
        if model.name == slug:
            return model
    raise GatewayError("MODEL_NOT_FOUND", f"the model {clipped(slug)!r} does not exist", param="model")


def health_of(model: FrontendModel, health: Health) -> Status:
    """All of its targets healthy, some, none that serves well, or none that could serve at all."""
    now = asyncio.get_running_loop().time()
    found = {health.status(target.backend, now, usable=target.usable) for target in model.policy.targets}
    if len(found) == 1:
        return found.pop()
    return "degraded" if found & {"healthy", "degraded"} else "unhealthy"


def shown(model: FrontendModel, health: Health) -> dict[str, Any]:
    targets = model.policy.targets
    active = sum(target.usable for target in targets)
    return {
        "slug": model.name,
        "display_name": model.display_name,
        "description": model.description,
        "modality": model.modality,
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens,
        "input_price_per_mtok": usd_price(model.price.base.input),
        "output_price_per_mtok": usd_price(model.price.base.output),
        "default_params": dict(model.default_params),
        "capabilities": sorted(FEATURES.keys() - frozenset.intersection(*(target.lacks for target in targets))),
        "status": model.status,
        "health_status": health_of(model, health),
        "active_backend_count": active,
        "total_backend_count": len(targets),
    }
