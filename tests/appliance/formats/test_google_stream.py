from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance.errors import GatewayError
from appliance.formats.chat import (
    ChatEvent,
    Citation,
    Failed,
    Finished,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallPart,
    Usage,
    UsageSeen,
)
from appliance.formats.google_reply import decode_reply
from appliance.formats.google_stream import GoogleStreamDecoder
from appliance.formats.sse import SseEvent, SseSplitter
from support.fixtures import PROVIDERS, needs_fixtures, recorded
from support.golden import check_golden

RECORDED = [
    "stream-code-execution",
    "stream-text",
    "stream-thoughts",
    "stream-tool-signature-1",
    "stream-tool-signature-2",
    "stream-web-fetch",
]


def _recorded(name: str) -> bytes:
    body: bytes = recorded(f"google/{name}.response.sse")
    return body


def _decoded(body: bytes, cuts: list[int]) -> list[ChatEvent]:
    splitter, decoder = SseSplitter(), GoogleStreamDecoder()
    events: list[ChatEvent] = []
    for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        for event in splitter.feed(body[begin:end]):
            events.extend(decoder.feed(event))
    for event in splitter.rest():
        events.extend(decoder.feed(event))
    assert decoder.complete
    return events


def _feed(decoder: GoogleStreamDecoder, payload: Any) -> list[ChatEvent]:
    return decoder.feed(SseEvent(payload if isinstance(payload, bytes) else json.dumps(payload).encode()))


def _fed(*payloads: Any, decoder: GoogleStreamDecoder | None = None) -> list[ChatEvent]:
    """The events after the first, which is Started."""
    decoder = decoder or GoogleStreamDecoder()
    started, *events = [event for payload in payloads for event in _feed(decoder, payload)]
    assert isinstance(started, Started)
    return events


def _event(*parts: Any, **candidate: Any) -> dict[str, Any]:
    return {"responseId": "r1", "candidates": [{"content": {"parts": [*parts]}, **candidate}]}


END = _event(finishReason="STOP")


# -- recordings -------------------------------------------------------------------------------------------------------


@needs_fixtures
@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_stream_reads_as_its_golden_file(name: str) -> None:
    check_golden(Path(f"streams/google/{name}.json"), msgspec.to_builtins(_decoded(_recorded(name), [])))


@needs_fixtures
@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_stream_reads_the_same_wherever_it_is_split(name: str) -> None:
    body = _recorded(name)
    whole = _decoded(body, [])
    rng = random.Random(name)
    for pieces in (1, 7, 300):
        cuts = sorted(rng.randrange(len(body)) for _ in range(pieces))
        assert _decoded(body, cuts) == whole
    borders = [at for at in range(1, len(body)) if body[at - 1 : at + 1] == b"\r\n"]
    assert _decoded(body, borders) == whole


def test_characters_of_several_bytes_may_be_split_anywhere() -> None:
    body = (
        b"data: "
        + json.dumps(_event({"text": "Zürich 😀"}, finishReason="STOP"), ensure_ascii=False).encode()
        + b"\r\n\r\n"
    )
    whole = _decoded(body, [])
    assert TextDelta(0, "Zürich 😀") in whole
    for cut in range(1, len(body)):
        assert _decoded(body, [cut]) == whole


@needs_fixtures
def test_every_recorded_stream_has_a_golden_file() -> None:
    assert {path.name.split(".")[0] for path in (PROVIDERS / "google").glob("*.sse")} == set(RECORDED)


# -- content ----------------------------------------------------------------------------------------------------------


def test_a_stream_begins_once() -> None:
    first = {"responseId": "r1", "modelVersion": "m", "createTime": "2026-02-17T04:28:18Z", **_event({"text": "a"})}
    decoder = GoogleStreamDecoder()
    assert _feed(decoder, first) == [Started("r1", "m", 1771302498), TextDelta(0, "a")]
    assert _feed(decoder, first) == [TextDelta(0, "a")]


def test_parts_become_events_in_their_order() -> None:
    call = {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "s2"}
    events = _fed(
        _event({"text": "hm", "thought": True}, {"text": "a", "thoughtSignature": "s1"}),
        _event({"executableCode": {"code": "1"}}, call, {"functionCall": {"id": "own", "name": "g"}}),
        _event({"functionCall": {"name": "h"}}, finishReason="STOP"),
    )
    assert events == [
        ReasoningDelta(0, "hm", origin="google"),
        TextDelta(0, "a"),
        ReasoningDelta(0, "", "s1", origin="google"),
        ToolCallDelta(0, 0, "call_r1_0_0", "f", '{"a":1}', "s2", "google"),
        ToolCallDelta(0, 1, "own", "g", "{}"),
        ToolCallDelta(0, 2, "call_r1_0_2", "h", "{}"),
        Finished(0, "tool_calls"),
    ]


def test_a_streamed_call_has_the_id_of_the_whole_answer() -> None:
    body = _event({"functionCall": {"name": "f"}}, finishReason="STOP")
    (call,) = [event for event in _fed(body) if isinstance(event, ToolCallDelta)]
    (part,) = decode_reply(body).choices[0].parts
    assert isinstance(part, ToolCallPart)
    assert call.id == part.id


def test_every_usage_is_told_and_the_last_one_counts() -> None:
    def counted(prompt: int, answer: int) -> dict[str, Any]:
        return {"usageMetadata": {"promptTokenCount": prompt, "candidatesTokenCount": answer}}

    events = _fed(_event({"text": "a"}) | counted(5, 1), END | counted(6, 2), counted(7, 3))
    assert [event.usage for event in events if isinstance(event, UsageSeen)] == [
        Usage(5, 1),
        Usage(6, 2),
        Usage(7, 3),
    ]


def test_sources_are_cited_when_the_text_is_whole_and_once() -> None:
    chunk = {"web": {"uri": "https://a.example", "title": "A"}}
    support = {"segment": {"endIndex": 10, "text": "Zürich is"}, "groundingChunkIndices": [0]}
    metadata = {"groundingChunks": [chunk], "groundingSupports": [support]}
    events = _fed(
        _event({"text": "Zür"}, groundingMetadata=metadata),
        _event({"text": "ich is."}, groundingMetadata=metadata, finishReason="STOP"),
    )
    cited = Citation("https://a.example", "A", None, 0, 9, chunk, "google")
    assert events == [
        TextDelta(0, "Zür"),
        TextDelta(0, "ich is."),
        TextDelta(0, "", citations=[cited]),
        Finished(0, "stop"),
    ]


def test_log_probabilities_ride_on_the_first_text() -> None:
    result = {"chosenCandidates": [{"token": "a", "logProbability": -0.5}]}
    listed = {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}], "refusal": None}
    hm = {"text": "hm", "thought": True}
    with_text = _event(hm, {"text": "a"}, {"text": "b"}, logprobsResult=result)
    without = _event(hm, logprobsResult=result)
    assert _fed(with_text)[1:] == [TextDelta(0, "a", logprobs=listed), TextDelta(0, "b")]
    assert _fed(without)[1:] == [TextDelta(0, "", logprobs=listed)]


# -- the end ----------------------------------------------------------------------------------------------------------


def test_a_stream_is_complete_when_all_that_spoke_have_finished() -> None:
    decoder = GoogleStreamDecoder()
    both = [{"content": {"parts": [{"text": word}]}, "index": index} for index, word in enumerate("ab")]
    assert _fed({"candidates": both}, decoder=decoder) == [TextDelta(0, "a"), TextDelta(1, "b")]
    assert not decoder.complete
    assert _feed(decoder, {"candidates": [{"index": 1, "finishReason": "MAX_TOKENS"}]}) == [Finished(1, "length")]
    assert not decoder.complete
    assert _feed(decoder, {"candidates": [{"index": 0, "finishReason": "SAFETY"}]}) == [
        Finished(0, "content_filter", "SAFETY")
    ]
    assert decoder.complete


def test_usage_alone_completes_nothing() -> None:
    decoder = GoogleStreamDecoder()
    assert _fed({"usageMetadata": {"promptTokenCount": 1}}, decoder=decoder) == [UsageSeen(Usage(1))]
    assert not decoder.complete


def test_a_blocked_prompt_ends_the_stream() -> None:
    decoder = GoogleStreamDecoder()
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 4}}
    assert _fed(blocked, decoder=decoder) == [
        Finished(0, "content_filter", "PROHIBITED_CONTENT"),
        UsageSeen(Usage(4)),
    ]
    assert decoder.complete


def test_a_finish_reason_that_is_repeated_counts_once_and_words_after_it_are_a_mismatch() -> None:
    decoder = GoogleStreamDecoder()
    assert _fed(END, END, _event(), decoder=decoder) == [Finished(0, "stop")]
    assert decoder.complete
    with pytest.raises(GatewayError, match="after the finish reason"):
        _feed(decoder, _event({"text": "more"}))


def test_an_error_inside_the_stream_is_told_and_ends_it() -> None:
    decoder = GoogleStreamDecoder()
    error = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
    assert _fed(_event({"text": "a"}), error, _event({"text": "b"}), decoder=decoder) == [
        TextDelta(0, "a"),
        Failed("overloaded", "UNAVAILABLE", 503),
    ]
    assert not decoder.complete


def test_an_error_may_be_all_there_is_and_say_little() -> None:
    assert _feed(GoogleStreamDecoder(), [{"error": {"code": "x"}}]) == [Failed("unknown error")]


# -- what is no event -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "word"),
    [
        (b"[DONE]", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 5000, "not JSON"),
        ([], "alt=sse"),
        ([_event({"text": "a"})], "alt=sse"),
        ({}, "no part of an answer"),
        ({"choices": []}, "no part of an answer"),
        ("text", "no part of an answer"),
        ({"candidates": "x"}, "no list of objects"),
        (_event("x"), "no list of objects"),
        (_event({"functionCall": {}}), "without a name"),
        (_event({"inlineData": {"mimeType": "image/png", "data": "aW1n"}}), "streams an image"),
    ],
)
def test_what_is_no_event_is_a_shape_mismatch(payload: Any, word: str) -> None:
    with pytest.raises(GatewayError, match=word) as caught:
        _feed(GoogleStreamDecoder(), payload)
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"
