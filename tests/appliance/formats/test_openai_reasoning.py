"""Reasoning beside the content: both notations, counted once, signatures whole."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.formats.chat import Part, ReasoningPart, TextPart
from appliance.formats.openai_reasoning import reasoning_details, reasoning_parts, reasoning_text, stands_alone

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


@pytest.mark.parametrize(
    ("origin", "name"),
    [("anthropic", "anthropic-claude-v1"), ("google", "google-gemini-v1"), ("responses", "openai-responses-v1")],
)
def test_an_entry_says_whose_it_is(origin: str, name: str) -> None:
    parts: list[Part] = [ReasoningPart("why", "sig", None, origin, "rs_1")]
    details = reasoning_details(parts)
    assert details == [TEXT | {"signature": "sig", "format": name, "id": "rs_1"}]
    assert reasoning_parts(None, details) == parts


def test_an_unknown_format_is_of_no_known_origin() -> None:
    assert reasoning_parts(None, [HIDDEN | {"format": "xai-responses-v1"}]) == [ReasoningPart(redacted="blob")]
    assert reasoning_parts(None, [HIDDEN | {"format": None, "id": 7}]) == [ReasoningPart(redacted="blob")]


def test_the_halves_of_one_item_are_one_part() -> None:
    part = ReasoningPart("why", None, "blob", "responses", "rs_1")
    other = ReasoningPart(redacted="more", origin="responses", id="rs_2")
    assert reasoning_parts("why", reasoning_details([part, other])) == [part, other]


def test_a_signature_of_google_s_belongs_to_no_thought() -> None:
    signature = SIGNATURE | {"format": "google-gemini-v1"}
    alone = ReasoningPart("", "sig", None, "google")
    assert reasoning_parts("why", [TEXT, signature]) == [ReasoningPart("why"), alone]
    assert stands_alone(alone)
    assert not stands_alone(ReasoningPart("", "sig", None, "anthropic"))


def test_details_are_written_only_when_something_must_come_back() -> None:
    plain: list[Part] = [ReasoningPart("a"), TextPart("x"), ReasoningPart("b")]
    assert reasoning_text(plain) == "ab"
    assert reasoning_details(plain) == []


def test_details_come_back_as_the_same_parts() -> None:
    parts = [ReasoningPart("a", "sig"), ReasoningPart(redacted="blob"), ReasoningPart("b")]
    details = reasoning_details([*parts])
    assert [entry["type"] for entry in details] == ["reasoning.text", "reasoning.encrypted", "reasoning.text"]
    assert reasoning_parts("ab", details) == parts
