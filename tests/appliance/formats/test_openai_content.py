"""Content of answers in every form that servers send."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.formats.chat import ReasoningPart, RefusalPart, TextPart
from appliance.formats.openai_content import finish_words, known_logprobs, said_parts, stop_text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, []),
        ("", []),
        ("hi", [TextPart("hi")]),
        (["a", {"type": "text", "text": "b"}], [TextPart("a"), TextPart("b")]),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "w"}, {"text": "hy"}]}], [ReasoningPart("why")]),
        ([{"type": "thinking", "thinking": "why"}], [ReasoningPart("why")]),
        ([{"type": "refusal", "refusal": "no"}], [RefusalPart("no")]),
        ([7, "", {}, {"type": "thinking", "thinking": []}, {"type": "reference", "reference_ids": [1]}], []),
        ([{"type": "thinking", "thinking": [7, {"text": None}]}], []),
    ],
)
def test_content(content: Any, expected: list[Any]) -> None:
    assert said_parts(content, None, [], None) == expected


def test_reasoning_comes_first_and_counts_once() -> None:
    details = [{"type": "reasoning.text", "text": "why"}]
    assert said_parts("hi", "no", ["why", "why"], details) == [ReasoningPart("why"), TextPart("hi"), RefusalPart("no")]
    assert said_parts("hi", None, [None, "why"], "odd") == [ReasoningPart("why"), TextPart("hi")]
    thinking = [{"type": "thinking", "thinking": "why"}, {"type": "text", "text": "hi"}]
    assert said_parts(thinking, None, ["why"], None) == [ReasoningPart("why"), TextPart("hi")]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("stop", ("stop", None)),
        ("length", ("length", None)),
        ("tool_calls", ("tool_calls", None)),
        ("content_filter", ("content_filter", None)),
        ("function_call", ("tool_calls", "function_call")),
        ("model_length", ("length", "model_length")),
        ("MAX_TOKENS", ("length", "MAX_TOKENS")),
        ("safety", ("content_filter", "safety")),
        ("tool_use", ("tool_calls", "tool_use")),
        ("insufficient_system_resource", ("stop", "insufficient_system_resource")),
        ("", (None, None)),
        (None, (None, None)),
        (3, (None, None)),
    ],
)
def test_finish_words(said: Any, expected: tuple[Any, Any]) -> None:
    assert finish_words(said) == expected


@pytest.mark.parametrize(
    ("said", "expected"), [((None, None), None), (("END", None), "END"), ((128001, "x"), "x"), (("", 7), None)]
)
def test_stop_texts(said: tuple[Any, Any], expected: str | None) -> None:
    assert stop_text(*said) == expected


def test_google_s_signature_stands_behind_the_text_that_it_signs() -> None:
    signed = {"google": {"thought_signature": "sig"}}
    assert said_parts("a", None, ["why"], None, signed) == [
        ReasoningPart("why"),
        TextPart("a"),
        ReasoningPart(signature="sig", origin="google"),
    ]


def test_logprobs_without_a_single_one_are_none() -> None:
    assert known_logprobs({"content": None, "refusal": []}) is None
    assert known_logprobs(None) is None
    assert known_logprobs({"content": [{"token": "a"}]}) == {"content": [{"token": "a"}]}
