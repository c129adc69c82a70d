"""The event-stream grammar, whatever the slicing."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.formats import sse
from appliance.formats.sse import DONE, EventTooLarge, SseEvent, SseSplitter, data_event, named_event
from support.fixtures import needs_fixtures, recorded
from support.streams import sliced, split_events

CASES = {
    "one event": (b"data: a\n\n", [SseEvent(b"a")]),
    "CRLF": (b"data: a\r\n\r\ndata: b\r\n\r\n", [SseEvent(b"a"), SseEvent(b"b")]),
    "CR": (b"data: a\r\rdata: b\r\r", [SseEvent(b"a"), SseEvent(b"b")]),
    "mixed line ends": (b"data: a\r\n\ndata: b\n\r", [SseEvent(b"a"), SseEvent(b"b")]),
    "byte-order mark": (b"\xef\xbb\xbfdata: a\n\n", [SseEvent(b"a")]),
    "a second byte-order mark is text": (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [SseEvent(b"a")]),
    "comments": (b": alive\n\ndata: a\n: between\ndata: b\n\n", [SseEvent(b"a\nb")]),
    "several data lines": (b"data: a\ndata:\ndata: b\n\n", [SseEvent(b"a\n\nb")]),
    "named event": (b"event: error\ndata: {}\n\ndata: a\n\n", [SseEvent(b"{}", "error"), SseEvent(b"a")]),
    "a name without data is dropped": (b"event: ping\n\ndata: a\n\n", [SseEvent(b"a")]),
    "one space is cut off, no more": (b"data:a\n\ndata:  b \n\n", [SseEvent(b"a"), SseEvent(b" b ")]),
    "unknown fields": (b"id: 7\nretry: 10\nnonsense\ndata: a\n\n", [SseEvent(b"a")]),
    "a character of four bytes": ("data: 🍓\n\n".encode(), [SseEvent("🍓".encode())]),
    "no empty line at the end": (b"data: a\n\ndata: b", [SseEvent(b"a"), SseEvent(b"b")]),
    "data without a value": (b"data\n\n", [SseEvent(b"")]),
    "nothing": (b"", []),
}


@pytest.mark.parametrize("name", CASES)
def test_every_split_gives_the_same_events(name: str) -> None:
    body, expected = CASES[name]
    assert split_events([body]) == expected
    for at in range(len(body) + 1):
        assert split_events([body[:at], body[at:]]) == expected, at
    assert split_events([body[i : i + 1] for i in range(len(body))]) == expected


@given(st.lists(st.sampled_from([b"data: x", b"data", b": c", b"event: e", b"", b"\n", b"\r", b"\r\n"])), st.integers())
def test_slicing_never_matters(pieces: list[bytes], seed: int) -> None:
    body = b"".join(pieces)
    assert split_events(sliced(body, random.Random(seed), 3)) == split_events([body])


@needs_fixtures
@pytest.mark.parametrize(
    "name", ["openrouter/stream-error-inside", "qwen/stream-reasoning", "groq/stream-error-inside"]
)
def test_recorded_streams_split_alike(name: str) -> None:
    body = recorded(f"{name}.response.sse")
    whole = split_events([body])
    assert len(whole) > 3
    assert split_events([body.replace(b"\n", b"\r\n")]) == whole
    for seed in range(5):
        assert split_events(sliced(body, random.Random(seed), 60)) == whole


def test_events_come_as_soon_as_they_are_whole() -> None:
    splitter = SseSplitter()
    assert splitter.feed(b"data: a\r\n\r") == [SseEvent(b"a")]
    assert splitter.feed(b"\ndata: b\n") == []
    assert splitter.feed(b"\n") == [SseEvent(b"b")]
    assert splitter.rest() == []


@pytest.mark.parametrize("line", [b"data: xxxxxxxxxxxxxxxx", b"data: xxxx\n"])
def test_an_endless_event_is_refused(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    with pytest.raises(EventTooLarge, match="more than 100 bytes"):
        split_events([line] * 100)


def test_the_limit_counts_one_event_not_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    splitter = SseSplitter()
    assert sum(len(splitter.feed(b"data: 1234567890\n\n")) for _ in range(50)) == 50


def test_what_is_written_is_read_back() -> None:
    body = data_event(b"{}") + named_event("error", b"[]") + DONE
    assert split_events([body]) == [SseEvent(b"{}"), SseEvent(b"[]", "error"), SseEvent(b"[DONE]")]
