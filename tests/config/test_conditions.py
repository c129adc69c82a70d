"""What a condition may say; tests/golden/config/conditions*.txt have what it may not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from config.conditions import InputTokens, When


def test_a_condition_holds_what_is_written() -> None:
    when = When.model_validate({"tenants": ["acme", "b*"], "needs": ["images"], "input_tokens": {"min": 5}})
    assert (when.tenants, when.needs) == (("acme", "b*"), ("images",))
    assert (when.partners, when.roles, when.groups, when.metadata) == ((), (), (), {})
    assert when.input_tokens == InputTokens(min=5, max=None)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("gold", ("gold",)),
        (["gold", "silver"], ("gold", "silver")),
        (True, ("true",)),
        ([False, 1, 2.5, "1"], ("false", "1", "2.5", "1")),
        ("", ("",)),
    ],
)
def test_values_of_metadata_are_compared_as_texts(written: Any, read: tuple[str, ...]) -> None:
    assert When.model_validate({"metadata": {"key": written}}).metadata == {"key": read}


@pytest.mark.parametrize("bounds", [{"min": 0, "max": 0}, {"min": 7, "max": 7}, {"max": 0}, {"min": 0}])
def test_bounds_may_meet(bounds: dict[str, int]) -> None:
    assert When.model_validate({"input_tokens": bounds}).input_tokens == InputTokens(**bounds)


@pytest.mark.parametrize("written", [{}, {"metadata": {}}, {"metadata": None}])
def test_a_condition_says_something(written: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="this condition says nothing"):
        When.model_validate(written)
