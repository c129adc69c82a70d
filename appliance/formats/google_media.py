"""Images, audio and files of a request → Google's inlineData and fileData; nothing is fetched here.

A URL goes on as a URL: Google fetches it. What it fetches for which model is checked, since a model that cannot would
answer as if nothing had been there.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from appliance.errors import GatewayError, invalid
from appliance.formats.chat import AudioPart, FilePart, ImagePart
from appliance.formats.google_models import is_older_than

FETCHES_SINCE = 2.5
"""The first generation that fetches any public https URL; older ones know only Google's own places."""

FILES_API = "https://generativelanguage.googleapis.com/v1beta/"
GOOGLE_PLACES = (
    "gs://",
    "https://generativelanguage.googleapis.com/",
    "https://www.youtube.com/",
    "https://youtube.com/",
    "https://youtu.be/",
)

AUDIO_TYPES = {
    "aac": "audio/aac",
    "aiff": "audio/aiff",
    "flac": "audio/flac",
    "m4a": "audio/m4a",
    "mp3": "audio/mp3",
    "mpeg": "audio/mpeg",
    "ogg": "audio/ogg",
    "opus": "audio/opus",
    "pcm16": "audio/pcm",
    "wav": "audio/wav",
    "webm": "audio/webm",
}

SUFFIX_TYPES = {
    "bmp": "image/bmp",
    "csv": "text/csv",
    "flac": "audio/flac",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "html": "text/html",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "json": "application/json",
    "md": "text/markdown",
    "mov": "video/mov",
    "mp3": "audio/mp3",
    "mp4": "video/mp4",
    "ogg": "audio/ogg",
    "pdf": "application/pdf",
    "png": "image/png",
    "txt": "text/plain",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webp": "image/webp",
}
"""What the end of a URL's path says of the type. Where it says nothing, Google finds out by itself."""

_RESPELT = {"image/jpg": "image/jpeg"}


def image_part(part: ImagePart, where: str, upstream_model: str) -> dict[str, Any]:
    if part.data is not None:
        return _inline(part.data, part.media_type, where)
    if not part.url:
        raise invalid(where, "the image has neither a URL nor data")
    return _remote(part.url, part.media_type, where, upstream_model)


def audio_part(part: AudioPart, where: str) -> dict[str, Any]:
    media_type = AUDIO_TYPES.get(part.format.lower().removeprefix("audio/"))
    if media_type is None:
        raise invalid(where, f"this target takes audio of format {', '.join(AUDIO_TYPES)}, got {part.format}")
    return _inline(part.data, media_type, where)


def file_part(part: FilePart, where: str, upstream_model: str) -> dict[str, Any]:
    if part.file_id is not None:
        return _stored(part.file_id, part.media_type, where)
    if part.data is not None:
        return _inline(part.data, part.media_type, where)
    if not part.url:
        raise invalid(where, "the file has neither a URL nor data nor an id")
    return _remote(part.url, part.media_type, where, upstream_model)


def _inline(data: str, media_type: str | None, where: str) -> dict[str, Any]:
    if not media_type:
        raise invalid(where, "the data comes without a media type, which this target needs")
    return {"inlineData": {"mimeType": _RESPELT.get(media_type, media_type), "data": data}}


def _stored(file_id: str, media_type: str | None, where: str) -> dict[str, Any]:
    """A file of Google's Files API: its name, its whole URI, or a place in Cloud Storage."""
    if file_id.startswith("files/"):
        return _file_data(FILES_API + file_id, media_type)
    if file_id.startswith(GOOGLE_PLACES):
        return _file_data(file_id, media_type)
    raise invalid(where, "the file id is no file of Google's; send files/… of its Files API, a gs:// URI, or the data")


def _remote(url: str, media_type: str | None, where: str, upstream_model: str) -> dict[str, Any]:
    if not url.startswith(GOOGLE_PLACES):
        if not url.startswith("https://"):
            raise invalid(where, "this target fetches https:// and gs:// URLs only; send the data instead")
        if is_older_than(upstream_model, FETCHES_SINCE):
            raise invalid(where, "this target does not fetch URLs; send the data instead")
    return _file_data(url, media_type or _type_by_suffix(url, where))


def _type_by_suffix(url: str, where: str) -> str | None:
    try:
        path = urlsplit(url).path
    except ValueError:
        raise _bad_url(where) from None
    return SUFFIX_TYPES.get(path.rpartition(".")[2].lower())


def _bad_url(where: str) -> GatewayError:
    return invalid(where, "the URL is malformed")


def _file_data(uri: str, media_type: str | None) -> dict[str, Any]:
    return {"fileData": {"mimeType": media_type, "fileUri": uri} if media_type else {"fileUri": uri}}
