"""How much to think, in each server's words."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.formats.chat import ReasoningOptions
from appliance.formats.openai_quirks import ANY, Quirks, Thinking
from appliance.formats.openai_thinking import effort, thinking_gap, thinking_members, thinks_always

LOW, OFF, NUMBER = ReasoningOptions("low"), ReasoningOptions("none"), ReasoningOptions(budget_tokens=9000)


def said(options: ReasoningOptions | None, style: Any, extra: dict[str, Any] | None = None, **way: Any) -> Any:
    quirks = Quirks(thinking=(Thinking(ANY, style, **way),))
    return thinking_members(options, extra or {}, quirks, "m")


@pytest.mark.parametrize(
    ("options", "style", "expected"),
    [
        (None, "effort", {}),
        (ReasoningOptions(summary="auto"), "effort", {}),
        (LOW, "effort", {"reasoning_effort": "low"}),
        (NUMBER, "effort", {"reasoning_effort": "medium"}),
        (LOW, "effort_object", {"reasoning": {"effort": "low"}}),
        (NUMBER, "effort_object", {"reasoning": {"max_tokens": 9000}}),
        (OFF, "effort_object", {"reasoning": {"enabled": False}}),
        (ReasoningOptions(budget_tokens=0), "effort_object", {"reasoning": {"enabled": False}}),
        (ReasoningOptions("low", summary="none"), "effort_object", {"reasoning": {"effort": "low", "exclude": True}}),
        (ReasoningOptions(summary="none"), "effort_object", {"reasoning": {"exclude": True}}),
        (ReasoningOptions(summary="auto"), "effort_object", {}),
        (LOW, "budget", {"enable_thinking": True, "thinking_budget": 4096}),
        (NUMBER, "budget", {"enable_thinking": True, "thinking_budget": 9000}),
        (ReasoningOptions("high"), "budget", {"enable_thinking": True}),
        (ReasoningOptions("none", 9000), "budget", {"enable_thinking": False}),
        (LOW, "switch", {"thinking": {"type": "enabled"}}),
        (OFF, "switch", {"thinking": {"type": "disabled"}}),
        (LOW, "switch_and_effort", {"thinking": {"type": "enabled"}, "reasoning_effort": "low"}),
        (OFF, "switch_and_effort", {"thinking": {"type": "disabled"}}),
        (OFF, "template", {"chat_template_kwargs": {"enable_thinking": False}}),
        (LOW, "prompt_mode", {"prompt_mode": "reasoning"}),
    ],
)
def test_each_style(options: ReasoningOptions | None, style: str, expected: dict[str, Any]) -> None:
    assert said(options, style) == expected


def test_a_template_keeps_the_caller_s_own_switches() -> None:
    own = {"chat_template_kwargs": {"custom": 1}}
    assert said(LOW, "template", own, member="thinking") == {"chat_template_kwargs": {"custom": 1, "thinking": True}}
    assert own == {"chat_template_kwargs": {"custom": 1}}


@pytest.mark.parametrize("style", ["effort", "switch_and_effort"])
def test_words_are_translated(style: str) -> None:
    assert said(ReasoningOptions("max"), style, words={"max": "high"})["reasoning_effort"] == "high"
    assert said(ReasoningOptions("max"), "effort_object", words={"max": "xhigh"}) == {"reasoning": {"effort": "xhigh"}}


def test_a_word_the_model_does_not_know_is_a_gap() -> None:
    quirks = Quirks(thinking=(Thinking(ANY, "effort", {"low": "low"}),))
    assert thinking_gap(LOW, quirks, "m") is None
    assert thinking_gap(None, quirks, "m") is None
    assert thinking_gap(ReasoningOptions(summary="auto"), quirks, "m") is None
    assert thinking_gap(OFF, quirks, "m") == "the backend model m takes low, not none"
    assert "cannot be told" in str(thinking_gap(LOW, Quirks(thinking=()), "m"))


def test_who_cannot_be_told_to_stop_thinks_always() -> None:
    assert thinks_always(Quirks(thinking=(Thinking(ANY, "switch", {"low": "low"}),)), "m")
    assert not thinks_always(Quirks(thinking=(Thinking(ANY, "switch", {"none": "none"}),)), "m")
    assert not thinks_always(Quirks(), "m")
    assert not thinks_always(Quirks(thinking=()), "m")


def test_nothing_is_said_to_a_model_without_a_way() -> None:
    assert thinking_members(LOW, {}, Quirks(thinking=()), "m") == {}


@pytest.mark.parametrize(("tokens", "word"), [(0, "none"), (4096, "low"), (4097, "medium"), (50000, "high")])
def test_a_budget_as_a_word(tokens: int, word: str) -> None:
    assert effort(ReasoningOptions(budget_tokens=tokens)) == word
