"""Answers as short lines that a person can read: pieces joined, long texts clipped, made-up ids and times named."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from support.grammar import read_events

LONGEST = 72
_GROWING = frozenset(
    {"content", "text", "reasoning", "reasoning_content", "refusal", "thinking", "delta", "arguments", "partial_json"}
)
"""Members whose pieces in neighbouring events make one text."""
_TIMES = frozenset({"created", "created_at", "completed_at"})
_IDS = frozenset({"id", "item_id", "call_id", "tool_call_id", "tool_use_id", "request_id"})
_NOISE = frozenset({"obfuscation", "sequence_number"})

Leaves = dict[tuple[str, ...], Any]


class Names:
    """Ids that are not in the recording are the gateway's own, another one each time: they are numbered."""

    def __init__(self, recorded: bytes) -> None:
        self._recorded = recorded.decode()
        self._made: dict[str, str] = {}

    def plain(self, value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: self.plain(each, key) for key, each in value.items() if key not in _NOISE}
        if isinstance(value, list):
            return [self.plain(each, name) for each in value]
        if name == "latency_ms":
            return "<time>"
        if name in _TIMES and isinstance(value, int) and str(value) not in self._recorded:
            return "<time>"
        if name in _IDS and isinstance(value, str) and value and json.dumps(value)[1:-1] not in self._recorded:
            return self._made.setdefault(value, f"<id {len(self._made) + 1}>")
        return value


def whole_lines(value: Any) -> list[str]:
    """One line a leaf: `path: value`."""
    return [f"{'.'.join(path) or '.'}: {_short(leaf)}" for path, leaf in _leaves(value).items()]


def stream_lines(body: bytes, names: Names) -> list[str]:
    """One line an event, `name {data}`; neighbours that only go on are one, with their number."""
    told: list[tuple[str, Any, int]] = []
    for event in read_events(body):
        data = event.data if event.is_done else _opening(names.plain(event.object()))
        place, joined = _continued(told, event.name, data)
        if joined is None:
            told.append((event.name, data, 1))
        else:
            told[place] = (event.name, joined, told[place][2] + 1)
    return [_line(*each) for each in told]


def _continued(told: list[tuple[str, Any, int]], name: str, data: Any) -> tuple[int, Any | None]:
    """The event that this one goes on from, and both as one. Between them only pieces of other choices may stand."""
    for place in range(len(told) - 1, -1, -1):
        before = told[place][1]
        if told[place][0] != name or not isinstance(before, dict) or not isinstance(data, dict):
            break
        if _leaves(before).keys() != _leaves(data).keys():
            break
        if (joined := _joined(before, data)) is not None:
            return place, joined
        if not before.get("choices") or before["choices"][0]["index"] == data["choices"][0]["index"]:
            break
    return 0, None


def _opening(data: dict[str, Any]) -> dict[str, Any]:
    """The first events of Responses repeat the request, as the last does: there it is read."""
    if data.get("type") not in ("response.created", "response.in_progress"):
        return data
    response = data["response"]
    return data | {"response": {name: response[name] for name in ("id", "model", "status", "output")}}


def _line(name: str, data: Any, count: int) -> str:
    times = f"{count}x " if count > 1 else ""
    shown = data if isinstance(data, str) else json.dumps(_clipped(data), ensure_ascii=False)
    return f"{times}{name} {shown}".strip() if name else f"{times}{shown}"


def _joined(before: dict[str, Any], after: dict[str, Any]) -> Any | None:
    """Both as one, when they differ in one growing text only."""
    old, new = _leaves(before), _leaves(after)
    grown = [path for path in old if path[-1] in _GROWING and isinstance(old[path], str) and old[path] and new[path]]
    if len(grown) != 1 or any(old[path] != new[path] for path in old if path not in grown):
        return None
    out = json.loads(json.dumps(before))
    holder = out
    for step in grown[0][:-1]:
        holder = holder[int(step)] if isinstance(holder, list) else holder[step]
    holder[grown[0][-1]] = old[grown[0]] + new[grown[0]]
    return out


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Leaves:
    entries = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    if not entries:
        return {path: value}
    return {deep: leaf for key, each in entries for deep, leaf in _leaves(each, (*path, str(key))).items()}


def _clipped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _clipped(each) for key, each in value.items()}
    if isinstance(value, list):
        shown = [_clipped(each) for each in value]
        return shown if len(shown) <= 8 else [*shown[:3], f"… {len(shown)} entries #{_digest(json.dumps(value))}"]
    if isinstance(value, str) and len(value) > LONGEST:
        return f"{value[: LONGEST // 2]}…{len(value)} characters #{_digest(value)}"
    return value


def _short(leaf: Any) -> str:
    return json.dumps(_clipped(leaf), ensure_ascii=False)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
