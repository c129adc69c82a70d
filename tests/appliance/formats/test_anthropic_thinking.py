from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.anthropic_models import habits_of
from appliance.formats.anthropic_thinking import EFFORTS, thinking_members
from appliance.formats.chat import ReasoningOptions

OLDEST, COUNTS, BOTH = "claude-3-5-haiku", "claude-sonnet-4-5", "claude-opus-4-5"
ADAPTIVE, NEWER, ALWAYS, BETWEEN = "claude-opus-4-6", "claude-opus-4-7", "claude-opus-5-5", "claude-sonnet-5-5"
UNKNOWN = "glm-4.6"


def _members(model: str, /, max_tokens: int = 64_000, has_room: bool = True, **options: Any) -> dict[str, Any]:
    return thinking_members(ReasoningOptions(**options), habits_of(model), max_tokens, has_room)


def _refused(model: str, /, **asked: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        _members(model, **asked)
    return caught.value


@pytest.mark.parametrize("options", [{"effort": "none"}, {"budget_tokens": 0}])
@pytest.mark.parametrize(
    ("model", "sent"),
    [
        (OLDEST, {}),
        (COUNTS, {"thinking": {"type": "disabled"}}),
        (NEWER, {"thinking": {"type": "disabled"}}),
        (UNKNOWN, {"thinking": {"type": "disabled"}}),
        (BETWEEN, {"thinking": {"type": "between_tools"}}),
    ],
)
def test_thinking_is_switched_off_in_the_models_own_way(
    model: str, sent: dict[str, Any], options: dict[str, Any]
) -> None:
    assert _members(model, **options) == sent


def test_a_model_that_always_thinks_is_not_asked_to_stop() -> None:
    assert _refused(ALWAYS, effort="none").param == "reasoning_effort"


def test_an_effort_may_stand_beside_thinking_that_is_off() -> None:
    assert _members(NEWER, effort="low", budget_tokens=0) == {
        "thinking": {"type": "disabled"},
        "output_config": {"effort": "low"},
    }


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        (COUNTS, {"thinking": {"type": "enabled", "budget_tokens": 16384}}),
        (BOTH, {"thinking": {"type": "enabled", "budget_tokens": 16384}, "output_config": {"effort": "medium"}}),
        (ADAPTIVE, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}}),
        (ALWAYS, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}}),
        (UNKNOWN, {"output_config": {"effort": "medium"}}),
    ],
)
def test_an_effort_in_the_words_of_its_model(model: str, sent: dict[str, Any]) -> None:
    assert _members(model, effort="medium") == sent


@pytest.mark.parametrize("effort", EFFORTS)
def test_every_effort_reaches_a_model_that_counts_and_one_that_does_not(effort: str) -> None:
    assert _members(NEWER, effort=effort)["output_config"] == {"effort": EFFORTS[effort]}
    budget = _members(COUNTS, effort=effort)["thinking"]["budget_tokens"]
    assert 1024 <= budget <= 64_000 * 4 // 5


def test_an_effort_as_a_budget_leaves_room_for_the_answer() -> None:
    assert _members(COUNTS, effort="high", max_tokens=2000)["thinking"]["budget_tokens"] == 1600
    assert _members(COUNTS, effort="low", max_tokens=1280)["thinking"]["budget_tokens"] == 1024
    error = _refused(COUNTS, effort="low", max_tokens=1279)
    assert error.message == "reasoning_effort: needs max_tokens of at least 1280 on this model, got 1279"


def test_efforts_that_a_model_does_not_know_are_refused_with_those_it_knows() -> None:
    assert _refused(ADAPTIVE, effort="xhigh").message == (
        "reasoning_effort: this model knows low, medium, high, max, not 'xhigh'"
    )
    assert _refused(BOTH, effort="max").param == "reasoning_effort"
    assert _refused(NEWER, effort="heroic").param == "reasoning_effort"
    assert _refused(OLDEST, effort="low").param == "reasoning_effort"


def test_an_effort_alone_gives_way_to_what_forbids_thinking() -> None:
    assert _members(ADAPTIVE, has_room=False, effort="low") == {"output_config": {"effort": "low"}}
    assert _members(BOTH, has_room=False, effort="low") == {"output_config": {"effort": "low"}}
    assert _refused(COUNTS, has_room=False, effort="low").param == "reasoning_effort"


@pytest.mark.parametrize(
    ("budget", "effort"), [(1, "low"), (4096, "low"), (16384, "medium"), (16385, "high"), (100_000, "high")]
)
def test_a_budget_becomes_an_effort_where_nobody_counts(budget: int, effort: str) -> None:
    assert _members(NEWER, budget_tokens=budget) == {
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": effort},
    }
    assert _members(NEWER, budget_tokens=budget, effort="max")["output_config"] == {"effort": "max"}


@pytest.mark.parametrize("model", [COUNTS, ADAPTIVE, UNKNOWN])
def test_a_budget_is_part_of_the_output_cap(model: str) -> None:
    assert _members(model, budget_tokens=1024, max_tokens=1025) == {
        "thinking": {"type": "enabled", "budget_tokens": 1024}
    }
    assert _refused(model, budget_tokens=1024, max_tokens=1024).param == "max_tokens"
    assert _refused(model, budget_tokens=1023).param == "reasoning.budget_tokens"


@pytest.mark.parametrize(
    ("model", "summary", "shown"),
    [
        (NEWER, "auto", "summarized"),
        (NEWER, "detailed", "summarized"),
        (NEWER, "none", None),
        (ADAPTIVE, "auto", None),
        (ADAPTIVE, "none", "omitted"),
    ],
)
def test_readable_thoughts_are_asked_for_where_they_are_not_the_default(
    model: str, summary: str, shown: str | None
) -> None:
    assert _members(model, effort="low", summary=summary)["thinking"].get("display") == shown


def test_a_summary_alone_switches_no_thinking_on() -> None:
    assert _members(NEWER, summary="auto") == {}
    assert _members(ALWAYS, summary="auto") == {"thinking": {"type": "adaptive", "display": "summarized"}}
    assert _members(OLDEST, summary="auto") == _members(NEWER) == {}
