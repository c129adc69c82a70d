"""Streams written by hand as lists of events, so that tests can break them one event at a time."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

Events = list[tuple[str, Any]]
"""(event name, data); the name is empty where the dialect has none, data that is text goes out as it is."""

Breaking = Callable[[Events], object]


def sse(events: Events) -> bytes:
    lines = []
    for name, data in events:
        head = f"event: {name}\n" if name else ""
        lines.append(f"{head}data: {data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)}\n\n")
    return "".join(lines).encode()


def broken(events: Events, breaking: Breaking) -> bytes:
    """The stream after `breaking` changed it in place."""
    # Not deepcopy: data that two events share would be changed in both.
    changed: Events = [(name, json.loads(json.dumps(data))) for name, data in events]
    breaking(changed)
    assert changed != events, "the breaking changed nothing"
    return sse(changed)


def changed(place: int, *path: Any, to: Any) -> Breaking:
    """Set the member at `path` of an event's data; a new member is added."""

    def change(events: Events) -> None:
        value = events[place][1]
        for step in path[:-1]:
            value = value[step]
        value[path[-1]] = to

    return change


def without(place: int, *path: Any) -> Breaking:
    """Drop an event, or a member of its data."""

    def drop(events: Events) -> None:
        if not path:
            del events[place]
            return
        value = events[place][1]
        for step in path[:-1]:
            value = value[step]
        del value[path[-1]]

    return drop


def inserted(place: int, name: str, data: Any) -> Breaking:
    return lambda events: events.insert(place, (name, data))


def repeated(place: int) -> Breaking:
    return lambda events: events.insert(place, copy.deepcopy(events[place]))


def swapped(place: int, other: int) -> Breaking:
    def swap(events: Events) -> None:
        events[place], events[other] = events[other], events[place]

    return swap


def renamed(place: int, name: str) -> Breaking:
    def rename(events: Events) -> None:
        events[place] = (name, events[place][1])

    return rename


def replaced(place: int, name: str, data: Any) -> Breaking:
    def replace(events: Events) -> None:
        events[place] = (name, data)

    return replace
