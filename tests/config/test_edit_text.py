"""Splices and lines."""

from __future__ import annotations

import pytest

from config.edit_text import Splice, has_blank_line, is_blank, line_end, line_start, next_line, spliced, tail


def test_splices_are_made_in_order_of_place_then_of_telling() -> None:
    splices = [Splice(3, 4, "D"), Splice(1, 1, "x"), Splice(1, 2, "y")]
    assert spliced("abcd", splices) == "axycD"


def test_splices_never_overlap() -> None:
    with pytest.raises(AssertionError):
        spliced("abcd", [Splice(0, 3, ""), Splice(2, 4, "")])


@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_a_line_ends_before_its_break(line_break: str) -> None:
    text = f"ab{line_break}{line_break}cd"
    assert [line_end(text, at) for at in (0, 2)] == [2, 2]
    second = next_line(text, 0)
    assert (second, line_start(text, second)) == (2 + len(line_break), second)
    assert is_blank(text, second)
    assert not is_blank(text, 0)
    assert not is_blank(text, len(text))
    assert line_end(text, len(text) - 1) == next_line(text, len(text) - 1) == len(text)
    assert has_blank_line(text, 0, len(text))
    assert not has_blank_line(text, 0, 2)


@pytest.mark.parametrize(
    ("below", "belongs"),
    [
        ("\n    # deeper\n  # as deep\n", "\n    # deeper"),
        ("\n\n    # deeper\n\n  b: 1\n", "\n\n    # deeper"),
        ("\n  # as deep\n    # deeper\n", ""),
        ("\n  b: 1\n    # deeper\n", ""),
        ("", ""),
    ],
)
def test_deeper_comments_below_belong_to_an_entry(below: str, belongs: str) -> None:
    text = f"  a: 1  # own{below}"
    assert text[: tail(text, 5, 2)] == f"  a: 1  # own{belongs}"
