"""Changes of the YAML over the API: who may make them, what refuses them, and the log line that each one leaves.

The file is the only truth: a change is written into it, comments kept, and serves before the answer leaves.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import config
from appliance.api.accept import Call
from appliance.api.configuration import configuration_of, refused
from appliance.errors import GatewayError, invalid
from appliance.exchange import Principal
from appliance.reload import Outcome

_GENERATION = re.compile(r'"?([0-9]{1,18})"?')

Make = Callable[[config.Loaded], Iterable[config.Change]]
"""What serves → the changes to make. Runs in a thread while nobody else can change anything; may raise GatewayError."""


def has_platform_reach(principal: Principal) -> bool:
    """Whether the caller sees and changes what all tenants share. A custom role belongs to one tenant: it reaches no
    further, whatever permissions it holds."""
    return "super_admin" in principal.roles


def refuse_unless_allowed(call: Call) -> None:
    if not has_platform_reach(call.principal):
        message = "this changes the routing of all tenants, which only a super_admin may do"
        raise GatewayError("AUTHZ_PERMISSION_DENIED", message)
    if not configuration_of(call).loaded.document.server.config_writable:
        message = "server.config_writable is false: change the file where it comes from, then reload"
        raise GatewayError("CONFIG_NOT_WRITABLE", message)


async def write(call: Call, make: Make) -> dict[str, Any]:
    """Make the changes; they serve when this returns, and `call.grid` has them. Gives what every answer tells of it."""
    configuration, made = configuration_of(call), list[config.Change]()

    def expected(loaded: config.Loaded) -> list[config.Change]:
        _refuse_other_generation(call)
        made.extend(make(loaded))
        return made

    try:
        outcome = await configuration.edit(expected, call.principal.user_id)
    except config.ConfigError as error:
        raise refused(error) from error
    except config.EditConflict as error:
        raise await _conflict(call, error) from error
    except config.EditRefused as error:
        raise edit_refused(error) from error
    call.grid = call.appliance.holder.current.grid
    _log(call, made, outcome)
    return {"generation": outcome.generation, "changes": outcome.changes}


def edit_refused(error: config.EditRefused) -> GatewayError:
    """The file cannot be changed that way, with the place and what to do."""
    if error.place is None:
        return GatewayError("EDIT_REFUSED", str(error))
    problem = asdict(error.place) | {"message": error.message, "hint": error.hint}
    return GatewayError("EDIT_REFUSED", str(error), details=[problem])


def _refuse_other_generation(call: Call) -> None:
    header = call.sanic.headers.get("if-match")
    if header is None or header.strip() == "*":
        return
    found = _GENERATION.fullmatch(header.strip())
    if not found:
        raise invalid("If-Match", "takes the number of a generation, as GET /v1/config shows it")
    configuration = configuration_of(call)
    if int(found[1]) == configuration.generation:
        return
    last = "; ".join(configuration.changes) or "nothing of the configuration"
    message = f"generation {configuration.generation} serves, not {found[1]}"
    told = f"the last change, by {configuration.changed_by}: {last}"
    details = [{"field": "If-Match", "message": told}]
    raise GatewayError("CONFIG_CONFLICT", f"{message}; look at what it says, then try again", details=details)


async def _conflict(call: Call, error: config.EditConflict) -> GatewayError:
    """With what somebody else has written, secrets left out."""
    changed = await asyncio.to_thread(config.changed_on_disk, configuration_of(call).loaded)
    details = [{"file": str(file), "diff": diff} for file, diff in changed.items()]
    return GatewayError("CONFIG_CONFLICT", str(error), details=details)


def _log(call: Call, made: list[config.Change], outcome: Outcome) -> None:
    """Names only: a value may be a secret."""
    if not outcome.changed:
        return
    call.state.log.write(
        {
            "unix": time.time(),
            "event": "config_changed",
            "request_id": call.request_id,
            "user_id": call.principal.user_id,
            "key_id": call.principal.key_id,
            "tenant_id": call.principal.tenant_id,
            "ip": call.sanic.ip,
            "method": call.sanic.method,
            "path": call.sanic.path,
            "entries": [".".join(map(str, change.path)) for change in made],
            "changes": outcome.changes,
            "generation": outcome.generation,
        }
    )
