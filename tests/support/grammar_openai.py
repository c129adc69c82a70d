"""The grammar of OpenAI's chat completion streams, as far as the gateway emits them."""

from __future__ import annotations

from typing import Any

from appliance.formats.chat import Usage
from support.grammar import Answer, Event, Problem, checked_usage, count, filled, member, part, read_events
from support.grammar_deltas import Choices

_FRAME = frozenset({"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"})


def check(body: bytes, usage_asked: bool | None = None, *, relayed: bool = False) -> Answer:
    """`usage_asked`: whether the caller said include_usage; None when the test does not know. `relayed`: the chunks are
    those of an upstream of the same dialect, whose habits are its own: a role or an empty id in every piece, call
    indexes from 1, a total that holds more than the sum, another word for reasoning, a chunk of unknown members."""
    events = read_events(body)
    answer = Answer()
    choices = Choices(answer, "" if relayed else "reasoning_content", relayed=relayed)
    _check_end(events)
    for event in events[:-1]:
        where = f"chunk {event.place}"
        assert not event.name, f"{where} has the event name {event.name!r}; OpenAI's have none"
        chunk = event.object()
        if "error" in chunk:
            assert event is events[-2], f"{where} is an error, but not the last thing before [DONE]"
            answer.error = _problem(chunk, where)
            return answer
        if relayed and not chunk.get("id") and not chunk.get("choices"):
            continue
        _frame(chunk, answer, where)
        if relayed and not chunk["choices"] and not chunk.get("usage") and chunk.keys() - _FRAME:
            continue
        _usage(chunk, answer, event is events[-2], usage_asked, where)
        if answer.raw_usage:
            answer.usage = read_usage(answer.raw_usage, where, relayed=relayed)
        choices.feed(chunk["choices"], where)
    assert answer.id, "the stream has no chunk"
    assert usage_asked is not True or answer.usage, "usage was asked for, but there is no chunk with it"
    choices.close()
    answer.complete = True
    return answer


def _check_end(events: list[Event]) -> None:
    marks = [event.place for event in events if event.is_done]
    assert marks, "the stream ends without [DONE]"
    assert len(marks) == 1, f"[DONE] stands {len(marks)} times"
    assert events[-1].is_done, "something follows [DONE]"
    assert not events[-1].name, "[DONE] has an event name"


def _frame(chunk: dict[str, Any], answer: Answer, where: str) -> None:
    assert chunk.get("object") == "chat.completion.chunk", f"{where}: the object is {chunk.get('object')!r}"
    created = count(chunk, "created", where)
    frame: dict[str, Any] = {
        "id": filled(chunk, "id", where),
        "model": filled(chunk, "model", where),
        "created": created,
    }
    if not answer.id:
        answer.id, answer.model, answer.created = frame["id"], frame["model"], created
    for name, now in frame.items():
        first = getattr(answer, name)
        assert now == first, f"{where}: {name} changed from {first!r} to {now!r}"
    member(chunk, "choices", list, where)


def _usage(chunk: dict[str, Any], answer: Answer, is_last: bool, asked: bool | None, where: str) -> None:
    usage = chunk.get("usage")
    if asked is False:
        assert "usage" not in chunk, f"{where} has usage, which nobody asked for"
    if usage is None:
        # Azure's first chunk tells of the prompt only.
        assert chunk["choices"] or "prompt_filter_results" in chunk, f"{where} has neither choices nor usage"
        return
    assert not chunk["choices"], f"{where}: usage stands beside choices, not in a chunk of its own"
    assert is_last, f"{where}: usage is not the last thing before [DONE]"
    answer.raw_usage = member(chunk, "usage", dict, where)


def read_usage(usage: dict[str, Any], where: str, *, relayed: bool = False) -> Usage:
    """OpenAI's usage object, in the one meaning."""
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    read = Usage(
        input_tokens=count(usage, "prompt_tokens", where),
        output_tokens=count(usage, "completion_tokens", where),
        cached_input_tokens=part(prompt, "cached_tokens", where),
        cache_write_tokens=part(prompt, "cache_write_tokens", where),
        reasoning_tokens=part(completion, "reasoning_tokens", where),
    )
    total = count(usage, "total_tokens", where)
    outside = total - read.total_tokens
    if relayed and outside > 0 and read.reasoning_tokens in (0, outside):
        read.output_tokens, read.reasoning_tokens = read.output_tokens + outside, outside
    assert total == read.total_tokens, f"{where}: total_tokens is {total}, the sum is {read.total_tokens}"
    return checked_usage(read, where)


def _problem(chunk: dict[str, Any], where: str) -> Problem:
    assert set(chunk) == {"error"}, f"{where}: an error stands beside {sorted(set(chunk) - {'error'})}"
    error = member(chunk, "error", dict, where)
    member(error, "param", (str, type(None)), where)
    code = member(error, "code", (str, type(None)), where)
    return Problem(filled(error, "message", where), filled(error, "type", where), code)
