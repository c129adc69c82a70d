"""The grammar of the native chat stream (contract section 3)."""

from __future__ import annotations

import re
from typing import Any

from appliance.errors import CODES
from appliance.formats.chat import Usage
from support.grammar import Answer, Event, Problem, checked_usage, count, filled, member, part, read_events
from support.grammar_deltas import Choices

_MONEY = re.compile(r"\d+(\.\d+)?")


def check(body: bytes) -> Answer:
    events = read_events(body)
    answer = Answer()
    choices = Choices(answer, "reasoning")
    marks = [event.place for event in events if event.is_done]
    assert marks, "the stream ends without [DONE]"
    assert len(marks) == 1, f"[DONE] stands {len(marks)} times"
    assert events[-1].is_done, "something follows [DONE]"
    assert not events[-1].name, "[DONE] has an event name"
    for event in events[:-1]:
        where = f"chunk {event.place}"
        if event.name:
            assert event.name == "error", f"{where} has the event name {event.name!r}"
            assert event is events[-2], f"{where} is an error, but not the last thing before [DONE]"
            answer.error = _problem(event, where)
            return answer
        chunk = event.object()
        _frame(chunk, answer, where)
        if chunk["choices"]:
            assert "usage" not in chunk, f"{where}: usage stands beside choices, not in a chunk of its own"
            choices.feed(chunk["choices"], where)
        else:
            assert event is events[-2], f"{where}: usage is not the last thing before [DONE]"
            answer.raw_usage = member(chunk, "usage", dict, where)
            answer.usage = read_usage(chunk["usage"], where)
    assert answer.usage, "the stream ends without the chunk that has usage"
    choices.close()
    answer.complete = True
    return answer


def _frame(chunk: dict[str, Any], answer: Answer, where: str) -> None:
    assert "error" not in chunk, f"{where}: an error without the event name that says so"
    frame = (filled(chunk, "id", where), filled(chunk, "model", where))
    if not answer.id:
        answer.id, answer.model = frame
    assert frame == (answer.id, answer.model), f"{where}: id or model changed from {answer.id, answer.model} to {frame}"
    member(chunk, "choices", list, where)


def read_usage(usage: dict[str, Any], where: str) -> Usage:
    """The native usage object; what a class is charged by is in `cost`."""
    read = Usage(
        input_tokens=count(usage, "input_tokens", where),
        output_tokens=count(usage, "output_tokens", where),
        cached_input_tokens=count(usage, "cached_input_tokens", where),
        cache_write_tokens=part(usage, "cache_write_tokens", where),
        reasoning_tokens=count(usage, "reasoning_tokens", where),
    )
    total = count(usage, "total_tokens", where)
    assert total == read.total_tokens, f"{where}: total_tokens is {total}, the sum is {read.total_tokens}"
    cost = member(usage, "cost", str, where)
    assert _MONEY.fullmatch(cost), f"{where}: cost is {cost!r}, no decimal text"
    member(usage, "estimated", bool, where)
    return checked_usage(read, where)


def _problem(event: Event, where: str) -> Problem:
    error = event.object()
    code = filled(error, "code", where)
    assert code in CODES, f"{where}: {code!r} is none of the gateway's codes"
    return Problem(filled(error, "message", where), code=code)
