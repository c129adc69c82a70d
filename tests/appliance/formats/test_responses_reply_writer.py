from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses import Response

from appliance.formats.base import ReplyHead
from appliance.formats.chat import (
    ChatReply,
    Choice,
    Citation,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    Usage,
)
from appliance.formats.responses_object import echo_of
from appliance.formats.responses_reply import decode_reply
from appliance.formats.responses_reply_writer import encode_reply, items_of
from support.fixtures import needs_fixtures, recorded_json

HEAD = ReplyHead("resp_1", "front", 1700000000)
TOKEN = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}
PARTS: list[Part] = [
    ReasoningPart("think", "sig", origin="anthropic"),
    ReasoningPart("more"),
    ReasoningPart("again"),
    TextPart("a", citations=[Citation("https://a.example", "A", start=0, end=1)]),
    TextPart("b"),
    RefusalPart("no"),
    ToolCallPart("call_1", "f", '{"a":1}', "s", "google"),
    ToolCallPart("call_2", "g"),
]


def reply(*choices: Choice, **members: Any) -> ChatReply:
    return ChatReply("up", "upstream", 1, list(choices), **members)


def encoded(answer: ChatReply, echo: dict[str, Any] | None = None) -> dict[str, Any]:
    body = encode_reply(answer, HEAD, echo)
    Response.model_validate(body)
    return body


def test_a_whole_answer() -> None:
    answer = reply(Choice(0, [*PARTS], "tool_calls", logprobs={"content": [TOKEN]}), usage=Usage(3, 4))
    body = encoded(answer, echo_of({"temperature": 0.5}))
    assert [item["type"] for item in body["output"]] == [
        "reasoning",
        "reasoning",
        "reasoning",
        "message",
        "reasoning",
        "function_call",
        "function_call",
    ]
    assert body["output"][0]["encrypted_content"] == "scaigrid.anthropic.sig"
    text, refusal = body["output"][3]["content"]
    assert (text["text"], text["annotations"][0]["end_index"], text["logprobs"]) == ("ab", 1, [TOKEN])
    assert refusal == {"type": "refusal", "refusal": "no"}
    assert body["output"][4]["encrypted_content"] == "scaigrid.google-call.s"
    assert (body["id"], body["model"], body["status"]) == ("resp_1", "front", "completed")
    assert (body["temperature"], body["usage"]["total_tokens"]) == (0.5, 7)


def test_ids_are_unique_and_the_same_each_time() -> None:
    answer = reply(Choice(0, [*PARTS], "stop"))
    items = items_of(answer, HEAD)
    assert items == encoded(answer)["output"] == items_of(answer, HEAD)
    assert len({item["id"] for item in items}) == len(items)
    other = items_of(answer, ReplyHead("resp_2", "front", 1))
    assert not {item["id"] for item in items} & {item["id"] for item in other}


@pytest.mark.parametrize(("reason", "why"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_that_was_cut_is_incomplete(reason: Any, why: str) -> None:
    body = encoded(reply(Choice(0, [TextPart("a")], reason)))
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": why})
    assert body["output"][0]["status"] == "incomplete"


def test_an_answer_that_says_nothing_has_no_items() -> None:
    assert encoded(reply(Choice(0, [], "stop")))["output"] == []
    assert encoded(reply())["output"] == []


@needs_fixtures
def test_a_recorded_reply_comes_back_as_it_was() -> None:
    recorded = recorded_json("openai-responses/cache-read.response.json")
    head = ReplyHead(recorded["id"], recorded["model"], recorded["created_at"])
    body = encoded(decode_reply(recorded))
    assert body["usage"] == recorded["usage"]
    assert body["output"][0]["content"] == recorded["output"][0]["content"]
    assert (body["status"], body["service_tier"]) == (recorded["status"], recorded["service_tier"])
    assert decode_reply(encode_reply(decode_reply(recorded), head)) == decode_reply(recorded)
