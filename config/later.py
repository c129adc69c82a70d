"""What the contract names and this version does not serve; the issue that brings a thing deletes its line."""

from __future__ import annotations

LATER_KEYS: dict[str, frozenset[str]] = {
    "Document": frozenset({"modules"}),
}
"""Entry → keys."""

LATER_VALUES: dict[tuple[str, str], tuple[str, ...]] = {
    ("Server", "database"): ("postgresql://*", "postgres://*"),
    ("Server", "shared_state"): ("redis://*", "rediss://*"),
    ("Server", "workers"): ("[2-9]*", "1[0-9]*"),
}
"""(entry, key) → globs over the value as written."""

LATER_REMARKS: dict[tuple[str, str], str] = {
    ("User", "roles"): "custom roles are not served by this version",
}
"""(entry, key) → a remark for a value that is near to no known one."""
