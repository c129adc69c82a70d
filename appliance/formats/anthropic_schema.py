"""JSON schemas as Anthropic enforces them: every object closed, and no keyword that its grammar does not know.

Closing an object that the caller left open only narrows what the model may say: every answer still fits the caller's
schema. An object that is meant to hold any keys cannot be closed without emptying it, so such a schema has no enforced
form. Limits on numbers, lengths and counts are not enforced either; they are told to the model in the description, as
Anthropic's own SDK does. Nothing here changes its input.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

_KEPT = ("type", "description", "title", "enum", "const", "default", "required", "$ref", "items", "properties", "anyOf")
_TOLD = (
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "pattern", "format", "minItems", "maxItems", "uniqueItems", "examples"),
)
_IDLE = ("$schema", "$id", "$comment", "deprecated", "readOnly", "writeOnly")
_FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")


class _Open(Exception):
    """The schema allows what no enforced form can say."""


def enforced_schema(schema: Schema) -> Schema | None:
    """The schema as `output_config.format` and strict tools take it; None where there is no such form."""
    try:
        return _enforced(schema)
    except _Open:
        return None


def _enforced(schema: Any) -> Schema:
    if not isinstance(schema, dict):
        raise _Open  # `true` and `false` stand for anything and nothing
    out: Schema = {}
    told: list[str] = []
    for name, value in schema.items():
        if name in ("properties", "$defs", "definitions") and isinstance(value, dict):
            out[name] = {key: _enforced(inner) for key, inner in value.items()}
        elif name == "items":
            out[name] = _enforced(value)
        elif name in ("anyOf", "oneOf") and isinstance(value, list):
            out["anyOf"] = [_enforced(inner) for inner in value]
        elif name == "allOf" and isinstance(value, list) and len(value) == 1:
            out[name] = [_enforced(value[0])]  # of several, each closed one would shut the others out
        elif name in _KEPT or _is_enforced(name, value):
            out[name] = value
        elif name in _TOLD:
            told.append(f"{name}: {value}")
        elif name != "additionalProperties" and name not in _IDLE:
            raise _Open
    if _is_object(schema):
        _refuse_any_keys(schema)
        out["additionalProperties"] = False
    if told:
        out["description"] = " ".join([*filter(None, [schema.get("description")]), f"({'; '.join(told)})"])
    return out


def _is_enforced(name: str, value: Any) -> bool:
    return (name == "format" and value in _FORMATS) or (name == "minItems" and value in (0, 1))


def _is_object(schema: Schema) -> bool:
    kinds = schema.get("type")
    return kinds == "object" or "properties" in schema or (isinstance(kinds, list) and "object" in kinds)


def _refuse_any_keys(schema: Schema) -> None:
    others = schema.get("additionalProperties", bool(not schema.get("properties")))
    if others is not False:
        raise _Open
