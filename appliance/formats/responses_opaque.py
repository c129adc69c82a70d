"""Opaque reasoning data in the Responses dialect, and the ids of items that the gateway made itself.

A reasoning item has one opaque member, `encrypted_content`. What OpenAI made stands there unchanged; what another
provider made is packed, so that it finds back to its own:

    scaigrid.<origin>.<signature>             the signature of the reasoning text beside it
    scaigrid.<origin>-redacted.<data>         reasoning that only its provider can read
    scaigrid.<origin>-call.<signature>        the signature of the call that follows; the item has no text

An id of OpenAI's is bound to the encrypted content beside it, so an id that the gateway made never goes upstream.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

ORIGIN = "responses"
MARK = "scaigrid"
"""Stands in everything that the gateway put into an item: what lacks it is wholly the provider's."""

_PACKED = re.compile(r"scaigrid\.([a-z]*)(?:-(redacted|call))?\.(.*)", re.DOTALL)
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9]")
_SEED_LENGTH = 40
"""OpenAI takes ids of 64 characters at most."""


class Opaque(NamedTuple):
    kind: Literal["signature", "redacted", "call"]
    origin: str
    data: str


def pack(opaque: Opaque) -> str:
    if opaque.origin == ORIGIN and opaque.kind != "call" and not opaque.data.startswith(f"{MARK}."):
        return opaque.data
    kind = "" if opaque.kind == "signature" else f"-{opaque.kind}"
    return f"{MARK}.{opaque.origin}{kind}.{opaque.data}"


def unpack(encrypted_content: str) -> Opaque:
    match = _PACKED.fullmatch(encrypted_content)
    if match is None:
        return Opaque("signature", ORIGIN, encrypted_content)
    origin, kind, data = match.groups()
    return Opaque("redacted" if kind == "redacted" else "call" if kind == "call" else "signature", origin, data)


def seed_of(head_id: str) -> str:
    """What the ids of an answer's items have in common: as unique as the answer's id."""
    return _NOT_IN_ID.sub("", head_id.removeprefix("resp_"))[-_SEED_LENGTH:]


def made_id(prefix: str, seed: str, index: int) -> str:
    return f"{prefix}_{MARK}_{seed}_{index}"


def is_made(item_id: str) -> bool:
    return f"_{MARK}_" in item_id
