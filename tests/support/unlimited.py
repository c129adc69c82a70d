"""Most tests are not about rate limits: a YAML that writes none gets none, instead of the product's defaults."""

from __future__ import annotations

import re
from typing import Any

import yaml

_PARTNERS = re.compile(r"^partners:.*?(?=^\S|\Z)", re.M | re.S)
_OFF = {"requests_per_minute": "unlimited"}


def without_limits(yaml_text: str) -> str:
    """The same YAML with every rate limit switched off, unless it speaks of rate limits itself."""
    if "rate_limits" in yaml_text:
        return yaml_text
    found = _PARTNERS.search(yaml_text)
    written = yaml.load(found[0], Loader=yaml.BaseLoader)["partners"] if found else None
    partners = _unlimited(written if isinstance(written, dict) else {})
    rest = yaml_text.replace(found[0], "") if found else yaml_text
    server = "server:\n  unauthenticated_rate_limits: {requests_per_minute: unlimited}\n"
    if "\nserver:\n" in f"\n{rest}":
        rest = rest.replace("server:\n", server, 1)
    elif "server:" not in rest:
        rest = server + rest
    return f"{rest}\n{yaml.safe_dump({'partners': partners}, sort_keys=False)}"


def _unlimited(partners: dict[str, Any]) -> dict[str, Any]:
    partners = {name: dict(partner or {}) for name, partner in partners.items()}
    partners.setdefault("default", {})
    for name, partner in partners.items():
        tenants = {tenant: dict(entry or {}) for tenant, entry in (partner.get("tenants") or {}).items()}
        if name == "default":
            tenants.setdefault("default", {})
        for tenant in tenants.values():
            tenant |= {key: _OFF for key in ("rate_limits", "user_rate_limits", "key_rate_limits")}
        partner |= {"rate_limits": _OFF, "tenants": tenants}
    return partners
