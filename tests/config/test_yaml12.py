"""Composing nodes: places, anchors, merge keys, limits, files that are no YAML."""

from __future__ import annotations

import time
from typing import Any

import pytest

from config.nodes import Node
from config.problems import Problem
from config.yaml12 import MAX_ALIASED, compose


def read(text: str | bytes) -> tuple[Any, list[str]]:
    problems: list[Problem] = []
    root = compose(text if isinstance(text, bytes) else text.encode(), "f", problems)
    return None if root is None else plain(root), [str(problem) for problem in problems]


def plain(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    return [plain(child) for child in node.value] if isinstance(node.value, list) else node.value


def test_only_plain_scalars_are_typed() -> None:
    text = "a: 12\nb: '12'\nc: \"true\"\nd: !!str 12\ne: ! 12\nf: |\n  12\ng: !!int 012\nh: !!float 1\ni: !!null ~\n"
    assert read(text) == (
        {"a": 12, "b": "12", "c": "true", "d": "12", "e": "12", "f": "12\n", "g": 12, "h": 1, "i": None},
        [],
    )


def test_keys_are_texts_as_written() -> None:
    assert read("012: a\ntrue: b\n~: c\n1.0: d\n'': e\n") == (
        {"012": "a", "true": "b", "~": "c", "1.0": "d", "": "e"},
        [],
    )


def test_the_same_key_in_other_quotes_is_a_duplicate() -> None:
    assert read("a: 1\n'a': 2\n") == ({"a": 1}, ["f:2:1: the key `a` is written twice (it already stands in line 1)"])


def test_merge_keys_fill_in_what_is_not_written() -> None:
    text = "one: &one {x: 1, y: 1}\ntwo: &two {y: 2, z: 2}\nall: {y: 0, <<: [*one, *two]}\nlater: {<<: *two, z: 3}\n"
    value, problems = read(text)
    assert problems == []
    assert value["all"] == {"y": 0, "x": 1, "z": 2}
    assert value["later"] == {"z": 3, "y": 2}


def test_a_quoted_merge_key_is_an_ordinary_key() -> None:
    assert read("a: {'<<': 1}\n") == ({"a": {"<<": 1}}, [])


def test_an_anchor_may_be_declared_again() -> None:
    assert read("a: &x 1\nb: *x\nc: &x 2\nd: *x\n") == ({"a": 1, "b": 1, "c": 2, "d": 2}, [])


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert read(b"\xef\xbb\xbfa: 1\n") == ({"a": 1}, [])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a: 1\nb: \xff\n", "f:2:4: the file is not UTF-8 text (save it in UTF-8)"),
        ("ä: é".encode("latin-1"), "f:1:1: the file is not UTF-8 text (save it in UTF-8)"),
        ("a: 1".encode("utf-16"), "f:1:1: the file is not UTF-8 text (save it in UTF-8)"),
        (
            b"a: 1\nbc: \x00\n",
            "f:2:5: the control character U+0000 may not stand in YAML (remove it, or write it as an escape in quotes)",
        ),
        (
            b"ab: '\x07'",
            "f:1:6: the control character U+0007 may not stand in YAML (remove it, or write it as an escape in quotes)",
        ),
        (b"", "f:1:1: the file is empty (it needs at least one section, such as `models:`)"),
        (b"---\n...\n", "f:2:1: the file is empty (it needs at least one section, such as `models:`)"),
    ],
)
def test_what_is_no_text_is_said_with_its_place(content: bytes, problem: str) -> None:
    assert read(content) == (None, [problem])


def test_columns_count_characters_not_bytes() -> None:
    assert read("äöü: {a: 1, a: 2}\n")[1] == ["f:1:13: the key `a` is written twice (it already stands in line 1)"]


def test_aliases_may_not_nest_deeper_than_the_text_may() -> None:
    steps = "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 60))
    assert read("a0: &a0 []\n" + steps)[1] == ["f:50:12: nested deeper than 50 levels (flatten the structure)"]


def test_aliases_that_stay_below_the_limit_are_kept() -> None:
    value, problems = read("base: &b {x: 1, y: 2}\nall: [" + ", ".join(["*b"] * 1000) + "]\n")
    assert problems == []
    assert value["all"] == [{"x": 1, "y": 2}] * 1000
    assert MAX_ALIASED > 3000


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 50_000, "a: &a [*a]", "? " * 10_000])
def test_hostile_texts_are_refused_fast(text: str) -> None:
    begun = time.monotonic()
    root, problems = read(text)
    assert root is None
    assert len(problems) == 1
    assert time.monotonic() - begun < 5
