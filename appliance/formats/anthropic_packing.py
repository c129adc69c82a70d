"""Opaque data of other providers inside thinking blocks: packed for a client of this dialect, unpacked on its return.

    "scaigrid.ORIGIN.DATA"            in `signature` or in `data`: the reasoning's own signature or redacted data
    "scaigrid.ORIGIN-item.JSON"       more than the block's member can say: {"id"?, "signature"?, "redacted"?}
    "scaigrid.ORIGIN-call.DATA"       on an empty thinking block: the signature of the tool_use right after it
    "scaigrid.ORIGIN-called.JSON"     the same where a stream told it too late: [the tool_use's id, DATA]

ORIGIN is empty where nobody knows it. Anthropic's own data is never changed, and never looks like this.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from appliance.formats.anthropic_citations import OWN
from appliance.formats.chat import ReasoningPart, ToolCallPart

Block = dict[str, Any]

PREFIX = "scaigrid."
ORIGINS = ("", OWN, "google", "responses")
KINDS = ("", "item", "call", "called")


class Packed(NamedTuple):
    origin: str
    kind: str
    data: str


def reasoning_block(part: ReasoningPart) -> Block:
    """A thinking block, or a redacted one where there is nothing to read. No signature is the empty one."""
    redacted = is_redacted(part, part.text)
    opaque = _opaque(part, redacted)
    if redacted:
        return {"type": "redacted_thinking", "data": opaque}
    return {"type": "thinking", "thinking": part.text, "signature": opaque}


def is_redacted(part: ReasoningPart, text: str) -> bool:
    return part.redacted is not None and part.signature is None and not text and (not part.id or part.origin == OWN)


def _opaque(part: ReasoningPart, redacted: bool) -> str:
    said = {"id": part.id, "signature": part.signature, "redacted": part.redacted}
    data = part.redacted if redacted else part.signature
    if part.origin == OWN:
        return data or ""
    if part.id or (part.redacted is not None and not redacted):
        item = {name: value for name, value in said.items() if value is not None}
        return pack(part.origin, msgspec.json.encode(item).decode(), "item")
    return "" if data is None else pack(part.origin, data)


def call_block(signature: str, origin: str, late_for: str | None = None) -> Block:
    """Stands right before its call, or, when it comes late for the call of an id, anywhere behind it."""
    if late_for is None:
        packed = pack(origin, signature, "call")
    else:
        packed = pack(origin, msgspec.json.encode([late_for, signature]).decode(), "called")
    return {"type": "thinking", "thinking": "", "signature": packed}


def pack(origin: str, data: str, kind: str = "") -> str:
    return f"{PREFIX}{origin}{'-' if kind else ''}{kind}.{data}"


def unpack(text: str) -> Packed | None:
    """None for what is not packed. Raises ValueError for what bears our mark and is not ours."""
    if not text.startswith(PREFIX):
        return None
    head, _, data = text.removeprefix(PREFIX).partition(".")
    origin, _, kind = head.partition("-")
    if origin not in ORIGINS or kind not in KINDS or not data:
        raise ValueError("unknown mark")
    return Packed(origin, kind, data)


def reasoning_part(block: Block) -> ReasoningPart:
    """A thinking or redacted block that comes back. Raises ValueError for what bears our mark and is not ours."""
    redacted = block["type"] == "redacted_thinking"
    text, data = ("", block["data"]) if redacted else (block["thinking"], block["signature"])
    packed = unpack(data)
    if packed is not None and packed.kind == "item":
        return _item(text, packed)
    origin = packed.origin if packed else OWN if data else ""
    opaque = packed.data if packed else data or None
    return ReasoningPart(text, None if redacted else opaque, opaque if redacted else None, origin)


class _Item(msgspec.Struct):
    id: str | None = None
    signature: str | None = None
    redacted: str | None = None


def _item(text: str, packed: Packed) -> ReasoningPart:
    item = msgspec.json.decode(packed.data, type=_Item)  # msgspec's errors are ValueErrors
    return ReasoningPart(text, item.signature, item.redacted, packed.origin, item.id)


def call_signature(block: Block) -> Packed | None:
    """What a thinking block says about the call beside it; None for reasoning."""
    packed = unpack(block["signature"]) if block["type"] == "thinking" else None
    return packed if packed and packed.kind in ("call", "called") else None


def signed(call: ToolCallPart, packed: Packed) -> ToolCallPart:
    """The call with its signature; the same call where a late one belongs to another. Raises ValueError as above."""
    if packed.kind == "call":
        return replace(call, signature=packed.data, origin=packed.origin)
    call_id, signature = msgspec.json.decode(packed.data, type=tuple[str, str])
    return replace(call, signature=signature, origin=packed.origin) if call.id == call_id else call


def is_foreign(block: Any) -> bool:
    """A thinking block that Anthropic would refuse: packed by us, or without any signature."""
    if not isinstance(block, dict):
        return False
    data = {"thinking": block.get("signature"), "redacted_thinking": block.get("data")}.get(str(block.get("type")), "-")
    return not data or (isinstance(data, str) and data.startswith(PREFIX))
