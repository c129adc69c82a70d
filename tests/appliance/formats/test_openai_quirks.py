"""The data of a server's quirks, and how models are looked up in it."""

from __future__ import annotations

import re

import pytest

from appliance.formats.openai_quirks import ANY, HABITS, OPENAI, Quirks, Thinking, matches, thinking_of


def test_openai_itself_is_the_default() -> None:
    assert Quirks() == OPENAI
    assert (OPENAI.lacks, OPENAI.extras, OPENAI.prefill, OPENAI.reasoning) == (frozenset(), None, None, "")


def test_no_pattern_matches_nothing() -> None:
    assert not matches(None, "any")
    assert matches(ANY, "any")
    assert matches(re.compile("b"), "abc")


def test_the_first_way_to_think_that_matches_holds() -> None:
    first, second = Thinking(re.compile("^a"), "effort"), Thinking(ANY, "switch")
    quirks = Quirks(thinking=(first, second))
    assert thinking_of(quirks, "abc") is first
    assert thinking_of(quirks, "cba") is second
    assert thinking_of(Quirks(thinking=(first,)), "cba") is None


@pytest.mark.parametrize(
    ("habit", "model", "has_it"),
    [
        ("max_completion_tokens", "o3", True),
        ("max_completion_tokens", "gpt-oss-120b", False),
        ("thought_signature", "google/Gemini-3-pro", True),
        ("cache_control", "qwen-plus", True),
        ("cache_control", "gpt-4o", False),
    ],
)
def test_models_behind_whatever_server(habit: str, model: str, has_it: bool) -> None:
    assert matches(HABITS[habit], model) is has_it
