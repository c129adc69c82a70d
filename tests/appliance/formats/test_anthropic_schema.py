from __future__ import annotations

import copy
from typing import Any

import pytest
from anthropic import transform_schema

from appliance.formats.anthropic_schema import enforced_schema

TEXT = {"type": "string"}


def test_every_object_is_closed_and_the_rest_stays_in_its_order() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "z": {"type": "array", "items": {"type": ["object", "null"], "properties": {"a": TEXT}}},
            "a": {"oneOf": [{"$ref": "#/$defs/place"}, {"type": "null"}]},
            "b": {"allOf": [{"$ref": "#/$defs/place"}]},
        },
        "required": ["z"],
        "$defs": {"place": {"properties": {"city": TEXT}, "additionalProperties": False}},
    }
    before = copy.deepcopy(schema)
    assert enforced_schema(schema) == {
        "type": "object",
        "properties": {
            "z": {
                "type": "array",
                "items": {"type": ["object", "null"], "properties": {"a": TEXT}, "additionalProperties": False},
            },
            "a": {"anyOf": [{"$ref": "#/$defs/place"}, {"type": "null"}]},
            "b": {"allOf": [{"$ref": "#/$defs/place"}]},
        },
        "required": ["z"],
        "$defs": {"place": {"properties": {"city": TEXT}, "additionalProperties": False}},
        "additionalProperties": False,
    }
    assert list(enforced_schema(schema)["properties"]) == ["z", "a", "b"]  # type: ignore[index]
    assert schema == before


def test_limits_are_told_in_the_description() -> None:
    schema = {"type": "integer", "minimum": 1, "maximum": 9, "description": "How many.", "default": 2}
    assert enforced_schema(schema) == {
        "type": "integer",
        "default": 2,
        "description": "How many. (minimum: 1; maximum: 9)",
    }
    assert enforced_schema({"type": "string", "format": "regex"}) == {
        "type": "string",
        "description": "(format: regex)",
    }
    assert enforced_schema({"type": "string", "format": "uuid"}) == {"type": "string", "format": "uuid"}
    assert enforced_schema({"type": "array", "minItems": 1}) == {"type": "array", "minItems": 1}
    assert enforced_schema({"type": "array", "minItems": 2}) == {"type": "array", "description": "(minItems: 2)"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {}},
        {"type": "object", "additionalProperties": TEXT},
        {"type": "object", "properties": {"a": TEXT}, "additionalProperties": True},
        {"type": "object", "properties": {"a": True}},
        {"type": "array", "items": {"type": "object"}},
        {"allOf": [{"properties": {"a": TEXT}}, {"properties": {"b": TEXT}}]},
        {"type": "object", "patternProperties": {"^x": TEXT}},
        {"not": TEXT},
        {"if": TEXT, "then": TEXT},
    ],
)
def test_what_cannot_be_closed_has_no_enforced_form(schema: dict[str, Any]) -> None:
    assert enforced_schema({"type": "object", "properties": {"inner": schema}}) is None


def test_an_object_without_keys_that_says_so_is_closed() -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    assert enforced_schema(schema) == schema


def test_the_sdk_closes_objects_in_the_same_way() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "object", "properties": {"b": TEXT}}, "c": {"type": "array", "items": TEXT}},
        "required": ["a"],
    }
    assert enforced_schema(schema) == transform_schema(copy.deepcopy(schema))
