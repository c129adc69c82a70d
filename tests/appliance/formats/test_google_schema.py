from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import GatewayError
from appliance.formats.google_schema import COMMENTS, EMPTY_CONDITIONS, MAX_NODES, parameters_schema, reduced_schema
from support.golden import check_golden

WHERE = "tools.0.function.parameters"
TEXT = {"type": "string"}
NULL = {"type": "null"}

KNOWN = {
    "additionalProperties",
    "anyOf",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maximum",
    "minItems",
    "minimum",
    "prefixItems",
    "properties",
    "propertyOrdering",
    "required",
    "type",
}
"""Google's keywords that a reduced schema may hold; its `oneOf` is no more than anyOf, and references are in place."""


def _reduced(schema: dict[str, Any], strict: bool = False) -> dict[str, Any]:
    before = copy.deepcopy(schema)
    reduced = reduced_schema(schema, WHERE, strict)
    assert schema == before
    _assert_known(reduced)
    return reduced


def _assert_known(schema: Any) -> None:
    assert isinstance(schema, dict)
    assert set(schema) <= KNOWN
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", []), *schema.get("prefixItems", [])]
    inner += [schema[name] for name in ("items", "additionalProperties") if isinstance(schema.get(name), dict)]
    for one in inner:
        _assert_known(one)


def _refusal(schema: dict[str, Any], strict: bool = False) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        reduced_schema(schema, WHERE, strict)
    assert caught.value.code == "VALIDATION_ERROR"
    assert caught.value.param is not None
    assert caught.value.param.startswith(WHERE)
    return caught.value


# -- respelt ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"const": "a"}, {"type": "string", "enum": ["a"]}),
        ({"const": 3}, {"type": "integer", "enum": [3]}),
        ({"type": "number", "const": 2.5}, {"type": "number", "enum": [2.5]}),
        ({"const": None}, NULL),
        ({"enum": [1, 2.5]}, {"type": "number", "enum": [1, 2.5]}),
        ({"enum": ["a", 1]}, {"type": ["integer", "string"], "enum": ["a", 1]}),
        ({"enum": ["a", None]}, {"anyOf": [{"type": "string", "enum": ["a"]}, NULL]}),
        (
            {"type": ["string", "null"], "enum": ["a", None]},
            {"anyOf": [{"type": "string", "enum": ["a"]}, NULL]},
        ),
        ({"enum": [None]}, NULL),
        ({"enum": [True, False]}, {"type": "boolean"}),
        ({"enum": [True, False, None]}, {"type": ["boolean", "null"]}),
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": ["string", "null"], "nullable": True}, {"type": ["string", "null"]}),
        ({"enum": ["a"], "nullable": True}, {"anyOf": [{"type": "string", "enum": ["a"]}, NULL]}),
        ({"anyOf": [TEXT, {"type": "number"}], "nullable": True}, {"anyOf": [TEXT, {"type": "number"}, NULL]}),
        ({"anyOf": [TEXT, NULL]}, {"type": ["string", "null"]}),
        ({"anyOf": [TEXT, NULL], "description": "A."}, {"type": ["string", "null"], "description": "A."}),
        ({"anyOf": [{"enum": ["a"]}, NULL]}, {"anyOf": [{"type": "string", "enum": ["a"]}, NULL]}),
        ({"anyOf": [TEXT]}, TEXT),
        ({"anyOf": [True, NULL]}, {}),
        ({"oneOf": [TEXT, {"type": "number"}]}, {"anyOf": [TEXT, {"type": "number"}]}),
        ({"allOf": [TEXT, {"description": "A."}]}, {"type": "string", "description": "A."}),
        ({"type": "integer", "exclusiveMinimum": 0}, {"type": "integer", "minimum": 1}),
        ({"type": "integer", "exclusiveMinimum": 0.5, "minimum": 3}, {"type": "integer", "minimum": 3}),
        ({"type": "integer", "exclusiveMaximum": 10}, {"type": "integer", "maximum": 9}),
        ({"items": [TEXT, NULL]}, {"prefixItems": [TEXT, NULL]}),
        ({"items": [TEXT], "additionalItems": False}, {"prefixItems": [TEXT], "maxItems": 1}),
        ({"prefixItems": [TEXT], "items": False, "minItems": 1}, {"prefixItems": [TEXT], "minItems": 1, "maxItems": 1}),
        ({"type": "array", "items": True}, {"type": "array", "items": {}}),
        ({"type": "object", "additionalProperties": {}}, {"type": "object", "additionalProperties": True}),
        ({"type": "object", "additionalProperties": TEXT}, {"type": "object", "additionalProperties": TEXT}),
        ({"type": "object", "unevaluatedProperties": False}, {"type": "object", "additionalProperties": False}),
        ({"type": "string", "format": "date-time"}, {"type": "string", "format": "date-time"}),
        ({"properties": {"title": TEXT, "default": TEXT}}, {"properties": {"title": TEXT, "default": TEXT}}),
    ],
)
def test_the_same_is_said_in_googles_words(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert _reduced(schema, strict=True) == expected


def test_references_are_put_in_place_with_what_stands_beside_them() -> None:
    schema = {
        "$defs": {"City": {"type": "string", "title": "City"}, "a/b": {"type": "number"}},
        "type": "object",
        "properties": {
            "home": {"$ref": "#/$defs/City", "description": "Where he lives."},
            "others": {"type": "array", "items": {"$ref": "#/$defs/City"}},
            "size": {"$ref": "#/$defs/a~1b"},
            "kind": {"$ref": "#/properties/list/anyOf/1"},
            "list": {"anyOf": [TEXT, {"type": "boolean"}]},
        },
    }
    assert _reduced(schema)["properties"] == {
        "home": {"type": "string", "description": "Where he lives."},
        "others": {"type": "array", "items": TEXT},
        "size": {"type": "number"},
        "kind": {"type": "boolean"},
        "list": {"anyOf": [TEXT, {"type": "boolean"}]},
    }


def test_a_base_that_an_extension_refers_to_again_is_no_recursion() -> None:
    schema = {
        "$defs": {
            "Base": {"properties": {"id": TEXT}},
            "Extension": {"properties": {"parent": {"$ref": "#/$defs/Base"}}},
        },
        "allOf": [{"$ref": "#/$defs/Base"}, {"$ref": "#/$defs/Extension"}],
    }
    assert _reduced(schema) == {"properties": {"id": TEXT, "parent": {"properties": {"id": TEXT}}}}


# -- dropped, told, refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keyword", COMMENTS)
def test_a_comment_is_dropped(keyword: str) -> None:
    assert _reduced({"type": "string", keyword: "anything"}, strict=True) == TEXT


def test_an_extension_of_openapi_is_dropped() -> None:
    assert _reduced({"type": "string", "x-order": 3}, strict=True) == TEXT


@pytest.mark.parametrize("keyword", EMPTY_CONDITIONS)
def test_a_condition_that_forbids_nothing_is_dropped(keyword: str) -> None:
    for value in EMPTY_CONDITIONS[keyword]:
        assert _reduced({keyword: value}, strict=True) == {}


def test_false_forbids_nothing_and_zero_does() -> None:
    assert _reduced({"type": "integer", "exclusiveMinimum": False, "uniqueItems": False}) == {"type": "integer"}
    assert _reduced({"type": "number", "exclusiveMinimum": 0})["description"] == "(exclusiveMinimum: 0)"


@pytest.mark.parametrize(
    ("schema", "description"),
    [
        ({"type": "string", "pattern": "^a$"}, '(pattern: "^a$")'),
        ({"type": "string", "description": "A.", "maxLength": 5}, "A. (maxLength: 5)"),
        ({"type": "array", "uniqueItems": True}, "(uniqueItems: true)"),
        ({"not": {"type": "string"}}, '(not: {"type":"string"})'),
        ({"const": True}, "(enum: [true])"),
        ({"enum": [{"a": 1}]}, '(enum: [{"a":1}])'),
        ({"of_the_future": [1]}, "(of_the_future: [1])"),
    ],
)
def test_a_condition_without_a_keyword_is_told_or_under_strict_refused(
    schema: dict[str, Any], description: str
) -> None:
    assert _reduced(schema)["description"] == description
    assert "cannot enforce" in _refusal(schema, strict=True).message


def test_formats_and_defaults_are_told_even_under_strict() -> None:
    schema = {"type": "string", "format": "uri", "default": "https://a"}
    expected = {"type": "string", "description": '(format: "uri") (default: "https://a")'}
    assert _reduced(schema, strict=True) == expected
    assert _reduced({"anyOf": [TEXT, NULL], "default": None}) == {"type": ["string", "null"]}


@pytest.mark.parametrize(
    ("schema", "param"),
    [
        ({"$ref": "#"}, ".$ref"),
        ({"$ref": "https://example.org/schema"}, ".$ref"),
        ({"$ref": "#/$defs/Nowhere"}, ".$ref"),
        ({"$ref": 5}, ".$ref"),
        ({"properties": {"a": False}}, ".properties.a"),
        ({"items": "string"}, ".items"),
        ({"anyOf": TEXT}, ".anyOf"),
        ({"allOf": [TEXT, {"type": "number"}]}, ""),
        ({"not": {"$ref": "#/$defs/A"}, "$defs": {"A": TEXT}}, ".not"),
        ({"anyOf": [TEXT, {"type": "number"}], "oneOf": [TEXT, {"type": "boolean"}]}, ""),
    ],
)
def test_what_cannot_be_said_is_refused_where_it_stands(schema: dict[str, Any], param: str) -> None:
    assert _refusal(schema).param == WHERE + param


def test_a_schema_that_contains_itself_is_refused() -> None:
    node = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}}}
    error = _refusal({"$defs": {"Node": node}, "$ref": "#/$defs/Node"})
    assert "contains itself" in error.message
    assert error.param == f"{WHERE}.properties.children.items.$ref"


def test_references_cannot_multiply_without_end() -> None:
    levels = {f"L{i}": {"properties": {side: {"$ref": f"#/$defs/L{i + 1}"} for side in ("a", "b")}} for i in range(20)}
    error = _refusal({"$defs": {**levels, "L20": TEXT}, "$ref": "#/$defs/L0"})
    assert "too large" in error.message
    assert MAX_NODES < 2**20


def test_a_deep_schema_is_refused_before_the_stack_ends() -> None:
    schema: dict[str, Any] = TEXT
    for _ in range(3000):
        schema = {"items": schema}
    with pytest.raises(GatewayError, match="too large"):
        reduced_schema(schema, WHERE, False)


# -- parameters -------------------------------------------------------------------------------------------------------


def test_parameters_are_an_object() -> None:
    assert parameters_schema(None, WHERE, False) is None
    assert parameters_schema({}, WHERE, False) is None
    assert parameters_schema({"properties": {"a": TEXT}}, WHERE, False) == {
        "properties": {"a": TEXT},
        "type": "object",
    }
    with pytest.raises(GatewayError) as caught:
        parameters_schema({"type": "array"}, WHERE, False)
    assert caught.value.param == f"{WHERE}.type"


# -- whole schemas ----------------------------------------------------------------------------------------------------


class Address(pydantic.BaseModel):
    """Where somebody lives."""

    street: str
    number: int = pydantic.Field(gt=0)
    zip_code: str | None = pydantic.Field(None, pattern="^[0-9]{4}[A-Z]{2}$")


class Person(pydantic.BaseModel):
    name: str = pydantic.Field(description="In full.", max_length=100)
    homes: list[Address]
    work: Address | None = None
    scores: dict[str, float] = {}
    pair: tuple[int, str] = (1, "a")


def test_a_schema_that_pydantic_made_reads_as_its_golden_file() -> None:
    check_golden(Path("requests/google/schema-pydantic.json"), _reduced(Person.model_json_schema()))


_LEAVES = st.fixed_dictionaries(
    {"type": st.sampled_from(["string", "integer", "number", "boolean", ["string", "null"]])},
    optional={"title": st.text(max_size=3), "description": st.text(max_size=3), "pattern": st.just("a")},
) | st.fixed_dictionaries({"enum": st.lists(st.sampled_from(["a", "b", 1, None]), min_size=1, max_size=3)})
_SCHEMAS = st.recursive(
    _LEAVES,
    lambda inner: (
        st.fixed_dictionaries({"type": st.just("array"), "items": inner})
        | st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)})
        | st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2)},
            optional={"nullable": st.booleans(), "additionalProperties": st.booleans() | inner},
        )
    ),
    max_leaves=8,
)


@given(_SCHEMAS)
def test_a_reduced_schema_is_reduced(schema: dict[str, Any]) -> None:
    once = _reduced(schema)
    assert _reduced(once) == once
