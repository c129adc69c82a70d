from __future__ import annotations

from typing import Any

import msgspec
import pytest
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from appliance.errors import GatewayError
from appliance.formats.base import Frame, ReplyHead
from appliance.formats.chat import Usage
from appliance.formats.responses_object import echo_of
from appliance.formats.responses_passthrough_writer import PassthroughWriter
from appliance.formats.sse import SseEvent
from support.fixtures import needs_fixtures, recorded
from support.streams import split_events

HEAD = ReplyHead("resp_ours", "front", 1700000000)
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
WHOLE = ["stream-reasoning-tools", "stream-text", "stream-tools-parallel"]


def frame(name: str, data: bytes) -> Frame:
    return Frame(SseEvent(data, name), [])


def told(body: bytes) -> list[tuple[str, dict[str, Any]]]:
    return [(event.name, msgspec.json.decode(event.data)) for event in split_events([body])]


@needs_fixtures
@pytest.mark.parametrize("name", WHOLE)
def test_every_event_goes_on_under_the_callers_name(name: str) -> None:
    recording = recorded(f"openai-responses/{name}.response.sse")
    events = split_events([recording])
    writer = PassthroughWriter(HEAD)
    body = writer.frames([Frame(event, []) for event in events])
    assert len(split_events([body])) == len(events) - 1, "the last event waits for the closing"
    body += writer.closing(Usage(9, 9), "0.1", True)
    expected = []
    for kind, data in told(recording):
        if "response" in data:
            data["response"] |= {"id": "resp_ours", "model": "front"}
        expected.append((kind, data))
    assert told(body) == expected
    assert writer.output_items() == expected[-1][1]["response"]["output"]


@needs_fixtures
def test_a_stream_that_breaks_ends_as_failed() -> None:
    recording = recorded("openai-responses/stream-text.response.sse")
    writer = PassthroughWriter(HEAD)
    body = writer.frames([Frame(event, []) for event in split_events([recording])[:10]])
    (_, error), (kind, failed) = told(body + writer.failure(GatewayError("BACKEND_RATE_LIMITED", "slow down")))[-2:]
    EVENT.validate_python(error)
    EVENT.validate_python(failed)
    assert (error["message"], error["error"]["code"], error["sequence_number"]) == (
        "slow down",
        "rate_limit_exceeded",
        10,
    )
    assert (kind, failed["sequence_number"]) == ("response.failed", 11)
    response = failed["response"]
    assert (response["id"], response["model"], response["status"]) == ("resp_ours", "front", "failed")
    assert response["error"] == {"code": "rate_limit_exceeded", "message": "slow down"}
    assert writer.output_items() == []


def test_the_operators_prompt_is_in_no_event() -> None:
    start = b'{"type":"response.created","response":{"id":"r","instructions":"secret of the operator"}}'
    assert b"secret" not in PassthroughWriter(HEAD).frames([frame("", start)])
    writer = PassthroughWriter(HEAD, echo_of({"instructions": "be brief"}))
    ((_, data),) = told(writer.frames([frame("", start)]))
    assert data["response"]["instructions"] == "be brief"
    assert b"secret" not in writer.failure(GatewayError("BACKEND_ERROR", "m"))


def test_a_failure_before_any_event_has_a_response_of_its_own() -> None:
    events = told(PassthroughWriter(HEAD).failure(GatewayError("BACKEND_ERROR", "m")))
    assert [data["sequence_number"] for _, data in events] == [0, 1]
    for _, data in events:
        EVENT.validate_python(data)


def test_an_estimate_stands_in_for_usage_that_is_missing() -> None:
    writer = PassthroughWriter(HEAD)
    end = b'{"type":"response.incomplete","response":{"id":"r","model":"m","usage":null,"output":[{"type":"x"}]}}'
    assert writer.frames([frame("", end)]) == b""
    ((kind, data),) = told(writer.closing(Usage(3, 4), "0", True))
    assert kind == "response.incomplete"
    assert data["response"]["usage"]["total_tokens"] == 7
    assert writer.output_items() == [{"type": "x"}]


def test_bytes_of_an_item_are_not_rewritten() -> None:
    data = b'{"type":"response.x","n" : 1.50e1,"sequence_number":4}'
    assert PassthroughWriter(HEAD).frames([frame("response.x", data)]) == b"event: response.x\ndata: " + data + b"\n\n"


def test_line_ends_inside_json_do_not_end_the_line() -> None:
    body = PassthroughWriter(HEAD).frames([frame("response.x", b'{"type":\n"response.x",\r"n":1}')])
    assert told(body) == [("response.x", {"type": "response.x", "n": 1})]


def test_the_chat_dialects_end_mark_is_passed_over() -> None:
    assert PassthroughWriter(HEAD).frames([frame("", b"[DONE]")]) == b""
