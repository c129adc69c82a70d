from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.formats.anthropic_input import RAW_ARGUMENTS, arguments_of, input_of


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ("", {}),
        (" \n", {}),
        ("null", {}),
        ('{"z": 1, "a": [2.0]}', {"z": 1, "a": [2.0]}),
        ('{"a": "b', {RAW_ARGUMENTS: '{"a": "b'}),
        ("[1]", {RAW_ARGUMENTS: "[1]"}),
        ('"text"', {RAW_ARGUMENTS: '"text"'}),
        ("[" * 100_000, {RAW_ARGUMENTS: "[" * 100_000}),
    ],
)
def test_arguments_are_always_an_object(arguments: str, value: dict[str, Any]) -> None:
    assert input_of(arguments) == value


@given(st.text().filter(lambda text: text.strip() not in ("", "null")))
def test_broken_arguments_are_the_same_text_when_they_come_back(arguments: str) -> None:
    assert arguments_of(input_of(arguments)) == arguments


def test_only_the_wrapped_text_alone_is_unwrapped() -> None:
    assert arguments_of({RAW_ARGUMENTS: 5}) == f'{{"{RAW_ARGUMENTS}":5}}'
    assert arguments_of({RAW_ARGUMENTS: "x", "a": 1}) == f'{{"{RAW_ARGUMENTS}":"x","a":1}}'
