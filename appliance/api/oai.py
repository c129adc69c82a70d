"""/oai/v1/models: the same models in OpenAI's shape, with context_window and max_output_tokens as extensions."""

from __future__ import annotations

from typing import Any

from appliance.api import models
from appliance.api.accept import Call
from appliance.api.envelope import Plain
from appliance.grid.grid import FrontendModel


async def list_models(call: Call) -> Plain:
    return Plain({"object": "list", "data": [_item(model, call) for model in models.visible(call)]})


async def get_model(call: Call) -> Plain:
    return Plain(_item(models.find(call), call))


def _item(model: FrontendModel, call: Call) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": call.grid.created_unix,
        "owned_by": "scaigrid",
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens,
    }
