"""OpenAI's dialect on both sides: bytes go through untouched, but for the model's name and what the operator sets.

Only top-level members are looked at; everything inside them is carried undecoded, so what we do not know survives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from appliance.errors import GatewayError
from appliance.exchange import Frame
from appliance.formats.base import ReplyHead, StreamEncoder
from appliance.formats.chat import ChatEvent, Usage
from appliance.formats.openai_error import encode_error
from appliance.formats.openai_request_writer import HABITS
from appliance.formats.openai_usage import encode_usage
from appliance.formats.sse import DONE, data_event

_encode = msgspec.json.encode
_members = msgspec.json.Decoder(dict[str, Raw])
_NULL = Raw(b"null")
_OUTPUT_CAPS = ("max_tokens", "max_completion_tokens")


def request(
    members: Mapping[str, Raw],
    upstream_model: str,
    *,
    stream: bool,
    default_params: Mapping[str, Any],
    system_prompt: str | None,
    max_output_tokens: int | None,
    output_cap: int | None = None,
) -> bytes:
    """The upstream's request body: the caller's members, with the upstream's model name and the operator's settings."""
    changed = dict(members)
    changed["model"] = Raw(_encode(upstream_model))
    if stream:
        changed["stream_options"] = _asking_for_usage(members.get("stream_options"))
    for name, value in default_params.items():
        _set_default(changed, _output_cap(upstream_model) if name == "max_tokens" else name, value)
    if output_cap is not None:
        # A budget depends on it: whatever the caller wrote or left open, this is the most that comes back.
        for name in [name for name in _OUTPUT_CAPS if _present(changed, name)] or [_output_cap(upstream_model)]:
            changed[name] = Raw(_encode(output_cap))
    for name in _OUTPUT_CAPS:
        if max_output_tokens is not None and _present(changed, name):
            changed[name] = Raw(_encode(min(max_output_tokens, msgspec.json.decode(changed[name]))))
    if system_prompt:
        changed["messages"] = _with_first_message(changed["messages"], system_prompt)
    return _encode(changed)


def _output_cap(upstream_model: str) -> str:
    return "max_completion_tokens" if HABITS["max_completion_tokens"].search(upstream_model) else "max_tokens"


def _present(members: Mapping[str, Raw], name: str) -> bool:
    return bytes(members.get(name, _NULL)) != b"null"


def _set_default(members: dict[str, Raw], name: str, value: Any) -> None:
    names = _OUTPUT_CAPS if name in _OUTPUT_CAPS else (name,)
    if not any(_present(members, each) for each in names):
        members[name] = Raw(_encode(value))


def _asking_for_usage(options: Raw | None) -> Raw:
    """Usage is always asked for, whatever the caller wants to see: a stream must cost what the whole answer costs."""
    known = msgspec.json.decode(options) if options is not None else None
    return Raw(_encode((known or {}) | {"include_usage": True}))


def _with_first_message(messages: Raw, system_prompt: str) -> Raw:
    first = _encode({"role": "system", "content": system_prompt})
    return Raw(b"[" + first + b"," + bytes(messages).lstrip()[1:])


def reply_members(body: bytes) -> dict[str, Raw]:
    return _members.decode(body)


def reply(members: dict[str, Raw], head: ReplyHead) -> bytes:
    """The caller's reply body: the upstream's, under the name the caller asked for."""
    return _encode(members | {"model": Raw(_encode(head.model))})


class PassthroughWriter:
    """Streams the upstream's own chunks on, each under the caller's model name; usage comes last, if asked for."""

    __slots__ = ("_head", "_last", "_model", "_usage")

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._model = Raw(_encode(head.model))
        self._last: dict[str, Raw] = {}
        self._usage: Raw | None = None

    def frames(self, frames: list[Frame]) -> bytes:
        return b"".join([self._frame(frame) for frame in frames])

    def _frame(self, frame: Frame) -> bytes:
        data = frame.event.data
        if data.strip() == b"[DONE]":
            return b""  # ours comes after the row is written
        members = self._last = _members.decode(data)
        members["model"] = self._model
        if "usage" in members:
            if _present(members, "usage"):
                self._usage = members["usage"]
                if bytes(members.get("choices", _NULL)).strip() in (b"[]", b"null"):
                    return b""
            # Some servers put it beside the last choice. OpenAI's clients expect a chunk of its own, and only those
            # who asked see the member at all.
            members["usage"] = _NULL
            if not self._head.include_usage:
                del members["usage"]
        return data_event(_encode(members))

    def closing(self, usage: Usage, cost: str, estimated: bool) -> bytes:
        """The upstream's own usage object where it sent one; else the caller who asked gets the estimate."""
        if not self._head.include_usage:
            return DONE
        shown = self._usage or Raw(_encode(encode_usage(usage)))
        return data_event(_encode(self._last | {"choices": Raw(b"[]"), "usage": shown})) + DONE

    def failure(self, error: GatewayError) -> bytes:
        return data_event(_encode(encode_error(error, "")[1])) + DONE


class TranslatedWriter:
    """Streams canonical events on in the client's dialect."""

    __slots__ = ("_encoder",)

    def __init__(self, encoder: StreamEncoder) -> None:
        self._encoder = encoder

    def frames(self, frames: list[Frame]) -> bytes:
        events: list[ChatEvent] = [event for frame in frames for event in frame.meaning]
        return self._encoder.encode(events) if events else b""

    def closing(self, usage: Usage, cost: str, estimated: bool) -> bytes:
        return self._encoder.closing(usage, cost, estimated)

    def failure(self, error: GatewayError) -> bytes:
        return self._encoder.failure(error)
