"""The stream that OpenAI's clients read: exact chunks, strict SDK types, and a round trip of every recording."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletionChunk

from appliance.errors import GatewayError
from appliance.formats.base import ReplyHead
from appliance.formats.chat import (
    ChatEvent,
    Citation,
    Ended,
    Failed,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageSeen,
)
from appliance.formats.openai_reasoning import reasoning_parts
from appliance.formats.openai_stream import StreamDecoder
from appliance.formats.openai_stream_writer import StreamEncoder
from support.fixtures import needs_fixtures, recorded
from support.streams import decode_stream, joined, split_events

HEAD = ReplyHead("chatcmpl-1", "front", 1700000000)
FRAME = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "front"}


def written(body: bytes) -> list[Any]:
    """The chunks; strict for the SDK, and the end mark as text."""
    chunks: list[Any] = []
    for event in split_events([body]):
        if event.data == b"[DONE]":
            chunks.append("[DONE]")
            continue
        chunks.append(msgspec.json.decode(event.data))
        if "error" not in chunks[-1]:
            ChatCompletionChunk.model_validate(chunks[-1], strict=True)
    return chunks


def deltas(*events: ChatEvent) -> list[Any]:
    """The deltas after the choice's opening."""
    opening, *others = written(StreamEncoder(HEAD).encode(list(events)))
    assert opening["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    return [chunk["choices"][0]["delta"] for chunk in others]


def test_a_text_answer_chunk_by_chunk() -> None:
    encoder = StreamEncoder(HEAD)
    body = encoder.encode([Started("up", "upstream", 1), TextDelta(0, "Hé"), UsageSeen(Usage(1, 1))])
    body += encoder.encode([Finished(0, "stop"), Ended()]) + encoder.closing(Usage(3, 2), "0.1", False)

    def choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return FRAME | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}

    assert written(body) == [
        choice({"role": "assistant", "content": ""}),
        choice({"content": "Hé"}),
        choice({}, "stop"),
        "[DONE]",
    ]


def test_the_usage_chunk_comes_when_it_was_asked_for() -> None:
    encoder = StreamEncoder(ReplyHead("chatcmpl-1", "front", 1700000000, include_usage=True))
    chunks = written(encoder.encode([TextDelta(0, "a")]) + encoder.closing(Usage(3, 2, 1, 0, 1), "0.1", True))
    assert [chunk["usage"] for chunk in chunks[:-2]] == [None, None]
    assert chunks[-2] == FRAME | {
        "choices": [],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "total_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    }
    assert chunks[-1] == "[DONE]"


def test_every_chunk_tells_the_fingerprint() -> None:
    encoder = StreamEncoder(HEAD)
    started = Started("up", "upstream", 1, {"system_fingerprint": "fp", "service_tier": "on_demand"})
    chunks = written(encoder.encode([started, TextDelta(0, "a")]))
    assert [chunk["system_fingerprint"] for chunk in chunks] == ["fp", "fp"]
    assert "service_tier" not in chunks[0]


def test_calls_in_pieces() -> None:
    assert deltas(
        ToolCallDelta(0, 0, "a", "f", ""),
        ToolCallDelta(0, 0, arguments="{}"),
        ToolCallDelta(0, 1, "b", "g", "{}", "sig", "google"),
    ) == [
        {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
        {
            "tool_calls": [
                {
                    "index": 1,
                    "id": "b",
                    "type": "function",
                    "function": {"name": "g", "arguments": "{}"},
                    "extra_content": {"google": {"thought_signature": "sig"}},
                }
            ]
        },
    ]


def test_details_of_all_chunks_are_the_details_of_the_answer() -> None:
    said = deltas(
        ReasoningDelta(0, "wh"),
        ReasoningDelta(0, "y"),
        ReasoningDelta(0, signature="sig"),
        ReasoningDelta(0, redacted="blob"),
        ReasoningDelta(0, "then", "sig2"),
        TextDelta(0, "a"),
    )
    assert "".join(delta.get("reasoning_content", "") for delta in said) == "whythen"
    details = [entry for delta in said for entry in delta.get("reasoning_details", [])]
    assert [(part.text, part.signature, part.redacted) for part in reasoning_parts("whythen", details)] == [
        ("why", "sig", None),
        ("", None, "blob"),
        ("then", "sig2", None),
    ]
    assert [entry["index"] for entry in details] == [0, 1, 2]


def test_a_google_signature_does_not_cover_the_thoughts() -> None:
    said = deltas(ReasoningDelta(0, "why", origin="google"), ReasoningDelta(0, signature="sig", origin="google"))
    assert said == [
        {"reasoning_content": "why"},
        {
            "reasoning_details": [
                {"type": "reasoning.text", "text": "", "signature": "sig", "format": "google-gemini-v1", "index": 0}
            ]
        },
    ]


def test_an_item_of_the_responses_dialect_keeps_its_id_and_both_halves() -> None:
    said = deltas(ReasoningDelta(0, "why"), ReasoningDelta(0, redacted="blob", origin="responses", id="rs_1"))
    beside = {"format": "openai-responses-v1", "id": "rs_1"}
    assert said[1]["reasoning_details"] == [
        {"type": "reasoning.text", "text": "why", "index": 0} | beside,
        {"type": "reasoning.encrypted", "data": "blob", "index": 1} | beside,
    ]


def test_citations_of_all_chunks_are_numbered_and_those_without_an_address_left_out() -> None:
    said = deltas(
        TextDelta(0, "a", citations=[Citation(url="http://x", title="X", start=0, end=1)]),
        TextDelta(0, "", citations=[Citation(title="a file"), Citation(url="http://y")]),
        TextDelta(0, "", citations=[Citation(title="a file")]),
    )
    first = {"start_index": 0, "end_index": 1, "title": "X", "url": "http://x"}
    second = {"start_index": 0, "end_index": 0, "title": "", "url": "http://y"}
    assert said == [
        {"content": "a", "annotations": [{"type": "url_citation", "url_citation": first, "index": 0}]},
        {"annotations": [{"type": "url_citation", "url_citation": second, "index": 1}]},
    ]


def test_a_word_of_the_upstream_s_own_stands_beside_the_finish_reason() -> None:
    _, chunk = written(StreamEncoder(HEAD).encode([Finished(0, "stop", "bored", "END")]))
    assert (chunk["choices"][0]["finish_reason"], chunk["choices"][0]["native_finish_reason"]) == ("stop", "bored")


def test_refusals_and_logprobs() -> None:
    logprobs: dict[str, Any] = {
        "content": None,
        "refusal": [{"token": "no", "logprob": -0.1, "bytes": None, "top_logprobs": []}],
    }
    _, chunk = written(StreamEncoder(HEAD).encode([RefusalDelta(0, "no", logprobs)]))
    assert chunk["choices"] == [{"index": 0, "delta": {"refusal": "no"}, "logprobs": logprobs, "finish_reason": None}]


def test_every_choice_opens_with_its_role() -> None:
    chunks = written(StreamEncoder(HEAD).encode([TextDelta(0, "a"), Finished(1, "length"), TextDelta(0, "b")]))
    opened = [chunk["choices"][0]["index"] for chunk in chunks if "role" in chunk["choices"][0]["delta"]]
    assert opened == [0, 1]
    assert len(chunks) == 5


def test_a_broken_stream_tells_the_error_and_ends() -> None:
    encoder = StreamEncoder(HEAD)
    body = encoder.encode([TextDelta(0, "a"), Failed("m")]) + encoder.failure(GatewayError("BACKEND_ERROR", "it broke"))
    assert written(body)[2:] == [
        {"error": {"message": "it broke", "type": "server_error", "param": None, "code": "backend_error"}},
        "[DONE]",
    ]


@needs_fixtures
@pytest.mark.parametrize(
    "name",
    [
        "openai/chat-stream-n3",
        "openai/chat-stream-refusal-logprobs",
        "openai/chat-stream-tools-parallel",
        "openrouter/stream-reasoning",
        "mistral/stream-reasoning",
        "mistral/stream-tools",
        "qwen/stream-tool-call",
        "self-hosted/gateway-tool-index-starts-at-1",
        "azure/stream-empty-first-chunk",
    ],
)
def test_recorded_streams_come_out_as_they_came_in(name: str) -> None:
    events = decode_stream(StreamDecoder(), recorded(f"{name}.response.sse"))
    encoder = StreamEncoder(HEAD)
    body = encoder.encode(events) + encoder.closing(Usage(), "0", False)
    written(body)
    again = decode_stream(StreamDecoder(), body)
    assert content(again) == content(events)
    assert isinstance(again[-1], Ended)


def content(events: list[ChatEvent]) -> list[dict[str, Any]]:
    """What was said. Whose reasoning it is comes with the signature, not with every word."""
    kept: list[ChatEvent] = [event for event in events if not isinstance(event, Started | UsageSeen | Ended)]
    for event in kept:
        if isinstance(event, ReasoningDelta) and not event.signature:
            event.origin = ""
    return joined(kept)
