"""Bytes that are no event stream are found before any dialect is asked."""

from __future__ import annotations

import pytest

from support.grammar import read_events


def test_events_in_every_line_end_with_comments_between() -> None:
    body = b': keep-alive\n\ndata: {"a": 1}\r\n\r\nevent: e\rdata: {"b":\rdata: 2}\r\rdata: [DONE]\n\n'
    events = read_events(body)
    assert [(event.name, event.data) for event in events] == [
        ("", '{"a": 1}'),
        ("e", '{"b":\n2}'),
        ("", "[DONE]"),
    ]
    assert events[1].object() == {"b": 2}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "is empty"),
        (b"data: {}", "last event is cut"),
        (b"data: {}\n", "last event is cut"),
        (b"data: \xff\n\n", "not UTF-8 at byte 6"),
        (b"event: ping\n\n", "a name and no data"),
        (b"event: a\nevent: b\ndata: 1\n\n", "two names"),
        (b"data: 1\nevent: a\n\n", "name behind its data"),
        (b"hello\n\n", "neither event, data nor comment"),
        (b"id: 5\ndata: 1\n\n", "neither event, data nor comment"),
    ],
)
def test_what_is_no_event_stream(body: bytes, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        read_events(body)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [(b"{", "no JSON"), (b"[1]", "no object"), (b'{"a": 1, "a": 2}', "a member twice"), (b"hello", "no JSON")],
)
def test_data_that_is_no_object(data: bytes, sentence: str) -> None:
    (event,) = read_events(b"data: " + data + b"\n\n")
    with pytest.raises(AssertionError, match=sentence):
        event.object()
