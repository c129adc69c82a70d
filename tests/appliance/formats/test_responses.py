"""The dialect as a whole: an answer sent back as input is the answer that was given."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from openai.types.responses import Response

from appliance.formats import responses
from appliance.formats.base import ReplyHead
from appliance.formats.chat import (
    ChatEvent,
    ChatReply,
    Choice,
    Finished,
    Message,
    Part,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    RefusalPart,
    TextDelta,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
    Usage,
)
from support.streams import split_events

HEAD = ReplyHead("resp_1", "front", 1700000000)
USER = {"role": "user", "content": "hi"}

said = st.text(min_size=1, max_size=12)
origins = st.sampled_from(["anthropic", "google", "responses", ""])
opaque = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=12)

reasoning = st.one_of(
    st.builds(ReasoningPart, said),
    st.builds(ReasoningPart, said, signature=opaque, origin=origins),
    st.builds(ReasoningPart, st.just(""), signature=opaque, origin=origins),
    st.builds(ReasoningPart, redacted=opaque, origin=st.just("anthropic")),
)
calls = st.builds(ToolCallPart, id=opaque, name=opaque, arguments=st.sampled_from(["{}", '{"a": 1}', "{ }"]))
signed_calls = st.builds(ToolCallPart, id=opaque, name=opaque, signature=opaque, origin=st.just("google"))
parts = st.one_of(reasoning, calls, signed_calls, st.builds(TextPart, said), st.builds(RefusalPart, said))
answers = st.lists(parts, max_size=8)


def plain(part: Part) -> Part:
    """Where a part without opaque data came from is of no use to anybody."""
    if isinstance(part, ReasoningPart) and not part.signature and not part.redacted:
        return ReasoningPart(part.text)
    return part


def run_together(listed: list[Part]) -> list[Part]:
    """Neighbouring texts are one text, and so are neighbouring refusals: the dialect tells no borders."""
    out: list[Part] = []
    for part in map(plain, listed):
        last = out[-1] if out else None
        if isinstance(part, TextPart) and isinstance(last, TextPart):
            out[-1] = TextPart(last.text + part.text)
        elif isinstance(part, RefusalPart) and isinstance(last, RefusalPart):
            out[-1] = RefusalPart(last.text + part.text)
        else:
            out.append(part)
    return out


def sent_back(output: list[dict[str, Any]]) -> list[Part]:
    body = responses.expanded({"model": "front", "input": output}, [USER])
    user, *rest = responses.decode_request(body).messages
    assert user == Message("user", [TextPart("hi")])
    return [part for message in rest for part in message.parts]


@given(answers)
def test_an_answer_that_is_sent_back_has_lost_nothing(listed: list[Part]) -> None:
    reply = ChatReply("up", "m", 1, [Choice(0, listed, "stop")], Usage(1, 1))
    body = responses.encode_reply(reply, HEAD)
    Response.model_validate(body)
    assert body["output"] == responses.items_of(reply, HEAD)
    assert sent_back(body["output"]) == run_together(listed)


@given(answers)
def test_an_answer_is_the_same_streamed_and_not(listed: list[Part]) -> None:
    assume(not any(_runs_on(part, after) for part, after in pairwise(listed)))
    encoder = responses.stream_encoder(HEAD)
    stream = encoder.encode([*events_of(listed), Finished(0, "stop")]) + encoder.closing(Usage(1, 1), "0", False)
    whole = responses.encode_reply(ChatReply("up", "m", 1, [Choice(0, listed, "stop")], Usage(1, 1)), HEAD)
    assert encoder.output_items() == whole["output"]
    decoder = responses.stream_decoder()
    again = responses.stream_encoder(HEAD)
    for event in split_events([stream]):
        again.encode(decoder.feed(event))
    again.closing(Usage(1, 1), "0", False)
    assert decoder.complete
    assert again.output_items() == responses.items_of(responses.decode_reply(whole), HEAD)


def _runs_on(part: Part, after: Part) -> bool:
    """In a stream, reasoning that nothing has ended yet goes on with the next."""
    return isinstance(part, ReasoningPart) and isinstance(after, ReasoningPart) and not part.signature


def events_of(listed: list[Part]) -> list[ChatEvent]:
    events: list[ChatEvent] = []
    count = 0
    for part in listed:
        match part:
            case TextPart():
                events += [TextDelta(0, char) for char in part.text]
            case RefusalPart():
                events += [RefusalDelta(0, char) for char in part.text]
            case ReasoningPart():
                events.append(ReasoningDelta(0, part.text, part.signature, part.redacted, part.origin, part.id))
            case ToolCallPart():
                called = (part.id, part.name, part.arguments, part.signature, part.origin)
                events.append(ToolCallDelta(0, count, *called))
                count += 1
    return events


def test_the_face_has_what_both_sides_need() -> None:
    assert responses.read_head(b'{"model":"m"}').model == "m"
    assert responses.echo_of({})["store"] is True
    assert responses.decode_error(400, b'{"error":{"message":"m"}}').message == "m"
    assert responses.PASSTHROUGH.writer(HEAD).output_items() == []
