"""How problems are written, ordered and kept harmless."""

from __future__ import annotations

import pytest

import config
from config.problems import Problem, meant, nearest, shown


def test_a_problem_is_one_line_with_its_place() -> None:
    assert str(Problem("a.yaml", 3, 7, "this is wrong", "do that")) == "a.yaml:3:7: this is wrong (do that)"
    assert str(Problem("a.yaml", 3, 7, "this is wrong")) == "a.yaml:3:7: this is wrong"


def test_problems_are_in_order_of_place_and_said_once() -> None:
    late, early, other = Problem("a", 10, 1, "x"), Problem("a", 9, 1, "x"), Problem("b", 1, 1, "x")
    assert config.ConfigError([other, late, early, late]).problems == (early, late, other)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain", "`plain`"),
        ("two\nlines", "`two\\nlines`"),
        ("x" * 100, "`" + "x" * 59 + "…`"),
        ("sk-ant-secret", "this text"),
        ("sgk_secret", "this text"),
        ("Bearer x", "this text"),
    ],
)
def test_what_is_shown_is_short_and_no_key(text: str, written: str) -> None:
    assert shown(text) == written


def test_the_nearest_name_is_found_whatever_its_case() -> None:
    assert nearest("API-KEY", ["api_key", "type"]) == "api_key"
    assert nearest("zzz", ["api_key", "type"]) is None
    assert meant("zzz", ["api_key"], "otherwise") == "otherwise"
