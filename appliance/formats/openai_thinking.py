"""How much to think, in the words of the server: ReasoningOptions → members of an OpenAI-protocol request.

It must not guess: a word that the model does not know is refused by `thinking_gap`, which is asked first.
"""

from __future__ import annotations

from typing import Any

from appliance.formats.chat import ReasoningOptions
from appliance.formats.openai_quirks import Quirks, Thinking, thinking_of

EFFORT_OF_BUDGET = ((0, "none"), (4096, "low"), (16384, "medium"))
"""Most thinking tokens for each effort, where the server has words and no numbers. Above the last it is `high`."""

BUDGET_OF_EFFORT = {"minimal": 1024, "low": 4096, "medium": 16384}
"""The other way round. Above, the server's own most holds."""

OFF = ReasoningOptions(budget_tokens=0)


def effort(options: ReasoningOptions) -> str | None:
    """The named effort, or the one that the budget comes to; None where neither is said."""
    if options.effort or options.budget_tokens is None:
        return options.effort
    return next((word for most, word in EFFORT_OF_BUDGET if options.budget_tokens <= most), "high")


def thinking_gap(options: ReasoningOptions | None, quirks: Quirks, upstream_model: str) -> str | None:
    """Why this model cannot be told so; None when it can."""
    if options is None or (word := effort(options)) is None:
        return None
    way = thinking_of(quirks, upstream_model)
    if way is None:
        return f"the backend model {upstream_model} cannot be told how much to think; remove it"
    if way.words is not None and word not in way.words:
        return f"the backend model {upstream_model} takes {', '.join(way.words)}, not {word}"
    return None


def thinks_always(quirks: Quirks, upstream_model: str) -> bool:
    way = thinking_of(quirks, upstream_model)
    return way is not None and way.words is not None and "none" not in way.words


def thinking_members(
    options: ReasoningOptions | None, extra: dict[str, Any], quirks: Quirks, upstream_model: str
) -> dict[str, Any]:
    way = thinking_of(quirks, upstream_model)
    if options is None or way is None:
        return {}
    word = effort(options)
    if way.style == "effort_object":
        return {"reasoning": members} if (members := _effort_object(options, way)) else {}
    return {} if word is None else _members(options, word, way, extra)


def _members(options: ReasoningOptions, word: str, way: Thinking, extra: dict[str, Any]) -> dict[str, Any]:
    said = word if way.words is None else way.words[word]
    is_on = word != "none"
    match way.style:
        case "budget":
            return {"enable_thinking": is_on, **_budget(options, word)}
        case "switch":
            return {"thinking": {"type": "enabled" if is_on else "disabled"}}
        case "switch_and_effort":
            return {"thinking": {"type": "enabled"}, "reasoning_effort": said} if is_on else {"thinking": _DISABLED}
        case "template":
            return {"chat_template_kwargs": {**extra.get("chat_template_kwargs", {}), way.member: is_on}}
        case "prompt_mode":
            return {"prompt_mode": "reasoning"}
    return {"reasoning_effort": said}


_DISABLED = {"type": "disabled"}


def _budget(options: ReasoningOptions, word: str) -> dict[str, int]:
    tokens = options.budget_tokens if options.budget_tokens is not None else BUDGET_OF_EFFORT.get(word)
    return {"thinking_budget": tokens} if tokens and word != "none" else {}


def _effort_object(options: ReasoningOptions, way: Thinking) -> dict[str, Any]:
    """The server takes the effort or the budget, not both; the budget is the more exact."""
    hidden = {"exclude": True} if options.summary == "none" else {}
    if options.budget_tokens == 0 or options.effort == "none":
        return {"enabled": False}
    if options.budget_tokens is not None:
        return {"max_tokens": options.budget_tokens} | hidden
    if options.effort is None:
        return hidden
    return {"effort": options.effort if way.words is None else way.words[options.effort]} | hidden
