from __future__ import annotations

from typing import Any

import pytest

from appliance.formats.chat import Citation
from appliance.formats.google_citations import citations_of

TEXT = "Zürich is größer. Bern is not."
PAGE = {"web": {"uri": "https://a.example", "title": "A"}}
BOOK = {"retrievedContext": {"uri": "gs://b/book", "title": "B", "text": "Bern has 130,000."}}


def _grounded(*supports: Any, chunks: Any = (PAGE, BOOK), text: str = TEXT, starts: Any = ()) -> list[Citation]:
    metadata = {"groundingChunks": [*chunks], "groundingSupports": [*supports]}
    return citations_of({"groundingMetadata": metadata}, text, [*starts])


def _support(*indices: Any, **segment: Any) -> dict[str, Any]:
    return {"groundingChunkIndices": [*indices], "segment": segment}


def _words(citation: Citation) -> str | None:
    return TEXT[citation.start : citation.end] if citation.start is not None else None


def test_places_in_bytes_become_places_in_characters() -> None:
    size = len("Zürich is größer.".encode())
    first, second = _grounded(
        _support(0, endIndex=size, text="Zürich is größer."),
        _support(1, startIndex=size + 1, endIndex=len(TEXT.encode()), text="Bern is not."),
    )
    assert first == Citation("https://a.example", "A", None, 0, 17, PAGE, "google")
    assert second == Citation("gs://b/book", "B", "Bern has 130,000.", 18, 30, BOOK, "google")


def test_a_statement_of_two_sources_is_cited_twice() -> None:
    citations = _grounded(_support(1, 0, endIndex=7, text="Zürich"))
    assert [(citation.title, _words(citation)) for citation in citations] == [("B", "Zürich"), ("A", "Zürich")]


def test_places_count_from_their_part() -> None:
    starts = [None, 0, len("Zürich is größer. ".encode())]
    (citation,) = _grounded(_support(0, partIndex=2, endIndex=4, text="Bern"), starts=starts)
    assert _words(citation) == "Bern"
    (citation,) = _grounded(_support(0, partIndex=2, startIndex=0, endIndex=4), starts=starts)
    assert _words(citation) == "Bern"


def test_the_words_decide_where_the_numbers_disagree() -> None:
    (whole,) = _grounded(_support(0, partIndex=2, endIndex=7, text="Zürich"), starts=[None, 0, 20])
    assert _words(whole) == "Zürich"
    (found,) = _grounded(_support(0, startIndex=3, endIndex=7, text="Bern"))
    assert _words(found) == "Bern"


@pytest.mark.parametrize(
    "segment",
    [
        {},
        {"startIndex": 5, "endIndex": 5},
        {"endIndex": 1000},
        {"endIndex": "7"},
        {"endIndex": 4, "text": "absent"},
        {"startIndex": 900, "endIndex": 902, "text": "is"},
    ],
)
def test_a_source_without_a_sure_place_keeps_none(segment: dict[str, Any]) -> None:
    (citation,) = _grounded(_support(0, **segment))
    assert (citation.url, citation.start, citation.end) == ("https://a.example", None, None)


def test_sources_without_statements_are_named_and_unused_ones_are_not() -> None:
    assert [citation.title for citation in _grounded()] == ["A", "B"]
    assert [citation.title for citation in _grounded(_support(1, 7, -1, "0"))] == ["B"]


def test_quotations_of_both_apis() -> None:
    source = {"startIndex": 0, "endIndex": 7, "uri": "https://q.example", "license": "mit"}
    for name in ("citationSources", "citations"):
        assert citations_of({"citationMetadata": {name: [source]}}, TEXT, []) == [
            Citation("https://q.example", None, None, 0, 6, source, "google")
        ]


@pytest.mark.parametrize(
    "candidate",
    [
        {},
        {"groundingMetadata": {}},
        {"groundingMetadata": None, "citationMetadata": 4},
        {"groundingMetadata": {"groundingChunks": "x", "groundingSupports": [None, "x", {}]}},
    ],
)
def test_no_sources(candidate: dict[str, Any]) -> None:
    assert citations_of(candidate, TEXT, []) == []
