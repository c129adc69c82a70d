"""YAML 1.2's core schema: what each plain scalar means."""

from __future__ import annotations

import math

import pytest

from config.nodes import core_value, kind


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("True", True),
        ("TRUE", True),
        ("false", False),
        ("False", False),
        ("FALSE", False),
        ("", None),
        ("~", None),
        ("null", None),
        ("Null", None),
        ("NULL", None),
        ("0", 0),
        ("012", 12),
        ("-7", -7),
        ("+7", 7),
        ("0o14", 12),
        ("0x1F", 31),
        ("1e3", 1000.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("-1E-2", -0.01),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        *((text, text) for text in ("yes", "no", "on", "off", "y", "n", "Yes", "NO", "tRue", "nULL")),
        *((text, text) for text in ("1:30", "190:20:30", "2027-01-31", "2027-01-31T12:00:00Z", "1_000", "0b11")),
        *(
            (text, text)
            for text in ("1.2.3", "+", "-", ".", "..", "0o9", "0xG", "1e", "e3", "--1", "+0x1F", ".Infinity")
        ),
        *((text, text) for text in ("<<", "=", "٣", "1 2")),
    ],
)
def test_a_plain_scalar_means_what_yaml_1_2_says(text: str, value: object) -> None:
    found = core_value(text)
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_one_of_three_words() -> None:
    assert math.isnan(core_value(".nan"))  # type: ignore[arg-type]
    assert core_value("nan") == "nan"


def test_a_number_of_absurd_length_is_refused() -> None:
    assert core_value("9" * 300) == int("9" * 300)
    for text in ("9" * 301, "0x" + "f" * 5000):
        with pytest.raises(ValueError, match="too many digits"):
            core_value(text)


def test_kinds_are_named_in_an_operators_words() -> None:
    values: list[object] = [None, True, False, 1, 1.5, "x", {}, []]
    kinds = [kind(value) for value in values]
    assert kinds == ["nothing", "true", "false", "a number", "a number", "a text", "a mapping", "a list"]
