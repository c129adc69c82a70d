"""Citations in OpenAI's chat form: `annotations` of a message or a delta ↔ Citation.

    {"type": "url_citation", "url_citation": {"start_index": 0, "end_index": 5, "title": "…", "url": "…"}}

A quote stands in `content`, as OpenRouter writes it. An empty range says that the place is not known: OpenAI's form has
no other way to. Perplexity and xAI list their sources beside the choices instead, without a place.
"""

from __future__ import annotations

from typing import Any

from appliance.formats.chat import Citation, Part, TextPart


def citations_in(annotations: Any) -> list[Citation]:
    """Those that are understood; entries of other types are passed over."""
    entries = annotations if isinstance(annotations, list) else []
    return [citation for entry in entries if (citation := citation_in(entry)) is not None]


def citation_in(entry: Any) -> Citation | None:
    said = entry.get("url_citation") if isinstance(entry, dict) else None
    if not isinstance(said, dict) or not (url := _text(said.get("url"))):
        return None
    start, end = _place(said.get("start_index")), _place(said.get("end_index"))
    known = start is not None and end is not None and start < end
    return Citation(
        url=url,
        title=_text(said.get("title")),
        quote=_text(said.get("content")),
        start=start if known else None,
        end=end if known else None,
    )


def listed_citations(search_results: Any, citations: Any) -> list[Citation]:
    """Sources listed beside the choices. The results say more than the bare addresses, so they win."""
    for entries in (search_results, citations):
        found = [_source(entry) for entry in entries] if isinstance(entries, list) else []
        if sources := [citation for citation in found if citation is not None]:
            return sources
    return []


def _source(entry: Any) -> Citation | None:
    if isinstance(entry, str):
        return Citation(url=entry) if entry else None
    if not isinstance(entry, dict) or not (url := _text(entry.get("url"))):
        return None
    return Citation(url=url, title=_text(entry.get("title")), quote=_text(entry.get("snippet")))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _place(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


# -- to the client ----------------------------------------------------------------------------------------------------


def annotations_of(citations: list[Citation], *, sources: bool = False) -> list[dict[str, Any]]:
    """OpenAI's annotations have an address; `sources` adds those without one, which only the native surface shows."""
    said = [_url_annotation(citation) if citation.url else _source_annotation(citation) for citation in citations]
    return [entry for entry in said if sources or entry["type"] == "url_citation"]


def parts_annotations(parts: list[Part], *, sources: bool = False) -> list[dict[str, Any]]:
    citations = [citation for part in parts if isinstance(part, TextPart) for citation in part.citations]
    return annotations_of(citations, sources=sources)


def _url_annotation(citation: Citation) -> dict[str, Any]:
    said = {
        "start_index": citation.start or 0,
        "end_index": citation.end or 0,
        "title": citation.title or "",
        "url": citation.url,
    }
    if citation.quote:
        said["content"] = citation.quote
    return {"type": "url_citation", "url_citation": said}


def _source_annotation(citation: Citation) -> dict[str, Any]:
    """A document of the caller's has a title; what has none is a bare quotation."""
    places = {"start_index": citation.start, "end_index": citation.end}
    return {
        "type": "file_citation" if citation.title else "citation",
        "title": citation.title,
        "quote": citation.quote,
    } | {name: place for name, place in places.items() if place is not None}
