"""A multipart form that arrives piece by piece: its fields into memory, its one file to disk.

The file is never held whole in memory, whatever its size, and can be sent to a second target when the first one fails.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from pathlib import Path
from typing import Any

import python_multipart
from python_multipart.exceptions import FormParserError, MultipartParseError
from sanic import Request

from appliance.api.request import listen_for_hang_up
from appliance.errors import GatewayError, clipped, invalid
from appliance.exchange import Upload
from appliance.formats.audio_length import HEAD_BYTES

FIELD_BYTES = 256 * 1024
"""For all fields that are no file together."""
MAX_FIELDS = 64
FILE_FIELD = "file"
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:;[\x20-\x7e]*)?", re.ASCII)
ARRIVE_S = 600.0
"""A form must arrive whole within this time."""


class FormReader:
    def __init__(self, request: Request, limit: int, folder: Path) -> None:
        self._request = request
        self._limit = limit
        self._folder = folder
        self._file: Any = None
        self._size = 0
        self._field_bytes = 0
        self._fields: dict[str, list[str]] = {}
        self._upload: tuple[str, str] | None = None
        self._header: list[bytes] = []
        self._headers: dict[str, str] = {}
        self._name = ""
        self._value: list[bytes] = []
        self._in_file = False
        self._ended = False

    async def receive(self) -> tuple[dict[str, list[str]], Upload]:
        """Raises GatewayError VALIDATION_ERROR or PAYLOAD_TOO_LARGE."""
        arrived = 0
        try:
            parser = python_multipart.MultipartParser(self._boundary(), self._callbacks())
            async with asyncio.timeout(ARRIVE_S):
                stream: Any = self._request.stream
                while (chunk := await stream.read()) is not None:
                    arrived += len(chunk)
                    if arrived > self._limit:
                        raise GatewayError("PAYLOAD_TOO_LARGE", "the form is larger than server.upload_limit allows")
                    parser.write(chunk)
            parser.finalize()
            listen_for_hang_up(self._request)
        except TimeoutError:
            raise GatewayError("VALIDATION_ERROR", f"the form did not arrive within {ARRIVE_S:g} s") from None
        except OSError as error:  # TimeoutError is one as well, and comes before
            raise GatewayError("STORAGE_UNAVAILABLE", "the upload cannot be kept at the moment", cause=error) from error
        except (FormParserError, MultipartParseError, UnicodeDecodeError) as error:
            raise GatewayError("VALIDATION_ERROR", f"the body is no valid multipart form: {error}") from None
        if arrived and not self._ended:
            # The parser does not mind; half a recording must not be sent on as a whole one.
            raise GatewayError("VALIDATION_ERROR", "the form is cut short: its closing boundary is missing")
        if self._upload is None or self._file is None:
            raise invalid(FILE_FIELD, "is required: a file in the form")
        self._file.flush()
        filename, content_type = self._upload
        self._file.seek(0)
        head = self._file.read(HEAD_BYTES)
        return self._fields, Upload(Path(self._file.name), filename, content_type, size=self._size, head=head)

    def discard(self) -> None:
        if self._file is not None:
            self._file.close()  # a NamedTemporaryFile is deleted when it is closed

    def _boundary(self) -> bytes:
        header = self._request.headers.get("content-type", "")
        kind, options = python_multipart.multipart.parse_options_header(header)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise GatewayError("VALIDATION_ERROR", "send a form: Content-Type multipart/form-data with its boundary")
        return bytes(boundary)

    # -- what the parser tells ----------------------------------------------------------------------------------------

    def _callbacks(self) -> Any:
        return {
            "on_part_begin": self._part_begins,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_ends,
            "on_headers_finished": self._data_begins,
            "on_part_data": self._data,
            "on_part_end": self._part_ends,
            "on_end": self._form_ends,
        }

    def _part_begins(self) -> None:
        self._headers, self._header, self._value = {}, [b"", b""], []

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def _header_ends(self) -> None:
        self._headers[self._header[0].decode("latin-1").lower()] = self._header[1].decode("latin-1")
        self._header = [b"", b""]

    def _data_begins(self) -> None:
        _, options = python_multipart.multipart.parse_options_header(self._headers.get("content-disposition", ""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if not self._name or not self._name.isprintable():
            raise GatewayError("VALIDATION_ERROR", "a part of the form has no name, or one that cannot be read")
        filename = options.get(b"filename")
        self._in_file = filename is not None
        if filename is None:
            if sum(map(len, self._fields.values())) >= MAX_FIELDS:
                raise GatewayError("VALIDATION_ERROR", f"the form has more than {MAX_FIELDS} fields")
            return
        if self._name != FILE_FIELD or self._upload is not None:
            raise invalid(clipped(self._name), f"takes no file; send one file, in the field {FILE_FIELD!r}")
        self._upload = (_file_name(filename), _media_type(self._headers.get("content-type", "")))
        self._file = tempfile.NamedTemporaryFile(dir=self._folder, prefix="upload-")  # noqa: SIM115 - closed by discard

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._size += end - start
            self._file.write(data[start:end])
            return
        self._field_bytes += end - start
        if self._field_bytes > FIELD_BYTES:
            raise GatewayError("PAYLOAD_TOO_LARGE", f"the form's fields hold more than {FIELD_BYTES} bytes")
        self._value.append(data[start:end])

    def _part_ends(self) -> None:
        if not self._in_file:
            self._fields.setdefault(self._name, []).append(b"".join(self._value).decode("utf-8"))

    def _form_ends(self) -> None:
        self._ended = True


def _file_name(sent: bytes) -> str:
    """Only the last piece of a path, as some clients send whole ones; quotes and line breaks would break the form that
    goes on."""
    name = sent.decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2]
    return "".join(character for character in name if character.isprintable() and character != '"') or "file"


def _media_type(sent: str) -> str:
    return sent if _MEDIA_TYPE.fullmatch(sent) else "application/octet-stream"
