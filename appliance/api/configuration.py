"""/v1/config: which configuration serves, and reading it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import config
from appliance.api.accept import Call
from appliance.api.envelope import iso
from appliance.errors import GatewayError
from appliance.reload import Configuration


def configuration_of(call: Call) -> Configuration:
    return call.appliance.configuration


async def get_config(call: Call) -> dict[str, Any]:
    """`problems` are those of the last refused load (contract section 5)."""
    return _shown(call)


async def reload_config(call: Call) -> dict[str, Any]:
    """`changed` says whether this call did it: the files are watched, so what `changes` lists may be there already."""
    configuration = configuration_of(call)
    try:
        outcome = await configuration.reload(call.principal.user_id)
    except config.ConfigError as error:
        raise refused(error) from error
    return _shown(call) | {"changed": outcome.changed}


def refused(error: config.ConfigError) -> GatewayError:
    """A configuration that cannot be used, with every problem."""
    first, *others = error.problems
    more = f", and {len(others)} more" if others else ""
    message = f"the configuration was refused, the one before serves on: {first}{more}"
    return GatewayError("VALIDATION_ERROR", message, details=problems(error.problems))


def problems(found: Sequence[config.Problem]) -> list[dict[str, str | int]]:
    return [asdict(problem) for problem in found]


def _shown(call: Call) -> dict[str, Any]:
    configuration, grid = configuration_of(call), call.appliance.holder.current.grid
    return {
        "generation": grid.generation,
        "loaded_at": iso(configuration.loaded_unix),
        "hash": grid.hash,
        "problems": problems(configuration.problems),
        "restart_needed": configuration.restart_needed,
        "changes": configuration.changes,
        "changed_by": configuration.changed_by,
    }
