"""What a backend model cannot do, known before it is asked: from capability_rows.py and the operator's word.

A model that no row knows can do what its service generally can, and a service that no row knows can do everything:
a request that is wrongly let through is answered by the provider, one that is wrongly refused by nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache

from appliance.formats.features import FEATURES
from appliance.providers.capability_rows import ROWS, Row

__all__ = ["FEATURES", "IMPLIED", "lacks", "matching"]

IMPLIED = {
    "parallel_tool_calls": "tools",
    "tool_choice": "tools",
    "image_urls": "images",
    "dimensions": "embeddings",
}
"""Feature → the one without which it cannot be had."""

_WILD = "*?["


RESPONSES_LACKS = frozenset({"n", "seed", "stop", "penalties", "top_k", "prefill"})
"""What OpenAI's Responses API has no word for, whatever model stands behind it."""


def lacks(service_type: str, upstream_model: str, overrides: Mapping[str, bool] | None = None) -> frozenset[str]:
    """The features that a model does not have. `overrides` is the operator's word: feature → has it or not."""
    missing = set(_by_rows(service_type, upstream_model))
    for feature, has in (overrides or {}).items():
        missing -= {feature}
        if not has:
            missing.add(feature)
    said = (overrides or {}).keys()
    return frozenset(missing | {part for part, whole in IMPLIED.items() if whole in missing and part not in said})


@lru_cache(maxsize=4096)
def _by_rows(service_type: str, upstream_model: str) -> frozenset[str]:
    missing = set[str]()
    for row in matching(service_type, upstream_model):
        missing |= row.lacks
        missing -= row.has
    return frozenset(missing)


def matching(service_type: str, upstream_model: str) -> list[Row]:
    """The rows that speak of a model, the most specific last."""
    name = upstream_model.lower().removeprefix("models/")
    found = [
        (specific, place, row)
        for place, row in enumerate(ROWS)
        if service_type in row.services.split()
        and (specific := max((_specific(glob) for glob in row.models.split() if fnmatchcase(name, glob)), default=-1))
        >= 0
    ]
    return [row for _, _, row in sorted(found, key=lambda each: each[:2])]


def _specific(glob: str) -> int:
    """How many characters of a name it fixes. A set such as [45] fixes none, so that a name beats it."""
    outside = glob
    while (start := outside.find("[")) >= 0:
        outside = outside[:start] + outside[outside.index("]", start) + 1 :]
    return sum(character not in _WILD for character in outside)
