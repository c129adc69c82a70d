"""An OpenAI-protocol upstream's answer → that of OpenAI's client, whole and streamed.

What the upstream says in OpenAI's exact form goes on as it came, with every member that we do not know. What it says in
a form of its own is told anew, choice by choice, from what was understood of it; the rest of the answer stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from appliance.errors import GatewayError
from appliance.formats.base import Frame, ReplyHead
from appliance.formats.chat import ChatEvent, ChatReply, Ended, Failed, ReasoningDelta, Started, Usage, UsageSeen
from appliance.formats.openai_citations import citation_in
from appliance.formats.openai_error import encode_error
from appliance.formats.openai_plain import PlainChoice, Said, plain_answer, plain_chunk
from appliance.formats.openai_reply import SERVICE_TIERS, encode_reply
from appliance.formats.openai_stream_writer import OPENING, DeltaWriter
from appliance.formats.openai_usage import client_usage
from appliance.formats.sse import DONE, SseEvent, data_event

_encode = msgspec.json.encode
_members = msgspec.json.Decoder(dict[str, Raw])
_NULL = Raw(b"null")
_NONE = Raw(b"[]")
_OBJECT = {"object": Raw(b'"chat.completion.chunk"')}
_TIERS = frozenset(_encode(tier) for tier in SERVICE_TIERS)

_FRAME = frozenset({"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"})
_CHOICE = frozenset({"index", "message", "delta", "finish_reason", "logprobs"})
_REASONING = frozenset({"reasoning_content", "reasoning", "reasoning_details"})
_SAID = frozenset({"role", "content", "refusal", "annotations", "tool_calls"}) | _REASONING
"""What is told anew. A legacy function_call is not among it: it stays beside the tool_calls that it is told as, for
callers who asked in the legacy form."""


# -- whole answers ----------------------------------------------------------------------------------------------------


def retold_answer(body: bytes, reply: ChatReply, head: ReplyHead) -> bytes:
    """`reply` is the body, understood."""
    members = _members.decode(body)
    out: dict[str, Any] = members | _identity(members, head) | {"object": "chat.completion"}
    _drop_foreign_words(out)
    if not plain_answer(members["choices"], reply.choices):
        told = encode_reply(reply, head)["choices"]
        own = msgspec.json.decode(members["choices"])
        out["choices"] = [_retold_choice(before, after) for before, after in zip(own, told, strict=True)]
    own_usage = out.pop("usage", None)
    if reply.usage is not None:
        out["usage"] = client_usage(_decoded(own_usage), reply.usage)
    return _encode(out)


def _retold_choice(own: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    message = _unknown(own["message"], _SAID) | told["message"]
    _keep_other_annotations(own["message"], message)
    return _unknown(own, _CHOICE) | told | {"message": message}


# -- streams ----------------------------------------------------------------------------------------------------------


class PassthroughWriter:
    """Streams the upstream's own chunks on, under one id and the caller's model name; usage comes last, if asked for.

    Chunks without choices that come before the first with some (Azure's filter results) are joined to that one: many
    clients read the first choice of every chunk.
    """

    __slots__ = ("_deltas", "_early", "_finished", "_frame", "_head", "_last", "_usage")

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._deltas = DeltaWriter("reasoning_content")
        self._finished: set[int] = set()
        self._frame: dict[str, Raw] = {}
        """Members that are the same in every chunk; empty until the first choice."""
        self._early: dict[str, Raw] = {}
        self._last: dict[str, Raw] = {}
        """What stood beside the usage, in a chunk of its own."""
        self._usage: Raw | None = None

    def frames(self, frames: list[Frame]) -> bytes:
        return b"".join([self._written(frame) for frame in frames])

    def _written(self, frame: Frame) -> bytes:
        members, meaning = _members_of(frame.event), frame.meaning
        if _is_said(members.get("usage")):
            self._usage = members["usage"]
        own = members.get("choices", _NONE)
        plain = plain_chunk(own, meaning)
        if plain is not None and self._goes_on(plain, meaning):
            return self._chunk(members, own)
        entries = _entries(own)
        said = [event for event in meaning if not isinstance(event, Started | UsageSeen | Failed | Ended)]
        if not entries and not said:
            return self._without_choices(members, meaning)
        if not said and all(self._is_afterthought(entry) for entry in entries):
            return b""
        told = self._retold(entries, said)
        self._finished.update(choice["index"] for choice in told if choice["finish_reason"])
        return self._chunk(members, Raw(_encode(told)))

    def _is_afterthought(self, entry: dict[str, Any]) -> bool:
        """Some servers send usage beside a choice that has ended and says nothing more."""
        told = [_unknown(entry, _CHOICE | {"native_finish_reason"}), _unknown(entry.get("delta"), _SAID)]
        return _place(entry) in self._finished and not any(value for members in told for value in members.values())

    def _goes_on(self, plain: list[PlainChoice], meaning: list[ChatEvent]) -> bool:
        """A plain chunk goes on as it is, when the role stands in a choice's first delta and in no other."""
        begun = self._deltas.begun
        for choice in plain:
            if (choice.index in begun) == bool(choice.delta.role) or choice.index in self._finished:
                return False
        for choice in plain:
            begun.add(choice.index)
            if choice.finish_reason:
                self._finished.add(choice.index)
        for event in meaning:
            if type(event) is ReasoningDelta:
                self._deltas.note(event)
        return bool(plain)

    def _retold(self, own: list[dict[str, Any]], said: list[Said]) -> list[dict[str, Any]]:
        entries = {_place(entry): entry for entry in own}
        events: dict[int, list[Said]] = {index: [] for index in entries}
        for event in said:
            events.setdefault(event.choice, []).append(event)
        return [self._retold_delta(index, entries.get(index, {}), told) for index, told in events.items()]

    def _retold_delta(self, index: int, own: dict[str, Any], said: list[Said]) -> dict[str, Any]:
        own_delta = own.get("delta") or own.get("message") or {}
        delta = _unknown(own_delta, _SAID)
        choice = _unknown(own, _CHOICE) | {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
        if index not in self._deltas.begun:
            self._deltas.begun.add(index)
            delta |= OPENING
        for step in (step for event in said if (step := self._deltas.step(event)) is not None):
            for name, value in step.delta.items():
                delta[name] = delta[name] + value if name in delta else value
            choice["logprobs"] = choice["logprobs"] or step.logprobs
            choice["finish_reason"] = choice["finish_reason"] or step.finish_reason
            if step.native_finish_reason:
                choice["native_finish_reason"] = step.native_finish_reason
        _keep_other_annotations(own_delta, delta)
        return choice

    def _chunk(self, members: dict[str, Raw], choices: Raw) -> bytes:
        if not self._frame:
            self._frame = _identity(self._early | _with_values(members), self._head) | _OBJECT
            members = _unknown(self._early, _FRAME) | members
        members |= self._frame
        members["choices"] = choices
        # OpenAI writes the member into every chunk, for those who asked; some servers put usage beside a choice.
        if self._head.include_usage:
            members["usage"] = _NULL
        else:
            members.pop("usage", None)
        _drop_foreign_words(members)
        return data_event(_encode(members))

    def _without_choices(self, members: dict[str, Raw], meaning: list[ChatEvent]) -> bytes:
        """After the first choice such a chunk goes on when it says what we do not know (OpenAI's moderation)."""
        if not self._frame:
            self._early |= _with_values(members)
        elif any(isinstance(event, UsageSeen) for event in meaning):
            self._last = members
        elif _unknown(members, _FRAME):
            return self._chunk(members, _NONE)
        return b""

    def closing(self, usage: Usage, cost: str, estimated: bool) -> bytes:
        """The upstream's own usage object where it sent one; else the caller who asked gets the estimate."""
        if not self._head.include_usage:
            return DONE
        members: dict[str, Any] = self._last | (self._frame or _identity({}, self._head) | _OBJECT)
        _drop_foreign_words(members)
        shown = client_usage(_decoded(self._usage), usage)
        return data_event(_encode(members | {"choices": [], "usage": shown})) + DONE

    def failure(self, error: GatewayError) -> bytes:
        return data_event(_encode(encode_error(error, "")[1])) + DONE


def _members_of(event: SseEvent) -> dict[str, Raw]:
    """A chunk's members. Empty for what is none: the end mark (ours comes after the row is written), notices."""
    data = event.data.strip()
    if data[:1] != b"{":
        return {}
    try:
        members = _members.decode(data)
    except msgspec.DecodeError:
        return {}
    return members if "choices" in members or event.name in ("", "message") else {}


def _entries(choices: Raw) -> list[dict[str, Any]]:
    entries = msgspec.json.decode(choices)
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _place(entry: dict[str, Any]) -> int:
    return entry.get("index") or 0


# -- members ----------------------------------------------------------------------------------------------------------


def _identity(members: Mapping[str, Raw], head: ReplyHead) -> dict[str, Raw]:
    """The upstream's own id and time where it gives any; always the name that the caller asked for."""
    own_id, created = bytes(members.get("id", _NULL)), bytes(members.get("created", _NULL))
    return {
        "id": Raw(own_id if own_id[:1] == b'"' and len(own_id) > 2 else _encode(head.id)),
        "created": Raw(created if created.isdigit() and created != b"0" else _encode(head.created)),
        "model": Raw(_encode(head.model)),
    }


def _drop_foreign_words(members: dict[str, Any]) -> None:
    """Strict clients refuse a tier that OpenAI does not have, and a fingerprint that is no text."""
    tier = members.get("service_tier")
    if tier is not None and bytes(tier) not in _TIERS:
        del members["service_tier"]
    fingerprint = members.get("system_fingerprint")
    if fingerprint is not None and bytes(fingerprint)[:1] not in (b'"', b"n"):
        del members["system_fingerprint"]


def _keep_other_annotations(own: dict[str, Any], told: dict[str, Any]) -> None:
    entries = own.get("annotations")
    others = [entry for entry in entries if citation_in(entry) is None] if isinstance(entries, list) else []
    if others:
        told["annotations"] = [*told.get("annotations", ()), *others]


def _unknown(members: Any, known: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if name not in known} if isinstance(members, dict) else {}


def _with_values(members: dict[str, Raw]) -> dict[str, Raw]:
    return {name: value for name, value in members.items() if bytes(value) not in (b"null", b'""', b"0")}


def _is_said(value: Raw | None) -> bool:
    return value is not None and bytes(value) != b"null"


def _decoded(raw: Raw | None) -> Any:
    return None if raw is None else msgspec.json.decode(raw)
