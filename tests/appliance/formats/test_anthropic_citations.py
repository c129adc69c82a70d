from __future__ import annotations

from typing import Any

import anthropic.types
import pytest
from pydantic import TypeAdapter

from appliance.formats.anthropic_citations import citation_objects, citation_of, is_made_up, own_citations
from appliance.formats.chat import Citation

WEB = {
    "type": "web_search_result_location",
    "url": "https://x/a",
    "title": "A",
    "cited_text": "said",
    "encrypted_index": "Eo8B",
}
CHAR = {
    "type": "char_location",
    "cited_text": "said",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 4,
}
SEARCH = {
    "type": "search_result_location",
    "source": "https://x/b",
    "title": "B",
    "cited_text": "said",
    "search_result_index": 0,
    "start_block_index": 0,
    "end_block_index": 1,
}
REFEREE: TypeAdapter[Any] = TypeAdapter(anthropic.types.TextCitation)


@pytest.mark.parametrize(
    ("raw", "citation"),
    [
        (WEB, Citation("https://x/a", "A", "said", native=WEB, origin="anthropic")),
        (CHAR, Citation(quote="said", native=CHAR, origin="anthropic")),
        (
            CHAR | {"document_title": "T"},
            Citation(None, "T", "said", native=CHAR | {"document_title": "T"}, origin="anthropic"),
        ),
        (SEARCH, Citation("https://x/b", "B", "said", native=SEARCH, origin="anthropic")),
        (
            SEARCH | {"source": "doc 7"},
            Citation(None, "B", "said", native=SEARCH | {"source": "doc 7"}, origin="anthropic"),
        ),
    ],
)
def test_anthropics_own_are_read_and_go_on_unchanged(raw: dict[str, Any], citation: Citation) -> None:
    REFEREE.validate_python(raw)
    assert citation_of(raw) == citation
    assert own_citations([citation]) == citation_objects([citation]) == [raw]


@pytest.mark.parametrize("raw", [None, "text", {}, {"type": 5}])
def test_what_is_no_citation_is_none(raw: Any) -> None:
    assert citation_of(raw) is None


def test_another_providers_source_looks_like_a_search_result_and_is_known_again() -> None:
    foreign = Citation("https://x/c", "C", "said", start=1, end=2, native={"type": "url_citation"}, origin="responses")
    (shown,) = citation_objects([foreign])
    REFEREE.validate_python(shown)
    assert is_made_up(shown)
    assert citation_of(shown) == Citation("https://x/c", "C", "said")
    assert own_citations([foreign, Citation("https://x/c")]) == []


def test_a_source_without_an_address_has_no_place() -> None:
    assert (
        citation_objects([Citation(title="C", quote="said", native={"type": "file_citation"}, origin="responses")])
        == []
    )


def test_a_type_that_anthropics_clients_do_not_know_is_shown_only_by_its_address() -> None:
    future = Citation("https://x/d", native={"type": "of_the_future", "url": "https://x/d"}, origin="anthropic")
    assert [shown["type"] for shown in citation_objects([future])] == ["web_search_result_location"]
    assert own_citations([future]) == []
