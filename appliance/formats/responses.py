"""OpenAI's Responses API, for callers and for upstreams: the functions of base.py, each from the file of its noun.

responses_request.py, responses_tools.py          a caller's request → RequestHead, ChatRequest
responses_input.py, responses_content.py          its items → messages
responses_history.py                              previous_response_id resolved
responses_request_writer.py                       ChatRequest → an upstream's request
responses_input_writer.py                         messages → its items
responses_reply.py, responses_stream.py           an upstream's answer, whole and streamed → canonical
responses_ladder.py, responses_output_items.py    canonical → items, and the events that tell of them
responses_reply_writer.py, responses_stream_writer.py, responses_object.py
                                                  the `response` object and the stream around them
responses_opaque.py, responses_text.py, responses_usage.py
                                                  encrypted content, citations and log probabilities, usage
responses_passthrough.py, responses_passthrough_writer.py
                                                  this dialect on both sides
"""

from __future__ import annotations

from appliance.formats.openai_error import decode_error, encode_error
from appliance.formats.responses_history import expanded, items_of_input
from appliance.formats.responses_object import echo_of
from appliance.formats.responses_passthrough import PASSTHROUGH
from appliance.formats.responses_reply import decode_reply
from appliance.formats.responses_reply_writer import encode_reply, items_of
from appliance.formats.responses_request import decode_request, read_head
from appliance.formats.responses_request_writer import encode_request
from appliance.formats.responses_stream import stream_decoder
from appliance.formats.responses_stream_writer import stream_encoder

__all__ = [
    "PASSTHROUGH",
    "decode_error",
    "decode_reply",
    "decode_request",
    "echo_of",
    "encode_error",
    "encode_reply",
    "encode_request",
    "expanded",
    "items_of",
    "items_of_input",
    "read_head",
    "stream_decoder",
    "stream_encoder",
]
