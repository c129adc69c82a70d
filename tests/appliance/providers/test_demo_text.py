"""Examples for JSON schemas: what pydantic asks for, pydantic accepts."""

from __future__ import annotations

import json
from datetime import date, datetime
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, create_model

from appliance.providers.demo_text import answer_words, example_of


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    name: str
    count: int


class Node(BaseModel):
    label: str
    children: list[Node]


class Chain(BaseModel):
    value: int
    next: Chain | None


ACCEPTED: dict[str, Any] = {
    "text": str,
    "whole number": int,
    "number": float,
    "boolean": bool,
    "nothing": None,
    "list": list[str],
    "list of lists": list[list[int]],
    "mapping": dict[str, int],
    "enumeration": Colour,
    "literal": Literal["a", "b"],
    "one literal": Literal[7],
    "optional": int | None,
    "union": Inner | str,
    "nested": Inner,
    "list of nested": list[Inner],
    "a tree": Node,
    "a chain": Chain,
    "at least": Annotated[int, Field(ge=5)],
    "more than": Annotated[int, Field(gt=5)],
    "at most": Annotated[int, Field(le=-3)],
    "less than": Annotated[int, Field(lt=-3)],
    "between": Annotated[float, Field(ge=0.25, le=0.5)],
    "long text": Annotated[str, Field(min_length=20)],
    "short text": Annotated[str, Field(max_length=2)],
    "some entries": Annotated[list[int], Field(min_length=3)],
    "no entries": Annotated[list[int], Field(max_length=0)],
    "a pair": tuple[int, str],
    "a date": date,
    "a moment": datetime,
    "a uuid": UUID,
    "anything": Any,
}


@pytest.mark.parametrize("kind", ACCEPTED.values(), ids=ACCEPTED)
def test_what_pydantic_asks_for_pydantic_accepts(kind: Any) -> None:
    model = create_model("Answer", field=(kind, ...))
    text = json.dumps(example_of(model.model_json_schema()))
    model.model_validate_json(text)


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {"a": "demo"}),
        ({"properties": {"a": {"const": 3}}}, {"a": 3}),
        ({"enum": [None, 1]}, None),
        ({"type": ["integer", "null"]}, 1),
        ({}, "demo"),
        ({"type": "object"}, {}),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"type": "boolean"}}}, True),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "integer"}}}, 1),
    ],
)
def test_small_schemas(schema: dict[str, Any], example: Any) -> None:
    assert example_of(schema) == example


def test_all_of_holds_for_all() -> None:
    schema = {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]},
        ]
    }
    example = example_of(schema)
    assert isinstance(example["a"], int)
    assert isinstance(example["b"], str)


def test_what_is_required_is_there_although_nothing_more_is_said_of_it() -> None:
    assert set(example_of({"type": "object", "required": ["a", "b"]})) == {"a", "b"}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/x", "$defs": {"x": {"$ref": "#/$defs/x"}}},
        {"$ref": "#/nowhere"},
        {"$ref": "https://example.org/schema"},
        {"type": "object", "properties": {"self": {"$ref": "#"}}},
        {"type": "array", "items": {"$ref": "#"}},
        {"anyOf": [True]},
        {"type": "no such type"},
        True,
        None,
        7,
    ],
)
def test_no_schema_is_too_strange_to_end(schema: Any) -> None:
    json.dumps(example_of(schema))


@pytest.mark.parametrize(("last", "quoted"), [("Hi", "“Hi”"), ("  Hi \n", "“Hi”"), ("", "no text")])
def test_the_words_of_an_answer_quote_the_question(last: str, quoted: str) -> None:
    words = answer_words(last, [])
    assert quoted in "".join(words)
    assert all(word.strip() for word in words)
    assert all(" " not in word.strip() for word in words)
