"""Anthropic's citation objects ↔ Citation; its own go back unchanged, those of others in the form of a search result.

Must not make up places in documents: a citation of another provider that names no address has no form here.
"""

from __future__ import annotations

from typing import Any

from appliance.formats.chat import Citation

OWN = "anthropic"

_TYPES = ("char_location", "page_location", "content_block_location", "web_search_result_location")
_OWN_TYPES = (*_TYPES, "search_result_location")


def citation_of(raw: Any, start: int | None = None, end: int | None = None) -> Citation | None:
    """None for what is no citation. One that we made ourselves for another provider's source loses its form again."""
    if not isinstance(raw, dict) or not isinstance(raw.get("type"), str):
        return None
    source = _text(raw.get("source"))
    ours = is_made_up(raw)
    return Citation(
        url=_text(raw.get("url")) or (source if source and "://" in source else None),
        title=_text(raw.get("title")) or _text(raw.get("document_title")),
        quote=_text(raw.get("cited_text")),
        start=start,
        end=end,
        native=None if ours else raw,
        origin="" if ours else OWN,
    )


def is_made_up(raw: Any) -> bool:
    """A search result without the index by which Anthropic knows its own."""
    return isinstance(raw, dict) and raw.get("type") == "web_search_result_location" and not raw.get("encrypted_index")


def own_citations(citations: list[Citation]) -> list[dict[str, Any]]:
    """Those that Anthropic made, as it made them."""
    return [
        citation.native
        for citation in citations
        if citation.origin == OWN and isinstance(citation.native, dict) and citation.native.get("type") in _OWN_TYPES
    ]


def citation_objects(citations: list[Citation]) -> list[dict[str, Any]]:
    """For a client: Anthropic's own, and every other that has an address."""
    return [found for citation in citations if (found := _object(citation)) is not None]


def _object(citation: Citation) -> dict[str, Any] | None:
    if own := own_citations([citation]):
        return own[0]
    if not citation.url:
        return None
    return {
        "type": "web_search_result_location",
        "url": citation.url,
        "title": citation.title,
        "cited_text": citation.quote or "",
        "encrypted_index": "",
    }


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
