from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.chat import AudioPart, FilePart, ImagePart
from appliance.formats.google_media import audio_part, file_part, image_part

NEW, OLD = "gemini-2.5-flash", "gemini-2.0-flash"
WHERE = "messages.0.content"


def _refusal(function: Any, *arguments: Any) -> str:
    with pytest.raises(GatewayError) as caught:
        function(*arguments)
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", WHERE)
    return caught.value.message


def test_data_goes_inline_with_its_type() -> None:
    assert image_part(ImagePart(data="aGk=", media_type="image/png"), WHERE, OLD) == {
        "inlineData": {"mimeType": "image/png", "data": "aGk="}
    }
    assert image_part(ImagePart(data="aGk=", media_type="image/jpg"), WHERE, OLD) == {
        "inlineData": {"mimeType": "image/jpeg", "data": "aGk="}
    }
    assert file_part(FilePart(data="aGk=", media_type="application/pdf", filename="a.pdf"), WHERE, OLD) == {
        "inlineData": {"mimeType": "application/pdf", "data": "aGk="}
    }
    assert "media type" in _refusal(image_part, ImagePart(data="aGk="), WHERE, NEW)


@pytest.mark.parametrize(("said", "mime"), [("wav", "audio/wav"), ("mp3", "audio/mp3"), ("audio/FLAC", "audio/flac")])
def test_audio_goes_inline(said: str, mime: str) -> None:
    assert audio_part(AudioPart("aGk=", said), WHERE) == {"inlineData": {"mimeType": mime, "data": "aGk="}}


def test_an_unknown_audio_format_is_named() -> None:
    assert "got midi" in _refusal(audio_part, AudioPart("aGk=", "midi"), WHERE)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.org/a/cat.JPG?size=2", "image/jpeg"),
        ("https://example.org/cat", None),
        ("gs://bucket/cat.webp", "image/webp"),
    ],
)
def test_a_url_goes_on_with_the_type_that_its_end_tells(url: str, expected: str | None) -> None:
    data = image_part(ImagePart(url=url), WHERE, NEW)["fileData"]
    assert data == ({"mimeType": expected, "fileUri": url} if expected else {"fileUri": url})


def test_the_callers_type_wins_over_the_end_of_the_url() -> None:
    part = FilePart(url="https://example.org/x.bin", media_type="application/pdf")
    assert file_part(part, WHERE, NEW) == {"fileData": {"mimeType": "application/pdf", "fileUri": part.url}}


def test_a_model_that_fetches_nothing_is_not_sent_a_url() -> None:
    assert "does not fetch" in _refusal(image_part, ImagePart(url="https://example.org/cat.png"), WHERE, OLD)
    assert image_part(ImagePart(url="gs://bucket/cat.png"), WHERE, OLD)["fileData"]["fileUri"] == "gs://bucket/cat.png"


@pytest.mark.parametrize("url", ["http://example.org/cat.png", "ftp://example.org/cat.png", "cat.png"])
def test_only_places_that_google_fetches_from_are_taken(url: str) -> None:
    assert "https://" in _refusal(image_part, ImagePart(url=url), WHERE, NEW)


def test_a_malformed_url_is_named() -> None:
    assert "malformed" in _refusal(image_part, ImagePart(url="https://[::1/cat.png"), WHERE, NEW)


def test_files_of_googles_files_api() -> None:
    whole = "https://generativelanguage.googleapis.com/v1beta/files/abc"
    for file_id in ("files/abc", whole):
        assert file_part(FilePart(file_id=file_id), WHERE, OLD) == {"fileData": {"fileUri": whole}}
    typed = FilePart(file_id="gs://bucket/report", media_type="application/pdf")
    assert file_part(typed, WHERE, OLD)["fileData"] == {"mimeType": "application/pdf", "fileUri": "gs://bucket/report"}
    assert "no file of Google's" in _refusal(file_part, FilePart(file_id="file-123"), WHERE, NEW)


def test_a_part_of_nothing_is_refused() -> None:
    assert "neither" in _refusal(image_part, ImagePart(), WHERE, NEW)
    assert "neither" in _refusal(file_part, FilePart(), WHERE, NEW)
