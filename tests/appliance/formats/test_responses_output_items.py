"""Each item alone: the rungs it writes, valid for the SDK, say together what its closing says."""

from __future__ import annotations

from typing import Any

from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from appliance.formats.chat import Citation
from appliance.formats.responses_output_items import CallItem, MessageItem, ReasoningItem, Rung

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def kinds(rungs: list[Rung]) -> list[str]:
    for rung in rungs:
        EVENT.validate_python(rung | {"sequence_number": 0})
    return [rung["type"].removeprefix("response.") for rung in rungs]


def test_a_message_of_text_and_refusal() -> None:
    message = MessageItem(2, "msg_1")
    token = {"token": "b", "logprob": -1.0, "bytes": [98], "top_logprobs": []}
    rungs = message.opening() + message.text("ab", [], 10) + message.text("c", [token], 12)
    rungs += message.cite([Citation("https://a.example", "A", start=11, end=12)], 13)
    rungs += message.refusal("no", 13)
    closing, item = message.closing("incomplete")
    assert kinds(rungs + closing) == [
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.annotation.added",
        "output_text.done",
        "content_part.done",
        "content_part.added",
        "refusal.delta",
        "refusal.done",
        "content_part.done",
        "output_item.done",
    ]
    citation = {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 1, "end_index": 2}
    assert item == {
        "id": "msg_1",
        "type": "message",
        "status": "incomplete",
        "role": "assistant",
        "content": [
            {"type": "output_text", "text": "abc", "annotations": [citation], "logprobs": [token]},
            {"type": "refusal", "refusal": "no"},
        ],
    }
    assert [rung.get("content_index") for rung in rungs[1:]] == [0] * 6 + [1] * 2
    assert rungs[0]["item"]["content"] == [], "an item that was sent does not change afterwards"


def test_reasoning_is_one_summary_part() -> None:
    reasoning = ReasoningItem(0, "rs_1")
    rungs = reasoning.opening() + reasoning.text("a") + reasoning.text("b")
    closing, item = reasoning.closing("gAAAA")
    assert kinds(rungs + closing) == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    said = [{"type": "summary_text", "text": "ab"}]
    assert item == {"id": "rs_1", "type": "reasoning", "summary": said, "encrypted_content": "gAAAA"}


def test_reasoning_without_text_has_no_part() -> None:
    closing, item = ReasoningItem(0, "rs_1").closing(None)
    assert kinds(closing) == ["output_item.done"]
    assert item == {"id": "rs_1", "type": "reasoning", "summary": []}


def test_a_call_in_pieces() -> None:
    call = CallItem(1, "fc_1", "call_1", "f")
    rungs = call.opening() + call.arguments('{"a"') + call.arguments(":1}")
    closing, item = call.closing("completed")
    assert kinds(rungs + closing) == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    said = {"call_id": "call_1", "name": "f", "arguments": '{"a":1}'}
    assert item == {"id": "fc_1", "type": "function_call", "status": "completed", **said}


def test_a_call_without_arguments_has_none_unless_it_was_cut() -> None:
    assert CallItem(0, "fc_1", "call_1", "f").closing("completed")[1]["arguments"] == "{}"
    assert CallItem(0, "fc_1", "call_1", "f").closing("incomplete")[1]["arguments"] == ""
