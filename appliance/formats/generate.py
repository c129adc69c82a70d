"""The native text completion, /v1/inference/generate: a prompt in, the `data` object and its stream out.

Must not add the envelope, `meta` or the cost of a whole answer: those belong to the surface that knows them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.errors import GatewayError
from appliance.formats import native
from appliance.formats.base import ReplyHead, RequestHead
from appliance.formats.chat import ChatEvent, ChatReply, ChatRequest, Choice, Usage
from appliance.formats.members import Members
from appliance.formats.refused_members import refuse_unknown
from appliance.formats.sse import DONE, data_event, named_event
from appliance.formats.text_completion import Piece, body_object, head_of, piece, read_request, text_of

__all__ = ["decode_request", "encode_error", "encode_reply", "read_head", "stream_encoder"]

encode_error = native.encode_error


def read_head(body: bytes) -> RequestHead:
    return head_of(decode_request(body_object(body)))


def decode_request(body: dict[str, Any]) -> ChatRequest:
    """A member that has no meaning here is refused; all such members are named at once."""
    members = Members(body)
    request = read_request(members)
    request.metadata = members.plain_object("metadata")
    refuse_unknown(members)
    return request


def encode_reply(reply: ChatReply, head: ReplyHead) -> dict[str, Any]:
    """Usage, when known, has the token counts only; the surface replaces it by its usage object."""
    body: dict[str, Any] = {
        "id": head.id,
        "model": head.model,
        "created": head.created,
        "choices": [_choice(choice) for choice in reply.choices],
    }
    if reply.usage is None:
        return body
    counts = native.usage_object(reply.usage, "", False)
    return body | {"usage": {name: used for name, used in counts.items() if name.endswith("_tokens")}}


def _choice(choice: Choice) -> dict[str, Any]:
    return _entry(Piece(choice.index, text_of(choice), choice.finish_reason, choice.native_finish_reason))


def _entry(said: Piece) -> dict[str, Any]:
    entry: dict[str, Any] = {"index": said.choice, "text": said.text, "finish_reason": said.finish_reason}
    native_word = said.native_finish_reason
    return entry if native_word is None else entry | {"native_finish_reason": native_word}


class StreamEncoder:
    def __init__(self, head: ReplyHead) -> None:
        self._frame = {"id": head.id, "model": head.model}

    def encode(self, events: list[ChatEvent]) -> bytes:
        return b"".join(self._line([_entry(said)]) for event in events if (said := piece(event)) is not None)

    def _line(self, choices: list[dict[str, Any]], **members: Any) -> bytes:
        return data_event(msgspec.json.encode(self._frame | {"choices": choices} | members))

    def closing(self, usage: Usage, cost: str, estimated: bool) -> bytes:
        return self._line([], usage=native.usage_object(usage, cost, estimated)) + DONE

    def failure(self, error: GatewayError) -> bytes:
        body = error.body()
        told = {name: body[name] for name in ("code", "message", "retry_after") if name in body}
        return named_event("error", msgspec.json.encode(told)) + DONE


stream_encoder = StreamEncoder
