"""Typed members: what is let through, and how a wrong one is named."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.members import Members, kind, one_of


def refusal(read: Any) -> str:
    with pytest.raises(GatewayError) as caught:
        read()
    assert caught.value.code == "VALIDATION_ERROR"
    return caught.value.message


def test_right_values_are_read() -> None:
    members = Members({"t": "x", "f": False, "i": 3, "n": 1, "o": {"a": 1}, "l": [1], "w": "b", "other": None})
    assert members.text("t") == "x"
    assert members.needed_text("t") == "x"
    assert members.flag("f") is False
    assert members.integer("i", 1, 3) == 3
    assert members.number("n", 0, 2) == 1.0
    assert members.plain_object("o") == {"a": 1}
    assert members.items("l") == [1]
    assert members.word("w", ("a", "b")) == "b"
    assert members.rest() == {"other": None}


@pytest.mark.parametrize("body", [{}, {"x": None}])
def test_null_is_absent(body: dict[str, Any]) -> None:
    members = Members(body)
    assert members.text("x") is None
    assert members.flag("x") is None
    assert members.integer("x") is None
    assert members.number("x", 0, 1) is None
    assert members.members("x") is None
    assert members.plain_object("x") is None
    assert members.items("x") == []
    assert members.rest() == {}


def test_wrong_values_are_named_with_their_path() -> None:
    inner = Members(
        {"x": [{"t": 1, "f": 1, "i": True, "n": "2", "b": 9, "l": {}, "w": "z", "e": "", "nan": float("nan")}]}
    )
    members = Members(inner.items("x")[0], "x.0")
    assert refusal(lambda: members.text("t")) == "x.0.t: must be a string, not an integer"
    assert refusal(lambda: members.needed("gone")) == "x.0.gone: is required"
    assert refusal(lambda: members.needed_text("e")) == "x.0.e: must not be empty"
    assert refusal(lambda: members.flag("f")) == "x.0.f: must be true or false, not an integer"
    assert refusal(lambda: members.integer("i")) == "x.0.i: must be an integer, not a boolean"
    assert refusal(lambda: members.integer("b", 0, 5)) == "x.0.b: must be from 0 to 5, not 9"
    assert refusal(lambda: members.integer("b", 10)) == "x.0.b: must be at least 10, not 9"
    assert refusal(lambda: members.integer("b", None, 5)) == "x.0.b: must be at most 5, not 9"
    assert refusal(lambda: members.number("n", 0, 1)) == "x.0.n: must be a number, not a string"
    assert refusal(lambda: members.number("i", 0, 1)) == "x.0.i: must be a number, not a boolean"
    assert refusal(lambda: members.number("nan", 0, 1)).startswith("x.0.nan: must be a number")
    assert refusal(lambda: members.items("l")) == "x.0.l: must be a list, not an object"
    assert refusal(lambda: members.word("w", ("a", "b"))) == 'x.0.w: must be "a" or "b", not "z"'
    assert refusal(lambda: members.word("l", ("a",))) == 'x.0.l: must be "a", not an object'
    assert refusal(lambda: members.members("t")) == "x.0.t: must be an object, not an integer"
    assert refusal(lambda: Members([], "")) == "body: must be an object, not a list"


def test_kinds_are_words_for_people() -> None:
    values: list[Any] = [None, True, 1, 1.5, "", [], {}]
    said = ["null", "a boolean", "an integer", "a number with a fraction", "a string", "a list", "an object"]
    assert [kind(value) for value in values] == said
    assert one_of(("a", "b", "c")) == '"a", "b" or "c"'
