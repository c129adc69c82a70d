"""How much a caller lets the model think → Google's `thinkingConfig`: a level since Gemini 3, a budget before.

The pairs of effort and budget are those of Google's own OpenAI-compatible endpoint.
"""

from __future__ import annotations

from typing import Any

from appliance.errors import GatewayError, invalid
from appliance.formats.chat import ReasoningOptions
from appliance.formats.google_models import is_older_than, is_pro, is_since

THINKS_SINCE = 2.5
LEVELS_SINCE = 3.0

NO_EFFORT = "none"
BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "HIGH", "max": "HIGH"}
"""HIGH is the most that there is."""

LOWEST_OF_PRO = "LOW"


def thinking_config(options: ReasoningOptions | None, upstream_model: str) -> dict[str, Any]:
    """Empty where nothing was asked: the model's default holds."""
    if options is None:
        return {}
    if options.effort not in (None, NO_EFFORT, *BUDGETS):
        raise invalid("reasoning_effort", f"{options.effort!r} is none of {', '.join((NO_EFFORT, *BUDGETS))}")
    if _is_off(options):
        return _off(options, upstream_model)
    if is_older_than(upstream_model, THINKS_SINCE):
        if options.effort is None and options.budget_tokens is None:
            return {}
        raise _refused(options, "this target's model does not think")
    config = _amount(options, upstream_model)
    if options.summary != "none":
        config["includeThoughts"] = True
    return config


def _is_off(options: ReasoningOptions) -> bool:
    return options.effort == NO_EFFORT or options.budget_tokens == 0


def _off(options: ReasoningOptions, upstream_model: str) -> dict[str, Any]:
    if is_older_than(upstream_model, THINKS_SINCE):
        return {}
    if is_pro(upstream_model) and is_since(upstream_model, THINKS_SINCE):
        raise _refused(options, "this target's model cannot answer without thinking; ask for the effort low")
    if is_since(upstream_model, LEVELS_SINCE):
        return {"thinkingLevel": LEVELS["minimal"]}
    return {"thinkingBudget": 0}


def _amount(options: ReasoningOptions, upstream_model: str) -> dict[str, Any]:
    """Google refuses a level and a budget together: the level holds where the model knows levels."""
    effort = options.effort
    if effort is not None and is_since(upstream_model, LEVELS_SINCE):
        return {"thinkingLevel": LOWEST_OF_PRO if effort == "minimal" and is_pro(upstream_model) else LEVELS[effort]}
    if options.budget_tokens is not None:
        return {"thinkingBudget": options.budget_tokens}
    return {} if effort is None else {"thinkingBudget": BUDGETS[effort]}


def _refused(options: ReasoningOptions, why: str) -> GatewayError:
    return invalid("reasoning.budget_tokens" if options.effort is None else "reasoning_effort", why)
