"""Anthropic's dialect on both sides: bytes go through, but for the model's name and what the operator sets.

Only top-level members are decoded, so what we do not know survives. Two things that the gateway itself wrote into
earlier answers are taken out again, since Anthropic refuses them: the reasoning of other providers (packed, or without
a signature), and their citations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from appliance.errors import GatewayError
from appliance.formats.anthropic_citations import is_made_up
from appliance.formats.anthropic_error import error_event
from appliance.formats.anthropic_models import habits_of
from appliance.formats.anthropic_packing import PREFIX, is_foreign
from appliance.formats.anthropic_request import MAX_TEMPERATURE
from appliance.formats.anthropic_stream_writer import MESSAGE_STOP
from appliance.formats.anthropic_thinking import MIN_THINKING_TOKENS, thinking_members
from appliance.formats.base import Frame, OperatorSettings, Passthrough, ReplyHead
from appliance.formats.chat import ChatReply, ReasoningOptions, Usage
from appliance.formats.sse import named_event

_encode = msgspec.json.encode
_members = msgspec.json.Decoder(dict[str, Raw])
_NULL = Raw(b"null")
_OURS = re.compile(rb'"' + PREFIX.encode().replace(b".", rb"\.") + rb'|"(?:signature|encrypted_index)"\s*:\s*""')
_SAMPLING = ("temperature", "top_p")


class AnthropicPassthrough:
    def request(self, members: Mapping[str, Raw], upstream_model: str, settings: OperatorSettings) -> bytes:
        changed = dict(members)
        changed["model"] = Raw(_encode(upstream_model))
        _set_output_cap(changed, settings)
        _set_defaults(changed, upstream_model, settings.default_params)
        if settings.system_prompt:
            changed["system"] = _with_prompt(changed.get("system", _NULL), settings.system_prompt)
        if _OURS.search(bytes(changed.get("messages", _NULL))):
            changed["messages"] = _without_ours(changed["messages"])
        return _encode(changed)

    def reply(self, body: bytes, reply: ChatReply, head: ReplyHead) -> bytes:
        return _encode(_members.decode(body) | {"model": Raw(_encode(head.model))})

    def writer(self, head: ReplyHead) -> PassthroughWriter:
        return PassthroughWriter(head)


class PassthroughWriter:
    """Streams the upstream's own events on; message_start gets the caller's model name, message_stop waits."""

    __slots__ = ("_model",)

    def __init__(self, head: ReplyHead) -> None:
        self._model = Raw(_encode(head.model))

    def frames(self, frames: list[Frame]) -> bytes:
        return b"".join([self._frame(frame) for frame in frames])

    def _frame(self, frame: Frame) -> bytes:
        name, data = frame.event.name, frame.event.data
        if not name or name == "message_start":
            members = _members.decode(data)
            name = msgspec.json.decode(members.get("type", _NULL)) or name
            if name == "message_start":
                message = _members.decode(members["message"]) | {"model": self._model}
                data = _encode(members | {"message": Raw(_encode(message))})
        if name in ("message_stop", "error"):
            return b""  # ours comes after the row is written
        return named_event(name, data)

    def closing(self, usage: Usage, cost: str, estimated: bool) -> bytes:
        return MESSAGE_STOP

    def failure(self, error: GatewayError) -> bytes:
        return error_event(error)


PASSTHROUGH: Passthrough = AnthropicPassthrough()


def _present(members: Mapping[str, Raw], name: str) -> bool:
    return bytes(members.get(name, _NULL)) != b"null"


# -- what the operator sets -------------------------------------------------------------------------------------------


def _set_defaults(members: dict[str, Raw], upstream_model: str, defaults: Mapping[str, Any]) -> None:
    """Defaults that this dialect has a word for. Where the caller's own words leave no room for one it is left out,
    since nobody asked for it: Anthropic takes no temperature beside thinking, and not both ways of sampling."""
    stop = defaults.get("stop")
    if stop and not _present(members, "stop_sequences"):
        members["stop_sequences"] = Raw(_encode([stop] if isinstance(stop, str) else list(stop)))
    _set_effort(members, upstream_model, defaults.get("reasoning_effort"))
    is_thinking = _object(members, "thinking").get("type") in ("enabled", "adaptive")
    if is_thinking or not habits_of(upstream_model).samples or any(_present(members, name) for name in _SAMPLING):
        return
    for name in _SAMPLING:
        value = defaults.get(name)
        if value is not None and value <= MAX_TEMPERATURE:
            members[name] = Raw(_encode(value))


def _set_effort(members: dict[str, Raw], upstream_model: str, effort: str | None) -> None:
    said = _present(members, "thinking") or _object(members, "output_config").get("effort")
    if effort is None or said or not _present(members, "max_tokens"):
        return
    has_room = (
        not any(_present(members, name) for name in (*_SAMPLING, "top_k"))
        and _object(members, "tool_choice").get("type") not in ("any", "tool")
        and _last_role(members) != "assistant"
    )
    cap = msgspec.json.decode(members["max_tokens"])
    try:
        asked = thinking_members(ReasoningOptions(effort), habits_of(upstream_model), cap, has_room)
    except GatewayError:
        return
    if "output_config" in asked:
        asked["output_config"] = _object(members, "output_config") | asked["output_config"]
    members.update({name: Raw(_encode(value)) for name, value in asked.items()})


def _last_role(members: Mapping[str, Raw]) -> Any:
    turns = msgspec.json.decode(members.get("messages", Raw(b"[]")), type=list[Raw])
    last = msgspec.json.decode(turns[-1]) if turns else None
    return last.get("role") if isinstance(last, dict) else None


def _set_output_cap(members: dict[str, Raw], settings: OperatorSettings) -> None:
    if settings.output_cap is not None:
        # A budget depends on it: whatever the caller wrote, this is the most that comes back.
        members["max_tokens"] = Raw(_encode(settings.output_cap))
    if not _present(members, "max_tokens"):
        return
    asked: int = msgspec.json.decode(members["max_tokens"])
    most = asked if settings.max_output_tokens is None else min(asked, settings.max_output_tokens)
    if most != asked:
        members["max_tokens"] = Raw(_encode(most))
    _fit_thinking(members, most)


def _fit_thinking(members: dict[str, Raw], max_tokens: int) -> None:
    """A budget for reasoning is part of the cap. Where the cap was lowered below it, half of the cap remains for it."""
    thinking = _object(members, "thinking")
    budget = thinking.get("budget_tokens")
    if type(budget) is int and budget >= max_tokens > 2 * MIN_THINKING_TOKENS:
        members["thinking"] = Raw(_encode(thinking | {"budget_tokens": max_tokens // 2}))


def _object(members: Mapping[str, Raw], name: str) -> dict[str, Any]:
    value = msgspec.json.decode(members.get(name, _NULL))
    return value if isinstance(value, dict) else {}


def _with_prompt(system: Raw, prompt: str) -> Raw:
    said = msgspec.json.decode(system)
    if not said:
        return Raw(_encode(prompt))
    if isinstance(said, str):
        return Raw(_encode(f"{prompt}\n\n{said}"))
    first = _encode({"type": "text", "text": prompt})
    return Raw(b"[" + first + b"," + bytes(system).lstrip()[1:])


# -- what the gateway wrote itself ------------------------------------------------------------------------------------


def _without_ours(messages: Raw) -> Raw:
    turns: list[Any] = msgspec.json.decode(messages)
    cleaned = [_cleaned(turn) for turn in turns]
    return Raw(_encode([turn for turn in cleaned if turn is not None]))


def _cleaned(turn: Any) -> Any:
    """The turn without what Anthropic would refuse; None when nothing is left of it."""
    content = turn.get("content") if isinstance(turn, dict) and turn.get("role") == "assistant" else None
    if not isinstance(content, list):
        return turn
    kept = [_without_made_up(block) for block in content if not is_foreign(block)]
    return {**turn, "content": kept} if kept or not content else None


def _without_made_up(block: Any) -> Any:
    citations = block.get("citations") if isinstance(block, dict) else None
    if not isinstance(citations, list) or not any(is_made_up(citation) for citation in citations):
        return block
    own = [citation for citation in citations if not is_made_up(citation)]
    rest = {name: value for name, value in block.items() if name != "citations"}
    return {**rest, "citations": own} if own else rest
