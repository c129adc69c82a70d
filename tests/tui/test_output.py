"""How commands print."""

from __future__ import annotations

import json

import pytest

from tui.output import Column, moment, print_error, print_json, print_table, steady, visible


def test_controls_become_spaces_in_a_line_and_vanish_in_text() -> None:
    assert visible("a\x1b[31m\nb\tc\x9bd\u2028e") == "a [31m b c d e"
    assert steady("a\x1b[31m\nb\tc\x9bd\re") == "a[31m\nb\tcde"
    assert steady("family 👩‍👧 ok") == "family 👩‍👧 ok"


def test_a_table_in_a_pipe_has_tabs_and_nothing_shortened(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([Column("one"), Column("two", "right")], [["x" * 200, "1"], ["a\tb", "2"]])
    assert capsys.readouterr().out == f"one\ttwo\n{'x' * 200}\t1\na b\t2\n"


def test_json_keeps_letters_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": "é"})
    out = capsys.readouterr().out
    assert "é" in out
    assert json.loads(out) == {"a": "é"}


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("a\nb\x1b[2J")
    assert capsys.readouterr() == ("", "scaigrid: a b [2J\n")


@pytest.mark.parametrize(
    ("iso", "day_only", "shown"),
    [
        ("2026-11-22T23:30:01.500Z", False, "11-22 23:30:01"),
        ("2026-11-22T23:30:01.500Z", True, "2026-11-22"),
        ("2026-11-22T23:30:01-02:00", True, "2026-11-23"),
        (None, True, "-"),
    ],
)
def test_times_are_shown_in_utc(iso: str | None, day_only: bool, shown: str) -> None:
    assert moment(iso, day_only=day_only) == shown
