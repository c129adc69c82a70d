"""OpenAI's chat completions, for clients and for upstreams: the functions of base.py, each from the file of its noun.

    openai_request.py, openai_message.py         a caller's request → ChatRequest
    openai_request_writer.py, …_messages_writer  ChatRequest → an upstream's request
    openai_quirks.py, …_gaps, …_thinking         in what upstreams differ; what they refuse; how they are told to think
    openai_reply.py, openai_content.py           whole answers, both ways
    openai_stream.py, openai_stream_calls.py     an upstream's stream → events
    openai_stream_writer.py                      events → the client's stream
    openai_reasoning.py                          reasoning and the `reasoning_details` shape
    openai_call.py, openai_usage.py              tool calls, usage
    openai_error.py                              errors, both ways

The module itself is the format of OpenAI; `Upstream(quirks)` is that of a server which differs from it.
"""

from __future__ import annotations

from typing import Any

from appliance.formats.base import StreamDecoder, UpstreamError
from appliance.formats.chat import ChatReply, ChatRequest
from appliance.formats.json_answer import AnswerStream, text_of_answer
from appliance.formats.openai_error import decode_error, encode_error
from appliance.formats.openai_quirks import Quirks
from appliance.formats.openai_reply import decode_reply, encode_reply
from appliance.formats.openai_request import decode_request
from appliance.formats.openai_request_writer import encode_request
from appliance.formats.openai_shape import read_head
from appliance.formats.openai_stream import StreamDecoder as stream_decoder
from appliance.formats.openai_stream_writer import StreamEncoder as stream_encoder

__all__ = [
    "Upstream",
    "decode_error",
    "decode_reply",
    "decode_request",
    "encode_error",
    "encode_reply",
    "encode_request",
    "read_head",
    "stream_decoder",
    "stream_encoder",
]


class Upstream:
    """The upstream side for one kind of server: requests in its words; answers are read alike from all."""

    __slots__ = ("quirks",)

    def __init__(self, quirks: Quirks) -> None:
        self.quirks = quirks

    def encode_request(self, request: ChatRequest, upstream_model: str) -> dict[str, Any]:
        return encode_request(request, upstream_model, self.quirks)

    def decode_reply(self, body: Any) -> ChatReply:
        reply = decode_reply(body)
        return text_of_answer(reply) if self.quirks.json_by_tool else reply

    def stream_decoder(self) -> StreamDecoder:
        decoder = stream_decoder()
        return AnswerStream(decoder) if self.quirks.json_by_tool else decoder

    def decode_error(self, status: int, body: bytes) -> UpstreamError:
        return decode_error(status, body)
