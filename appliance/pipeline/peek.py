"""Read a request's body once: is it JSON, does it nest too deep, what are its top-level members.

On the way to a target of the same dialect nothing more is decoded, so members and content that we do not know pass
through untouched; what each dialect knows it checks itself (read_head), before anything is paid for.
"""

from __future__ import annotations

import re
from itertools import accumulate, count
from operator import sub
from typing import Any

import msgspec
from msgspec import Raw

from appliance.errors import GatewayError

MAX_DEPTH = 128
"""Nesting of arrays and objects in a body. Real requests stay under 20."""

_AS_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'"[]{}'))
_STRING = re.compile(rb'"[^"]*"')
_BODY = msgspec.json.Decoder(dict[str, Raw])


def members(body: bytes) -> dict[str, Raw]:
    """The body's top-level members, undecoded. Raises VALIDATION_ERROR saying what is wrong with it and where."""
    if not body:
        raise GatewayError("VALIDATION_ERROR", "the body is empty; send a JSON object")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise GatewayError(
            "VALIDATION_ERROR", f"the body is not valid UTF-8: byte {error.start} is 0x{body[error.start]:02x}"
        ) from None
    _check_depth(body)
    try:
        return _BODY.decode(body)
    except msgspec.ValidationError:
        raise GatewayError("VALIDATION_ERROR", "the body is JSON, but not an object") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise GatewayError("VALIDATION_ERROR", f"the body is not valid JSON: {error}") from None


def decoded(body: bytes) -> Any:
    """The whole body as Python values. `body` has passed `members`."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise GatewayError("VALIDATION_ERROR", f"the body holds a value that cannot be read: {error}") from None


def _check_depth(body: bytes) -> None:
    """Nesting, found by a few passes in C over what is left without strings: a megabyte takes about a millisecond."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Joining two neighbouring strings to one is harmless: neither is structure.
    skeleton = body.translate(_AS_BRACKETS, _NOT_STRUCTURE).replace(b'""', b"")
    if b'"' in skeleton:
        skeleton = _STRING.sub(b"", skeleton)
    # A piece between two closers is a run of openers, so the depth before each closer is what was opened less what was
    # closed. A run longer than the limit is refused at once, also when nothing closes it.
    opened = accumulate(map(len, skeleton.split(b"]")))
    if b"[" * (MAX_DEPTH + 1) in skeleton or max(map(sub, opened, count())) > MAX_DEPTH:
        raise GatewayError("VALIDATION_ERROR", f"the body nests deeper than {MAX_DEPTH} levels")
