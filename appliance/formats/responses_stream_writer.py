"""Canonical events → the stream that clients of the Responses dialect read: numbered events, and no [DONE]."""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.errors import GatewayError
from appliance.formats.base import ReplyHead
from appliance.formats.chat import ChatEvent, Finished, FinishReason, Started, Usage
from appliance.formats.responses_ladder import OutputLadder
from appliance.formats.responses_object import ending, error_event, failure, response_object
from appliance.formats.responses_opaque import seed_of
from appliance.formats.responses_output_items import Rung
from appliance.formats.sse import named_event


class StreamEncoder:
    """`echo` is echo_of(the caller's body), by default the head's; without one an empty request is repeated."""

    def __init__(self, head: ReplyHead, echo: dict[str, Any] | None = None) -> None:
        self._head = head
        self._echo = head.echo if echo is None else echo
        self._ladder = OutputLadder(seed_of(head.id))
        self._service_tier: Any = None
        self._reason: FinishReason | None = None
        self._sequence = 0

    def encode(self, events: list[ChatEvent]) -> bytes:
        rungs: list[Rung] = []
        for event in events:
            if isinstance(event, Started):
                self._service_tier = event.extra.get("service_tier")
            elif isinstance(event, Finished) and event.choice == 0:
                self._reason = event.finish_reason
            rungs += self._ladder.climb(event)
        return self._written(rungs) if rungs else b""

    def closing(self, usage: Usage, cost: str, estimated: bool) -> bytes:
        """The dialect has no place for the cost, nor for the mark of an estimate."""
        rungs = self._ladder.finish(self._reason)
        end = ending(self._reason)
        response = self._response(end["status"], usage) | end
        return self._written([*rungs, {"type": f"response.{end['status']}", "response": response}])

    def failure(self, error: GatewayError) -> bytes:
        """Items that were still being said stay out of the failed response."""
        failed = self._response("failed") | failure(error)
        return self._written([error_event(error), {"type": "response.failed", "response": failed}])

    def output_items(self) -> list[dict[str, Any]]:
        """The items that have ended; after `closing` all of them, as in the final response."""
        return self._ladder.output()

    def _response(self, status: str, usage: Usage | None = None) -> dict[str, Any]:
        return response_object(
            self._head,
            self._ladder.output() if status != "in_progress" else [],
            status=status,
            usage=usage,
            echo=self._echo,
            service_tier=self._service_tier,
        )

    def _written(self, rungs: list[Rung]) -> bytes:
        if self._sequence == 0:
            begun = self._response("in_progress")
            opening = ("response.created", "response.in_progress")
            rungs = [*({"type": kind, "response": begun} for kind in opening), *rungs]
        return b"".join([self._line(rung) for rung in rungs])

    def _line(self, rung: Rung) -> bytes:
        kind = rung["type"]
        numbered = {"type": kind, "sequence_number": self._sequence} | rung
        self._sequence += 1
        return named_event(kind, msgspec.json.encode(numbered))


stream_encoder = StreamEncoder
