"""/anthropic/v1/models: the same models in Anthropic's shape, for tools that look there before they ask."""

from __future__ import annotations

from typing import Any

from appliance.api import models
from appliance.api.accept import Call
from appliance.api.envelope import Plain, iso
from appliance.grid.grid import FrontendModel


async def list_models(call: Call) -> Plain:
    items = [_item(model, call) for model in models.visible(call) if model.modality == "chat"]
    first, last = (items[0]["id"], items[-1]["id"]) if items else (None, None)
    return Plain({"data": items, "has_more": False, "first_id": first, "last_id": last})


async def get_model(call: Call) -> Plain:
    return Plain(_item(models.find(call), call))


def _item(model: FrontendModel, call: Call) -> dict[str, Any]:
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.display_name,
        "created_at": iso(call.grid.created_unix),
        "lifecycle": model.status,
        "max_input_tokens": model.context_window,
        "max_tokens": model.max_output_tokens,
    }
