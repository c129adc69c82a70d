"""Plain is what OpenAI itself would have written for the same meaning; everything else is not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from appliance.formats.chat import (
    ChatEvent,
    Choice,
    Finished,
    FinishReason,
    Part,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    Started,
    TextDelta,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
    Usage,
    UsageSeen,
)
from appliance.formats.openai_plain import plain_answer, plain_chunk
from appliance.formats.openai_reply import decode_reply
from appliance.formats.openai_stream import StreamDecoder
from appliance.formats.sse import SseEvent

TEXT = TextDelta(0, "a")
CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
BEGUN = ToolCallDelta(0, 0, "c", "f", "")
MORE = ToolCallDelta(0, 0, arguments="{}")


def choices_of(delta: dict[str, Any], finish: Any = None, **members: Any) -> list[dict[str, Any]]:
    return [{"index": 0, "delta": delta, "finish_reason": finish, **members}]


def is_plain(choices: Any, *meaning: ChatEvent) -> bool:
    return plain_chunk(Raw(msgspec.json.encode(choices)), list(meaning)) is not None


PLAIN: dict[str, tuple[Any, tuple[ChatEvent, ...]]] = {
    "nothing": ([], ()),
    "usage": ([], (UsageSeen(Usage(1, 2)),)),
    "the opening": (choices_of({"role": "assistant", "content": "", "refusal": None}), (Started("x", "m", 1),)),
    "a word": (choices_of({"content": "a"}), (TEXT,)),
    "members that nobody knows": (choices_of({"content": "a", "token_ids": [1]}, content_filter_results={}), (TEXT,)),
    "log probabilities": (choices_of({"content": "a"}, logprobs={"content": [{"token": "a"}]}), (TEXT,)),
    "a refusal": (choices_of({"refusal": "no"}), (RefusalDelta(0, "no"),)),
    "reasoning": (choices_of({"content": None, "reasoning_content": "why"}), (ReasoningDelta(0, "why"),)),
    "a call's beginning": (choices_of({"tool_calls": [CALL]}), (BEGUN,)),
    "a call's next piece": (choices_of({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}), (MORE,)),
    "a custom tool's call": (
        choices_of({"tool_calls": [{"index": 0, "id": "c", "type": "custom", "custom": {"name": "f", "input": ""}}]}),
        (BEGUN,),
    ),
    "the end": (choices_of({}, "stop"), (Finished(0, "stop"),)),
    "text and the end": (choices_of({"content": "a"}, "length"), (TEXT, Finished(0, "length"))),
    "two choices": (
        [*choices_of({"content": "a"}), {"index": 1, "delta": {"content": "b"}, "finish_reason": None}],
        (TEXT, TextDelta(1, "b")),
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_chunks(name: str) -> None:
    choices, meaning = PLAIN[name]
    assert is_plain(choices, *meaning)


ODD: dict[str, tuple[Any, tuple[ChatEvent, ...]]] = {
    "null for choices": (None, ()),
    "no index": ([{"delta": {"content": "a"}, "finish_reason": None}], (TEXT,)),
    "no finish reason": ([{"index": 0, "delta": {"content": "a"}}], (TEXT,)),
    "no delta": ([{"index": 0, "finish_reason": "stop"}], (Finished(0, "stop"),)),
    "null for a delta": ([{"index": 0, "delta": None, "finish_reason": "stop"}], (Finished(0, "stop"),)),
    "a message": ([{"index": 0, "message": {"content": "a"}, "finish_reason": None}], (TEXT,)),
    "content as a list": (choices_of({"content": [{"type": "text", "text": "a"}]}), (TEXT,)),
    "an empty role": (choices_of({"role": "", "content": "a"}), (TEXT,)),
    "reasoning by another name": (choices_of({"reasoning": "why"}), (ReasoningDelta(0, "why"),)),
    "reasoning said twice": (
        choices_of({"reasoning_content": "why", "reasoning_details": [{"type": "reasoning.text", "text": "why"}]}),
        (ReasoningDelta(0, "why"),),
    ),
    "a signature": (choices_of({"reasoning_content": "why"}), (ReasoningDelta(0, "why", "sig"),)),
    "text that was taken for reasoning": (choices_of({"content": "why"}), (ReasoningDelta(0, "why"),)),
    "text that was left out": (choices_of({"content": "a"}), ()),
    "a call with a made id": (choices_of({"tool_calls": [CALL | {"id": ""}]}), (ToolCallDelta(0, 0, "new", "f", ""),)),
    "a call without a type": (choices_of({"tool_calls": [CALL | {"type": None}]}), (BEGUN,)),
    "a call without an index": (choices_of({"tool_calls": [{**CALL, "index": None}]}), (BEGUN,)),
    "a call counted from 1": (choices_of({"tool_calls": [CALL | {"index": 1}]}), (BEGUN,)),
    "an id in a next piece": (
        choices_of({"tool_calls": [{"index": 0, "id": "", "function": {"arguments": "{}"}}]}),
        (MORE,),
    ),
    "a name in a next piece": (
        choices_of({"tool_calls": [{"index": 0, "function": {"name": "", "arguments": "{}"}}]}),
        (MORE,),
    ),
    "arguments as an object": (
        choices_of({"tool_calls": [CALL | {"function": {"name": "f", "arguments": {}}}]}),
        (ToolCallDelta(0, 0, "c", "f", "{}"),),
    ),
    "arguments that never came": (choices_of({}, "tool_calls"), (MORE, Finished(0, "tool_calls"))),
    "a legacy call": (choices_of({"function_call": {"name": "f"}}), (BEGUN,)),
    "a legacy end": (choices_of({}, "function_call"), (Finished(0, "tool_calls", "function_call"),)),
    "a word for the end that OpenAI has not": (choices_of({}, "eos"), (Finished(0, "stop", "eos"),)),
    "the end for a second time": (choices_of({}, "stop"), ()),
    "log probabilities of another form": (choices_of({"content": "a"}, logprobs=[1]), (TEXT,)),
    "an annotation without a title": (
        choices_of({"annotations": [{"type": "url_citation", "url_citation": {"url": "http://x"}}]}),
        (TextDelta(0, "", citations=[]),),
    ),
    "another choice": (choices_of({"content": "a"}), (TextDelta(1, "a"),)),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_chunks(name: str) -> None:
    choices, meaning = ODD[name]
    assert not is_plain(choices, *meaning)


def test_a_decoder_that_takes_openai_s_form_finds_it_plain() -> None:
    decoder = StreamDecoder()
    for choices, _ in (PLAIN["the opening"], PLAIN["a call's beginning"], PLAIN["a call's next piece"]):
        data = msgspec.json.encode({"choices": choices})
        assert is_plain(choices, *decoder.feed(SseEvent(data)))


def message(**members: Any) -> list[dict[str, Any]]:
    said = {"role": "assistant", "content": "a", "refusal": None} | members
    return [{"index": 0, "message": said, "finish_reason": "stop", "logprobs": None}]


def choice(*parts: Part, finish_reason: FinishReason = "stop", native: str | None = None) -> list[Choice]:
    return [Choice(0, list(parts), finish_reason, native)]


WHOLE_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("choices", "understood"),
    [
        (message(), choice(TextPart("a"))),
        (message(unheard_of=1, annotations=[]), choice(TextPart("a"))),
        (message(reasoning_content="why"), choice(ReasoningPart("why"), TextPart("a"))),
        (message(content=None, tool_calls=[WHOLE_CALL]), choice(ToolCallPart("c", "f", "{}"))),
        (message(content=None, audio={"id": "x", "transcript": "hi"}), choice()),
    ],
)
def test_plain_answers(choices: Any, understood: list[Choice]) -> None:
    assert plain_answer(Raw(msgspec.json.encode(choices)), understood)
    assert decode_reply({"choices": choices}).choices == understood


@pytest.mark.parametrize(
    ("choices", "understood"),
    [
        (message(role=None), choice(TextPart("a"))),
        (message(reasoning="why"), choice(ReasoningPart("why"), TextPart("a"))),
        (message(reasoning_content="why"), choice(ReasoningPart("why", "sig"), TextPart("a"))),
        (message(content=[{"type": "text", "text": "a"}]), choice(TextPart("a"))),
        (message(tool_calls=[WHOLE_CALL | {"id": ""}]), choice(TextPart("a"), ToolCallPart("new", "f", "{}"))),
        (message(tool_calls=[WHOLE_CALL | {"type": None}]), choice(TextPart("a"), ToolCallPart("c", "f", "{}"))),
        (message(function_call={"name": "f", "arguments": "{}"}), choice(TextPart("a"), ToolCallPart("c", "f", "{}"))),
        (message()[:0], choice(TextPart("a"))),
        ([{"message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}], choice(TextPart("a"))),
        ([{"index": 0, "message": {"role": "assistant"}, "finish_reason": "stop"}], choice()),
        ([message()[0] | {"finish_reason": "eos"}], choice(TextPart("a"), native="eos")),
    ],
)
def test_odd_answers(choices: Any, understood: list[Choice]) -> None:
    assert not plain_answer(Raw(msgspec.json.encode(choices)), understood)
