"""The native text completion: strict requests, the `data` object and the stream."""

from __future__ import annotations

import msgspec
import pytest

from appliance.errors import GatewayError
from appliance.formats import generate, native
from appliance.formats.base import ClientFormat, ReplyHead
from appliance.formats.chat import ChatReply, Choice, Finished, ReasoningDelta, Started, TextDelta, TextPart, Usage
from support.streams import split_events

HEAD = ReplyHead("gen_1", "front", 1700000000)
_IS_A_CLIENT_FORMAT: ClientFormat = generate


def test_the_head_has_the_request() -> None:
    head = generate.read_head(b'{"model":"m","prompt":"Once","max_tokens":9,"stream":true,"metadata":{"team":"x"}}')
    assert (head.model, head.stream, head.output_cap, head.metadata) == ("m", True, 9, {"team": "x"})
    assert head.request is not None
    assert head.request.messages[0].parts == [TextPart("Once")]


def test_all_unknown_members_are_refused_at_once() -> None:
    with pytest.raises(GatewayError, match=r"^n, echo: are not parameters of this endpoint"):
        generate.decode_request({"model": "m", "prompt": "p", "n": 2, "echo": True})


def test_a_reply() -> None:
    choices = [Choice(0, [TextPart("a")], "stop"), Choice(1, [TextPart("b")], "stop", "bored"), Choice(2, [])]
    body = generate.encode_reply(ChatReply("up", "upstream", 1, choices, Usage(10, 5, 4)), HEAD)
    assert body == {
        "id": "gen_1",
        "model": "front",
        "created": 1700000000,
        "choices": [
            {"index": 0, "text": "a", "finish_reason": "stop"},
            {"index": 1, "text": "b", "finish_reason": "stop", "native_finish_reason": "bored"},
            {"index": 2, "text": "", "finish_reason": None},
        ],
        "usage": {
            "input_tokens": 10,
            "output_tokens": 5,
            "total_tokens": 15,
            "cached_input_tokens": 4,
            "reasoning_tokens": 0,
        },
    }
    assert "usage" not in generate.encode_reply(ChatReply("up", "upstream", 1, choices), HEAD)


def test_a_stream_chunk_by_chunk() -> None:
    encoder = generate.stream_encoder(HEAD)
    body = encoder.encode([Started("up", "upstream", 1), ReasoningDelta(0, "why"), TextDelta(0, "a")])
    body += encoder.encode([TextDelta(0, "b"), Finished(0, "stop")])
    body += encoder.closing(Usage(10, 5), "0.1", True)
    events = split_events([body])
    frame = {"id": "gen_1", "model": "front"}
    assert [msgspec.json.decode(event.data) for event in events[:-1]] == [
        frame | {"choices": [{"index": 0, "text": "a", "finish_reason": None}]},
        frame | {"choices": [{"index": 0, "text": "b", "finish_reason": None}]},
        frame | {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]},
        frame | {"choices": [], "usage": native.usage_object(Usage(10, 5), "0.1", True)},
    ]
    assert events[-1].data == b"[DONE]"


def test_a_broken_stream_tells_the_error_and_ends() -> None:
    body = generate.stream_encoder(HEAD).failure(GatewayError("BACKEND_RATE_LIMITED", "slow down", retry_after=3.0))
    error, done = split_events([body])
    assert error.name == "error"
    assert msgspec.json.decode(error.data) == {
        "code": "BACKEND_RATE_LIMITED",
        "message": "slow down",
        "retry_after": 3,
    }
    assert done.data == b"[DONE]"


def test_errors_have_the_native_envelope() -> None:
    error = GatewayError("MODEL_NOT_FOUND", "no model x")
    assert generate.encode_error(error, "req_12345678") == native.encode_error(error, "req_12345678")
