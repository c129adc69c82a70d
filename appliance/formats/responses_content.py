"""Content parts of a caller's input in the Responses dialect → parts, checked member by member.

`prompt_cache_breakpoint` becomes a cache hint; its lifetime is OpenAI's own and is let go, since only the price hangs
on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from appliance.errors import invalid
from appliance.formats.chat import AudioPart, FilePart, ImagePart, Part, RefusalPart, TextPart
from appliance.formats.members import Members, kind, one_of, text
from appliance.formats.responses_text import citations_of

INPUT_TYPES = ("input_text", "input_image", "input_file", "input_audio")
OUTPUT_TYPES = ("output_text", "refusal", "input_text")
"""What an assistant's message may hold; some clients write its text as input_text."""

RESULT_TYPES = ("input_text", "input_image", "input_file")

_DATA_URL = re.compile(r"data:(?P<media_type>[^;,\s]+)(?:;[^;,]*)*;base64,(?P<data>\S+)", re.IGNORECASE)
_WEB = ("http://", "https://")


def decode_content(content: Any, path: str, types: tuple[str, ...]) -> list[Part]:
    if isinstance(content, str):
        return [TextPart(content)]
    if not isinstance(content, list):
        raise invalid(path, f"must be a string or a list of parts, not {kind(content)}")
    return [_part(value, f"{path}.{i}", types) for i, value in enumerate(content)]


def _part(value: Any, path: str, types: tuple[str, ...]) -> Part:
    part = Members(value, path)
    said = part.needed("type")
    if said not in types:
        raise invalid(part.at("type"), f"must be {one_of(types)} here")
    return _PARTS[said](part)


def _input_text(part: Members) -> Part:
    return TextPart(text(part.needed("text"), part.at("text")), _cache(part))


def _output_text(part: Members) -> Part:
    said = text(part.needed("text"), part.at("text"))
    return TextPart(said, citations=citations_of(part.value("annotations"), 0))


def _refusal(part: Members) -> Part:
    return RefusalPart(part.needed_text("refusal"))


def _image(part: Members) -> Part:
    url, detail, cache = part.text("image_url"), part.text("detail"), _cache(part)
    if not url:
        raise invalid(part.at("image_url"), "is required: the image's URL or data (a file_id is not served)")
    if url.startswith(_WEB):
        return ImagePart(url=url, detail=detail, cache=cache)
    media_type, data = _data_url(url, part.at("image_url"), "must be an http(s) URL or a base64 data: URL")
    return ImagePart(data=data, media_type=media_type, detail=detail, cache=cache)


def _file(part: Members) -> Part:
    given = {name: said for name in ("file_data", "file_url", "file_id") if (said := part.text(name))}
    filename, cache = part.text("filename"), _cache(part)
    if len(given) != 1:
        raise invalid(part.path, "needs one of file_data, file_url and file_id")
    if "file_data" in given:
        media_type, data = _data_url(given["file_data"], part.at("file_data"), "must be a base64 data: URL")
        return FilePart(data=data, media_type=media_type, filename=filename, cache=cache)
    if "file_url" in given and not given["file_url"].startswith(_WEB):
        raise invalid(part.at("file_url"), "must be an http(s) URL")
    return FilePart(url=given.get("file_url"), file_id=given.get("file_id"), filename=filename, cache=cache)


def _audio(part: Members) -> Part:
    audio = part.needed_members("input_audio")
    return AudioPart(audio.needed_text("data"), audio.needed_text("format"))


_PARTS: dict[str, Callable[[Members], Part]] = {
    "input_text": _input_text,
    "output_text": _output_text,
    "refusal": _refusal,
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
}


def _cache(part: Members) -> dict[str, Any] | None:
    return None if part.plain_object("prompt_cache_breakpoint") is None else {"type": "ephemeral"}


def _data_url(url: str, path: str, otherwise: str) -> tuple[str, str]:
    match = _DATA_URL.fullmatch(url)
    if not match:
        raise invalid(path, f"{otherwise}, such as data:image/png;base64,iVBORw0…")
    return match["media_type"], match["data"]
