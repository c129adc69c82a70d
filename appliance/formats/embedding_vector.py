"""Vectors as JSON: a list of numbers ↔ base64 of little-endian 32-bit floats. What has the right form is not touched.

A vector may have thousands of numbers and a reply thousands of vectors, so nothing here looks at one number at a time.
"""

from __future__ import annotations

import base64
import math
import struct

import msgspec
from msgspec import Raw

from appliance.formats.reply_object import mismatch

_NUMBERS = b"0123456789+-.eE, \t\r\n"
_DIGITS = b"0123456789"
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\\"
_FLOATS = msgspec.json.Decoder(list[float])
_TEXT = msgspec.json.Decoder(str)


def is_base64(embedding: Raw) -> bool:
    return bytes(embedding)[:1] == b'"'


def checked(embedding: Raw) -> Raw:
    """The value, if it is a vector: a flat list of numbers, or a base64 string; neither may be empty."""
    written = bytes(embedding)
    if is_base64(embedding):
        if len(written) > 2 and written.translate(None, _BASE64) == b'""':
            return embedding
    elif written.translate(None, _NUMBERS) == b"[]" and len(written.translate(None, _DIGITS)) < len(written):
        return embedding
    raise mismatch("has an embedding that is no list of numbers and no base64 text")


def of_numbers(numbers: list[float]) -> Raw:
    return Raw(msgspec.json.encode(numbers))


def as_floats(embedding: Raw) -> Raw:
    """A JSON list. From base64 each number is exactly the 32-bit float, written as short as a double can be."""
    if not is_base64(embedding):
        return embedding
    try:
        packed = base64.b64decode(_TEXT.decode(embedding), validate=True)
        numbers = struct.unpack(f"<{len(packed) // 4}f", packed)
    except (ValueError, struct.error, msgspec.MsgspecError) as fault:
        raise mismatch("has an embedding whose base64 does not hold 32-bit floats") from fault
    if not all(map(math.isfinite, numbers)):
        raise mismatch("has an embedding with a number that is not finite")
    return Raw(msgspec.json.encode(numbers))


def as_base64(embedding: Raw) -> Raw:
    """A JSON string; numbers are rounded to 32-bit floats, which models compute with anyway."""
    if is_base64(embedding):
        return embedding
    try:
        numbers = _FLOATS.decode(embedding)
        packed = struct.pack(f"<{len(numbers)}f", *numbers)
    except (OverflowError, msgspec.MsgspecError) as fault:
        raise mismatch("has an embedding with a number that is no 32-bit float") from fault
    return Raw(b'"' + base64.b64encode(packed) + b'"')
