"""Reasoning beside the content: both notations, counted once, signatures whole."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.formats.chat import Part, ReasoningPart, TextPart
from appliance.formats.openai_reasoning import reasoning_details, reasoning_parts, reasoning_text

TEXT = {"type": "reasoning.text", "text": "why"}
SIGNATURE = {"type": "reasoning.text", "text": "", "signature": "sig"}
HIDDEN = {"type": "reasoning.encrypted", "data": "blob"}


@pytest.mark.parametrize(
    ("plain", "details", "expected"),
    [
        (None, None, []),
        ("why", None, [ReasoningPart("why")]),
        ("why", [TEXT], [ReasoningPart("why")]),
        ("why", [TEXT | {"signature": "sig"}], [ReasoningPart("why", "sig")]),
        ("why", [SIGNATURE], [ReasoningPart("why", "sig")]),
        (
            None,
            [TEXT, SIGNATURE, TEXT, HIDDEN],
            [ReasoningPart("why", "sig"), ReasoningPart("why"), ReasoningPart(redacted="blob")],
        ),
        ("why", [HIDDEN], [ReasoningPart("why"), ReasoningPart(redacted="blob")]),
        (None, [SIGNATURE], [ReasoningPart("", "sig")]),
        (None, [{"type": "reasoning.summary", "summary": "short"}], [ReasoningPart("short")]),
        (None, ["x", {}, {"type": "other"}, {"type": "reasoning.text"}, {"type": "reasoning.encrypted"}], []),
    ],
)
def test_both_notations(plain: str | None, details: list[Any] | None, expected: list[ReasoningPart]) -> None:
    assert reasoning_parts(plain, details) == expected


def test_details_are_written_only_when_something_must_come_back() -> None:
    plain: list[Part] = [ReasoningPart("a"), TextPart("x"), ReasoningPart("b")]
    assert reasoning_text(plain) == "ab"
    assert reasoning_details(plain) == []


def test_details_come_back_as_the_same_parts() -> None:
    parts = [ReasoningPart("a", "sig"), ReasoningPart(redacted="blob"), ReasoningPart("b")]
    details = reasoning_details([*parts])
    assert [entry["type"] for entry in details] == ["reasoning.text", "reasoning.encrypted", "reasoning.text"]
    assert reasoning_parts("ab", details) == parts
