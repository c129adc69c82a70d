"""Canonical events → the items of an answer and the events that tell of them: one ladder for each answer.

Whole answers are built on it too, so that an answer is the same streamed and not. It decides where one item ends and
the next begins: text after reasoning is a new item, text after text is not, and calls stay open until the end, since
their pieces may come in turns. A signature that comes after its call's first piece has no place any more: the item
that carries it stands before the call.
"""

from __future__ import annotations

from typing import Any

from appliance.formats.chat import (
    ChatEvent,
    Finished,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
)
from appliance.formats.openai_call import new_call_id
from appliance.formats.responses_opaque import ORIGIN, Opaque, made_id, pack
from appliance.formats.responses_output_items import CallItem, MessageItem, ReasoningItem, Rung
from appliance.formats.responses_text import listed_logprobs


class OutputLadder:
    """`seed` makes the ids of items unique among all answers. The dialect has one choice: others are passed over."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._count = 0
        self._chars = 0
        self._open: MessageItem | ReasoningItem | None = None
        self._calls: dict[int, CallItem] = {}
        self._done: dict[int, dict[str, Any]] = {}
        self._ids: set[str] = set()

    def climb(self, event: ChatEvent) -> list[Rung]:
        match event:
            case TextDelta(choice=0):
                return self._text(event)
            case RefusalDelta(choice=0):
                return self._refusal(event)
            case ReasoningDelta(choice=0):
                return self._reasoning(event)
            case ToolCallDelta(choice=0):
                return self._call(event)
            case Finished(choice=0):
                return self.finish(event.finish_reason)
            case _:
                return []

    def end_item(self) -> list[Rung]:
        """Text or reasoning that follows belongs to a new item."""
        return self._close_open(None)

    def finish(self, reason: FinishReason | None) -> list[Rung]:
        """Every item ends; the one that was being said is incomplete when the answer was cut."""
        is_cut = reason in ("length", "content_filter")
        was_speaking = self._open is not None
        rungs = self._close_open(None, is_cut)
        last = max(self._calls, default=None)
        for place, call in self._calls.items():
            cut_here = is_cut and not was_speaking and place == last
            closing, item = call.closing("incomplete" if cut_here else "completed")
            self._done[call.index] = item
            rungs += closing
        self._calls.clear()
        return rungs

    def output(self) -> list[dict[str, Any]]:
        """The items that have ended, in order."""
        return [item for _, item in sorted(self._done.items())]

    # -- messages ------------------------------------------------------------------------------------------------------

    def _text(self, event: TextDelta) -> list[Rung]:
        logprobs = listed_logprobs(event.logprobs)
        if not event.text and not logprobs and not event.citations:
            return []
        message, rungs = self._message()
        if event.text or logprobs:
            rungs += message.text(event.text, logprobs, self._chars)
            self._chars += len(event.text)
        return rungs + message.cite(event.citations, self._chars) if event.citations else rungs

    def _refusal(self, event: RefusalDelta) -> list[Rung]:
        if not event.text:
            return []
        message, rungs = self._message()
        return rungs + message.refusal(event.text, self._chars)

    def _message(self) -> tuple[MessageItem, list[Rung]]:
        if isinstance(self._open, MessageItem):
            return self._open, []
        rungs = self._close_open(None)
        message = self._open = MessageItem(*self._next("msg"))
        return message, rungs + message.opening()

    # -- reasoning -----------------------------------------------------------------------------------------------------

    def _reasoning(self, event: ReasoningDelta) -> list[Rung]:
        rungs: list[Rung] = []
        if event.text:
            reasoning, opening = self._thought(event.id)
            rungs += opening + reasoning.text(event.text)
        if event.signature:
            opaque = Opaque("signature", event.origin, event.signature)
            # Google signs its text parts; such a signature stands behind the text and never belongs to a thought.
            is_of_text = event.origin == "google" and not event.text
            rungs += self._sealed(opaque, event.id) if is_of_text else self._signed(opaque, event.id)
        if event.redacted:
            opaque = Opaque("redacted", event.origin, event.redacted)
            rungs += self._signed(opaque, event.id) if event.origin == ORIGIN else self._sealed(opaque, event.id)
        return rungs

    def _signed(self, opaque: Opaque, item_id: str | None) -> list[Rung]:
        """Opaque data for the reasoning that is being said; none: an item without text."""
        return self._thought(item_id)[1] + self._close_open(pack(opaque))

    def _sealed(self, opaque: Opaque, item_id: str | None) -> list[Rung]:
        """An item of its own that holds opaque data only."""
        rungs = self._close_open(None)
        return rungs + self._signed(opaque, item_id)

    def _thought(self, item_id: str | None) -> tuple[ReasoningItem, list[Rung]]:
        if isinstance(self._open, ReasoningItem) and item_id in (None, self._open.id):
            return self._open, []
        rungs = self._close_open(None)
        reasoning = self._open = ReasoningItem(*self._next("rs", item_id))
        return reasoning, rungs + reasoning.opening()

    # -- calls ---------------------------------------------------------------------------------------------------------

    def _call(self, event: ToolCallDelta) -> list[Rung]:
        call = self._calls.get(event.call)
        rungs: list[Rung] = []
        if call is None:
            rungs = self._close_open(None)
            if event.signature:
                rungs += self._sealed(Opaque("call", event.origin, event.signature), None)
            call = CallItem(*self._next("fc"), event.id or new_call_id(), event.name or "")
            self._calls[event.call] = call
            rungs += call.opening()
        return rungs + call.arguments(event.arguments) if event.arguments else rungs

    # -- places --------------------------------------------------------------------------------------------------------

    def _next(self, prefix: str, known_id: str | None = None) -> tuple[int, str]:
        """The item's place and id: the upstream's own where it is known, since encrypted content is bound to it."""
        index = self._count
        self._count += 1
        item_id = known_id if known_id and known_id not in self._ids else made_id(prefix, self._seed, index)
        self._ids.add(item_id)
        return index, item_id

    def _close_open(self, encrypted_content: str | None, is_cut: bool = False) -> list[Rung]:
        item, self._open = self._open, None
        if item is None:
            return []
        if isinstance(item, ReasoningItem):
            rungs, done = item.closing(encrypted_content)
        else:
            rungs, done = item.closing("incomplete" if is_cut else "completed")
        self._done[item.index] = done
        return rungs
