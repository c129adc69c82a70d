"""Citations: OpenAI's annotations both ways, and sources that stand beside the choices."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.formats.chat import Citation, Part, TextPart, ToolCallPart
from appliance.formats.openai_citations import annotations_of, citations_in, listed_citations, parts_annotations


def annotation(**members: Any) -> dict[str, Any]:
    said = {"start_index": 2, "end_index": 5, "title": "X", "url": "http://x"} | members
    return {"type": "url_citation", "url_citation": said}


def test_an_annotation_goes_out_and_comes_back() -> None:
    entries = [annotation(), annotation(content="quoted")]
    citations = citations_in(entries)
    assert citations == [
        Citation("http://x", "X", None, 2, 5),
        Citation("http://x", "X", "quoted", 2, 5),
    ]
    assert annotations_of(citations) == entries


def test_an_empty_range_is_no_place() -> None:
    (entry,) = annotations_of([Citation("http://x")])
    assert entry == annotation(start_index=0, end_index=0, title="")
    assert citations_in([entry]) == [Citation("http://x")]


@pytest.mark.parametrize(
    "members",
    [
        {"start_index": None},
        {"end_index": "5"},
        {"start_index": -1},
        {"start_index": True},
        {"start_index": 5, "end_index": 5},
        {"start_index": 6},
    ],
)
def test_an_odd_place_is_not_known(members: dict[str, Any]) -> None:
    assert citations_in([annotation(**members)]) == [Citation("http://x", "X")]


@pytest.mark.parametrize(
    "entries", [None, "x", {}, ["x", None, {}, {"type": "file", "file": {}}, {"url_citation": "x"}, annotation(url="")]]
)
def test_what_is_no_citation_is_passed_over(entries: Any) -> None:
    assert citations_in(entries) == []


@pytest.mark.parametrize(
    ("results", "citations", "expected"),
    [
        (None, None, []),
        (None, ["http://x", "", 7], [Citation("http://x")]),
        (None, [{"url": "http://x", "title": "X"}], [Citation("http://x", "X")]),
        ([{"url": "http://y", "title": "Y", "snippet": "s"}], ["http://x"], [Citation("http://y", "Y", "s")]),
        ([], ["http://x"], [Citation("http://x")]),
        ([{"title": "no address"}], ["http://x"], [Citation("http://x")]),
        ("http://y", {"url": "http://x"}, []),
    ],
)
def test_sources_beside_the_choices(results: Any, citations: Any, expected: list[Citation]) -> None:
    assert listed_citations(results, citations) == expected


def test_citations_of_all_parts_in_their_order() -> None:
    first, second = Citation("http://x"), Citation(title="a.pdf", quote="q")
    parts: list[Part] = [TextPart("a", citations=[first]), ToolCallPart("c", "f"), TextPart("b", citations=[second])]
    assert [entry["type"] for entry in parts_annotations(parts)] == ["url_citation"]
    assert parts_annotations(parts, sources=True)[1] == {"type": "file_citation", "title": "a.pdf", "quote": "q"}
