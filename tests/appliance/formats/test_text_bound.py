"""The bound covers bytes, and what a tokeniser's normal form makes of them."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from appliance.formats.text_bound import byte_count, text_bound, text_estimate


def test_bytes_are_counted() -> None:
    assert text_bound("hello") == 5
    assert text_bound("naïve 日本") == len("naïve 日本".encode())
    assert byte_count("\ud800") == 3


def test_a_ligature_counts_as_what_it_stands_for() -> None:
    ligature = "\ufdfa"
    assert text_bound(ligature) == len(unicodedata.normalize("NFKC", ligature).encode()) > 30


def test_the_estimate_is_rounded_up() -> None:
    assert [text_estimate(text) for text in ("", "a", "abcd", "abcde")] == [0, 1, 1, 2]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_bound_is_never_under_either_form(text: str) -> None:
    assert text_bound(text) >= len(text.encode())
    assert text_bound(text) >= len(unicodedata.normalize("NFKC", text).encode())
    assert text_estimate(text) <= text_bound(text)
