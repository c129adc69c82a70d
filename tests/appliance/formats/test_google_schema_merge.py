from __future__ import annotations

from typing import Any

import pytest

from appliance.formats.google_schema_merge import Conflict, merged, with_sentence

TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, TEXT, TEXT),
        (TEXT, TEXT, TEXT),
        ({"type": ["string", "null"]}, TEXT, TEXT),
        ({"type": "number"}, {"type": "integer"}, {"type": "integer"}),
        ({"type": ["integer", "string"]}, {"type": ["number", "string"]}, {"type": ["string", "integer"]}),
        ({"enum": [1, 2, 3]}, {"enum": [3, 1]}, {"enum": [1, 3]}),
        ({"minimum": 1, "maximum": 9}, {"minimum": 2, "maximum": 8}, {"minimum": 2, "maximum": 8}),
        ({"minItems": 2, "maxItems": 3}, {"minItems": 1, "maxItems": 5}, {"minItems": 2, "maxItems": 3}),
        ({"required": ["a"]}, {"required": ["b", "a"]}, {"required": ["a", "b"]}),
        ({"description": "One."}, {"description": "Two."}, {"description": "One. Two."}),
        ({"items": TEXT}, {"items": {"enum": ["a"]}}, {"items": {"type": "string", "enum": ["a"]}}),
        ({"additionalProperties": True}, {"additionalProperties": TEXT}, {"additionalProperties": TEXT}),
        ({"additionalProperties": TEXT}, {"additionalProperties": True}, {"additionalProperties": TEXT}),
        ({"additionalProperties": TEXT}, {"additionalProperties": False}, {"additionalProperties": False}),
        (
            {"additionalProperties": {"type": "number"}},
            {"additionalProperties": {"minimum": 1}},
            {"additionalProperties": {"type": "number", "minimum": 1}},
        ),
        (
            {"properties": {"a": TEXT, "b": {"type": "number"}}},
            {"properties": {"b": {"minimum": 1}, "c": TEXT}},
            {"properties": {"a": TEXT, "b": {"type": "number", "minimum": 1}, "c": TEXT}},
        ),
    ],
)
def test_both_hold(first: dict[str, Any], second: dict[str, Any], expected: dict[str, Any]) -> None:
    assert merged(first, second) == expected


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [
        (TEXT, {"type": "number"}, "no type"),
        ({"enum": [1]}, {"enum": [2]}, "no value"),
        ({"anyOf": [TEXT]}, {"anyOf": []}, "differ in anyOf"),
        ({"format": "date"}, {"format": "time"}, "differ in format"),
        ({"properties": {"a": TEXT}}, {"properties": {"a": {"type": "number"}}}, "no type"),
    ],
)
def test_what_one_schema_cannot_say_is_a_conflict(first: dict[str, Any], second: dict[str, Any], word: str) -> None:
    with pytest.raises(Conflict, match=word):
        merged(first, second)


def test_nothing_given_is_changed() -> None:
    first: dict[str, Any] = {"required": ["a"], "properties": {"a": {}}}
    second: dict[str, Any] = {"required": ["b"], "properties": {"b": {}}}
    merged(first, second)
    assert (first, second) == (
        {"required": ["a"], "properties": {"a": {}}},
        {"required": ["b"], "properties": {"b": {}}},
    )


def test_sentences() -> None:
    assert with_sentence(None, "b") == "b"
    assert with_sentence("a", "b") == "a b"
