"""What the four grammar checkers share: strict reading of event streams, and the Answer that a stream told.

A checker takes all bytes of a stream that the gateway sent, raises AssertionError with one sentence for the first
violation of its dialect's grammar, and returns what was said. It must not forgive: leniency is for decoders.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from appliance.formats.chat import Usage

FINISH_REASONS = ("stop", "length", "tool_calls", "content_filter")
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass
class Call:
    """A tool call; `arguments` is JSON text as streamed, `{}` when there was none."""

    id: str
    name: str
    arguments: str = ""


@dataclass
class Said:
    """One choice. `finish_reason` is one of the four or None; `native_finish` is the word of the dialect."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: list[Call] = field(default_factory=list)
    opaque: list[Any] = field(default_factory=list)
    """What must come back unchanged, as the dialect writes it: signatures, redacted and encrypted thoughts."""
    citations: list[Any] = field(default_factory=list)
    finish_reason: str | None = None
    native_finish: str | None = None
    stop_sequence: str | None = None


@dataclass
class Problem:
    """The typed error that ended a stream."""

    message: str
    type: str | None = None
    code: str | None = None


@dataclass
class Answer:
    """What a stream said. `complete` is true when its end mark came and no error did."""

    choices: dict[int, Said] = field(default_factory=dict)
    id: str = ""
    model: str = ""
    created: int = 0
    usage: Usage | None = None
    raw_usage: dict[str, Any] | None = None
    error: Problem | None = None
    complete: bool = False
    final: dict[str, Any] | None = None
    """The whole answer where the dialect repeats it at the end."""

    def choice(self, index: int = 0) -> Said:
        return self.choices.setdefault(index, Said())

    @property
    def text(self) -> str:
        return self.choice().text

    @property
    def reasoning(self) -> str:
        return self.choice().reasoning

    @property
    def calls(self) -> list[Call]:
        return self.choice().calls

    @property
    def finish_reason(self) -> str | None:
        return self.choice().finish_reason


@dataclass
class Event:
    """One event as sent: its place from 0, its name, its data as text."""

    place: int
    name: str
    data: str

    @property
    def is_done(self) -> bool:
        return self.data == "[DONE]"

    def object(self) -> dict[str, Any]:
        try:
            value = json.loads(self.data, object_pairs_hook=_without_doubles)
        except ValueError as error:
            raise AssertionError(f"event {self.place} is no JSON: {error}") from None
        assert isinstance(value, dict), f"event {self.place} is JSON, but no object"
        return value


def read_events(body: bytes) -> list[Event]:
    """The events of a whole stream. Comments may stand between them; anything else that is no event is a violation."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise AssertionError(f"the stream is not UTF-8 at byte {error.start}") from None
    assert text, "the stream is empty"
    lines = _LINE_END.split(text)
    assert lines[-2:] == ["", ""], "the stream does not end with an empty line: its last event is cut"
    events: list[Event] = []
    name, data = "", list[str]()
    for line in lines[:-1]:
        key, colon, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if name or data:
                assert data, f"event {len(events)} has a name and no data"
                events.append(Event(len(events), name, "\n".join(data)))
            name, data = "", []
        elif colon and key == "event":
            assert not name, f"event {len(events)} has two names"
            assert not data, f"event {len(events)} has its name behind its data"
            name = value
        elif colon and key == "data":
            data.append(value)
        else:
            assert line.startswith(":"), f"a line that is neither event, data nor comment: {line[:60]!r}"
    return events


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), f"an object has a member twice: {sorted(names)}"
    return dict(pairs)


def member(value: dict[str, Any], name: str, kind: type | tuple[type, ...], where: str) -> Any:
    """A member that must be there with a type; bool is no int."""
    assert name in value, f"{where} has no {name}"
    found = value[name]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    right = isinstance(found, kinds) and not (isinstance(found, bool) and bool not in kinds)
    assert right, f"{where}: {name} is {type(found).__name__}, not {' or '.join(each.__name__ for each in kinds)}"
    return found


def filled(value: dict[str, Any], name: str, where: str) -> str:
    """A text that must be there and not empty."""
    found: str = member(value, name, str, where)
    assert found, f"{where}: {name} is empty"
    return found


def count(value: dict[str, Any], name: str, where: str) -> int:
    """A whole number of 0 or more that must be there."""
    found: int = member(value, name, int, where)
    assert found >= 0, f"{where}: {name} is {found}"
    return found


def part(value: dict[str, Any], name: str, where: str) -> int:
    """A count that may be left out or null."""
    return 0 if value.get(name) is None else count(value, name, where)


def check_arguments(call: Call, where: str) -> None:
    """The whole arguments of a finished call are a JSON object."""
    try:
        value = json.loads(call.arguments)
    except ValueError as error:
        raise AssertionError(f"{where}: the arguments of {call.name} are no JSON: {error}") from None
    assert isinstance(value, dict), f"{where}: the arguments of {call.name} are JSON, but no object"


def checked_usage(usage: Usage, where: str) -> Usage:
    """The parts of usage are no more than the whole."""
    cached = usage.cached_input_tokens + usage.cache_write_tokens
    assert cached <= usage.input_tokens, f"{where}: {cached} cached tokens of {usage.input_tokens} input tokens"
    reasoning = usage.reasoning_tokens
    assert reasoning <= usage.output_tokens, f"{where}: {reasoning} reasoning of {usage.output_tokens} output tokens"
    return usage
