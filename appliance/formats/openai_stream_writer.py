"""Canonical events → the stream that OpenAI's clients read.

Beyond OpenAI's members a delta may have `reasoning_content`, and `reasoning_details` where a signature or encrypted
reasoning must come back: each entry is whole, with the text that its signature covers (see openai_reasoning.py).
A finish reason that is not one of OpenAI's own goes with the upstream's word in `native_finish_reason`.
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
from appliance.formats.openai_citations import annotations_of
from appliance.formats.openai_error import encode_error
from appliance.formats.openai_reasoning import details_of, stands_alone
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
                choice: dict[str, Any] = {
                    "index": step.choice,
                    "delta": step.delta,
                    "logprobs": step.logprobs,
                    "finish_reason": step.finish_reason,
                }
                if step.native_finish_reason:
                    choice["native_finish_reason"] = step.native_finish_reason
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
    stop_sequence: str | None = None
    logprobs: Any = None


OPENING = {"role": "assistant", "content": ""}


class DeltaWriter:
    """Events → deltas in OpenAI's form; knows which choices have begun, and the reasoning that is not signed yet.

    Entries of lists that come in several deltas are numbered: OpenAI's SDK joins such lists by `index`. `sources` also
    shows citations without an address.
    """

    def __init__(self, reasoning_member: str, *, sources: bool = False) -> None:
        self.begun: set[int] = set()
        self._reasoning_member = reasoning_member
        self._sources = sources
        self._unsigned: dict[int, list[str]] = {}
        self._written: dict[tuple[int, str], int] = {}

    def steps(self, event: ChatEvent) -> list[Step]:
        """A choice opens with its role, before its first word."""
        step = self.step(event)
        if step is None:
            return []
        if step.choice in self.begun:
            return [step]
        self.begun.add(step.choice)
        return [Step(step.choice, OPENING), step]

    def step(self, event: ChatEvent) -> Step | None:
        match event:
            case TextDelta():
                return self._text(event)
            case ReasoningDelta():
                return Step(event.choice, self._reasoning(event))
            case ToolCallDelta():
                return Step(event.choice, {"tool_calls": [_call_delta(event)]})
            case RefusalDelta():
                return Step(event.choice, {"refusal": event.text}, logprobs=event.logprobs)
            case Finished():
                native = event.native_finish_reason
                return Step(event.choice, {}, event.finish_reason, native, event.stop_sequence)
            case _:
                return None

    def note(self, event: ReasoningDelta) -> None:
        """Reasoning that left by another way, and is part of what a later signature covers."""
        self._unsigned.setdefault(event.choice, []).append(event.text)

    def _text(self, event: TextDelta) -> Step | None:
        if not event.citations:
            return Step(event.choice, {"content": event.text}, logprobs=event.logprobs)
        delta: dict[str, Any] = {"content": event.text} if event.text else {}
        if annotations := annotations_of(event.citations, sources=self._sources):
            delta["annotations"] = self._numbered(event.choice, "annotations", annotations)
        return Step(event.choice, delta, logprobs=event.logprobs) if delta or event.logprobs is not None else None

    def _reasoning(self, event: ReasoningDelta) -> dict[str, Any]:
        delta: dict[str, Any] = {self._reasoning_member: event.text} if event.text else {}
        if not event.signature and not event.redacted:
            self.note(event)
            return delta
        text = event.text
        if not stands_alone(ReasoningPart(event.text, event.signature, None, event.origin)):
            text = "".join(self._unsigned.pop(event.choice, [])) + text
        details = details_of(ReasoningPart(text, event.signature, event.redacted, event.origin, event.id))
        return delta | {"reasoning_details": self._numbered(event.choice, "reasoning_details", details)}

    def _numbered(self, choice: int, member: str, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        first = self._written.get((choice, member), 0)
        self._written[choice, member] = first + len(entries)
        return [entry | {"index": first + place} for place, entry in enumerate(entries)]


def _call_delta(event: ToolCallDelta) -> dict[str, Any]:
    if event.id is None:
        call: dict[str, Any] = {"index": event.call, "function": {"arguments": event.arguments}}
    else:
        function = {"name": event.name, "arguments": event.arguments}
        call = {"index": event.call, "id": event.id, "type": "function", "function": function}
    return call | {"extra_content": signature_member(event.signature)} if event.signature else call
