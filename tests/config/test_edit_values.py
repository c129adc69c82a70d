"""How new entries are laid out."""

from __future__ import annotations

from typing import Any

import pytest

from config import EditRefused
from config.edit_nodes import read
from config.edit_values import Layout, block_lines, entry_lines, flow, hung, key_text, layout_of


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        ("a: 1\n", Layout("\n", 2, 2)),
        ("a:\n    b: 1\nc:\n- 1\n", Layout("\n", 4, 0)),
        ("a:\r\n   b:\r\n      - 1\r\n", Layout("\r\n", 3, 3)),
        ("a:\n    b: 1\n", Layout("\n", 4, 4)),
        ("a: {b: {c: 1}}", Layout("\n", 2, 2)),
    ],
)
def test_a_file_has_its_habits(text: str, layout: Layout) -> None:
    assert layout_of(text, read(text)) == layout


def test_a_new_entry_follows_them() -> None:
    value = {"price": {"input": "1.00"}, "route": {"targets": [{"backend": "a:b"}, "x"], "empty": [], "none": None}}
    assert entry_lines("m", value, 2, Layout(step=4, list_step=0), block=True) == [
        "  m:",
        '      price: {input: "1.00"}',
        "      route:",
        "          targets:",
        '          - {backend: "a:b"}',
        "          - x",
        "          empty: []",
        "          none: null",
    ]


def test_a_mapping_begins_behind_its_dash() -> None:
    assert entry_lines(None, {"a": 1, "b": "x\ny\n"}, 2, Layout()) == ["  - a: 1", "    b: |", "      x", "      y"]
    assert block_lines([[1], [[{"a": 1}]]], 0, Layout()) == ["- [1]", "- - - {a: 1}"]


def test_what_is_too_long_for_a_line_gets_several() -> None:
    long = {f"key{number}": "value" for number in range(12)}
    assert hung(long, 0, Layout()).lines[0] == "  key0: value"
    assert hung({"a": 1}, 0, Layout()).inline == "{a: 1}"


def test_braces_hold_everything_in_one_line() -> None:
    assert flow({"a": [1, {"b": "x\ny"}], "c:d": {}}) == '{a: [1, {b: "x\\ny"}], "c:d": {}}'


@pytest.mark.parametrize("key", [1, None, "k" * 501])
def test_what_is_no_key_is_refused(key: Any) -> None:
    with pytest.raises(EditRefused, match="a key must be a text"):
        key_text(key)
