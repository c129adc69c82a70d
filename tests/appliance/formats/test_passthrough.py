"""Two dialects: canonical events go on in the client's one."""

from __future__ import annotations

from appliance.errors import GatewayError
from appliance.formats import native, openai
from appliance.formats.base import Frame, ReplyHead
from appliance.formats.chat import Usage
from appliance.formats.passthrough import TranslatedWriter
from appliance.formats.sse import SseSplitter
from support.sse import ended, events, failure_of, text_of
from support.upstream import chunk, text_stream

HEAD = ReplyHead("chatcmpl-ours", "front", 1_700_000_000)


def frames_of(*pieces: bytes) -> list[Frame]:
    splitter, decoder = SseSplitter(), openai.stream_decoder()
    found = [event for piece in pieces for event in splitter.feed(piece)]
    return [Frame(event, decoder.feed(event)) for event in found]


def test_the_writer_speaks_the_client_s_dialect() -> None:
    writer = TranslatedWriter(native.stream_encoder(HEAD))
    data = b"".join(writer.frames([frame]) for frame in frames_of(*text_stream("hello ", "world")))
    data += writer.closing(Usage(11, 22), "0.5", True)
    assert text_of(data) == "hello world"
    (_, last), done = events(data)[-2:]
    assert done == ("", "[DONE]")
    assert (last["usage"]["cost"], last["usage"]["estimated"], last["model"]) == ("0.5", True, "front")
    failed = writer.failure(GatewayError("BACKEND_TIMEOUT", "too slow"))
    assert (failure_of(failed) or {})["code"] == "BACKEND_TIMEOUT"
    assert ended(failed)


def test_frames_without_meaning_are_nothing() -> None:
    writer = TranslatedWriter(native.stream_encoder(HEAD))
    assert writer.frames([Frame(frame.event, []) for frame in frames_of(chunk({"content": "x"}))]) == b""
