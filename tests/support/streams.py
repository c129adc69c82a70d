"""Feeds recorded streams to decoders in random slices, and makes event lists short enough to read."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from appliance.formats.base import StreamDecoder
from appliance.formats.chat import ChatEvent, ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta
from appliance.formats.sse import SseEvent, SseSplitter


def sliced(body: bytes, rng: random.Random, largest: int = 200) -> list[bytes]:
    """The body in pieces of random length, cut anywhere: inside characters, between CR and LF."""
    pieces = []
    while body:
        size = rng.randint(1, largest)
        pieces.append(body[:size])
        body = body[size:]
    return pieces


def split_events(pieces: list[bytes]) -> list[SseEvent]:
    splitter = SseSplitter()
    return [event for piece in pieces for event in splitter.feed(piece)] + splitter.rest()


def decode_stream(decoder: StreamDecoder, body: bytes, seed: int = 0) -> list[ChatEvent]:
    events = split_events(sliced(body, random.Random(seed)))
    return [out for event in events for out in decoder.feed(event)]


def joined(events: list[ChatEvent]) -> list[dict[str, Any]]:
    """Plain values of the events; neighbours that continue one another are one entry with the number of `pieces`."""
    out: list[dict[str, Any]] = []
    last: ChatEvent | None = None
    for event in events:
        if out and last is not None and _continues(last, event):
            member = "arguments" if isinstance(event, ToolCallDelta) else "text"
            out[-1][member] = out[-1].get(member, "") + getattr(event, member)
            out[-1]["pieces"] = out[-1].get("pieces", 1) + 1
        else:
            out.append(_plain(event))
        last = event
    return out


def _plain(event: ChatEvent) -> dict[str, Any]:
    config = type(event).__struct_config__
    members = msgspec.to_builtins(event)
    members.pop(config.tag_field)
    return {"event": config.tag, **members}


def _continues(last: ChatEvent, event: ChatEvent) -> bool:
    if type(last) is not type(event):
        return False
    if isinstance(event, ToolCallDelta) and isinstance(last, ToolCallDelta):
        return event.id is None and (event.choice, event.call) == (last.choice, last.call) and not event.signature
    if isinstance(event, ReasoningDelta) and isinstance(last, ReasoningDelta):
        opaque = (last.signature, last.redacted, event.signature, event.redacted)
        return event.choice == last.choice and not any(opaque)
    if isinstance(event, TextDelta | RefusalDelta) and isinstance(last, TextDelta | RefusalDelta):
        return event.choice == last.choice and event.logprobs is None and last.logprobs is None
    return False
