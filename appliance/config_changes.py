"""What differs between two configurations, in sentences for people: names and keys, never values. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel

import config

LIVE = {"tls", "unauthenticated_rate_limits", "drain_timeout", "config_writable"}
"""Keys of `server:` that take effect at a reload; `tls` as far as it only names other files."""


def changes(old: config.Document, new: config.Document) -> list[str]:
    """One sentence for every entry that was added, removed or changed."""
    found = [f"server changed: {', '.join(keys)}"] if (keys := _live_keys(old.server, new.server)) else []
    found += _entries("provider", old.providers, new.providers)
    found += _entries("model", old.models, new.models)
    found += _entries("routing policy", old.routing_policies, new.routing_policies)
    found += _entries("partner", old.partners, new.partners, "tenants")
    for name, partner in new.partners.items():
        if name in old.partners:
            found += _tenants(old.partners[name].tenants, partner.tenants)
    return found


def needs_restart(serving: config.Server, wanted: config.Server) -> list[str]:
    """Keys of `server:` whose new value has to wait for the next start."""
    keys = [name for name in _differing(serving, wanted) if name not in LIVE]
    if (serving.tls is None) != (wanted.tls is None):
        keys.append("tls")
    return [f"server.{name}" for name in keys]


def without_restart(serving: config.Server, wanted: config.Server) -> config.Server:
    """The part of the wanted settings that takes effect now, with what serves for the rest."""
    live = {name: getattr(wanted, name) for name in LIVE}
    if (serving.tls is None) != (wanted.tls is None):
        live["tls"] = serving.tls
    return serving.model_copy(update=live)


def _live_keys(old: config.Server, new: config.Server) -> list[str]:
    return [name for name in _differing(old, new) if name in LIVE]


def _tenants(old: Mapping[str, config.Tenant], new: Mapping[str, config.Tenant]) -> Iterator[str]:
    yield from _entries("tenant", old, new, "users")
    for name, tenant in new.items():
        if name in old and old[name] != tenant:
            yield from (f"tenant {name}: {change}" for change in _entries("user", old[name].users, tenant.users))


def _entries(noun: str, old: Mapping[str, BaseModel], new: Mapping[str, BaseModel], told_apart: str = "") -> list[str]:
    """`told_apart` is the key whose entries have sentences of their own."""
    found = [f"{noun} {name} removed" for name in old if name not in new]
    for name, entry in new.items():
        if name not in old:
            found.append(f"{noun} {name} added")
        elif keys := [key for key in _differing(old[name], entry) if key != told_apart]:
            found.append(f"{noun} {name} changed: {', '.join(keys)}")
    return found


def _differing(old: BaseModel, new: BaseModel) -> list[str]:
    if old == new:
        return []
    return [name for name in type(new).model_fields if getattr(old, name) != getattr(new, name)]
