"""The refusal names what the caller wrote, in the words of his dialect."""

from __future__ import annotations

import pytest

from appliance.formats.features import FEATURES, OPERATIONS, refusal
from config.capabilities import FEATURES as SAYABLE


def test_a_refusal_names_the_member() -> None:
    error = refusal({"logprobs"})
    assert (error.code, error.param) == ("VALIDATION_ERROR", "logprobs")
    assert error.message == (
        "logprobs: the backend models of this frontend model cannot do this; remove it or ask another model"
    )
    assert error.details == [
        {"field": "logprobs", "message": "the backend models of this frontend model cannot do this (logprobs)"}
    ]


def test_several_are_named_at_once_each_with_its_feature() -> None:
    error = refusal({"seed", "images", "json_schema"})
    assert error.message.startswith("response_format (json_schema), messages (images), seed: ")
    assert error.message.endswith("remove them or ask another model")
    assert [entry["field"] for entry in error.details or []] == ["response_format", "messages", "seed"]
    assert error.param == "response_format"


@pytest.mark.parametrize(
    ("feature", "surface", "sent", "member"),
    [
        ("penalties", "openai", (), "presence_penalty"),
        ("penalties", "openai", ("model", "frequency_penalty"), "frequency_penalty"),
        ("reasoning", "native", ("reasoning",), "reasoning"),
        ("reasoning", "anthropic", ("thinking",), "thinking"),
        ("reasoning", "anthropic", ("output_config",), "output_config.effort"),
        ("stop", "anthropic", (), "stop_sequences"),
        ("json_schema", "responses", ("text",), "text.format"),
        ("images", "responses", (), "input"),
        ("images", "anthropic", (), "messages"),
        ("dimensions", "embeddings", (), "dimensions"),
    ],
)
def test_the_member_is_what_the_dialect_calls_it(
    feature: str, surface: str, sent: tuple[str, ...], member: str
) -> None:
    assert refusal({feature}, surface, sent).param == member


@pytest.mark.parametrize("feature", FEATURES)
def test_every_feature_has_a_meaning_and_a_member(feature: str) -> None:
    assert FEATURES[feature].meaning
    assert refusal({feature}).param in FEATURES[feature].members


def test_operations_are_features() -> None:
    assert set(OPERATIONS.values()) <= FEATURES.keys()


def test_an_operator_may_say_each_feature_of_a_model_and_no_other() -> None:
    assert set(SAYABLE) == FEATURES.keys()
