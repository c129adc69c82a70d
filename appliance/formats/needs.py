"""Which FEATURES a request asks for, read off its top-level members and what its conversation holds.

Must not judge a request: a value of a wrong type is no need, the dialect's own checks name it. Nor may it decode a
conversation in which nothing but text can stand: a request may be megabytes long, and this runs before every call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from appliance.formats.features import FEATURES, OPERATIONS, refusal

__all__ = ["FEATURES", "OPERATIONS", "needs_of_members", "refusal"]


def needs_of_members(surface: str, members: Mapping[str, Raw]) -> frozenset[str]:
    """The features a request asks for. `surface`: openai, native, anthropic, responses, or a key of OPERATIONS."""
    if surface in OPERATIONS:
        asked = _given(_value(members, "dimensions")) and surface == "embeddings"
        return frozenset({OPERATIONS[surface], "dimensions"} if asked else {OPERATIONS[surface]})
    found = set[str]()
    values: dict[str, Any] = {}
    for member, feature, asks in _READERS[surface]:
        if member not in members:
            continue
        if member not in values:
            values[member] = _value(members, member)
        if asks(values[member]):
            found.add(feature)
    return frozenset(found | _of_conversation(surface, members))


# -- top-level members ------------------------------------------------------------------------------------------------

_Asks = Callable[[Any], bool]


def _value(members: Mapping[str, Raw], name: str) -> Any:
    """A member's value; of a list only its entries, undecoded: tools may be long, and only their number counts."""
    raw = members.get(name)
    if raw is None:
        return None
    kept: Any = list[Raw] if bytes(memoryview(raw)[:1]) == b"[" else Any
    try:
        return msgspec.json.decode(raw, type=kept)
    except (msgspec.DecodeError, RecursionError):
        return None


def _given(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _filled(value: Any) -> bool:
    return isinstance(value, str | list) and len(value) > 0


def _is_true(value: Any) -> bool:
    return value is True


def _is_false(value: Any) -> bool:
    return value is False


def _above(limit: float) -> _Asks:
    return lambda value: _number(value) and value > limit


def _other_than(neutral: float) -> _Asks:
    return lambda value: _number(value) and value != neutral


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _forces(value: Any) -> bool:
    """OpenAI's tool_choice: a word, or an object that names a tool or a set of allowed ones."""
    if not isinstance(value, dict):
        return isinstance(value, str) and value == "required"
    if value.get("type") != "allowed_tools":
        return True
    inner = value.get("allowed_tools", value)
    return isinstance(inner, dict) and inner.get("mode") == "required"


def _has_type(*types: str) -> _Asks:
    return lambda value: isinstance(value, dict) and value.get("type") in types


def _inside(name: str, asks: _Asks) -> _Asks:
    return lambda value: isinstance(value, dict) and asks(value.get(name))


def _effort(value: Any) -> bool:
    return isinstance(value, str) and value not in ("", "none")


def _thinking_asked(value: Any) -> bool:
    """`reasoning` of the native surface and of Responses: an effort, a budget, or simply on."""
    if not isinstance(value, dict) or value.get("enabled") is False:
        return False
    budgets = (value.get("max_tokens"), value.get("budget_tokens"))
    return _effort(value.get("effort")) or value.get("enabled") is True or any(map(_above(0), budgets))


def _names_logprobs(value: Any) -> bool:
    return isinstance(value, list) and any(b"output_text.logprobs" in bytes(entry) for entry in value)


_SAMPLING: tuple[tuple[str, str, _Asks], ...] = (
    ("temperature", "temperature", _other_than(1)),
    ("top_p", "top_p", _other_than(1)),
    ("top_k", "top_k", _above(0)),
    ("stream", "streaming", _is_true),
    ("tools", "tools", _filled),
)

_OPENAI: tuple[tuple[str, str, _Asks], ...] = (
    *_SAMPLING,
    ("functions", "tools", _filled),
    ("tool_choice", "tool_choice", _forces),
    ("function_call", "tool_choice", _inside("name", _filled)),
    ("parallel_tool_calls", "parallel_tool_calls", _is_false),
    ("response_format", "json_schema", _has_type("json_schema")),
    ("response_format", "json_object", _has_type("json_object")),
    ("reasoning_effort", "reasoning", _effort),
    ("reasoning", "reasoning", _thinking_asked),
    ("logprobs", "logprobs", _is_true),
    ("top_logprobs", "logprobs", _above(0)),
    ("n", "n", _above(1)),
    ("seed", "seed", _given),
    ("stop", "stop", _filled),
    ("presence_penalty", "penalties", _other_than(0)),
    ("frequency_penalty", "penalties", _other_than(0)),
    ("continue_final_message", "prefill", _is_true),
)

_READERS: dict[str, tuple[tuple[str, str, _Asks], ...]] = {
    "openai": _OPENAI,
    "native": _OPENAI,
    "anthropic": (
        *_SAMPLING,
        ("tool_choice", "tool_choice", _has_type("any", "tool")),
        ("tool_choice", "parallel_tool_calls", _inside("disable_parallel_tool_use", _is_true)),
        ("output_config", "json_schema", _inside("format", _has_type("json_schema"))),
        ("output_format", "json_schema", _has_type("json_schema")),
        # `adaptive` lets the model decide, and one that cannot think decides against it; `effort` says in this dialect
        # how thorough an answer is to be, with thinking or without. Agent tools send both to every model.
        ("thinking", "reasoning", _has_type("enabled")),
        ("stop_sequences", "stop", _filled),
    ),
    "responses": (
        *_SAMPLING,
        ("tool_choice", "tool_choice", _forces),
        ("parallel_tool_calls", "parallel_tool_calls", _is_false),
        ("text", "json_schema", _inside("format", _has_type("json_schema"))),
        ("text", "json_object", _inside("format", _has_type("json_object"))),
        ("reasoning", "reasoning", _thinking_asked),
        ("top_logprobs", "logprobs", _above(0)),
        ("include", "logprobs", _names_logprobs),
    ),
}
"""Surface → (member, feature, does this value ask for it)."""


# -- the conversation -------------------------------------------------------------------------------------------------

_MARKS = {
    "openai": (b'"image_url"', b'"input_audio"', b'"file"'),
    "native": (b'"image_url"', b'"input_audio"', b'"file"'),
    "anthropic": (b'"image"', b'"document"'),
    "responses": (b'"input_image"', b'"input_audio"', b'"input_file"'),
}
"""What stands in the bytes of every message that holds more than text."""

_PREFILL_MARKS = {"openai": b'"prefix"', "native": b'"prefix"', "anthropic": b'"assistant"', "responses": b"\xff"}
"""The same for a last message that is to be continued; in Responses there is none, and no JSON text holds 0xff."""

_ENTRIES = msgspec.json.Decoder(list[Raw])


class _Last(Struct):
    role: str = ""
    content: Any = None
    prefix: Any = None


_LAST = msgspec.json.Decoder(_Last)


def _of_conversation(surface: str, members: Mapping[str, Raw]) -> set[str]:
    raw = members.get("input" if surface == "responses" else "messages")
    if raw is None:
        return set()
    body = bytes(raw)
    marks = [mark for mark in _MARKS[surface] if mark in body]
    if not marks and _PREFILL_MARKS[surface] not in body:
        return set()
    try:
        entries = _ENTRIES.decode(body)
        prefilled = surface != "responses" and len(entries) > 0 and _is_prefill(surface, _LAST.decode(entries[-1]))
        found = {"prefill"} if prefilled else set[str]()
        for entry in entries if marks else ():
            if any(mark in bytes(entry) for mark in marks):
                found.update(feature for part in _parts(msgspec.json.decode(entry)) for feature in _of_part(part))
    except (msgspec.DecodeError, RecursionError):
        return set()
    return found


def _is_prefill(surface: str, last: _Last) -> bool:
    """Anthropic goes on with every last message of the assistant that ends in text; others only when told to."""
    if last.role != "assistant":
        return False
    if surface != "anthropic":
        return bool(last.prefix is True)
    if not isinstance(last.content, list):
        return isinstance(last.content, str)
    end = last.content[-1] if last.content else None
    return isinstance(end, dict) and end.get("type") == "text"


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    """The parts of a message, also those inside a tool's result."""
    if isinstance(value, list):
        for entry in value:
            yield from _parts(entry)
    elif isinstance(value, dict):
        yield value
        yield from _parts(value.get("content"))
        yield from _parts(value.get("output"))


def _of_part(part: dict[str, Any]) -> Iterable[str]:
    match part.get("type"):
        case "image_url" | "input_image" | "image":
            return ("images", "image_urls") if _is_remote(part) else ("images",)
        case "file" | "input_file":
            return ("files",)
        case "document":
            source = part.get("source")
            is_text = isinstance(source, dict) and source.get("type") in ("text", "content")
            return () if is_text else ("files",)
        case "input_audio":
            return ("audio",)
        case _:
            return ()


def _is_remote(part: dict[str, Any]) -> bool:
    """{"image_url": {"url"}} · {"image_url": "…"} · {"source": {"type": "url", "url"}}."""
    place = part.get("image_url") or part.get("source")
    url = place.get("url") if isinstance(place, dict) else place
    return isinstance(url, str) and url[:5].lower().startswith("http")
