"""Entries on lines of their own."""

from __future__ import annotations

from typing import Any

import pytest

from config.edit_block import add, empty, remove, replace, wrap
from config.edit_nodes import Written, read
from config.edit_text import spliced
from config.edit_values import Layout

TEXT = """\
a:
  - x: 1  # one
    y: 'two'

  # between

  - z    # three
"""


def parts() -> tuple[Written, Written, Written]:
    root = read(TEXT)
    return root, root.items[0], root.items[0].items[0]


@pytest.mark.parametrize(
    ("value", "new"),
    [
        (False, "- false  # three\n"),
        ([1], "- [1]  # three\n"),
        ({"k": [{"l": 1}, 2]}, "- k:   # three\n      - {l: 1}\n      - 2\n"),
        ("p\nq", "- |-   # three\n    p\n    q\n"),
    ],
)
def test_replaced(value: Any, new: str) -> None:
    _, items, _ = parts()
    text = spliced(TEXT, replace(TEXT, Layout(), items, 1, value))
    assert text.removeprefix(TEXT[: TEXT.index("- z")]) == new


def test_a_list_replaced_by_a_word() -> None:
    root, _, _ = parts()
    assert spliced(TEXT, replace(TEXT, Layout(), root, 0, "free")) == "a: free\n"


def test_quotes_are_kept() -> None:
    _, _, mapping = parts()
    assert "    y: 'it''s'\n" in spliced(TEXT, replace(TEXT, Layout(), mapping, 1, "it's"))


@pytest.mark.parametrize(
    ("index", "new"),
    [
        (0, "a:\n  - new\n  - x: 1"),
        (1, "two'\n\n  - new\n\n  # between\n\n  - z"),
        (2, "- z    # three\n\n  - new\n"),
    ],
)
def test_added(index: int, new: str) -> None:
    _, items, _ = parts()
    assert new in spliced(TEXT, add(TEXT, Layout(), items, index, None, "new", None))


@pytest.mark.parametrize(
    ("index", "new"),
    [(0, "a:\n\n  # between\n\n  - z    # three\n"), (1, "a:\n  - x: 1  # one\n    y: 'two'\n\n  # between\n\n")],
)
def test_removed(index: int, new: str) -> None:
    _, items, _ = parts()
    assert spliced(TEXT, remove(TEXT, items, index)) == new


def test_of_blank_lines_on_both_sides_one_goes() -> None:
    text = "a: 1\n\nb: 1\n\nc: 1\n"
    assert spliced(text, remove(text, read(text), 1)) == "a: 1\n\nc: 1\n"


@pytest.mark.parametrize(
    ("text", "new"),
    [
        ("a:  # why\n  # what\n  b: 1\n    # how\nc: 1\n", "a: {}  # why\n  # what\nc: 1\n"),
        ("a: &x !!map\n  b: 1\n", "a: &x !!map {}\n"),
        ("a:\n- 1\n", "a: []\n"),
    ],
)
def test_emptied(text: str, new: str) -> None:
    root = read(text)
    assert spliced(text, empty(text, root.items[0], root.afters[0])) == new


def test_an_emptied_file_still_holds_a_mapping() -> None:
    text = "# first\na: 1\n# last\n"
    assert spliced(text, empty(text, read(text), None)) == "# first\n{}\n# last\n"


@pytest.mark.parametrize(
    ("text", "new"),
    [
        ("m:\n  r:\n    - a\n", "m:\n  r:\n    targets:\n    - a\n"),
        ("m:\n  r: # c\n  # d\n  - a\n\n  - b\n", "m:\n  r: # c\n  # d\n    targets:\n    - a\n\n    - b\n"),
    ],
)
def test_wrapped(text: str, new: str) -> None:
    assert spliced(text, wrap(text, Layout(), read(text).items[0], 0)) == new
