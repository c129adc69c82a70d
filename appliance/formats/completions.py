"""OpenAI's legacy text completion, /oai/v1/completions: a prompt in, `text_completion` objects and chunks out.

It is served by chat models, so what only a raw text model can do is refused by name. `max_tokens` left open means the
model's own maximum, not the 16 of old.
"""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.errors import GatewayError, invalid
from appliance.formats.base import ReplyHead, RequestHead
from appliance.formats.chat import ChatEvent, ChatReply, ChatRequest, Started, Usage
from appliance.formats.members import Members
from appliance.formats.openai_error import encode_error
from appliance.formats.openai_reply import client_extra
from appliance.formats.openai_request import MAX_CHOICES
from appliance.formats.openai_usage import encode_usage
from appliance.formats.sse import DONE, data_event
from appliance.formats.text_completion import Piece, body_object, head_of, piece, read_request, text_of

__all__ = ["decode_request", "encode_error", "encode_reply", "read_head", "stream_encoder"]

REFUSED: dict[str, tuple[Any, ...]] = {
    "suffix": ("",),
    "echo": (False,),
    "logprobs": (False,),
    "best_of": (1,),
}
"""Members that only a raw text model can honour, and their values that ask for nothing."""


def read_head(body: bytes) -> RequestHead:
    return head_of(decode_request(body_object(body)))


def decode_request(body: dict[str, Any]) -> ChatRequest:
    """Members that are not known go to `extra` unchanged."""
    members = Members(body)
    _refuse(members)
    options = members.members("stream_options")
    request = read_request(members)
    request.include_usage = bool(options and options.flag("include_usage"))
    request.n = members.integer("n", 1, MAX_CHOICES) or 1
    request.presence_penalty = members.number("presence_penalty", -2, 2)
    request.frequency_penalty = members.number("frequency_penalty", -2, 2)
    request.user = members.text("user")
    request.extra = members.rest()
    return request


def _refuse(members: Members) -> None:
    for name, neutral in REFUSED.items():
        value = members.value(name)
        # By identity of type too: logprobs 0 asks for something, though it equals False.
        if value is not None and not any(type(value) is type(word) and value == word for word in neutral):
            raise invalid(name, "is not offered here, where chat models answer; leave it out")


def encode_reply(reply: ChatReply, head: ReplyHead) -> dict[str, Any]:
    """A finish reason that the upstream did not give stays null: none is invented."""
    choices = [_entry(Piece(choice.index, text_of(choice), choice.finish_reason)) for choice in reply.choices]
    body = _frame(head) | {"choices": choices}
    if reply.usage is not None:
        body["usage"] = encode_usage(reply.usage)
    return body | _extra(reply.extra)


def _frame(head: ReplyHead) -> dict[str, Any]:
    return {"id": head.id, "object": "text_completion", "created": head.created, "model": head.model}


def _entry(said: Piece) -> dict[str, Any]:
    return {"text": said.text, "index": said.choice, "logprobs": None, "finish_reason": said.finish_reason}


def _extra(extra: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in client_extra(extra).items() if name == "system_fingerprint"}


class StreamEncoder:
    """A chunk for each piece of text, and one for each finish reason."""

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._base = _frame(head)
        # With include_usage OpenAI writes the member into every chunk: null in all but the last.
        self._usage: dict[str, Any] = {"usage": None} if head.include_usage else {}

    def encode(self, events: list[ChatEvent]) -> bytes:
        lines = []
        for event in events:
            if isinstance(event, Started):
                self._base |= _extra(event.extra)
            elif (said := piece(event)) is not None:
                lines.append(self._line({"choices": [_entry(said)]} | self._usage))
        return b"".join(lines)

    def _line(self, members: dict[str, Any]) -> bytes:
        return data_event(msgspec.json.encode(self._base | members))

    def closing(self, usage: Usage, cost: str, estimated: bool) -> bytes:
        """OpenAI's form has no place for the cost, nor for the mark of an estimate."""
        if not self._head.include_usage:
            return DONE
        return self._line({"choices": [], "usage": encode_usage(usage)}) + DONE

    def failure(self, error: GatewayError) -> bytes:
        return data_event(msgspec.json.encode(encode_error(error, "")[1])) + DONE


stream_encoder = StreamEncoder
