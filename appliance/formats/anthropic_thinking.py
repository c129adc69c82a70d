"""How much a model is to think: ReasoningOptions → `thinking` and `output_config.effort`, in the words its model takes.

A budget becomes an effort where the model takes no budgets (it is a wish, and the output cap bounds the cost), and an
effort becomes a budget where the model knows no efforts. An effort alone switches thinking on only where the rest of
the request leaves room for it: Anthropic does not think beside a forced tool call, a temperature or a begun answer.
"""

from __future__ import annotations

from typing import Any

from appliance.errors import invalid
from appliance.formats.anthropic_models import LOW_TO_HIGH, Habits
from appliance.formats.chat import ReasoningOptions

MIN_THINKING_TOKENS = 1024

EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
NO_EFFORT = "none"

BUDGETS = {"low": 4096, "medium": 16384, "high": 32000, "xhigh": 48000, "max": 63000}
"""Effort → thinking tokens, for models that count; at most four fifths of the output cap."""


def thinking_members(options: ReasoningOptions, habits: Habits, max_tokens: int, has_room: bool) -> dict[str, Any]:
    where = "reasoning_effort"
    if options.effort not in (None, NO_EFFORT, *EFFORTS):
        raise invalid(where, f"{options.effort!r} is none of {', '.join((NO_EFFORT, *EFFORTS))}")
    if options.effort == NO_EFFORT or options.budget_tokens == 0:
        return _switched_off(options, habits)
    if options.effort is None and options.budget_tokens is None:
        return _shown({}, options, habits)
    if not habits.thinks:
        raise invalid(where, "this model cannot think; remove it or route to a model that can")
    effort = _effort(options, habits)
    members: dict[str, Any] = {"output_config": {"effort": effort}} if effort and habits.efforts else {}
    thinking = _thinking(options, effort, habits, max_tokens, has_room)
    return _shown({"thinking": thinking} if thinking else {}, options, habits) | members


def _switched_off(options: ReasoningOptions, habits: Habits) -> dict[str, Any]:
    if not habits.thinks:
        return {}
    if habits.off is None:
        raise invalid("reasoning_effort", 'this model always thinks; ask for the effort "low" instead')
    members: dict[str, Any] = {"thinking": {"type": habits.off}}
    if options.effort not in (None, NO_EFFORT) and (effort := _effort(options, habits)) and habits.efforts:
        members["output_config"] = {"effort": effort}
    return members


def _effort(options: ReasoningOptions, habits: Habits) -> str | None:
    if options.effort is not None:
        effort = EFFORTS[options.effort]
        if habits.efforts and effort not in habits.efforts:
            raise invalid("reasoning_effort", f"this model knows {', '.join(habits.efforts)}, not {options.effort!r}")
        return effort
    if habits.budgets or options.budget_tokens is None:
        return None
    return next((word for word in LOW_TO_HIGH if options.budget_tokens <= BUDGETS[word]), LOW_TO_HIGH[-1])


def _thinking(
    options: ReasoningOptions, effort: str | None, habits: Habits, max_tokens: int, has_room: bool
) -> dict[str, Any]:
    if options.budget_tokens is not None and habits.budgets:
        return _budget(options.budget_tokens, max_tokens)
    if options.budget_tokens is not None or (habits.effort_thinks == "adaptive" and has_room):
        return {"type": "adaptive"}
    if habits.effort_thinks == "budget" and has_room:
        return _effort_as_budget(BUDGETS[effort or "medium"], max_tokens)
    if not habits.efforts:
        raise invalid(
            "reasoning_effort",
            "this model does not think beside a forced tool call, a temperature, top_k or a begun answer; remove one",
        )
    return {}


def _budget(budget_tokens: int, max_tokens: int) -> dict[str, Any]:
    if budget_tokens < MIN_THINKING_TOKENS:
        raise invalid(
            "reasoning.budget_tokens", f"this target thinks with at least {MIN_THINKING_TOKENS}, got {budget_tokens}"
        )
    if budget_tokens >= max_tokens:
        raise invalid(
            "max_tokens",
            f"must be larger than the {budget_tokens} tokens for reasoning, which are part of it, got {max_tokens}",
        )
    return {"type": "enabled", "budget_tokens": budget_tokens}


def _effort_as_budget(wanted: int, max_tokens: int) -> dict[str, Any]:
    most = max_tokens * 4 // 5
    if most < MIN_THINKING_TOKENS:
        least = -(-MIN_THINKING_TOKENS * 5 // 4)
        raise invalid("reasoning_effort", f"needs max_tokens of at least {least} on this model, got {max_tokens}")
    return {"type": "enabled", "budget_tokens": min(wanted, most)}


def _shown(members: dict[str, Any], options: ReasoningOptions, habits: Habits) -> dict[str, Any]:
    """Whether the thoughts are readable; said only where it differs from what the model does by itself."""
    if options.summary is None:
        return members
    if "thinking" not in members and not habits.thinks_unasked:
        return members
    hidden = options.summary == NO_EFFORT
    if hidden == habits.hides_thoughts:
        return members
    thinking = members.get("thinking", {"type": "adaptive"})
    return members | {"thinking": thinking | {"display": "omitted" if hidden else "summarized"}}
