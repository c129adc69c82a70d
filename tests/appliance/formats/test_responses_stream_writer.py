"""The stream that clients of the Responses dialect read: the whole ladder, the SDK's types, the SDK's own helper."""

from __future__ import annotations

from typing import Any, cast

import httpx2
import msgspec
import openai
import pytest
from openai._models import construct_type_unchecked
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from appliance.errors import GatewayError
from appliance.formats.base import ReplyHead
from appliance.formats.chat import (
    ChatEvent,
    ChatReply,
    Choice,
    Citation,
    Ended,
    Finished,
    FinishReason,
    Part,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    RefusalPart,
    Started,
    TextDelta,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
    Usage,
    UsageSeen,
)
from appliance.formats.responses_object import echo_of
from appliance.formats.responses_reply_writer import encode_reply
from appliance.formats.responses_stream import ResponsesStreamDecoder
from appliance.formats.responses_stream_writer import StreamEncoder
from support.fixtures import needs_fixtures, recorded
from support.streams import decode_stream, joined, split_events

HEAD = ReplyHead("resp_1", "front", 1700000000)
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
CITED = Citation("https://a.example", "A", start=0, end=2)

ANSWER: list[ChatEvent] = [
    Started("up", "upstream", 1, {"service_tier": "flex"}),
    ReasoningDelta(0, "th"),
    ReasoningDelta(0, "ink", "sig", origin="anthropic"),
    TextDelta(0, "He"),
    TextDelta(0, "y", citations=[CITED]),
    RefusalDelta(0, "no"),
    ToolCallDelta(0, 0, "call_1", "f", "", "s", "google"),
    ToolCallDelta(0, 0, arguments='{"a":'),
    ToolCallDelta(0, 0, arguments="1}"),
    Finished(0, "tool_calls"),
    UsageSeen(Usage(1, 1)),
    Ended(),
]


def written(body: bytes) -> list[dict[str, Any]]:
    """The events: valid for the SDK, named as their type, numbered without a gap."""
    events = []
    for number, event in enumerate(split_events([body])):
        data = msgspec.json.decode(event.data)
        EVENT.validate_python(data)
        assert (data["type"], data["sequence_number"]) == (event.name, number)
        events.append(data)
    return events


def streamed(events: list[ChatEvent], usage: Usage, echo: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    encoder = StreamEncoder(HEAD, echo)
    body = b"".join(encoder.encode([event]) for event in events) + encoder.closing(usage, "0.1", False)
    told = written(body)
    assert encoder.output_items() == told[-1]["response"]["output"]
    return told


def test_the_whole_ladder() -> None:
    kinds = [event["type"].removeprefix("response.") for event in streamed(ANSWER, Usage(3, 4))]
    assert kinds == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
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
        "output_item.added",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]


def test_the_final_response_is_the_answer_as_it_would_be_unstreamed() -> None:
    parts: list[Part] = [
        ReasoningPart("think", "sig", origin="anthropic"),
        TextPart("Hey", citations=[CITED]),
        RefusalPart("no"),
        ToolCallPart("call_1", "f", '{"a":1}', "s", "google"),
    ]
    reply = ChatReply("up", "m", 1, [Choice(0, parts, "tool_calls")], Usage(3, 4), {"service_tier": "flex"})
    echo = echo_of({"temperature": 0.1, "instructions": "i"})
    first, *_, last = streamed(ANSWER, Usage(3, 4), echo)
    assert last["response"] == encode_reply(reply, HEAD, echo)
    assert first["response"] == last["response"] | {"status": "in_progress", "output": [], "usage": None}


def test_every_event_of_an_item_bears_its_id_and_place() -> None:
    *events, last = streamed(ANSWER, Usage(3, 4))
    output = last["response"]["output"]
    assert len({item["id"] for item in output}) == len(output)
    for event in events[2:]:
        item_id = event["item"]["id"] if "item" in event else event["item_id"]
        assert output[event["output_index"]]["id"] == item_id
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == output


@pytest.mark.parametrize(("reason", "why"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_that_was_cut_ends_incomplete(reason: FinishReason, why: str) -> None:
    last = streamed([TextDelta(0, "a"), Finished(0, reason)], Usage())[-1]
    assert last["type"] == "response.incomplete"
    assert (last["response"]["status"], last["response"]["incomplete_details"]) == ("incomplete", {"reason": why})
    assert last["response"]["output"][0]["status"] == "incomplete"


def test_an_answer_without_content_is_a_whole_stream() -> None:
    events = streamed([Started("up", "m", 1), Finished(0, "stop")], Usage(1, 0))
    assert [event["type"] for event in events] == ["response.created", "response.in_progress", "response.completed"]


def test_items_still_open_end_before_the_response() -> None:
    events = streamed([ToolCallDelta(0, 0, "call_1", "f", "{}")], Usage())
    assert [event["type"] for event in events[-2:]] == ["response.output_item.done", "response.completed"]


def test_a_failure_is_an_error_and_a_failed_response() -> None:
    encoder = StreamEncoder(HEAD)
    body = encoder.encode([TextDelta(0, "a"), ToolCallDelta(0, 0, "call_1", "f", "{")])
    error, failed = written(body + encoder.failure(GatewayError("BACKEND_TIMEOUT", "too slow")))[-2:]
    assert (error["code"], error["message"], error["error"]["code"]) == (
        "backend_timeout",
        "too slow",
        "backend_timeout",
    )
    response = failed["response"]
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    assert [item["type"] for item in response["output"]] == ["message"]


def test_a_failure_before_any_word_is_a_whole_stream_too() -> None:
    kinds = [event["type"] for event in written(StreamEncoder(HEAD).failure(GatewayError("INTERNAL_ERROR", "m")))]
    assert kinds == ["response.created", "response.in_progress", "error", "response.failed"]


# -- the SDK ----------------------------------------------------------------------------------------------------------


def accumulated(body: bytes) -> list[Any]:
    """What the SDK's stream helper puts together out of the deltas, without the final response."""
    state: ResponseStreamState[None] = ResponseStreamState(input_tools=[], text_format=openai.omit)
    for data in written(body):
        event: Any = construct_type_unchecked(type_=cast(Any, ResponseStreamEvent), value=data)
        state.handle_event(event)
    assert state._completed_response is not None
    snapshot: Any = state._ResponseStreamState__current_snapshot  # type: ignore[attr-defined]
    return list(snapshot.output)


def test_the_sdks_helper_puts_the_same_answer_together() -> None:
    encoder = StreamEncoder(HEAD)
    body = encoder.encode(ANSWER) + encoder.closing(Usage(3, 4), "0", False)
    final = written(body)[-1]["response"]["output"]
    seen = accumulated(body)
    assert [item.id for item in seen] == [item["id"] for item in final]
    assert seen[1].content[0].text == final[1]["content"][0]["text"] == "Hey"
    assert seen[3].arguments == final[3]["arguments"] == '{"a":1}'


def client(body: bytes) -> openai.OpenAI:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, content=body)

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return openai.OpenAI(api_key="k", base_url="http://gateway.test/v1", max_retries=0, http_client=http)


def test_the_sdk_streams_it_and_has_the_final_response() -> None:
    encoder = StreamEncoder(HEAD)
    body = encoder.encode(ANSWER) + encoder.closing(Usage(3, 4), "0", False)
    with client(body) as sdk, sdk.responses.stream(model="front", input="hi") as stream:
        texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert texts == ["He", "y"]
    assert final.output_text == "Hey"
    expected = Response.model_validate(written(body)[-1]["response"])
    assert [item.type for item in final.output] == [item.type for item in expected.output]
    assert final.usage == expected.usage


def test_the_sdk_raises_what_broke() -> None:
    encoder = StreamEncoder(HEAD)
    body = encoder.encode([TextDelta(0, "a")]) + encoder.failure(GatewayError("BACKEND_ERROR", "it broke off"))
    with client(body) as sdk, pytest.raises(openai.APIError, match="it broke off") as caught:
        list(sdk.responses.create(model="front", input="hi", stream=True))
    assert caught.value.code == "backend_error"


# -- recordings -------------------------------------------------------------------------------------------------------


@needs_fixtures
@pytest.mark.parametrize(
    "name",
    [
        "openai-responses/stream-reasoning-tools",
        "openai-responses/stream-text",
        "openai-responses/stream-tools-parallel",
    ],
)
def test_a_recorded_stream_comes_back_as_it_was(name: str) -> None:
    recording = recorded(f"{name}.response.sse")
    events = decode_stream(ResponsesStreamDecoder(), recording)
    usage = next(event.usage for event in events if isinstance(event, UsageSeen))
    final = msgspec.json.decode(split_events([recording])[-1].data)["response"]
    encoder = StreamEncoder(ReplyHead(final["id"], final["model"], final["created_at"]))
    body = encoder.encode(events) + encoder.closing(usage, "0", False)
    written(body)
    assert joined(decode_stream(ResponsesStreamDecoder(), body)) == joined(events)
    kinds = {event.name for event in split_events([recording])}
    assert kinds == {event.name for event in split_events([body])}
