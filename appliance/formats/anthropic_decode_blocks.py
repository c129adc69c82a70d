"""Content blocks that a caller may send in any turn → parts: text, images, documents, and the results of tools.

A block that only Anthropic's own servers understand (their tools and results, containers, search results) has no
canonical form: it is refused by name, and goes through only to targets of this dialect, where nothing is decoded.
"""

from __future__ import annotations

import base64
from typing import Any

from appliance.errors import GatewayError, invalid
from appliance.formats.anthropic_citations import citation_of
from appliance.formats.chat import FilePart, ImagePart, Part, TextPart, ToolResultPart
from appliance.formats.members import Members, items, kind, one_of, text

PDF_TYPE = "application/pdf"
IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
INPUT_TYPES = ("text", "image", "document")
ELSEWHERE = "reaches Anthropic targets only; remove it or route to one"


def content_blocks(content: Any, path: str) -> list[Members]:
    """A message's content; a string is one block of text."""
    if isinstance(content, str):
        return [Members({"type": "text", "text": content}, path)]
    if not isinstance(content, list):
        raise invalid(path, f"must be a string or a list of content blocks, not {kind(content)}")
    return [Members(block, f"{path}.{index}") for index, block in enumerate(content)]


def text_parts(content: Any, path: str, what: str) -> list[Part]:
    """Content that may hold text only, as the system prompt."""
    parts: list[Part] = []
    for block in content_blocks(content, path):
        if block.value("type") != "text":
            raise invalid(block.at("type"), f'must be "text" in {what}')
        parts.append(text_part(block))
    return parts


def text_part(block: Members) -> TextPart:
    said = text(block.needed("text"), block.at("text"))
    citations = [found for raw in block.items("citations") if (found := citation_of(raw)) is not None]
    return TextPart(said, cache_of(block), citations)


def cache_of(block: Members) -> dict[str, Any] | None:
    return block.plain_object("cache_control")


def input_parts(block: Members) -> list[Part]:
    """A block of a user's turn or of a tool's result."""
    match block.value("type"):
        case "text":
            return [text_part(block)]
        case "image":
            return [_image(block)]
        case "document":
            return _document(block)
        case unknown:
            raise unknown_block(block, unknown, INPUT_TYPES)


def unknown_block(block: Members, said: Any, known: tuple[str, ...]) -> GatewayError:
    path = block.at("type")
    if not isinstance(said, str):
        return invalid(path, "is required" if said is None else f"must be a string, not {kind(said)}")
    return invalid(path, f'"{said}" {ELSEWHERE}; other targets take {one_of(known)} here')


def tool_result(block: Members) -> ToolResultPart:
    call_id = block.needed_text("tool_use_id")
    content = block.value("content")
    parts: list[Part] = []
    for inner in content_blocks(content, block.at("content")) if content is not None else []:
        parts += input_parts(inner)
    return ToolResultPart(call_id, parts, bool(block.flag("is_error")), cache_of(block))


def _image(block: Members) -> ImagePart | FilePart:
    source, cache = block.needed_members("source"), cache_of(block)
    match source.word("type", ("base64", "url", "file")):
        case "base64":
            media_type = source.word("media_type", IMAGE_TYPES)
            return ImagePart(data=source.needed_text("data"), media_type=media_type, cache=cache)
        case "url":
            return ImagePart(url=source.needed_text("url"), cache=cache)
        case _:
            return FilePart(file_id=source.needed_text("file_id"), media_type="image/*", cache=cache)


def _document(block: Members) -> list[Part]:
    cited = block.members("citations")
    if cited is not None and cited.flag("enabled"):
        raise invalid(block.at("citations"), f"for documents {ELSEWHERE}")
    context = block.text("context")
    before: list[Part] = [TextPart(context)] if context else []
    return before + _document_source(block, block.text("title") or None, cache_of(block))


def _document_source(block: Members, title: str | None, cache: dict[str, Any] | None) -> list[Part]:
    source = block.needed_members("source")
    match source.word("type", ("base64", "text", "content", "url", "file")):
        case "base64":
            media_type = source.word("media_type", (PDF_TYPE,))
            return [FilePart(data=source.needed_text("data"), media_type=media_type, filename=title, cache=cache)]
        case "text":
            return [_text_file(text(source.needed("data"), source.at("data")), title, cache)]
        case "url":
            return [FilePart(url=source.needed_text("url"), media_type=PDF_TYPE, filename=title, cache=cache)]
        case "file":
            return [FilePart(file_id=source.needed_text("file_id"), filename=title, cache=cache)]
        case _:
            return _listed_document(source, title, cache)


def _text_file(said: str, title: str | None, cache: dict[str, Any] | None) -> FilePart:
    data = base64.b64encode(said.encode("utf-8", "replace")).decode()
    return FilePart(data=data, media_type="text/plain", filename=title, cache=cache)


def _listed_document(source: Members, title: str | None, cache: dict[str, Any] | None) -> list[Part]:
    """A document in pieces. Only citations need the pieces; the model reads one after the other."""
    content = source.needed("content")
    if isinstance(content, str):
        return [_text_file(content, title, cache)]
    listed: list[Part] = [TextPart(title)] if title else []
    for index, inner in enumerate(items(content, source.at("content"))):
        listed += input_parts(Members(inner, f"{source.at('content')}.{index}"))
    if listed and cache is not None:
        listed[-1].cache = cache  # type: ignore[union-attr]
    return listed
