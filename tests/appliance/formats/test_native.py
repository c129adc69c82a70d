"""The native surface: strict requests, the `data` object, the stream and the error envelope."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from appliance.errors import CODES, GatewayError, invalid
from appliance.formats import native, openai
from appliance.formats.base import ClientFormat, ReplyHead
from appliance.formats.chat import (
    ChatReply,
    Choice,
    Citation,
    Finished,
    Part,
    ReasoningDelta,
    ReasoningOptions,
    ReasoningPart,
    RefusalPart,
    Started,
    TextDelta,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
    Usage,
)
from support.streams import split_events

HEAD = ReplyHead("chat_1", "front", 1700000000)
HELLO = [{"role": "user", "content": "Hello"}]
_IS_A_CLIENT_FORMAT: ClientFormat = native


def test_a_request_has_openai_form() -> None:
    body = {
        "model": "m",
        "messages": HELLO,
        "max_tokens": 5,
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }
    assert native.decode_request(body) == openai.decode_request(body)
    body["reasoning"] = {"effort": "low", "budget_tokens": 1024}
    assert native.decode_request(body).reasoning == ReasoningOptions("low", 1024)


def test_all_unknown_members_are_refused_at_once() -> None:
    body = {"model": "m", "messages": HELLO, "logit_bias": {}, "store": True}
    with pytest.raises(GatewayError) as caught:
        native.decode_request(body)
    assert caught.value.message == "logit_bias, store: are not parameters of this endpoint"
    assert caught.value.details == [
        {"field": "logit_bias", "message": "is not a parameter of this endpoint"},
        {"field": "store", "message": "is not a parameter of this endpoint"},
    ]


def test_a_single_unknown_member() -> None:
    with pytest.raises(GatewayError) as caught:
        native.decode_request({"model": "m", "messages": HELLO, "store": True})
    assert (caught.value.param, caught.value.message) == ("store", "store: is not a parameter of this endpoint")


def test_a_full_reply() -> None:
    parts: list[Part] = [ReasoningPart("why", "sig"), TextPart("a"), ToolCallPart("c", "f", "{}")]
    choices = [
        Choice(0, parts, "tool_calls"),
        Choice(1, [RefusalPart("no")], "stop", "bored", "END", {"content": [], "refusal": [{"token": "no"}]}),
    ]
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert native.encode_reply(ChatReply("up", "upstream", 1, choices, Usage(10, 5, 4, 0, 3)), HEAD) == {
        "id": "chat_1",
        "model": "front",
        "created": 1700000000,
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "a",
                    "reasoning": "why",
                    "reasoning_details": [{"type": "reasoning.text", "text": "why", "signature": "sig"}],
                    "tool_calls": [call],
                },
                "finish_reason": "tool_calls",
            },
            {
                "index": 1,
                "message": {"role": "assistant", "content": None, "refusal": "no"},
                "finish_reason": "stop",
                "native_finish_reason": "bored",
                "stop_sequence": "END",
                "logprobs": {"content": [], "refusal": [{"token": "no"}]},
            },
        ],
        "usage": {
            "input_tokens": 10,
            "output_tokens": 5,
            "total_tokens": 15,
            "cached_input_tokens": 4,
            "reasoning_tokens": 3,
        },
    }


def test_a_reply_message_may_be_sent_back() -> None:
    parts: list[Part] = [
        ReasoningPart("why", "sig"),
        ReasoningPart(redacted="blob"),
        TextPart("a"),
        ToolCallPart("c", "f", "{}"),
    ]
    data = native.encode_reply(ChatReply("up", "upstream", 1, [Choice(0, parts, "tool_calls")]), HEAD)
    assert "usage" not in data
    request = native.decode_request({"model": "m", "messages": [*HELLO, data["choices"][0]["message"]]})
    assert request.messages[1].parts == parts


def test_citations_without_an_address_are_shown_too() -> None:
    citations = [Citation(url="http://x", start=0, end=1), Citation(title="a.pdf", quote="q", start=0, end=1)]
    (choice,) = native.encode_reply(
        ChatReply("up", "upstream", 1, [Choice(0, [TextPart("a", citations=[*citations, Citation(quote="r")])])]), HEAD
    )["choices"]
    address = {"start_index": 0, "end_index": 1, "title": "", "url": "http://x"}
    shown: list[dict[str, Any]] = [
        {"type": "url_citation", "url_citation": address},
        {"type": "file_citation", "title": "a.pdf", "quote": "q", "start_index": 0, "end_index": 1},
        {"type": "citation", "title": None, "quote": "r"},
    ]
    assert choice["message"]["annotations"] == shown
    (_, opening), (_, told) = read(native.stream_encoder(HEAD).encode([TextDelta(0, "", citations=citations)]))
    assert opening["choices"][0]["delta"]["role"] == "assistant"
    assert told["choices"][0]["delta"] == {
        "annotations": [entry | {"index": place} for place, entry in enumerate(shown[:2])]
    }


def test_the_head_of_a_request_has_its_canonical_form() -> None:
    body = {"model": "m", "messages": HELLO, "stream": True, "max_tokens": 5, "n": 2, "metadata": {"a": "b"}}
    head = native.read_head(msgspec.json.encode(body))
    assert (head.model, head.stream, head.include_usage, head.output_cap, head.n) == ("m", True, True, 5, 2)
    assert head.metadata == {"a": "b"}
    assert head.request
    assert head.request.metadata is None
    assert head.request == native.decode_request({name: body[name] for name in body if name != "metadata"})


@pytest.mark.parametrize("body", [b'{"model": 7}', b'{"n": 1' + b"0" * 400 + b"}", b'{"model":"m","messages":[]}'])
def test_a_head_that_is_wrong_is_refused(body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        native.read_head(body)
    assert caught.value.code == "VALIDATION_ERROR"


def test_usage_with_cost() -> None:
    assert native.usage_object(Usage(10, 5), "0.000125", True) == {
        "input_tokens": 10,
        "output_tokens": 5,
        "total_tokens": 15,
        "cached_input_tokens": 0,
        "reasoning_tokens": 0,
        "cost": "0.000125",
        "estimated": True,
    }


def read(body: bytes) -> list[tuple[str, Any]]:
    events = split_events([body])
    return [
        (event.name, event.data if event.data == b"[DONE]" else msgspec.json.decode(event.data)) for event in events
    ]


def test_a_stream_chunk_by_chunk() -> None:
    encoder = native.stream_encoder(HEAD)
    body = encoder.encode([Started("up", "upstream", 1), ReasoningDelta(0, "why"), TextDelta(0, "a", {"content": [1]})])
    body += encoder.encode([ToolCallDelta(0, 0, "c", "f", "{}"), Finished(0, "stop", "bored")])
    body += encoder.closing(Usage(10, 5), "0.1", False)
    frame = {"id": "chat_1", "model": "front"}

    def chunk(delta: dict[str, Any], finish: str | None = None, **members: Any) -> tuple[str, Any]:
        return "", frame | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish, **members}]}

    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert read(body) == [
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning": "why"}),
        chunk({"content": "a"}, logprobs={"content": [1]}),
        chunk({"tool_calls": [call]}),
        chunk({}, "stop", native_finish_reason="bored"),
        ("", frame | {"choices": [], "usage": native.usage_object(Usage(10, 5), "0.1", False)}),
        ("", b"[DONE]"),
    ]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (GatewayError("BACKEND_ERROR", "it broke"), {"code": "BACKEND_ERROR", "message": "it broke"}),
        (
            GatewayError("BACKEND_RATE_LIMITED", "slow down", retry_after=3.0),
            {"code": "BACKEND_RATE_LIMITED", "message": "slow down", "retry_after": 3},
        ),
        (invalid("n", "is bad"), {"code": "VALIDATION_ERROR", "message": "n: is bad"}),
    ],
)
def test_a_broken_stream_tells_the_error_and_ends(error: GatewayError, expected: dict[str, Any]) -> None:
    assert read(native.stream_encoder(HEAD).failure(error)) == [("error", expected), ("", b"[DONE]")]


@pytest.mark.parametrize("code", sorted(CODES))
def test_errors_have_the_envelope_and_the_table_status(code: str) -> None:
    status, body = native.encode_error(GatewayError(code, "m", retry_after=2.5), "req_12345678")
    assert status == CODES[code].status
    assert body == {
        "status": "error",
        "error": {"code": code, "message": "m", "retry_after": 2.5},
        "meta": {"request_id": "req_12345678"},
    }
