"""What stays with one target: the key of a conversation or a user, and the order of targets that follows from it.

Nothing is remembered: the order is computed from the key, so it is the same in every process and after every restart.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Raw, Struct

from appliance.grid.conditions import text_of

if TYPE_CHECKING:
    from appliance.grid.grid import Target

CONVERSATION_ID = "conversation_id"
"""The member of `metadata` by which a caller names a conversation himself."""


def rendezvous(targets: Sequence[Target], key: str) -> list[Target]:
    """All targets, the key's own first; over many keys each comes first as often as its weight says.

    A target that drops out moves only its own keys, each to the second of its order; weight 0 comes last.
    """
    return sorted(targets, key=lambda target: _distance(key, target))


def _distance(key: str, target: Target) -> float:
    """A draw from an exponential distribution of the weight's rate: the smallest of several is this one's by weight."""
    if not target.weight:
        return math.inf
    digest = hashlib.blake2b(f"{key}\0{target.backend}".encode(), digest_size=8).digest()
    share = (int.from_bytes(digest) + 0.5) / 2**64
    return -math.log(share) / target.weight


def sticky_key(
    sticky: Literal["none", "conversation", "user"],
    tenant: str,
    user: str,
    metadata: Mapping[str, Any],
    members: Mapping[str, Raw],
) -> str:
    """What the call's place depends on, always of one tenant; empty when there is nothing to go by.

    user: the end user that the request names, else the caller. conversation: `metadata.conversation_id`, else OpenAI's
    `prompt_cache_key`, else a hash of how the conversation begins.
    """
    if sticky == "none":
        return ""
    if sticky == "user":
        return f"{tenant}\0user\0{_end_user(members) or user}"
    named = text_of(metadata.get(CONVERSATION_ID)) or text_of(_decoded(members.get("prompt_cache_key")))
    start = named[0] if named else conversation_start(members)
    return f"{tenant}\0conversation\0{start}" if start else ""


def _end_user(members: Mapping[str, Raw]) -> str:
    """`user` of OpenAI's dialects, `metadata.user_id` of Anthropic's."""
    for name in ("user", "safety_identifier"):
        if isinstance(found := _decoded(members.get(name)), str) and found:
            return found
    metadata = _decoded(members.get("metadata"))
    found = metadata.get("user_id") if isinstance(metadata, dict) else None
    return found if isinstance(found, str) else ""


# -- how a conversation begins ----------------------------------------------------------------------------------------


class _Turn(Struct):
    role: Any = ""
    content: Any = None


_TURNS = msgspec.json.Decoder(list[Raw])
_TURN = msgspec.json.Decoder(_Turn)
_SYSTEM = ("system", "instructions")
_TURNS_OF = ("messages", "input")
_MAX_TURNS = 50
"""The first message of a user comes long before."""
_BILLING = "x-anthropic-billing-header"
"""Claude Code begins its system prompt with a block of this name, whose content changes with every call."""


def conversation_start(members: Mapping[str, Raw]) -> str:
    """A hash of the system prompt and all messages up to the user's first; empty when there is no conversation.

    Only texts count: cache marks and ids move while a conversation goes on, and a text may become a list of parts.
    """
    texts = [text for name in _SYSTEM for text in _texts(_decoded(members.get(name)))]
    said = [text for name in _TURNS_OF for text in _first_turns(members.get(name))]
    if not any(said):
        return ""
    return hashlib.blake2b("\0".join([*texts, *said]).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _first_turns(raw: Raw | None) -> Iterable[str]:
    if raw is None:
        return
    if bytes(memoryview(raw)[:1]) != b"[":
        yield from _texts(_decoded(raw))  # Responses: the input may be one text
        return
    try:
        turns = [_TURN.decode(turn) for turn in _TURNS.decode(raw)[:_MAX_TURNS]]
    except (msgspec.DecodeError, RecursionError):
        return
    for turn in turns:
        yield from _texts(turn.content)
        if turn.role == "user":
            return


def _texts(content: Any) -> Iterable[str]:
    """A text, or the texts of parts; what is no text counts by its type."""
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict):
            text = part.get("text")
            if not isinstance(text, str):
                yield f"\1{part.get('type')}"
            elif not text.startswith(_BILLING):
                yield text


def _decoded(raw: Raw | None) -> Any:
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
