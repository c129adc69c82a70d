"""Entries between braces and brackets."""

from __future__ import annotations

from typing import Any

import pytest

from config.edit_flow import add, remove, replace, wrap
from config.edit_nodes import Written, read
from config.edit_text import spliced


def inside(text: str) -> Written:
    return read(text).items[0]


@pytest.mark.parametrize(
    ("text", "index", "value", "new"),
    [
        ("k: {a: 1, b: 'x'}", 0, {"c": "d:e"}, "k: {a: {c: \"d:e\"}, b: 'x'}"),
        ("k: {a: 1, b: 'x'}", 1, "y", "k: {a: 1, b: 'y'}"),
        ("k: {a, b: }", 0, 1, "k: {a: 1, b: }"),
        ("k: {a, b: }", 1, 1, "k: {a, b: 1 }"),
        ("k: [a: 1, 2]", 0, 3, "k: [3, 2]"),
    ],
)
def test_replaced(text: str, index: int, value: Any, new: str) -> None:
    assert spliced(text, replace(text, inside(text), index, value)) == new


@pytest.mark.parametrize(
    ("text", "index", "key", "new"),
    [
        ("k: {}", 0, "new", "k: {new: 1}"),
        ("k: { # c\n }", 0, "new", "k: {new: 1 # c\n }"),
        ("k: [ ]", 0, None, "k: [1]"),
        ("k: [a, b,]", 2, None, "k: [a, b, 1,]"),
        ("k: [a, b]", 1, None, "k: [a, 1, b]"),
        ("k: { a: }", 1, "new", "k: { a: , new: 1 }"),
        ("k: &x {a: 1}", 1, "new", "k: &x {a: 1, new: 1}"),
    ],
)
def test_added(text: str, index: int, key: str | None, new: str) -> None:
    assert spliced(text, add(text, inside(text), index, key, 1)) == new


def test_a_pair_gets_its_braces() -> None:
    text = "k: [a: 1, 2]"
    assert spliced(text, add(text, inside(text).items[0], 1, "new", 1)) == "k: [{a: 1, new: 1}, 2]"
    assert spliced(text, remove(text, inside(text).items[0], 0)) == "k: [{}, 2]"


@pytest.mark.parametrize(
    ("text", "index", "new"),
    [
        ("k: {a: 1, b: 2, c: 3}", 0, "k: {b: 2, c: 3}"),
        ("k: {a: 1, b: 2, c: 3}", 1, "k: {a: 1, c: 3}"),
        ("k: {a: 1, b: 2, c: 3}", 2, "k: {a: 1, b: 2}"),
        ("k: [a, b,]", 1, "k: [a,]"),
        ("k: [ a ]", 0, "k: []"),
        ("k: [\n  a, # one\n  b  # two\n]", 1, "k: [\n  a, # one\n]"),
        ("k: [\n  a, # one\n  b,  # two\n]", 1, "k: [\n  a, # one\n]"),
        ("k: [\r\n  a,\r\n  b\r\n]", 1, "k: [\r\n  a,\r\n]"),
        ("k: [\n  a\n  , b\n]", 1, "k: [\n  a\n]"),
    ],
)
def test_removed(text: str, index: int, new: str) -> None:
    assert spliced(text, remove(text, inside(text), index)) == new


def test_wrapped() -> None:
    text = "k: [a]  # c"
    assert spliced(text, wrap(read(text), 0)) == "k: {targets: [a]}  # c"
