"""/v1/config: which generation serves."""

from __future__ import annotations

from typing import Any

from appliance.api.accept import Call
from appliance.api.envelope import iso


async def get_config(call: Call) -> dict[str, Any]:
    """`problems` are those of the last refused load (contract section 5)."""
    loaded_at = iso(call.appliance.loaded_unix)
    return {"generation": call.grid.generation, "loaded_at": loaded_at, "hash": call.grid.hash, "problems": []}
