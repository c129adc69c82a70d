from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses import ResponseOutputText
from openai.types.responses.response_output_text import Logprob

from appliance.formats.chat import Citation
from appliance.formats.responses_text import (
    annotation_of,
    canonical_logprobs,
    citation_of,
    citations_of,
    listed_logprobs,
)

URL = {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 2, "end_index": 5}
FILE = {"type": "file_citation", "file_id": "file_1", "filename": "a.pdf", "index": 3}
PATH = {"type": "file_path", "file_id": "file_1", "index": 0}


def valid(annotation: dict[str, Any]) -> dict[str, Any]:
    ResponseOutputText.model_validate({"type": "output_text", "text": "", "annotations": [annotation]}, strict=True)
    return annotation


def test_places_are_counted_from_the_whole_texts_start() -> None:
    citation = citation_of(URL, 10)
    assert citation == Citation("https://a.example", "A", start=12, end=15, native=URL, origin="responses")
    assert citation_of(FILE, 10) == Citation(title="a.pdf", start=13, end=13, native=FILE, origin="responses")
    assert citation_of(PATH, 10) == Citation(native=PATH, origin="responses")


@pytest.mark.parametrize("annotation", [URL, FILE, PATH])
def test_the_dialects_own_annotation_goes_back_unchanged_but_for_its_place(annotation: dict[str, Any]) -> None:
    citation = citation_of(annotation, 10)
    assert citation is not None
    assert valid(annotation_of(citation, 10, 0)) == annotation
    moved = annotation_of(citation, 5, 0)
    assert {**moved, **annotation} == annotation
    assert moved.get("start_index") == (7 if annotation is URL else None)


def test_foreign_citations_become_annotations() -> None:
    foreign = Citation("https://b.example", None, "as it says", 4, 9, {"type": "char_location"}, "anthropic")
    assert valid(annotation_of(foreign, 4, 0)) == {
        "type": "url_citation",
        "url": "https://b.example",
        "title": "",
        "start_index": 0,
        "end_index": 5,
        "quote": "as it says",
    }
    book = Citation(title="Book", native={"type": "page_location"}, origin="anthropic")
    shown = {"type": "file_citation", "file_id": "", "filename": "Book", "index": 7}
    assert valid(annotation_of(book, 0, 7)) == shown


def test_what_is_no_annotation_is_passed_over() -> None:
    assert citations_of([None, {"url": "x"}, URL], 0) == [citation_of(URL, 0)]
    assert citations_of("x", 0) == []


def test_log_probabilities_there_and_back() -> None:
    token = {"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": []}
    canonical = canonical_logprobs([token])
    assert canonical == {"content": [token], "refusal": None}
    assert listed_logprobs(canonical) == [token]
    assert canonical_logprobs([]) is None
    assert listed_logprobs(None) == []


def test_bytes_that_the_canonical_form_lacks_are_made() -> None:
    alternative = {"token": "a", "logprob": -1.0}
    listed = listed_logprobs({"content": [{"token": "é", "logprob": -0.5, "top_logprobs": [alternative]}]})
    assert listed[0]["bytes"] == [195, 169]
    assert listed[0]["top_logprobs"] == [{"token": "a", "logprob": -1.0, "bytes": [97]}]
    Logprob.model_validate(listed[0], strict=True)
