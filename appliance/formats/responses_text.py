"""What stands beside a text in the Responses dialect: annotations ↔ Citation, log probabilities ↔ the canonical form.

Annotations count characters from the start of their own text part, citations from the start of the whole answer:
`base` is where the part begins. Canonical log probabilities have OpenAI's chat form.
"""

from __future__ import annotations

from typing import Any

from appliance.formats.chat import Citation
from appliance.formats.responses_opaque import ORIGIN

Annotation = dict[str, Any]

_PLACES = {
    "url_citation": ("start_index", "end_index"),
    "container_file_citation": ("start_index", "end_index"),
    "file_citation": ("index", "index"),
}
"""The members that hold places in the text, for each kind of annotation that has one."""


def citation_of(annotation: Any, base: int) -> Citation | None:
    if not isinstance(annotation, dict) or not isinstance(annotation.get("type"), str):
        return None
    first, last = _PLACES.get(annotation["type"], ("", ""))
    return Citation(
        url=_text(annotation.get("url")),
        title=_text(annotation.get("title")) or _text(annotation.get("filename")),
        start=_place(annotation.get(first), base),
        end=_place(annotation.get(last), base),
        native=annotation,
        origin=ORIGIN,
    )


def citations_of(annotations: Any, base: int) -> list[Citation]:
    listed = annotations if isinstance(annotations, list) else []
    return [citation for entry in listed if (citation := citation_of(entry, base)) is not None]


def annotation_of(citation: Citation, base: int, here: int) -> Annotation:
    """A citation that does not say its place stands `here`, counted from the part's start.

    The dialect knows URLs and OpenAI's own files; any other source is shown as a file without an id.
    """
    start = here if citation.start is None else max(0, citation.start - base)
    end = start if citation.end is None else max(0, citation.end - base)
    if citation.origin == ORIGIN and isinstance(citation.native, dict):
        return _moved(citation.native, start, end)
    if citation.url:
        where = {"start_index": start, "end_index": end}
        shown = {"type": "url_citation", "url": citation.url, "title": citation.title or "", **where}
    else:
        shown = {"type": "file_citation", "file_id": "", "filename": citation.title or "", "index": end}
    return shown | {"quote": citation.quote} if citation.quote else shown


def _moved(native: Annotation, start: int, end: int) -> Annotation:
    first, last = _PLACES.get(native.get("type", ""), ("", ""))
    places = {first: start, last: end} if first in native else {}
    return native | places


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _place(value: Any, base: int) -> int | None:
    return base + value if type(value) is int else None


# -- log probabilities ------------------------------------------------------------------------------------------------


def canonical_logprobs(logprobs: Any) -> Any:
    """None where the list is empty: that is how the dialect says that nobody asked."""
    return {"content": logprobs, "refusal": None} if isinstance(logprobs, list) and logprobs else None


def listed_logprobs(logprobs: Any) -> list[dict[str, Any]]:
    """The tokens of the text, each with its bytes, which the dialect wants where the canonical form may leave them."""
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    return [_token(token) for token in tokens or [] if isinstance(token, dict)]


def _token(token: dict[str, Any]) -> dict[str, Any]:
    alternatives = token.get("top_logprobs")
    return _alone(token) | {"top_logprobs": [_alone(each) for each in alternatives or [] if isinstance(each, dict)]}


def _alone(token: dict[str, Any]) -> dict[str, Any]:
    said = token.get("token") or ""
    told = token.get("bytes")
    return {
        "token": said,
        "bytes": told if isinstance(told, list) else list(str(said).encode("utf-8", "replace")),
        "logprob": token.get("logprob") or 0.0,
    }
