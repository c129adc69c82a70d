"""The Responses dialect on both sides: the caller's members go on undecoded, but for what the gateway sets.

An item of `input` is opened only where the gateway's own mark stands in it: opaque data of another provider, and ids
that the gateway made, may not reach OpenAI, which would refuse them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from appliance.errors import invalid
from appliance.formats.base import OperatorSettings, ReplyHead
from appliance.formats.chat import ChatReply
from appliance.formats.responses_input import REFERENCE
from appliance.formats.responses_opaque import MARK, ORIGIN, is_made, unpack
from appliance.formats.responses_passthrough_writer import PassthroughWriter, known
from appliance.formats.responses_request_writer import ENCRYPTED, WITHOUT_REASONING

_encode = msgspec.json.encode
_members = msgspec.json.Decoder(dict[str, Raw])
_items = msgspec.json.Decoder(list[Raw])

_CAP = "max_output_tokens"
_CAPS = ("max_tokens", "max_completion_tokens", _CAP)
_INSIDE = {
    "reasoning_effort": ("reasoning", "effort"),
    "verbosity": ("text", "verbosity"),
    "response_format": ("text", "format"),
}
"""Default parameters that stand inside a member here."""

_SAME_NAME = (
    "temperature",
    "top_p",
    "top_logprobs",
    "parallel_tool_calls",
    "tools",
    "tool_choice",
    "reasoning",
    "text",
    "truncation",
    "metadata",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "max_tool_calls",
    "user",
)
"""Default parameters that have a place here; others of the chat dialect (stop, seed, penalties) have none."""


class ResponsesPassthrough:
    def request(self, members: Mapping[str, Raw], upstream_model: str, settings: OperatorSettings) -> bytes:
        changed = dict(members)
        changed.pop("previous_response_id", None)
        changed["model"] = Raw(_encode(upstream_model))
        changed["store"] = Raw(b"false")
        if not WITHOUT_REASONING.search(upstream_model):
            _ask_for_reasoning(changed)
        if "input" in changed:
            changed["input"] = _own_input(changed["input"])
        for name, value in settings.default_params.items():
            _set_default(changed, name, value)
        _set_caps(changed, settings)
        if settings.system_prompt:
            changed["instructions"] = Raw(_encode(_instructions(changed, settings.system_prompt)))
        return _encode(changed)

    def reply(self, body: bytes, reply: ChatReply, head: ReplyHead, echo: dict[str, Any] | None = None) -> bytes:
        """`echo` is echo_of(the caller's body)."""
        return _encode(_members.decode(body) | known(head, echo))

    def output_items(self, body: bytes) -> list[dict[str, Any]]:
        """The items of a whole answer, for the gateway to store."""
        items = msgspec.json.decode(body).get("output")
        return items if isinstance(items, list) else []

    def writer(self, head: ReplyHead, echo: dict[str, Any] | None = None) -> PassthroughWriter:
        return PassthroughWriter(head, echo)


PASSTHROUGH = ResponsesPassthrough()


# -- the request ------------------------------------------------------------------------------------------------------


def _value(members: Mapping[str, Raw], name: str) -> Any:
    return msgspec.json.decode(members[name]) if name in members else None


def _ask_for_reasoning(members: dict[str, Raw]) -> None:
    """An `include` that is no list goes on as it is: the upstream's own check names it best."""
    asked = _value(members, "include")
    if asked is None:
        asked = []
    if isinstance(asked, list) and ENCRYPTED not in asked:
        members["include"] = Raw(_encode([*asked, ENCRYPTED]))


def _own_input(value: Raw) -> Raw:
    body = bytes(value)
    if not _is_suspect(body) or not body.lstrip().startswith(b"["):
        return value
    items = [kept for i, item in enumerate(_items.decode(value)) if (kept := _own_item(item, i)) is not None]
    return Raw(_encode(items))


def _is_suspect(body: bytes) -> bool:
    return MARK.encode() in body or b"item_reference" in body


def _own_item(item: Raw, place: int) -> Raw | None:
    """None for reasoning that the upstream did not make."""
    body = bytes(item)
    if not _is_suspect(body):
        return item
    decoded = msgspec.json.decode(body)
    kind = decoded.get("type") if isinstance(decoded, dict) else None
    if kind == "item_reference":
        raise invalid(f"input.{place}", REFERENCE)
    return _own_reasoning(item, decoded) if kind == "reasoning" else item


def _own_reasoning(item: Raw, decoded: dict[str, Any]) -> Raw | None:
    encrypted = decoded.get("encrypted_content")
    if not isinstance(encrypted, str) or not encrypted:
        return None if is_made(str(decoded.get("id"))) else item
    opaque = unpack(encrypted)
    if opaque.kind == "call" or opaque.origin not in (ORIGIN, ""):
        return None
    own = decoded | {"encrypted_content": opaque.data}
    if is_made(str(decoded.get("id"))):
        del own["id"]
    return Raw(_encode(own))


def _set_default(members: dict[str, Raw], name: str, value: Any) -> None:
    if name in _INSIDE:
        _set_inside(members, *_INSIDE[name], value)
        return
    name = _CAP if name in _CAPS else name
    if (name in _SAME_NAME or name == _CAP) and _value(members, name) is None:
        members[name] = Raw(_encode(value))


def _set_inside(members: dict[str, Raw], outer: str, inner: str, value: Any) -> None:
    said = _value(members, outer)
    if said is None:
        said = {}
    if not isinstance(said, dict) or said.get(inner) is not None:
        return
    if inner == "format" and isinstance(value, dict) and isinstance(schema := value.get("json_schema"), dict):
        value = {"type": "json_schema", **schema}
    members[outer] = Raw(_encode(said | {inner: value}))


def _set_caps(members: dict[str, Raw], settings: OperatorSettings) -> None:
    """A budget depends on output_cap: whatever the caller wrote or left open, it is the most that comes back."""
    if settings.output_cap is not None:
        members[_CAP] = Raw(_encode(settings.output_cap))
    said = _value(members, _CAP)
    if settings.max_output_tokens is not None and said is not None:
        members[_CAP] = Raw(_encode(min(settings.max_output_tokens, _tokens(said))))


def _tokens(said: Any) -> int:
    if type(said) is not int:
        raise invalid(_CAP, "must be an integer")
    return said


def _instructions(members: Mapping[str, Raw], system_prompt: str) -> str:
    said = _value(members, "instructions")
    if said is not None and not isinstance(said, str):
        raise invalid("instructions", "must be a string")
    return f"{system_prompt}\n\n{said}" if said else system_prompt
