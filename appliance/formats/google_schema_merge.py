"""Two reduced schemas that hold at once → one; knows only the keywords that google_schema leaves in a schema.

Must not weaken either: where one schema cannot say both, it raises Conflict.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]


class Conflict(ValueError):
    """Says which keyword the two cannot share."""


def merged(first: Schema, second: Schema) -> Schema:
    both = dict(first)
    for keyword, value in second.items():
        if keyword not in both:
            both[keyword] = value
        elif both[keyword] != value:
            join = _JOINS.get(keyword)
            if join is None:
                raise Conflict(f"several schemas hold at once and differ in {keyword}")
            both[keyword] = join(both[keyword], value)
    return both


def with_sentence(text: str | None, sentence: str) -> str:
    return f"{text} {sentence}" if text else sentence


def _types(first: Any, second: Any) -> Any:
    """Types that both allow; a whole number is a number."""
    ours, theirs = _as_list(first), _as_list(second)
    shared = [kind for kind in ours if kind in theirs]
    if "integer" not in shared and _one_is_whole(ours, theirs):
        shared.append("integer")
    if not shared:
        raise Conflict("several schemas hold at once and no type is allowed by all")
    return shared[0] if len(shared) == 1 else shared


def _one_is_whole(ours: list[Any], theirs: list[Any]) -> bool:
    return ("integer" in ours and "number" in theirs) or ("number" in ours and "integer" in theirs)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _enum(first: list[Any], second: list[Any]) -> list[Any]:
    shared = [value for value in first if value in second]
    if not shared:
        raise Conflict("several schemas hold at once and no value is allowed by all")
    return shared


def _union(first: list[Any], second: list[Any]) -> list[Any]:
    return [*first, *(value for value in second if value not in first)]


def _properties(first: Schema, second: Schema) -> Schema:
    return first | {name: merged(first[name], value) if name in first else value for name, value in second.items()}


def _additional(first: Any, second: Any) -> Any:
    """Closed objects that hold at once are meant as one closed object with the properties of all: strictly read,
    nothing but an empty one would match, which nobody asks for."""
    if first is False or second is False:
        return False
    if first is True or second is True:
        return second if first is True else first
    return merged(first, second)


_JOINS: dict[str, Callable[[Any, Any], Any]] = {
    "additionalProperties": _additional,
    "description": with_sentence,
    "enum": _enum,
    "items": merged,
    "maxItems": min,
    "maximum": min,
    "minItems": max,
    "minimum": max,
    "properties": _properties,
    "propertyOrdering": _union,
    "required": _union,
    "type": _types,
}
