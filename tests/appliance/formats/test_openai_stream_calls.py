"""Tool calls in a stream: indexes that start anywhere, ids that are empty, calls that come whole."""

from __future__ import annotations

import re

import pytest

from appliance.formats.chat import ToolCallDelta
from appliance.formats.openai_stream_calls import CallPiece, CustomPiece, FunctionPiece, StreamCalls


def piece(
    index: int | None = None, call_id: str | None = None, name: str | None = None, arguments: object = None
) -> CallPiece:
    return CallPiece(index, call_id, FunctionPiece(name, arguments))


def ordinals(*pieces: CallPiece) -> list[tuple[int, str | None, str]]:
    calls = StreamCalls()
    deltas = [calls.delta(0, one) for one in pieces]
    return [(delta.call, delta.name, delta.arguments) for delta in deltas if delta is not None]


@pytest.mark.parametrize("first", [0, 1, 7])
def test_calls_are_counted_from_zero(first: int) -> None:
    said = ordinals(
        piece(first, "a", "f", ""),
        piece(first, None, None, "{}"),
        piece(first + 1, "b", "g", "{"),
        piece(first, "a", None, " "),
    )
    assert said == [(0, "f", ""), (0, None, "{}"), (1, "g", "{"), (0, None, " ")]


@pytest.mark.parametrize(("call_id", "name"), [("", None), ("", ""), (None, ""), (None, None), ("", "f"), ("a", "f")])
def test_a_continuation_is_no_new_call(call_id: str | None, name: str | None) -> None:
    assert ordinals(piece(0, "a", "f", ""), piece(0, call_id, name, "{}")) == [(0, "f", ""), (0, None, "{}")]


def test_another_id_at_the_same_index_is_another_call() -> None:
    said = ordinals(piece(0, "a", "f", "{}"), piece(0, "b", "f", "{"), piece(0, "", None, "}"))
    assert said == [(0, "f", "{}"), (1, "f", "{"), (1, None, "}")]


def test_another_name_without_an_id_at_the_same_index_is_another_call() -> None:
    assert ordinals(piece(0, "", "f", "{}"), piece(0, "", "g", "{}")) == [(0, "f", "{}"), (1, "g", "{}")]


def test_calls_without_an_index() -> None:
    said = ordinals(
        piece(None, "a", "f", "{}"),
        piece(None, "b", "g", "{"),
        piece(None, None, None, "}"),
        piece(None, "a", None, " "),
        piece(None, None, "f", "{}"),
    )
    assert said == [(0, "f", "{}"), (1, "g", "{"), (1, None, "}"), (0, None, " "), (2, "f", "{}")]


def test_each_choice_counts_its_own() -> None:
    calls = StreamCalls()
    assert calls.delta(0, piece(0, "a", "f")) == ToolCallDelta(0, 0, "a", "f")
    assert calls.delta(1, piece(0, "b", "f")) == ToolCallDelta(1, 0, "b", "f")


def test_a_missing_id_is_made_and_comes_once() -> None:
    calls = StreamCalls()
    first, second = calls.delta(0, piece(0, "", "f")), calls.delta(0, piece(0, "", None, "{}"))
    assert first is not None
    assert second is not None
    assert re.fullmatch(r"call_[0-9a-f]{24}", first.id or "")
    assert (second.id, second.name) == (None, None)


def test_objects_signatures_and_pieces_of_nothing() -> None:
    calls = StreamCalls()
    signed = CallPiece(0, "a", FunctionPiece("f", {"x": 1}), {"google": {"thought_signature": "g"}})
    assert calls.delta(0, signed) == ToolCallDelta(0, 0, "a", "f", '{"x":1}', "g", "google")
    assert calls.delta(0, piece(1, "b", None, "{}")) is None
    assert calls.delta(0, CallPiece()) == ToolCallDelta(0, 0)
    assert StreamCalls().delta(0, CallPiece()) is None


def test_a_call_without_arguments_gets_an_empty_object_at_its_end() -> None:
    calls = StreamCalls()
    for one in (piece(0, "a", "f", ""), piece(1, "b", "g", "{}"), piece(2, "c", "h"), piece(2, None, None, " ")):
        calls.delta(0, one)
    calls.delta(1, piece(0, "d", "f"))
    assert calls.without_arguments(0) == [ToolCallDelta(0, 0, arguments="{}"), ToolCallDelta(0, 2, arguments="{}")]
    assert calls.without_arguments(7) == []


def test_a_custom_tool_s_call_is_counted_with_the_others() -> None:
    calls = StreamCalls()
    custom = CallPiece(0, "a", custom=CustomPiece("sh", ""))
    assert calls.delta(0, custom) == ToolCallDelta(0, 0, "a", "sh")
    assert calls.delta(0, CallPiece(0, custom=CustomPiece(input="ls"))) == ToolCallDelta(0, 0, arguments="ls")
    assert calls.delta(0, piece(1, "b", "f", "{}")) == ToolCallDelta(0, 1, "b", "f", "{}")
    assert calls.without_arguments(0) == []
