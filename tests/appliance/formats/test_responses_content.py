from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.chat import AudioPart, Citation, FilePart, ImagePart, Part, RefusalPart, TextPart
from appliance.formats.responses_content import INPUT_TYPES, OUTPUT_TYPES, RESULT_TYPES, decode_content

PDF = "data:application/pdf;base64,JVBERi0="
URL = {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0, "end_index": 1}


@pytest.mark.parametrize(
    ("part", "types", "expected"),
    [
        ({"type": "input_text", "text": ""}, INPUT_TYPES, TextPart("")),
        ({"type": "output_text", "text": "t"}, OUTPUT_TYPES, TextPart("t")),
        ({"type": "input_text", "text": "t"}, OUTPUT_TYPES, TextPart("t")),
        ({"type": "refusal", "refusal": "no"}, OUTPUT_TYPES, RefusalPart("no")),
        (
            {"type": "output_text", "text": "t", "annotations": [URL], "logprobs": []},
            OUTPUT_TYPES,
            TextPart("t", citations=[Citation("https://a.example", "A", None, 0, 1, URL, "responses")]),
        ),
        (
            {"type": "input_text", "text": "t", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}},
            INPUT_TYPES,
            TextPart("t", {"type": "ephemeral"}),
        ),
        (
            {"type": "input_image", "image_url": "https://a.example/x.png", "detail": "low"},
            RESULT_TYPES,
            ImagePart(url="https://a.example/x.png", detail="low"),
        ),
        (
            {"type": "input_image", "image_url": "data:image/png;base64,iVBO"},
            INPUT_TYPES,
            ImagePart(data="iVBO", media_type="image/png"),
        ),
        (
            {"type": "input_file", "file_data": PDF, "filename": "a.pdf"},
            INPUT_TYPES,
            FilePart(data="JVBERi0=", media_type="application/pdf", filename="a.pdf"),
        ),
        ({"type": "input_file", "file_url": "https://a.example/a"}, RESULT_TYPES, FilePart(url="https://a.example/a")),
        ({"type": "input_file", "file_id": "file_1"}, INPUT_TYPES, FilePart(file_id="file_1")),
        (
            {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
            INPUT_TYPES,
            AudioPart("UklG", "wav"),
        ),
    ],
)
def test_parts(part: dict[str, Any], types: tuple[str, ...], expected: Part) -> None:
    assert decode_content([part], "content", types) == [expected]


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (5, "content"),
        (["t"], "content.0"),
        ([{"text": "t"}], "content.0.type"),
        ([{"type": "output_text", "text": "t"}], "content.0.type"),
        ([{"type": ["input_text"], "text": "t"}], "content.0.type"),
        ([{"type": "input_text"}], "content.0.text"),
        ([{"type": "input_image", "file_id": "file_1"}], "content.0.image_url"),
        ([{"type": "input_image", "image_url": "ftp://a"}], "content.0.image_url"),
        ([{"type": "input_file", "filename": "a"}], "content.0"),
        ([{"type": "input_file", "file_id": "f", "file_url": "https://a"}], "content.0"),
        ([{"type": "input_file", "file_url": "file:///etc/passwd"}], "content.0.file_url"),
        ([{"type": "input_file", "file_data": "JVBE"}], "content.0.file_data"),
        ([{"type": "input_text", "text": "t"}, {"type": "input_audio"}], "content.1.input_audio"),
    ],
)
def test_what_is_wrong_is_named(content: Any, param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_content(content, "content", INPUT_TYPES)
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", param)
