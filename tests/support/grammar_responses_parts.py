"""The parts of a Responses item while it streams: content, summaries and arguments, each open, grown and done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from support.grammar import count, filled, member

PARTS = {"message": ("output_text", "refusal"), "reasoning": ("reasoning_text",)}
"""Kind of item → the kinds of part that its content may hold."""

_TEXT_MEMBER = {"output_text": "text", "refusal": "refusal", "reasoning_text": "text", "summary_text": "text"}
STREAMED = {
    "response.output_text": "output_text",
    "response.refusal": "refusal",
    "response.reasoning_text": "reasoning_text",
    "response.reasoning_summary_text": "summary_text",
}
"""Beginning of a text event's type → the kind of part it belongs to."""


@dataclass
class Part:
    kind: str
    text: str = ""
    text_done: bool = False
    done: bool = False
    annotations: list[Any] = field(default_factory=list)


@dataclass
class Item:
    """An item as it grows; `whole` is what output_item.done said."""

    id: str
    kind: str
    opened: dict[str, Any]
    content: list[Part] = field(default_factory=list)
    summary: list[Part] = field(default_factory=list)
    arguments: str = ""
    arguments_done: bool = False
    whole: dict[str, Any] | None = None


def _list_of(data: dict[str, Any], item: Item, where: str) -> tuple[list[Part], int]:
    """The parts an event speaks of, and which one: a summary's or the content's."""
    in_summary = "summary_index" in data
    assert not in_summary or item.kind == "reasoning", f"{where}: a summary in an item of type {item.kind}"
    return (
        (item.summary, count(data, "summary_index", where))
        if in_summary
        else (
            item.content,
            count(data, "content_index", where),
        )
    )


def part_added(data: dict[str, Any], item: Item, where: str) -> None:
    parts, index = _list_of(data, item, where)
    opened = member(data, "part", dict, where)
    kind = filled(opened, "type", where)
    allowed = ("summary_text",) if parts is item.summary else PARTS.get(item.kind, ())
    assert kind in allowed, f"{where}: a {kind} part in an item of type {item.kind}"
    assert index == len(parts), f"{where}: the index is {index}, not {len(parts)}"
    assert all(each.done for each in parts), f"{where}: the part before is still open"
    assert opened.get(_TEXT_MEMBER[kind]) == "", f"{where}: the part does not open empty"
    parts.append(Part(kind))


def open_part(data: dict[str, Any], item: Item, kind: str, where: str) -> Part:
    parts, index = _list_of(data, item, where)
    assert index == len(parts) - 1, f"{where}: part {index} is not the open one of {len(parts)}"
    current = parts[index]
    assert not current.done, f"{where}: part {index} is done"
    assert current.kind == kind, f"{where}: part {index} is {current.kind}"
    return current


def grow_text(verb: str, kind: str, data: dict[str, Any], item: Item, where: str) -> None:
    current = open_part(data, item, kind, where)
    assert not current.text_done, f"{where}: the text was done"
    if verb == "delta":
        current.text += member(data, "delta", str, where)
        return
    told = member(data, "refusal" if kind == "refusal" else "text", str, where)
    assert told == current.text, f"{where}: the text is {told!r}, streamed was {current.text!r}"
    current.text_done = True


def part_done(data: dict[str, Any], item: Item, where: str) -> None:
    whole = member(data, "part", dict, where)
    current = open_part(data, item, filled(whole, "type", where), where)
    assert current.text_done, f"{where}: its text was never done"
    _same_part(whole, current, where)
    current.done = True


def same_parts(told: Any, parts: list[Part], where: str) -> None:
    if not parts and told in (None, []):
        return
    assert isinstance(told, list), f"{where}: the parts are missing"
    assert len(told) == len(parts), f"{where}: {len(told)} parts, {len(parts)} streamed"
    for whole, current in zip(told, parts, strict=True):
        _same_part(whole, current, where)


def _same_part(whole: dict[str, Any], current: Part, where: str) -> None:
    assert whole.get("type") == current.kind, f"{where}: a part is {whole.get('type')!r}, streamed was {current.kind}"
    told = whole.get(_TEXT_MEMBER[current.kind])
    assert told == current.text, f"{where}: the text is {told!r}, streamed was {current.text!r}"
    if current.kind == "output_text":
        notes = whole.get("annotations")
        assert notes == current.annotations, f"{where}: annotations {notes}, streamed were {current.annotations}"


def grow_arguments(verb: str, data: dict[str, Any], item: Item, where: str) -> None:
    assert item.kind == "function_call", f"{where}: arguments in an item of type {item.kind}"
    assert not item.arguments_done, f"{where}: the arguments were done"
    if verb == "delta":
        item.arguments += member(data, "delta", str, where)
        return
    told = member(data, "arguments", str, where)
    assert told == item.arguments, f"{where}: the arguments are {told!r}, streamed was {item.arguments!r}"
    item.arguments_done = True
