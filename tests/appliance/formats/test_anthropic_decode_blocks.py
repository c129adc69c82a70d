from __future__ import annotations

import base64
from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.anthropic_decode_blocks import content_blocks, input_parts, text_parts, tool_result
from appliance.formats.chat import Citation, FilePart, ImagePart, Part, TextPart, ToolResultPart
from appliance.formats.members import Members

HINT = {"type": "ephemeral", "ttl": "1h"}
NAIVE = base64.b64encode("naïve".encode()).decode()


def _parts(block: dict[str, Any]) -> list[Part]:
    return input_parts(Members(block, "messages.0.content.0"))


def _document(source: dict[str, Any], **members: Any) -> list[Part]:
    return _parts({"type": "document", "source": source, **members})


def _refused(block: dict[str, Any]) -> str:
    with pytest.raises(GatewayError) as caught:
        _parts(block)
    assert caught.value.code == "VALIDATION_ERROR"
    return caught.value.param or ""


def test_a_string_is_one_block_of_text() -> None:
    (block,) = content_blocks("hello", "messages.0.content")
    assert input_parts(block) == [TextPart("hello")]


def test_text_with_its_hint_and_its_citations() -> None:
    native = {"type": "char_location", "cited_text": "x"}
    block = {"type": "text", "text": "a", "cache_control": HINT, "citations": [native]}
    assert _parts(block) == [TextPart("a", HINT, [Citation(quote="x", native=native, origin="anthropic")])]
    assert _parts({"type": "text", "text": "", "citations": None}) == [TextPart("")]


def test_images_by_data_by_url_and_by_id() -> None:
    data = {"type": "base64", "media_type": "image/png", "data": "iVBO"}
    assert _parts({"type": "image", "source": data, "cache_control": HINT}) == [
        ImagePart(data="iVBO", media_type="image/png", cache=HINT)
    ]
    assert _parts({"type": "image", "source": {"type": "url", "url": "https://x/y"}}) == [ImagePart(url="https://x/y")]
    assert _parts({"type": "image", "source": {"type": "file", "file_id": "file_1"}}) == [
        FilePart(file_id="file_1", media_type="image/*")
    ]


def test_documents_from_every_source() -> None:
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}
    assert _document(pdf, title="a.pdf", cache_control=HINT) == [
        FilePart(data="JVBE", media_type="application/pdf", filename="a.pdf", cache=HINT)
    ]
    assert _document({"type": "url", "url": "https://x/a.pdf"}, citations={"enabled": False}) == [
        FilePart(url="https://x/a.pdf", media_type="application/pdf")
    ]
    assert _document({"type": "file", "file_id": "file_1"}) == [FilePart(file_id="file_1")]
    text = FilePart(data=NAIVE, media_type="text/plain", filename="T")
    assert _document({"type": "text", "media_type": "text/plain", "data": "naïve"}, title="T") == [text]
    assert _document({"type": "content", "content": "naïve"}, title="T", context="From 1999.") == [
        TextPart("From 1999."),
        text,
    ]


def test_a_document_in_pieces_is_read_one_after_the_other() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://x/y"}}
    source = {"type": "content", "content": [{"type": "text", "text": "a"}, image]}
    assert _document(source, title="T", cache_control=HINT) == [
        TextPart("T"),
        TextPart("a"),
        ImagePart(url="https://x/y", cache=HINT),
    ]


def test_tool_results_hold_text_images_and_documents() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://x/y"}}
    block = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [{"type": "text", "text": "a", "cache_control": HINT}, image],
        "is_error": True,
        "cache_control": HINT,
    }
    found = tool_result(Members(block, "x"))
    assert found == ToolResultPart("toolu_1", [TextPart("a", HINT), ImagePart(url="https://x/y")], True, HINT)
    assert tool_result(Members({"tool_use_id": "c", "content": "a"}, "x")) == ToolResultPart("c", [TextPart("a")])
    assert tool_result(Members({"tool_use_id": "c"}, "x")) == ToolResultPart("c", [])


def test_the_system_prompt_holds_text_only() -> None:
    assert text_parts("a", "system", "the system prompt") == [TextPart("a")]
    with pytest.raises(GatewayError, match=r'system.1.type: must be "text" in the system prompt'):
        text_parts([{"type": "text", "text": "a"}, {"type": "image"}], "system", "the system prompt")


@pytest.mark.parametrize(
    ("block", "param"),
    [
        ({}, "type"),
        ({"type": 5}, "type"),
        ({"type": "search_result", "source": "x"}, "type"),
        ({"type": "web_search_tool_result"}, "type"),
        ({"type": "text"}, "text"),
        ({"type": "text", "text": 5}, "text"),
        ({"type": "text", "text": "x", "cache_control": "yes"}, "cache_control"),
        ({"type": "image"}, "source"),
        ({"type": "image", "source": {"type": "path"}}, "source.type"),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/bmp"}}, "source.media_type"),
        ({"type": "image", "source": {"type": "url"}}, "source.url"),
        ({"type": "document", "source": {"type": "base64", "media_type": "image/png"}}, "source.media_type"),
        ({"type": "document", "source": {"type": "text"}}, "source.data"),
        ({"type": "document", "source": {"type": "content", "content": 5}}, "source.content"),
        ({"type": "document", "source": {"type": "content", "content": [{"type": "x"}]}}, "source.content.0.type"),
        ({"type": "document", "source": {"type": "url", "url": "x"}, "citations": {"enabled": True}}, "citations"),
    ],
)
def test_what_is_wrong_or_cannot_be_carried_is_named(block: dict[str, Any], param: str) -> None:
    assert _refused(block) == f"messages.0.content.0.{param}"


def test_content_is_a_string_or_a_list() -> None:
    with pytest.raises(GatewayError, match="must be a string or a list of content blocks, not an object"):
        content_blocks({}, "messages.0.content")
