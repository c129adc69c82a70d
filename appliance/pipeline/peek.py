"""Read a request's body once: is it JSON, does it have the shape, what are its top-level members.

On the way to a target of the same dialect nothing more is decoded, so members and content that we do not know pass
through untouched; what we do know is checked here, so that a wrong type is answered before anything is paid for.
"""

from __future__ import annotations

import re
from itertools import accumulate, count
from operator import sub
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from appliance.errors import GatewayError, invalid

MAX_DEPTH = 128
"""Nesting of arrays and objects in a body. Real requests stay under 20."""

_AS_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'"[]{}'))
_STRING = re.compile(rb'"[^"]*"')
_BODY = msgspec.json.Decoder(dict[str, Raw])

PositiveInt = Annotated[int, Meta(ge=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]


class _Message(Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None


class _StreamOptions(Struct):
    include_usage: bool | None = None


class ChatShape(Struct):
    """The members of OpenAI's chat request whose types and ranges are the same for every upstream."""

    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[_Message], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: PositiveInt | None = None
    max_completion_tokens: PositiveInt | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None


_CHAT = msgspec.json.Decoder(ChatShape)


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


def chat_shape(body: bytes) -> ChatShape:
    """The checked shape of an OpenAI chat request. `body` has passed `members`."""
    try:
        return _CHAT.decode(body)
    except msgspec.ValidationError as error:
        raise _named(str(error)) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise GatewayError("VALIDATION_ERROR", f"the body is not valid JSON: {error}") from None


def _named(text: str) -> GatewayError:
    """msgspec's «Expected `int`, got `str` - at `$.n`» → an error that names the member."""
    message, _, path = text.partition(" - at `$")
    field = re.sub(r"\[(\d+|\.\.\.)\]", r".\1", path.rstrip("`")).lstrip(".")
    missing = re.fullmatch(r"Object missing required field `(\w+)`", message)
    if missing:
        field = f"{field}.{missing[1]}".lstrip(".")
        message = "is required"
    return invalid(field or "body", message[0].lower() + message[1:])


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
