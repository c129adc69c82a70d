"""What is written is read as the same by readers of YAML 1.1 and of 1.2, in every place."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from config import EditRefused
from config.edit_scalars import literal, scalar

TRICKY = ("no", "012", "1:30", "on", "y", "1e3", "2024-10-21", "=", "<<", "~", "", "15.00", "0o7", "1_0", ".5", "null")
texts = st.one_of(
    st.sampled_from(TRICKY), st.text(st.characters(codec="utf-8")), st.text(st.sampled_from("a:# -?,[]{}'\"\n!&*"))
)


def read_by_all(text: str) -> list[Any]:
    return [yaml.safe_load(text), YAML(typ="safe", pure=True).load(text)]


@given(texts, st.sampled_from(["", "'", '"']))
def test_a_text_is_read_as_itself(text: str, like: str) -> None:
    assert read_by_all(f"k: {scalar(text, like=like)}  # c\n") == [{"k": text}] * 2
    assert read_by_all(f"k: [{scalar(text, flow=True, like=like)}, 1]\n") == [{"k": [text, 1]}] * 2
    assert read_by_all(f"- {scalar(text, like=like)}\n") == [[text]] * 2


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
def test_other_values_are_read_as_themselves(value: Any) -> None:
    for found in read_by_all(f"k: {scalar(value)}\n"):
        assert (type(found["k"]), found["k"]) == (type(value), value)


@given(texts)
def test_a_literal_is_read_as_itself(text: str) -> None:
    if several := literal(text):
        sign, lines = several
        assert (
            read_by_all(f"k: {sign}\n" + "".join(f"  {line}\n" for line in lines) + "l: 1\n")
            == [{"k": text, "l": 1}] * 2
        )


@pytest.mark.parametrize("text", TRICKY)
def test_what_could_be_misread_gets_quotes(text: str) -> None:
    assert scalar(text) == f'"{text}"'


@pytest.mark.parametrize(
    "text", ["gpt-4o", "openai:gpt-4o", "${env:KEY}", "5s", "127.0.0.1:8000", "a b", "https://x/y?z"]
)
def test_what_is_clear_gets_none(text: str) -> None:
    assert scalar(text) == text


def test_quotes_are_kept_where_the_text_allows() -> None:
    assert scalar("it's", like="'") == "'it''s'"
    assert scalar("a\tb", like="'") == '"a\\tb"'
    assert scalar("a", like='"') == '"a"'
    assert scalar("openai:gpt-4o", flow=True) == '"openai:gpt-4o"'


def test_some_texts_of_several_lines_are_better_in_quotes() -> None:
    assert literal("a\n\nb\n") == ("|", ["a", "", "b"])
    assert literal("a\nb") == ("|-", ["a", "b"])
    assert [literal(text) for text in ("one line", " a\nb", "a \nb", "a\n\n", "a\tb\nc", "\n")] == [None] * 6


@pytest.mark.parametrize("value", [float("inf"), 10**300, b"bytes", ("tuple",), "\ud800"])
def test_what_yaml_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(EditRefused):
        scalar(value)
