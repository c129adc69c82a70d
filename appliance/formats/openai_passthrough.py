"""OpenAI's dialect on both sides: bytes go through untouched, but for the model's name and what the operator sets.

Of a request only top-level members are looked at; everything inside them is carried undecoded, so what we do not know
survives. Answers go on by openai_retold.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from appliance.formats.base import OperatorSettings, ReplyHead
from appliance.formats.chat import ChatReply
from appliance.formats.openai_quirks import OPENAI, Quirks, matches
from appliance.formats.openai_retold import PassthroughWriter, retold_answer

_encode = msgspec.json.encode
_NULL = Raw(b"null")
_OUTPUT_CAPS = ("max_tokens", "max_completion_tokens")


class OpenAIPassthrough:
    """For one kind of server; `quirks` are those that matter to a request which is not decoded."""

    __slots__ = ("_quirks",)

    def __init__(self, quirks: Quirks = OPENAI) -> None:
        self._quirks = quirks

    def request(self, members: Mapping[str, Raw], upstream_model: str, settings: OperatorSettings) -> bytes:
        changed = dict(members)
        changed["model"] = Raw(_encode(upstream_model))
        if settings.stream and self._quirks.asks_usage:
            changed["stream_options"] = _asking_for_usage(members.get("stream_options"))
        cap = "max_completion_tokens" if matches(self._quirks.long_cap, upstream_model) else "max_tokens"
        for name, value in settings.default_params.items():
            _set_default(changed, cap if name == "max_tokens" else name, value)
        _limit_output(changed, cap, settings)
        if settings.system_prompt:
            changed["messages"] = _with_first_message(changed["messages"], settings.system_prompt)
        return _encode(changed)

    def reply(self, body: bytes, reply: ChatReply, head: ReplyHead) -> bytes:
        return retold_answer(body, reply, head)

    def writer(self, head: ReplyHead) -> PassthroughWriter:
        return PassthroughWriter(head)


PASSTHROUGH = OpenAIPassthrough()


def _limit_output(members: dict[str, Raw], cap: str, settings: OperatorSettings) -> None:
    if settings.output_cap is not None:
        # A budget depends on it: whatever the caller wrote or left open, this is the most that comes back.
        for name in [name for name in _OUTPUT_CAPS if _present(members, name)] or [cap]:
            members[name] = Raw(_encode(settings.output_cap))
    for name in _OUTPUT_CAPS:
        if settings.max_output_tokens is not None and _present(members, name):
            members[name] = Raw(_encode(min(settings.max_output_tokens, msgspec.json.decode(members[name]))))


def _present(members: Mapping[str, Raw], name: str) -> bool:
    return bytes(members.get(name, _NULL)) != b"null"


def _set_default(members: dict[str, Raw], name: str, value: Any) -> None:
    names = _OUTPUT_CAPS if name in _OUTPUT_CAPS else (name,)
    if not any(_present(members, each) for each in names):
        members[name] = Raw(_encode(value))


def _asking_for_usage(options: Raw | None) -> Raw:
    """Usage is always asked for, whatever the caller wants to see: a stream must cost what the whole answer costs."""
    known = msgspec.json.decode(options) if options is not None else None
    return Raw(_encode((known or {}) | {"include_usage": True}))


def _with_first_message(messages: Raw, system_prompt: str) -> Raw:
    first = _encode({"role": "system", "content": system_prompt})
    return Raw(b"[" + first + b"," + bytes(messages).lstrip()[1:])
