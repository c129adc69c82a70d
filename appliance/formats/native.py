"""The native chat surface: OpenAI's request form held strictly, and the `data` object of contract section 3.

Must not add the envelope, `meta` or the cost of a whole answer: those belong to the surface that knows them.
`message.reasoning` is the joined text; what must come back unchanged is in `reasoning_details`, in the shape of
openai_reasoning.py, and is taken back there.
"""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.errors import GatewayError
from appliance.formats import openai
from appliance.formats.base import ReplyHead, RequestHead
from appliance.formats.chat import ChatEvent, ChatReply, ChatRequest, Choice, Usage
from appliance.formats.openai_reply import encode_message
from appliance.formats.openai_stream_writer import DeltaWriter, Step
from appliance.formats.sse import DONE, data_event, named_event

__all__ = ["decode_request", "encode_error", "encode_reply", "read_head", "stream_encoder", "usage_object"]


def read_head(body: bytes) -> RequestHead:
    """A strict surface: the whole request is read at once. Metadata are the caller's own notes; they stay with us."""
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise GatewayError("VALIDATION_ERROR", f"the body holds a value that cannot be read: {error}") from None
    request = decode_request(decoded)
    metadata, request.metadata = request.metadata, None
    return RequestHead(
        model=request.model,
        stream=request.stream,
        include_usage=True,
        output_cap=request.max_output_tokens,
        n=request.n,
        metadata=metadata,
        request=request,
    )


def decode_request(body: dict[str, Any]) -> ChatRequest:
    """OpenAI's form, but a member that has no meaning here is refused; all such members are named at once."""
    request = openai.decode_request(body)
    if request.extra:
        names = list(request.extra)
        message = "is not a parameter of this endpoint"
        raise GatewayError(
            "VALIDATION_ERROR",
            f"{names[0]}: {message}" if len(names) == 1 else f"{', '.join(names)}: are not parameters of this endpoint",
            param=names[0],
            details=[{"field": name, "message": message} for name in names],
        )
    return request


def encode_reply(reply: ChatReply, head: ReplyHead) -> dict[str, Any]:
    """Usage, when known, has the token counts only; the surface replaces it by usage_object."""
    body = {
        "id": head.id,
        "model": head.model,
        "created": head.created,
        "choices": [_choice(choice) for choice in reply.choices],
    }
    return body if reply.usage is None else body | {"usage": _token_counts(reply.usage)}


def _choice(choice: Choice) -> dict[str, Any]:
    out = {
        "index": choice.index,
        "message": encode_message(choice, "reasoning", sources=True),
        "finish_reason": choice.finish_reason,
    }
    return out | _known(choice)


def _known(said: Choice | Step) -> dict[str, Any]:
    """The members that are there only when the upstream told them."""
    told = {
        "native_finish_reason": said.native_finish_reason,
        "stop_sequence": said.stop_sequence,
        "logprobs": said.logprobs,
    }
    return {name: value for name, value in told.items() if value is not None}


def usage_object(usage: Usage, cost: str, estimated: bool) -> dict[str, Any]:
    """`usage` as the native surface shows it; `cost` is a decimal string in USD."""
    return _token_counts(usage) | {"cost": cost, "estimated": estimated}


def _token_counts(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    }


class StreamEncoder:
    def __init__(self, head: ReplyHead) -> None:
        self._frame = {"id": head.id, "model": head.model}
        self._deltas = DeltaWriter("reasoning", sources=True)

    def encode(self, events: list[ChatEvent]) -> bytes:
        return b"".join(self._line(step) for event in events for step in self._deltas.steps(event))

    def _line(self, step: Step) -> bytes:
        choice = {"index": step.choice, "delta": step.delta, "finish_reason": step.finish_reason} | _known(step)
        return data_event(msgspec.json.encode(self._frame | {"choices": [choice]}))

    def closing(self, usage: Usage, cost: str, estimated: bool) -> bytes:
        chunk = self._frame | {"choices": [], "usage": usage_object(usage, cost, estimated)}
        return data_event(msgspec.json.encode(chunk)) + DONE

    def failure(self, error: GatewayError) -> bytes:
        body = error.body()
        told = {name: body[name] for name in ("code", "message", "retry_after") if name in body}
        return named_event("error", msgspec.json.encode(told)) + DONE


stream_encoder = StreamEncoder


def encode_error(error: GatewayError, request_id: str) -> tuple[int, dict[str, Any]]:
    return error.status, {"status": "error", "error": error.body(), "meta": {"request_id": request_id}}
