"""The OpenAI format as a whole: both protocols, the streamed answer equals the whole one, no thinking is lost."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import GatewayError
from appliance.formats import openai
from appliance.formats.base import ClientFormat, ReplyHead, UpstreamFormat
from appliance.formats.chat import ChatReply, Choice, Part, ReasoningPart, TextPart, ToolCallPart
from appliance.formats.sse import SseEvent

_IS_AN_UPSTREAM_FORMAT: UpstreamFormat = openai
_IS_A_CLIENT_FORMAT: ClientFormat = openai


def test_the_module_offers_what_the_protocols_ask() -> None:
    asked = {name for protocol in (UpstreamFormat, ClientFormat) for name in vars(protocol) if not name.startswith("_")}
    assert asked | {"Upstream"} == set(openai.__all__)


def test_an_answer_that_is_sent_back_keeps_its_signatures() -> None:
    parts: list[Part] = [
        ReasoningPart("why", "sig"),
        ReasoningPart(redacted="blob"),
        TextPart("a"),
        ToolCallPart("c", "f", "{}", signature="g", origin="google"),
    ]
    answer = openai.encode_reply(
        ChatReply("up", "upstream", 1, [Choice(0, parts, "tool_calls")]), ReplyHead("id", "front", 1)
    )
    message = answer["choices"][0]["message"]
    request = openai.decode_request({"model": "front", "messages": [{"role": "user", "content": "?"}, message]})
    assert request.messages[1].parts == parts


MEMBERS = """
model messages role content type text tool_calls function name arguments id index choices message delta usage
prompt_tokens completion_tokens total_tokens error detail metadata raw reasoning reasoning_details signature
finish_reason logprobs stop tools tool_choice response_format image_url url file stream_options object
"""
NAMES = MEMBERS.split()
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 500)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
WORDS = st.sampled_from(
    ["user", "assistant", "tool", "text", "function", "reasoning.text", "thinking", "stop", "error"]
)
VALUES = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=25,
)


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_no_body_whatever_raises_anything_but_a_typed_error(value: object) -> None:
    data = msgspec.json.encode(value)
    chunk = msgspec.json.encode({"choices": [{"delta": value}]})
    members = value if isinstance(value, dict) else {"content": value}
    assert openai.decode_error(500, data).message
    for code, read in (
        ("UPSTREAM_SHAPE_MISMATCH", lambda: openai.decode_reply(value)),
        ("UPSTREAM_SHAPE_MISMATCH", lambda: openai.decode_reply({"choices": [{"message": value}]})),
        ("UPSTREAM_SHAPE_MISMATCH", lambda: openai.stream_decoder().feed(SseEvent(data))),
        ("UPSTREAM_SHAPE_MISMATCH", lambda: openai.stream_decoder().feed(SseEvent(chunk))),
        ("VALIDATION_ERROR", lambda: openai.decode_request({"model": "m", "messages": [{"role": "user"} | members]})),
        (
            "VALIDATION_ERROR",
            lambda: openai.decode_request({"messages": [{"role": "assistant"} | members], "model": "m"}),
        ),
        ("VALIDATION_ERROR", lambda: openai.decode_request(members)),
    ):
        assert refused_with(read) in (None, code)


def refused_with(read: Callable[[], object]) -> str | None:
    try:
        read()
    except GatewayError as error:
        return error.code
    return None
