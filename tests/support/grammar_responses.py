"""The grammar of OpenAI's Responses streams: numbered events, items that hold parts, and a final object that repeats
exactly what was streamed."""

from __future__ import annotations

from typing import Any

from appliance.formats.chat import Usage
from support.grammar import (
    Answer,
    Call,
    Event,
    Problem,
    check_arguments,
    checked_usage,
    count,
    filled,
    member,
    part,
    read_events,
)
from support.grammar_responses_parts import (
    PARTS,
    STREAMED,
    Item,
    grow_arguments,
    grow_text,
    open_part,
    part_added,
    part_done,
    same_parts,
)

ENDS = {"response.completed": "completed", "response.incomplete": "incomplete", "response.failed": "failed"}
REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}


def check(body: bytes) -> Answer:
    stream = _Stream()
    for event in read_events(body):
        stream.feed(event)
    return stream.closed()


class _Stream:
    def __init__(self) -> None:
        self.answer = Answer()
        self._events = 0
        self._items: list[Item] = []
        self._ended = False

    def feed(self, event: Event) -> None:
        where = f"event {event.place}"
        assert not event.is_done, f"{where}: [DONE] is no word of this dialect"
        data = event.object()
        kind = filled(data, "type", where)
        where = f"{where} ({kind})"
        assert event.name == kind, f"{where} has the name {event.name!r}"
        number = count(data, "sequence_number", where)
        assert number == self._events, f"{where}: the sequence number is {number}, not {self._events}"
        self._events += 1
        after_error = self.answer.error is not None and self.answer.final is None and kind == "response.failed"
        assert not self._ended or after_error, f"{where} after the end of the stream"
        self._step(kind, data, where)

    def closed(self) -> Answer:
        assert self._ended, "the stream ends without response.completed, response.incomplete or response.failed"
        return self.answer

    def _step(self, kind: str, data: dict[str, Any], where: str) -> None:
        if kind == "error":
            self._error(data, where)
        elif self._events <= 2:
            opening = ("response.created", "response.in_progress")[self._events - 1]
            assert kind == opening, f"{where} stands where {opening} belongs"
            self._opening(member(data, "response", dict, where), where)
        elif kind in ENDS:
            self._end(kind, member(data, "response", dict, where), where)
        elif kind == "response.output_item.added":
            self._item_added(data, where)
        else:
            self._in_item(kind, data, self._item(data, where), where)

    # -- the whole --------------------------------------------------------------------------------------------------

    def _opening(self, response: dict[str, Any], where: str) -> None:
        self._frame(response, "in_progress", where)
        assert response.get("output") == [], f"{where}: the output is not empty"
        assert response.get("usage") is None, f"{where}: usage before the end"

    def _frame(self, response: dict[str, Any], status: str, where: str) -> None:
        assert response.get("object") == "response", f"{where}: the object is {response.get('object')!r}"
        assert response.get("status") == status, f"{where}: the status is {response.get('status')!r}, not {status!r}"
        frame: dict[str, Any] = {
            "id": filled(response, "id", where),
            "model": filled(response, "model", where),
            "created": int(member(response, "created_at", (int, float), where)),
        }
        if not self.answer.id:
            self.answer.id, self.answer.model = frame["id"], frame["model"]
            self.answer.created = frame["created"]
        for name, now in frame.items():
            first = getattr(self.answer, name)
            assert now == first, f"{where}: {name} changed from {first!r} to {now!r}"

    def _error(self, data: dict[str, Any], where: str) -> None:
        """`error` bears its members itself; some servers put them into an object."""
        inner = data.get("error")
        error = inner if isinstance(inner, dict) else data
        code = member(error, "code", (str, type(None)), where)
        member(error, "param", (str, type(None)), where)
        kind = inner.get("type") if isinstance(inner, dict) else None
        self.answer.error = Problem(filled(error, "message", where), kind, code)
        self._ended = True

    def _end(self, kind: str, response: dict[str, Any], where: str) -> None:
        status = ENDS[kind]
        self._frame(response, status, where)
        self._ended = True
        self.answer.final = response
        output = member(response, "output", list, where)
        if status == "failed":
            error = member(response, "error", dict, where)
            self.answer.error = Problem(filled(error, "message", where), code=filled(error, "code", where))
            return
        assert response.get("error") is None, f"{where}: an error in an answer that is {status}"
        unfinished = [item.id for item in self._items if item.whole is None]
        assert not unfinished, f"{where}: the items {unfinished} were never done"
        streamed = [item.whole for item in self._items]
        assert len(output) == len(streamed), f"{where}: {len(output)} items in the output, {len(streamed)} streamed"
        for index, (final, told) in enumerate(zip(output, streamed, strict=True)):
            assert final == told, f"{where}: output {index} is not what was streamed: {final} against {told}"
        self._finish(status, response, where)
        usage = member(response, "usage", dict, where)
        self.answer.raw_usage, self.answer.usage = usage, read_usage(usage, where)

    def _finish(self, status: str, response: dict[str, Any], where: str) -> None:
        said = self.answer.choice()
        said.native_finish, said.finish_reason = status, "tool_calls" if said.calls else "stop"
        if status == "incomplete":
            reason = filled(member(response, "incomplete_details", dict, where), "reason", where)
            assert reason in REASONS, f"{where}: incomplete for the reason {reason!r}"
            said.native_finish, said.finish_reason = reason, REASONS[reason]
        else:
            assert response.get("incomplete_details") is None, f"{where}: incomplete_details in a completed answer"
            cut = [item.id for item in self._items if item.whole and item.whole.get("status") == "incomplete"]
            assert not cut, f"{where}: completed, but the items {cut} are incomplete"
            for call in said.calls:
                check_arguments(call, where)
        self.answer.complete = True

    # -- items ------------------------------------------------------------------------------------------------------

    def _item_added(self, data: dict[str, Any], where: str) -> None:
        index = count(data, "output_index", where)
        assert index == len(self._items), f"{where}: the output index is {index}, not {len(self._items)}"
        opened = member(data, "item", dict, where)
        item = Item(filled(opened, "id", where), filled(opened, "type", where), opened)
        assert item.id not in [each.id for each in self._items], f"{where}: the id {item.id} again"
        self._items.append(item)
        status = opened.get("status", "in_progress" if item.kind == "reasoning" else None)
        assert status == "in_progress", f"{where}: the item opens with the status {status!r}"
        if item.kind == "message":
            assert opened.get("role") == "assistant", f"{where}: the role is {opened.get('role')!r}"
            assert opened.get("content") == [], f"{where}: the message opens with content"
        elif item.kind == "function_call":
            filled(opened, "call_id", where)
            filled(opened, "name", where)
            assert opened.get("arguments") == "", f"{where}: the call opens with arguments"
        elif item.kind == "reasoning":
            assert opened.get("summary") == [], f"{where}: the reasoning opens with a summary"

    def _item(self, data: dict[str, Any], where: str) -> Item:
        index = count(data, "output_index", where)
        assert index < len(self._items), f"{where}: no item {index} was added"
        item = self._items[index]
        assert item.whole is None, f"{where}: item {index} is done"
        named = data["item"].get("id") if isinstance(data.get("item"), dict) else data.get("item_id")
        assert named == item.id, f"{where}: item {index} is {item.id!r}, not {named!r}"
        return item

    def _in_item(self, kind: str, data: dict[str, Any], item: Item, where: str) -> None:
        beginning, _, verb = kind.rpartition(".")
        if kind == "response.output_item.done":
            self._item_done(member(data, "item", dict, where), item, where)
        elif kind in ("response.content_part.added", "response.reasoning_summary_part.added"):
            part_added(data, item, where)
        elif kind in ("response.content_part.done", "response.reasoning_summary_part.done"):
            part_done(data, item, where)
        elif beginning in STREAMED and verb in ("delta", "done"):
            grow_text(verb, STREAMED[beginning], data, item, where)
        elif kind == "response.output_text.annotation.added":
            current = open_part(data, item, "output_text", where)
            place = count(data, "annotation_index", where)
            assert place == len(current.annotations), f"{where}: the annotation index is {place}"
            current.annotations.append(member(data, "annotation", dict, where))
        elif beginning == "response.function_call_arguments" and verb in ("delta", "done"):
            grow_arguments(verb, data, item, where)
        else:
            known = ("message", "reasoning", "function_call")
            assert item.kind not in known, f"{where}: no event of an item of type {item.kind}"
            assert kind.startswith("response."), f"{where}: no event of this dialect"

    def _item_done(self, whole: dict[str, Any], item: Item, where: str) -> None:
        assert whole.get("type") == item.kind, f"{where}: the type changed from {item.kind} to {whole.get('type')!r}"
        for each in (*item.content, *item.summary):
            assert each.done, f"{where}: a {each.kind} part of it was never done"
        item.whole = whole
        said = self.answer.choice()
        status = whole.get("status", "completed" if item.kind == "reasoning" else None)
        assert status in ("completed", "incomplete"), f"{where}: the item is done with the status {status!r}"
        if item.kind in PARTS:
            same_parts(whole.get("content"), item.content, where)
        if item.kind == "message":
            said.text += "".join(each.text for each in item.content if each.kind == "output_text")
            said.refusal += "".join(each.text for each in item.content if each.kind == "refusal")
            said.citations += [note for each in item.content for note in each.annotations]
        elif item.kind == "reasoning":
            same_parts(whole.get("summary"), item.summary, where)
            said.reasoning += "".join(each.text for each in (*item.summary, *item.content))
            if whole.get("encrypted_content") is not None:
                said.opaque.append(filled(whole, "encrypted_content", where))
        elif item.kind == "function_call":
            for name in ("call_id", "name"):
                first, now = item.opened[name], whole.get(name)
                assert now == first, f"{where}: {name} changed from {first!r} to {now!r}"
            assert item.arguments_done, f"{where}: the arguments were never done"
            told = whole.get("arguments")
            assert told == item.arguments, f"{where}: the arguments are {told!r}, streamed was {item.arguments!r}"
            ids = [call.id for call in said.calls]
            assert whole["call_id"] not in ids, f"{where}: the call id {whole['call_id']} again"
            said.calls.append(Call(whole["call_id"], whole["name"], item.arguments))


def read_usage(usage: dict[str, Any], where: str) -> Usage:
    given = usage.get("input_tokens_details") or {}
    made = usage.get("output_tokens_details") or {}
    read = Usage(
        input_tokens=count(usage, "input_tokens", where),
        output_tokens=count(usage, "output_tokens", where),
        cached_input_tokens=part(given, "cached_tokens", where),
        cache_write_tokens=part(given, "cache_write_tokens", where),
        reasoning_tokens=part(made, "reasoning_tokens", where),
    )
    total = count(usage, "total_tokens", where)
    assert total == read.total_tokens, f"{where}: total_tokens is {total}, the sum is {read.total_tokens}"
    return checked_usage(read, where)
