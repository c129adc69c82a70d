"""POST, PUT and DELETE of /v1/providers: entries of the YAML. No answer, message or log line shows a secret."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import config
from appliance.api import providers
from appliance.api.accept import Call
from appliance.api.config_writes import refuse_unless_allowed, write
from appliance.api.config_written import written
from appliance.api.entry_members import check, checked_name, differing, sent
from appliance.api.members import named
from appliance.api.policy_record import policies_of
from appliance.errors import GatewayError, clipped, invalid
from config.scalars import Slug

NAMES = ("id", "name", "slug")
MAY_HOLD_SECRETS = ("api_key", "headers", "entra", "vertex")
_SECRET_HEADER = re.compile(r"auth|cookie|key|secret|token|credential", re.IGNORECASE)
REMEDY = "send a reference such as ${env:NAME} or ${file:PATH}, or take that right away with chmod o-r"


async def create_provider(call: Call) -> dict[str, Any]:
    refuse_unless_allowed(call)
    body = _flat(sent(call))
    name = checked_name(next((body.pop(key) for key in NAMES if key in body), None), Slug, "name")
    entry = {member: value for member, value in body.items() if value is not None}
    _check(entry, whole=True)

    def make(loaded: config.Loaded) -> list[config.Change]:
        if name in loaded.document.providers:
            raise GatewayError("SLUG_CONFLICT", f"the name {clipped(name)!r} is already taken", param="name")
        _refuse_exposure(entry, _files_of_providers(loaded))
        return [config.Change(("providers", name), entry)]

    done = await write(call, make)
    return await _shown(call, name) | done


async def update_provider(call: Call) -> dict[str, Any]:
    """Applies the members that are sent; null takes one away. Calls under way keep what they have begun with."""
    refuse_unless_allowed(call)
    name, body = named(call, "provider_id"), _flat(sent(call))
    changed = differing(body, await _shown(call, name))
    _check(changed, whole=False)

    def make(loaded: config.Loaded) -> list[config.Change]:
        said = written(loaded, "providers").get(name)
        if said is None:
            raise _no_provider(name)
        _refuse_exposure(changed, {loaded.places[("providers", name)].file})
        return [
            config.Change(("providers", name, member))
            if value is None
            else config.Change(("providers", name, member), value)
            for member, value in changed.items()
            if value is not None or member in said
        ]

    done = await write(call, make)
    return await _shown(call, name) | done


async def delete_provider(call: Call) -> dict[str, Any]:
    """Only one that no target refers to; calls that still run there finish."""
    refuse_unless_allowed(call)
    name = named(call, "provider_id")

    def make(loaded: config.Loaded) -> list[config.Change]:
        if name not in loaded.document.providers:
            raise _no_provider(name)
        used = [
            f"{target.backend} in {policy.id}"
            for policy in policies_of(loaded).values()
            for target in policy.entry.targets
            if target.provider == name
        ]
        if used:
            more = f", and {len(used) - 5} more" if len(used) > 5 else ""
            message = f"targets refer to {name}: {', '.join(used[:5])}{more}; delete them first"
            raise GatewayError("PROVIDER_HAS_BACKENDS", message)
        return [config.Change(("providers", name))]

    return {"id": name, "deleted": True} | await write(call, make)


def _flat(body: dict[str, Any]) -> dict[str, Any]:
    """The reference's own words for members of the YAML: `provider_type`, and `connection_config` around the rest."""
    inner = body.pop("connection_config", None)
    if inner is not None and not isinstance(inner, dict):
        raise invalid("connection_config", "takes an object")
    for member, value in (inner or {}).items():
        if member in body:
            raise invalid(clipped(member), "stands in `connection_config` and beside it")
        body[member] = value
    kind = body.pop("provider_type", None)
    if kind is not None and body.setdefault("type", kind) != kind:
        raise invalid("provider_type", "differs from `type`; send one of them")
    return body


def _check(members: Mapping[str, Any], *, whole: bool) -> None:
    for member, value in _texts(members):
        where = tuple(member.split("."))
        if "${" in value and where[0] in MAY_HOLD_SECRETS and not _holds_secret(where):
            raise invalid(clipped(member), "takes no reference over the API: only secrets do")
    vertex = members.get("vertex")
    if isinstance(vertex, dict) and "${" in str(vertex.get("service_account", "")):
        known = {name: value for name, value in vertex.items() if name != "service_account"}
        members = {**members, "vertex": known}  # what the reference gives is judged when the file is read
    check(members, config.Provider, whole=whole, secrets=MAY_HOLD_SECRETS)


def _holds_secret(where: tuple[str, ...]) -> bool:
    return where in (("api_key",), ("entra", "client_secret"), ("vertex", "service_account")) or (
        where[0] == "headers" and len(where) > 1
    )


def _texts(members: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in members.items():
        if isinstance(value, dict):
            yield from _texts(value, f"{above}{name}.")
        elif isinstance(value, str):
            yield f"{above}{name}", value


def _refuse_exposure(members: Mapping[str, Any], files: set[str]) -> None:
    """A key in plain words is written only where not everybody on the machine may read it."""
    for member, value in _texts(members):
        where = tuple(member.split("."))
        is_secret = _holds_secret(where) and (where[0] != "headers" or _SECRET_HEADER.search(member[8:]) is not None)
        if not is_secret or "${" in value:
            continue
        for file in sorted(files):
            if Path(file).stat().st_mode & stat.S_IROTH:
                raise invalid(
                    clipped(member), f"would stand in {file}, which everybody on that machine may read; {REMEDY}"
                )


def _files_of_providers(loaded: config.Loaded) -> set[str]:
    """Where a new one may be written."""
    main = next(iter(loaded.names.values()))
    return {main, *(place.file for path, place in loaded.places.items() if path[0] == "providers")}


def _no_provider(name: str) -> GatewayError:
    return GatewayError("PROVIDER_NOT_FOUND", f"there is no provider {clipped(name)!r}")


async def _shown(call: Call, name: str) -> dict[str, Any]:
    call.params = {"provider_id": name.replace("%", "%25")}
    return await providers.get_provider(call)
