from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.chat import ReasoningOptions
from appliance.formats.google_thinking import thinking_config

PRO_3, FLASH_3 = "gemini-3.1-pro-preview", "gemini-3-flash-preview"
PRO_25, FLASH_25, OLD = "gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.0-flash"
SHOWN = {"includeThoughts": True}


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        (FLASH_3, ReasoningOptions("minimal"), {"thinkingLevel": "MINIMAL", **SHOWN}),
        (PRO_3, ReasoningOptions("minimal"), {"thinkingLevel": "LOW", **SHOWN}),
        (PRO_3, ReasoningOptions("medium"), {"thinkingLevel": "MEDIUM", **SHOWN}),
        (PRO_3, ReasoningOptions("max"), {"thinkingLevel": "HIGH", **SHOWN}),
        (FLASH_3, ReasoningOptions("low", 5000), {"thinkingLevel": "LOW", **SHOWN}),
        (FLASH_3, ReasoningOptions(budget_tokens=5000), {"thinkingBudget": 5000, **SHOWN}),
        (FLASH_3, ReasoningOptions("none"), {"thinkingLevel": "MINIMAL"}),
        (FLASH_25, ReasoningOptions("minimal"), {"thinkingBudget": 1024, **SHOWN}),
        (FLASH_25, ReasoningOptions("medium"), {"thinkingBudget": 8192, **SHOWN}),
        (FLASH_25, ReasoningOptions("high"), {"thinkingBudget": 24576, **SHOWN}),
        (FLASH_25, ReasoningOptions("high", 5000), {"thinkingBudget": 5000, **SHOWN}),
        (FLASH_25, ReasoningOptions("none"), {"thinkingBudget": 0}),
        (FLASH_25, ReasoningOptions(budget_tokens=0), {"thinkingBudget": 0}),
        (FLASH_25, ReasoningOptions(summary="auto"), SHOWN),
        (FLASH_25, ReasoningOptions("low", summary="none"), {"thinkingBudget": 1024}),
        ("tuned", ReasoningOptions("low"), {"thinkingBudget": 1024, **SHOWN}),
        ("tuned", ReasoningOptions("none"), {"thinkingBudget": 0}),
        (OLD, ReasoningOptions("none"), {}),
        (OLD, ReasoningOptions(summary="auto"), {}),
        (OLD, None, {}),
        (PRO_3, None, {}),
    ],
)
def test_thinking(model: str, options: ReasoningOptions | None, expected: dict[str, Any]) -> None:
    assert thinking_config(options, model) == expected


@pytest.mark.parametrize(
    ("model", "options", "param"),
    [
        (PRO_3, ReasoningOptions("none"), "reasoning_effort"),
        (PRO_25, ReasoningOptions(budget_tokens=0), "reasoning.budget_tokens"),
        (OLD, ReasoningOptions("low"), "reasoning_effort"),
        (OLD, ReasoningOptions(budget_tokens=5000), "reasoning.budget_tokens"),
        (FLASH_25, ReasoningOptions("enormous"), "reasoning_effort"),
    ],
)
def test_what_a_model_cannot_do_is_named(model: str, options: ReasoningOptions, param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        thinking_config(options, model)
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", param)
