"""Google's grounding and citation metadata → Citation. Its places are bytes of UTF-8; ours are characters.

Must not point to a wrong place: what cannot be found in the text keeps its source and loses its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from appliance.formats.chat import Citation
from appliance.formats.reply_object import count, object_in

ORIGIN = "google"

_SOURCES = ("web", "retrievedContext", "maps", "image")


def citations_of(candidate: dict[str, Any], text: str, part_starts: list[int | None]) -> list[Citation]:
    """`text` is the choice's whole text; `part_starts` says where in its bytes each of Google's parts begins, None for
    parts that are no text of the answer."""
    place = _Places(text, part_starts)
    return [*_grounded(object_in(candidate.get("groundingMetadata")), place), *_quoted(candidate, place)]


class _Places:
    __slots__ = ("_bytes", "_starts", "_text")

    def __init__(self, text: str, part_starts: list[int | None]) -> None:
        self._text = text
        self._bytes = text.encode("utf-8", "surrogatepass")
        self._starts = part_starts

    def of(self, segment: dict[str, Any]) -> tuple[int | None, int | None]:
        """Places count from the start of a part or, where an answer came in pieces, of the whole text; the words that
        Google repeats in the segment say which."""
        begin, end = count(segment.get("startIndex")) or 0, count(segment.get("endIndex"))
        words = segment.get("text")
        if end is not None and end > begin:
            for base in (self._base(count(segment.get("partIndex")) or 0), 0):
                place = self._characters(base, begin, end)
                if place and (not isinstance(words, str) or self._text[place[0] : place[1]] == words):
                    return place
        return self._found(words)

    def _base(self, part: int) -> int:
        return self._starts[part] or 0 if part < len(self._starts) else 0

    def _characters(self, base: int, begin: int, end: int) -> tuple[int, int] | None:
        if base + end > len(self._bytes):
            return None
        start = _length(self._bytes[: base + begin])
        return start, start + _length(self._bytes[base + begin : base + end])

    def _found(self, words: Any) -> tuple[int | None, int | None]:
        if not isinstance(words, str) or not words or self._text.count(words) != 1:
            return None, None
        start = self._text.index(words)
        return start, start + len(words)


def _length(encoded: bytes) -> int:
    return len(encoded.decode("utf-8", "ignore"))


def _grounded(metadata: dict[str, Any], place: _Places) -> Iterator[Citation]:
    chunks = [object_in(chunk) for chunk in _listed(metadata.get("groundingChunks"))]
    supports = [object_in(support) for support in _listed(metadata.get("groundingSupports"))]
    for support in supports:
        start, end = place.of(object_in(support.get("segment")))
        for index in _listed(support.get("groundingChunkIndices")):
            if isinstance(index, int) and 0 <= index < len(chunks):
                yield _citation(chunks[index], start, end)
    if not supports:
        yield from (_citation(chunk, None, None) for chunk in chunks)


def _citation(chunk: dict[str, Any], start: int | None, end: int | None) -> Citation:
    source = next((object_in(chunk.get(kind)) for kind in _SOURCES if chunk.get(kind)), {})
    url, title, quote = source.get("uri") or source.get("sourceUri"), source.get("title"), source.get("text")
    return Citation(_text(url), _text(title), _text(quote), start, end, native=chunk, origin=ORIGIN)


def _quoted(candidate: dict[str, Any], place: _Places) -> Iterator[Citation]:
    """Words that the model took from a source; the Gemini API and Vertex name the list differently."""
    metadata = object_in(candidate.get("citationMetadata"))
    for entry in _listed(metadata.get("citationSources")) or _listed(metadata.get("citations")):
        source = object_in(entry)
        start, end = place.of({"startIndex": source.get("startIndex"), "endIndex": source.get("endIndex")})
        yield Citation(_text(source.get("uri")), _text(source.get("title")), None, start, end, source, ORIGIN)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
