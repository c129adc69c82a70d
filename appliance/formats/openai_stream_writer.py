"""Canonical events → the stream that OpenAI's clients read.

Beyond OpenAI's members a delta may have `reasoning_content`, and `reasoning_details` where a signature or encrypted
reasoning must come back: each entry is whole, with the text that its signature covers (see openai_reasoning.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from appliance.errors import GatewayError
from appliance.formats.base import ReplyHead
from appliance.formats.chat import (
    ChatEvent,
    Finished,
    FinishReason,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from appliance.formats.openai_call import signature_member
from appliance.formats.openai_error import encode_error
from appliance.formats.openai_reasoning import details_of
from appliance.formats.openai_reply import client_extra
from appliance.formats.openai_usage import encode_usage
from appliance.formats.sse import DONE, data_event


class StreamEncoder:
    """One line for each event. A choice opens with its role, before its first word."""

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._frame: dict[str, Any] = {
            "id": head.id,
            "object": "chat.completion.chunk",
            "created": head.created,
            "model": head.model,
        }
        # With include_usage OpenAI writes the member into every chunk: null in all but the last.
        self._usage: dict[str, Any] = {"usage": None} if head.include_usage else {}
        self._deltas = DeltaWriter("reasoning_content")

    def encode(self, events: list[ChatEvent]) -> bytes:
        lines = []
        for event in events:
            if isinstance(event, Started):
                self._frame |= client_extra(event.extra)
                continue
            for step in self._deltas.steps(event):
                choice = {
                    "index": step.choice,
                    "delta": step.delta,
                    "logprobs": step.logprobs,
                    "finish_reason": step.finish_reason,
                }
                lines.append(data_event(msgspec.json.encode(self._frame | {"choices": [choice]} | self._usage)))
        return b"".join(lines)

    def closing(self, usage: Usage, cost: str, estimated: bool) -> bytes:
        """OpenAI's form has no place for the cost, nor for the mark of an estimate."""
        if not self._head.include_usage:
            return DONE
        chunk = self._frame | {"choices": [], "usage": encode_usage(usage)}
        return data_event(msgspec.json.encode(chunk)) + DONE

    def failure(self, error: GatewayError) -> bytes:
        return data_event(msgspec.json.encode(encode_error(error, "")[1])) + DONE


class Step(NamedTuple):
    """What one chunk tells of one choice."""

    choice: int
    delta: dict[str, Any]
    finish_reason: FinishReason | None = None
    native_finish_reason: str | None = None
    logprobs: Any = None


class DeltaWriter:
    """Events → deltas in OpenAI's form; knows which choices have begun, and the reasoning that is not signed yet."""

    def __init__(self, reasoning_member: str) -> None:
        self._reasoning_member = reasoning_member
        self._begun: set[int] = set()
        self._unsigned: dict[int, list[str]] = {}

    def steps(self, event: ChatEvent) -> list[Step]:
        step = self._step(event)
        if step is None:
            return []
        if step.choice in self._begun:
            return [step]
        self._begun.add(step.choice)
        return [Step(step.choice, {"role": "assistant", "content": ""}), step]

    def _step(self, event: ChatEvent) -> Step | None:
        match event:
            case TextDelta():
                return Step(event.choice, {"content": event.text}, logprobs=event.logprobs)
            case ReasoningDelta():
                return Step(event.choice, self._reasoning(event))
            case ToolCallDelta():
                return Step(event.choice, {"tool_calls": [_call_delta(event)]})
            case RefusalDelta():
                return Step(event.choice, {"refusal": event.text}, logprobs=event.logprobs)
            case Finished():
                return Step(event.choice, {}, event.finish_reason, event.native_finish_reason)
            case _:
                return None

    def _reasoning(self, event: ReasoningDelta) -> dict[str, Any]:
        delta: dict[str, Any] = {self._reasoning_member: event.text} if event.text else {}
        texts = self._unsigned.setdefault(event.choice, [])
        texts.append(event.text)
        if not event.signature and not event.redacted:
            return delta
        part = ReasoningPart("".join(texts), event.signature, event.redacted)
        texts.clear()
        return delta | {"reasoning_details": details_of(part)}


def _call_delta(event: ToolCallDelta) -> dict[str, Any]:
    if event.id is None:
        call: dict[str, Any] = {"index": event.call, "function": {"arguments": event.arguments}}
    else:
        function = {"name": event.name, "arguments": event.arguments}
        call = {"index": event.call, "id": event.id, "type": "function", "function": function}
    return call | {"extra_content": signature_member(event.signature)} if event.signature else call
