"""The items of an answer while they are being said: each writes its own rungs of the event ladder.

A rung is an event without its sequence number. Must not know which item comes next, nor when one is over.
"""

from __future__ import annotations

from typing import Any, Literal

from appliance.formats.chat import Citation
from appliance.formats.responses_text import annotation_of

Rung = dict[str, Any]
Status = Literal["completed", "incomplete"]


class MessageItem:
    """Text and refusals. `place` is always a place in the answer's whole text, in characters."""

    def __init__(self, index: int, item_id: str) -> None:
        self.index = index
        self._id = item_id
        self._content: list[dict[str, Any]] = []
        self._kind = ""
        self._base = 0
        self._pieces: list[str] = []
        self._annotations: list[dict[str, Any]] = []
        self._logprobs: list[dict[str, Any]] = []

    def opening(self) -> list[Rung]:
        return [_item_rung("added", self.index, self._object("in_progress"))]

    def text(self, piece: str, logprobs: list[dict[str, Any]], place: int) -> list[Rung]:
        rungs = self._enter("output_text", place)
        self._pieces.append(piece)
        self._logprobs += logprobs
        return [*rungs, self._rung("response.output_text.delta", delta=piece, logprobs=logprobs)]

    def cite(self, citations: list[Citation], place: int) -> list[Rung]:
        rungs = self._enter("output_text", place)
        for citation in citations:
            annotation = annotation_of(citation, self._base, place - self._base)
            rungs.append(
                self._rung(
                    "response.output_text.annotation.added",
                    annotation_index=len(self._annotations),
                    annotation=annotation,
                )
            )
            self._annotations.append(annotation)
        return rungs

    def refusal(self, piece: str, place: int) -> list[Rung]:
        rungs = self._enter("refusal", place)
        self._pieces.append(piece)
        return [*rungs, self._rung("response.refusal.delta", delta=piece)]

    def closing(self, status: Status) -> tuple[list[Rung], dict[str, Any]]:
        rungs = self._leave()
        item = self._object(status)
        return [*rungs, _item_rung("done", self.index, item)], item

    def _enter(self, kind: str, place: int) -> list[Rung]:
        if kind == self._kind:
            return []
        rungs = self._leave()
        self._kind, self._base = kind, place
        return [*rungs, self._rung("response.content_part.added", part=self._part())]

    def _leave(self) -> list[Rung]:
        if not self._kind:
            return []
        part = self._part()
        if self._kind == "output_text":
            done = self._rung("response.output_text.done", text=part["text"], logprobs=self._logprobs)
        else:
            done = self._rung("response.refusal.done", refusal=part["refusal"])
        rungs = [done, self._rung("response.content_part.done", part=part)]
        self._content.append(part)
        self._kind, self._pieces, self._annotations, self._logprobs = "", [], [], []
        return rungs

    def _part(self) -> dict[str, Any]:
        said = "".join(self._pieces)
        if self._kind == "refusal":
            return {"type": "refusal", "refusal": said}
        beside = {"annotations": self._annotations, "logprobs": self._logprobs}
        return {"type": "output_text", "text": said} | {name: list(value) for name, value in beside.items()}

    def _rung(self, kind: str, **members: Any) -> Rung:
        where = {"item_id": self._id, "output_index": self.index, "content_index": len(self._content)}
        return {"type": kind, **where, **members}

    def _object(self, status: str) -> dict[str, Any]:
        content = list(self._content)
        return {"id": self._id, "type": "message", "status": status, "role": "assistant", "content": content}


class ReasoningItem:
    """Reasoning as one summary part; its opaque data comes with the closing."""

    def __init__(self, index: int, item_id: str) -> None:
        self.index = index
        self.id = item_id
        self._pieces: list[str] = []

    def opening(self) -> list[Rung]:
        return [_item_rung("added", self.index, self._object([]))]

    def text(self, piece: str) -> list[Rung]:
        rungs = [] if self._pieces else [self._rung("part.added", part=_summary(""))]
        self._pieces.append(piece)
        return [*rungs, self._rung("text.delta", delta=piece)]

    def closing(self, encrypted_content: str | None) -> tuple[list[Rung], dict[str, Any]]:
        rungs: list[Rung] = []
        summary: list[dict[str, Any]] = []
        if self._pieces:
            said = "".join(self._pieces)
            summary = [_summary(said)]
            rungs = [self._rung("text.done", text=said), self._rung("part.done", part=_summary(said))]
        item = self._object(summary)
        if encrypted_content is not None:
            item["encrypted_content"] = encrypted_content
        return [*rungs, _item_rung("done", self.index, item)], item

    def _rung(self, kind: str, **members: Any) -> Rung:
        where = {"item_id": self.id, "output_index": self.index, "summary_index": 0}
        return {"type": f"response.reasoning_summary_{kind}", **where, **members}

    def _object(self, summary: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "type": "reasoning", "summary": summary}


class CallItem:
    def __init__(self, index: int, item_id: str, call_id: str, name: str) -> None:
        self.index = index
        self._id = item_id
        self._call_id = call_id
        self._name = name
        self._pieces: list[str] = []

    def opening(self) -> list[Rung]:
        return [_item_rung("added", self.index, self._object("in_progress", ""))]

    def arguments(self, piece: str) -> list[Rung]:
        self._pieces.append(piece)
        return [self._rung("delta", delta=piece)]

    def closing(self, status: Status) -> tuple[list[Rung], dict[str, Any]]:
        # A call without arguments is a call with none of them, unless it was cut before they came.
        rungs = self.arguments("{}") if not self._pieces and status == "completed" else []
        said = "".join(self._pieces)
        item = self._object(status, said)
        return [*rungs, self._rung("done", arguments=said), _item_rung("done", self.index, item)], item

    def _rung(self, kind: str, **members: Any) -> Rung:
        where = {"item_id": self._id, "output_index": self.index}
        return {"type": f"response.function_call_arguments.{kind}", **where, **members}

    def _object(self, status: str, arguments: str) -> dict[str, Any]:
        call = {"call_id": self._call_id, "name": self._name, "arguments": arguments}
        return {"id": self._id, "type": "function_call", "status": status, **call}


def _summary(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}


def _item_rung(kind: str, index: int, item: dict[str, Any]) -> Rung:
    return {"type": f"response.output_item.{kind}", "output_index": index, "item": item}
