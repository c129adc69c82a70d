"""The checker of native chat streams: what it reads off good ones, and each way in which it finds a bad one."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats import native
from appliance.formats.base import ReplyHead
from appliance.formats.chat import (
    ChatEvent,
    Finished,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from support.grammar_native import check
from support.grammar_streams import (
    Breaking,
    Events,
    broken,
    changed,
    inserted,
    renamed,
    repeated,
    replaced,
    sse,
    swapped,
    without,
)

FRAME = {"id": "gen-1", "model": "m"}
USAGE = {
    "input_tokens": 10,
    "output_tokens": 7,
    "total_tokens": 17,
    "cached_input_tokens": 4,
    "reasoning_tokens": 3,
    "cost": "0.000123",
    "estimated": False,
}


def chunk(delta: dict[str, Any], finish: str | None = None) -> tuple[str, Any]:
    return "", FRAME | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


TEXT: Events = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning": "hm"}),
    chunk({"reasoning_details": [{"type": "reasoning.encrypted", "data": "abc"}]}),
    chunk({"content": "hello"}),
    chunk({}, "stop"),
    ("", FRAME | {"choices": [], "usage": USAGE}),
    ("", "[DONE]"),
]
FAILED: Events = [*TEXT[:4], ("error", {"code": "BACKEND_TIMEOUT", "message": "too slow"}), ("", "[DONE]")]


def test_a_text_answer() -> None:
    answer = check(sse(TEXT))
    assert (answer.text, answer.reasoning, answer.finish_reason, answer.complete) == ("hello", "hm", "stop", True)
    assert answer.choice().opaque == [{"type": "reasoning.encrypted", "data": "abc"}]
    assert answer.usage == Usage(10, 7, 4, 0, 3)
    assert answer.raw_usage is not None
    assert answer.raw_usage["cost"] == "0.000123"


def test_an_error_in_the_middle() -> None:
    answer = check(sse(FAILED))
    assert answer.error is not None
    assert (answer.error.code, answer.error.message, answer.complete) == ("BACKEND_TIMEOUT", "too slow", False)
    assert (answer.text, answer.finish_reason) == ("hello", None)


def test_what_the_gateway_writes_keeps_the_grammar() -> None:
    events: list[ChatEvent] = [
        Started("up-1", "upstream", 1700000000),
        ReasoningDelta(0, "hm"),
        ReasoningDelta(0, signature="s", origin="anthropic"),
        TextDelta(0, "Grüße"),
        ToolCallDelta(0, 0, "call_a", "look", '{"at":'),
        ToolCallDelta(0, 0, arguments=' "sky"}'),
        Finished(0, "tool_calls"),
    ]
    encoder = native.stream_encoder(ReplyHead("gen-1", "m", 1700000000))
    begun = encoder.encode(events)
    answer = check(begun + encoder.closing(Usage(10, 7), "0.01", True))
    assert (answer.text, answer.reasoning, answer.finish_reason) == ("Grüße", "hm", "tool_calls")
    assert [(call.id, call.name, call.arguments) for call in answer.calls] == [("call_a", "look", '{"at": "sky"}')]
    failed = check(begun + encoder.failure(GatewayError("BACKEND_ERROR", "gone")))
    assert failed.error is not None
    assert failed.error.code == "BACKEND_ERROR"


@pytest.mark.parametrize(
    ("stream", "breaking", "sentence"),
    [
        (TEXT, without(-1), r"without \[DONE\]"),
        (TEXT, repeated(-1), r"\[DONE\] stands 2 times"),
        (TEXT, swapped(-1, -2), r"something follows \[DONE\]"),
        (TEXT, renamed(-1, "end"), "has an event name"),
        (TEXT, renamed(3, "chunk"), "has the event name 'chunk'"),
        (TEXT, renamed(3, "error"), "not the last thing before"),
        (TEXT, changed(3, "id", to="gen-2"), "id or model changed"),
        (TEXT, changed(3, "model", to="n"), "id or model changed"),
        (TEXT, without(3, "model"), "has no model"),
        (TEXT, without(0), "the role None"),
        (TEXT, repeated(0), "a role after the first delta"),
        (TEXT, changed(1, "choices", 0, "delta", to={"reasoning_content": "hm"}), "the other dialect's word"),
        (TEXT, without(2, "choices", 0, "delta", "reasoning_details", 0, "type"), "has no type"),
        (TEXT, swapped(3, 4), "goes on after its finish reason"),
        (TEXT, repeated(4), "finishes a second time"),
        (TEXT, changed(4, "choices", 0, "finish_reason", to="refusal"), "is no finish reason"),
        (TEXT, without(5), "without the chunk that has usage"),
        (TEXT, repeated(5), "usage is not the last thing"),
        (TEXT, changed(4, "usage", to=USAGE), "usage stands beside choices"),
        (TEXT, changed(5, "usage", "total_tokens", to=16), "the sum is 17"),
        (TEXT, changed(5, "usage", "cost", to=0.1), "cost is float"),
        (TEXT, changed(5, "usage", "cost", to="1e-5"), "no decimal text"),
        (TEXT, without(5, "usage", "estimated"), "has no estimated"),
        (TEXT, changed(5, "usage", "cached_input_tokens", to=11), "11 cached tokens of 10"),
        (FAILED, without(-1), r"without \[DONE\]"),
        (FAILED, renamed(4, ""), "id"),
        (FAILED, changed(4, "code", to="OOPS"), "none of the gateway's codes"),
        (FAILED, without(4, "message"), "has no message"),
        (FAILED, inserted(5, *TEXT[3]), "not the last thing before"),
        (FAILED, replaced(4, "", {"error": {"message": "x"}}), "without the event name"),
    ],
)
def test_a_broken_stream_is_found(stream: Events, breaking: Breaking, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check(broken(stream, breaking))
