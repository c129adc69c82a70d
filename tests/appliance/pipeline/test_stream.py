"""Bytes in any slicing become the same frames; the end mark ends it; silence and cuts are told."""

from __future__ import annotations

import asyncio
import json
import random
import time

import pytest

from appliance.errors import GatewayError
from appliance.exchange import UpstreamCut
from appliance.formats import anthropic, openai, sse
from appliance.formats.base import Frame
from appliance.formats.chat import Ended, Finished, TextDelta, UsageSeen
from appliance.pipeline.stream import DRAIN_S, UpstreamStream
from support.build import FakeUpstream
from support.streams import sliced
from support.upstream import DONE, chunk, text_stream

FOR_EVER = 60.0


def stream_of(*pieces: bytes | float | Exception, idle_s: float = 5.0, total_s: float = 10.0) -> UpstreamStream:
    upstream = FakeUpstream(*pieces)
    total_at = asyncio.get_running_loop().time() + total_s
    return UpstreamStream(upstream, openai.stream_decoder(), idle_s, total_at)


async def read(stream: UpstreamStream) -> list[Frame]:
    frames: list[Frame] = []
    async with asyncio.timeout(10):
        while arrived := await stream.frames():
            frames += arrived
    return frames


def said(frames: list[Frame]) -> str:
    return "".join(event.text for frame in frames for event in frame.meaning if isinstance(event, TextDelta))


@pytest.mark.parametrize("largest", [1, 2, 7, 64, 100_000])
async def test_any_slicing_gives_the_same_frames(largest: int) -> None:
    body = b"".join(text_stream("Grüße ", "aus ", "日本 🎌"))
    whole = await read(stream_of(body))
    stream = stream_of(*sliced(body, random.Random(largest), largest))
    assert await read(stream) == whole
    assert said(whole) == "Grüße aus 日本 🎌"
    assert stream.complete
    kinds = [type(event) for frame in whole for event in frame.meaning]
    assert kinds[-3:] == [Finished, UsageSeen, Ended]


async def test_frames_are_handed_on_as_they_arrive() -> None:
    stream = stream_of(chunk({"content": "one"}), FOR_EVER)
    (frame,) = await stream.frames()
    assert said([frame]) == "one"


async def test_a_frame_keeps_the_upstreams_own_bytes() -> None:
    piece = chunk({"content": "x"}, unheard_of={"a": 1.10})
    (frame,) = await stream_of(piece).frames()
    assert frame.event.data == piece.removeprefix(b"data: ").strip()


async def test_held_frames_come_back_first() -> None:
    stream = stream_of(*text_stream("a", "b"))
    held = [*await stream.frames(), *await stream.frames()]
    stream.hold(held)
    frames = await read(stream)
    assert frames[:2] == held
    assert said(frames) == "ab"


async def test_after_the_end_nothing_more_comes() -> None:
    stream = stream_of(*text_stream("a"))
    await read(stream)
    assert await stream.frames() == []


# -- the end ----------------------------------------------------------------------------------------------------------


async def test_an_upstream_that_leaves_the_connection_open_is_not_waited_for() -> None:
    stream = stream_of(*text_stream("a"), FOR_EVER)
    started = time.monotonic()
    assert said(await read(stream)) == "a"
    assert time.monotonic() - started < DRAIN_S + 0.5
    assert stream.complete


async def test_a_connection_that_breaks_after_the_end_mark_harms_nobody() -> None:
    stream = stream_of(*text_stream("a"), UpstreamCut("reset"))
    assert said(await read(stream)) == "a"
    assert stream.complete


async def test_the_body_is_read_to_its_end_so_that_the_connection_can_be_used_again() -> None:
    upstream = FakeUpstream(*text_stream("a"))
    stream = UpstreamStream(upstream, openai.stream_decoder(), 5, asyncio.get_running_loop().time() + 5)
    await read(stream)
    assert upstream.reads == len(text_stream("a")) + 1


@pytest.mark.parametrize("together", [True, False])
async def test_what_comes_after_the_end_mark_does_not_undo_it(together: bool) -> None:
    stray = chunk({"content": ""})
    last = [DONE + stray] if together else [DONE, stray]
    stream = stream_of(*text_stream("a")[:-1], *last, FOR_EVER)
    started = time.monotonic()
    assert said(await read(stream)) == "a"
    assert time.monotonic() - started < DRAIN_S + 0.5
    assert stream.complete


async def test_heartbeats_after_the_end_mark_do_not_keep_the_answer_open() -> None:
    heartbeats: list[bytes | float | Exception] = [0.02, b": still here\n\n"] * 100
    stream = stream_of(*text_stream("a"), *heartbeats)
    started = time.monotonic()
    await read(stream)
    assert time.monotonic() - started < DRAIN_S + 0.5


@pytest.mark.parametrize(
    ("pieces", "complete"),
    [
        (text_stream("a"), True),
        (text_stream("a")[:-1], True),
        (text_stream("a")[:-2], True),
        (text_stream("a")[:-3], False),
        (text_stream("a")[:1], False),
        ([], False),
        ([b"data: [DONE]"], True),
        ([b"data: [DONE]\n"], True),
    ],
    ids=["all", "no [DONE]", "no usage", "no finish reason", "no content", "nothing", "torn end", "torn end line"],
)
async def test_a_stream_is_whole_with_its_end_mark_or_finish_reason(pieces: list[bytes], complete: bool) -> None:
    stream = stream_of(*pieces)
    await read(stream)
    assert stream.complete is complete


async def test_another_dialect_s_end_mark_counts_in_that_dialect() -> None:
    message = {"id": "msg_1", "model": "x", "role": "assistant", "content": [], "usage": {"input_tokens": 3}}
    start = json.dumps({"type": "message_start", "message": message}).encode()
    stop = b'{"type":"message_stop"}'
    upstream = FakeUpstream(sse.named_event("message_start", start), sse.named_event("message_stop", stop), FOR_EVER)
    stream = UpstreamStream(upstream, anthropic.stream_decoder(), 5, asyncio.get_running_loop().time() + 5)
    started = time.monotonic()
    await read(stream)
    assert stream.complete
    assert time.monotonic() - started < DRAIN_S + 0.5


# -- silence, cuts, garbage -------------------------------------------------------------------------------------------


async def test_silence_longer_than_idle_is_a_timeout() -> None:
    stream = stream_of(chunk({"content": "a"}), FOR_EVER, idle_s=0.05)
    await stream.frames()
    with pytest.raises(TimeoutError):
        await stream.frames()


async def test_pauses_shorter_than_idle_are_waited_for() -> None:
    pieces: list[bytes | float | Exception] = []
    for piece in text_stream("a", "b", "c"):
        pieces += [0.02, piece]
    assert said(await read(stream_of(*pieces, idle_s=0.5))) == "abc"


async def test_total_ends_a_stream_that_never_pauses() -> None:
    endless: list[bytes | float | Exception] = [chunk({"content": "a"}), 0.01] * 1000
    stream = stream_of(*endless, total_s=0.1)
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        await read(stream)
    assert time.monotonic() - started < 1


async def test_a_cut_is_a_cut() -> None:
    stream = stream_of(chunk({"content": "a"}), UpstreamCut("reset"))
    await stream.frames()
    with pytest.raises(UpstreamCut, match="reset"):
        await stream.frames()
    assert not stream.complete


@pytest.mark.parametrize(
    "garbage", [b"data: {not json\n\n", b"data: 7\n\n", b"data: []\n\n", b'data: {"choices": 3}\n\n']
)
async def test_events_that_are_none_of_the_dialect_are_a_mismatch(garbage: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        await read(stream_of(b"data: " + garbage + b"\n\n"))
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"


async def test_an_event_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    with pytest.raises(GatewayError, match="not readable") as caught:
        await read(stream_of(*[b"x" * 100] * 20))
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"
