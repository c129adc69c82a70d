"""Entries that may be written as one word."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from config.entry import Entry
from config.switches import OrOff, OrOnOff


class Lamp(Entry):
    """An entry with a default."""

    watts: int = 5


class House(Entry):
    """One of each kind."""

    hall: OrOff[Lamp] = Lamp()
    cellar: OrOnOff[Lamp] = None


@pytest.mark.parametrize(
    ("written", "read"), [("off", None), (None, Lamp()), ({}, Lamp()), ({"watts": 9}, Lamp(watts=9)), (Lamp(), Lamp())]
)
def test_what_is_on_unless_it_is_switched_off(written: Any, read: Lamp | None) -> None:
    assert House.model_validate({"hall": written}).hall == read


@pytest.mark.parametrize(
    ("written", "read"),
    [("off", None), (False, None), (None, None), (True, Lamp()), ({}, Lamp()), ({"watts": 9}, Lamp(watts=9))],
)
def test_what_is_off_unless_it_is_switched_on(written: Any, read: Lamp | None) -> None:
    assert House.model_validate({"cellar": written}).cellar == read


@pytest.mark.parametrize(
    ("key", "written", "message"),
    [
        ("hall", True, "a mapping or `off` is due, found true"),
        ("hall", False, "a mapping or `off` is due, found false"),
        ("hall", "no", "a mapping or `off` is due, found the text `no`"),
        ("hall", ["off"], "a mapping or `off` is due, found a list"),
        ("cellar", "on", "`true`, `off` or a mapping is due, found the text `on`"),
        ("cellar", 1, "`true`, `off` or a mapping is due, found a number"),
    ],
)
def test_any_other_word_is_a_problem(key: str, written: Any, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        House.model_validate({key: written})
    (error,) = caught.value.errors()
    assert (error["loc"], error["msg"]) == ((key,), message)


def test_editors_know_the_words() -> None:
    fields = House.model_json_schema()["properties"]
    assert fields["hall"]["anyOf"] == [{"const": "off"}, {"$ref": "#/$defs/Lamp"}]
    assert fields["cellar"]["anyOf"] == [{"const": True}, {"const": "off"}, {"const": False}, {"$ref": "#/$defs/Lamp"}]
