"""OpenAI's chat completions, for clients and for upstreams: the functions of base.py, each from the file of its noun.

    openai_request.py, openai_message.py     a caller's request → ChatRequest
    openai_request_writer.py                 ChatRequest → an upstream's request
    openai_reply.py, openai_content.py       whole answers, both ways
    openai_stream.py, openai_stream_calls.py an upstream's stream → events
    openai_stream_writer.py                  events → the client's stream
    openai_reasoning.py                      reasoning and the `reasoning_details` shape
    openai_call.py, openai_usage.py          tool calls, usage
    openai_error.py                          errors, both ways

This is the protocol as all its servers speak it; what one vendor does differently belongs to its provider.
"""

from __future__ import annotations

from appliance.formats.openai_error import decode_error, encode_error
from appliance.formats.openai_reply import decode_reply, encode_reply
from appliance.formats.openai_request import decode_request
from appliance.formats.openai_request_writer import encode_request
from appliance.formats.openai_stream import StreamDecoder as stream_decoder
from appliance.formats.openai_stream_writer import StreamEncoder as stream_encoder

__all__ = [
    "decode_error",
    "decode_reply",
    "decode_request",
    "encode_error",
    "encode_reply",
    "encode_request",
    "stream_decoder",
    "stream_encoder",
]
