from __future__ import annotations

import pytest

from appliance.formats.anthropic_models import ALL_EFFORTS, LOW_TO_HIGH, Habits, habits_of


def test_a_name_that_no_row_knows_has_the_defaults() -> None:
    assert habits_of("glm-4.6") == Habits()


@pytest.mark.parametrize(
    ("model", "thinks", "schemas"),
    [
        ("claude-2.1", False, False),
        ("claude-3-haiku-20240307", False, False),
        ("claude-3-5-sonnet-20241022", False, False),
        ("claude-3-7-sonnet-20250219", True, False),
        ("claude-sonnet-4", True, False),
        ("claude-opus-4@20250514", True, False),
        ("us.anthropic.claude-opus-4-20250514-v1:0", True, False),
        ("claude-opus-4-1-20250805", True, True),
        ("claude-haiku-4-5", True, True),
        ("claude-opus-5-5", True, True),
    ],
)
def test_thinking_and_schemas_by_name(model: str, thinks: bool, schemas: bool) -> None:
    assert (habits_of(model).thinks, habits_of(model).schemas) == (thinks, schemas)


@pytest.mark.parametrize(
    ("model", "efforts", "effort_thinks", "budgets", "samples", "prefill"),
    [
        ("claude-sonnet-4-5-20250929", (), "budget", True, True, True),
        ("claude-haiku-4-5", (), "budget", True, True, True),
        ("claude-opus-4-5-20251101", LOW_TO_HIGH, "budget", True, True, True),
        ("claude-sonnet-4-6", (*LOW_TO_HIGH, "max"), "adaptive", True, True, False),
        ("claude-opus-4.6", (*LOW_TO_HIGH, "max"), "adaptive", True, True, False),
        ("claude-opus-4-7", ALL_EFFORTS, "adaptive", False, False, False),
        ("anthropic.claude-opus-4-8-v1:0", ALL_EFFORTS, "adaptive", False, False, False),
        ("Claude-Sonnet-5", ALL_EFFORTS, "adaptive", False, False, False),
        ("claude-haiku-5-5", ALL_EFFORTS, "adaptive", False, False, False),
        ("claude-fable-5-2", ALL_EFFORTS, "adaptive", False, False, False),
        ("claude-mythos-preview", ALL_EFFORTS, "adaptive", True, False, False),
    ],
)
def test_what_steers_a_model_by_name(
    model: str, efforts: tuple[str, ...], effort_thinks: str, budgets: bool, samples: bool, prefill: bool
) -> None:
    habits = habits_of(model)
    assert (habits.efforts, habits.effort_thinks) == (efforts, effort_thinks)
    assert (habits.budgets, habits.samples, habits.prefill) == (budgets, samples, prefill)


@pytest.mark.parametrize(
    ("model", "off", "forced_tools"),
    [
        ("claude-opus-4-8", "disabled", True),
        ("claude-opus-5", "disabled", True),
        ("claude-haiku-5-5", "disabled", True),
        ("claude-opus-5-5", None, False),
        ("claude-fable-5", None, True),
        ("claude-fable-5-1", None, False),
        ("claude-mythos-5-2", None, False),
        ("claude-sonnet-5", "disabled", True),
        ("claude-sonnet-5-5", "between_tools", False),
    ],
)
def test_how_thinking_is_switched_off_and_calls_are_forced(model: str, off: str | None, forced_tools: bool) -> None:
    assert (habits_of(model).off, habits_of(model).forced_tools) == (off, forced_tools)
