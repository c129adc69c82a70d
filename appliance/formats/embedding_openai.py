"""Embeddings of OpenAI-protocol servers: request out, reply in; what servers do differently is data (Traits)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw, Struct

from appliance.formats.chat import Usage
from appliance.formats.embedding import EmbeddingReply, EmbeddingRequest, Vector
from appliance.formats.embedding_vector import checked
from appliance.formats.refused_members import refuse_uncarriable
from appliance.formats.reply_object import count, mismatch, object_in, reply_object


@dataclass(frozen=True, slots=True)
class Traits:
    """Where servers of the protocol differ. `dimensions` is their name of that member, None where they have none."""

    most_items: int | None = None
    most_tokens: int | None = None
    dimensions: str | None = "dimensions"
    base64: bool = False
    """Base64 is asked for only where it is known to work; elsewhere numbers are asked for and converted here."""
    tokens: bool = True
    user: bool = True


TRAITS: dict[str, Traits] = {
    "openai": Traits(most_items=2048, most_tokens=300_000, base64=True),
    "azure": Traits(most_items=2048, most_tokens=300_000, base64=True),
    "mistral": Traits(most_items=128, most_tokens=16_000, dimensions="output_dimension", tokens=False, user=False),
    "qwen": Traits(most_items=10, tokens=False, user=False),
    "voyage": Traits(most_items=1000, most_tokens=120_000, dimensions="output_dimension", tokens=False, user=False),
    "cohere": Traits(most_items=96, tokens=False, user=False),
    "google": Traits(most_items=100, tokens=False, user=False),
    "custom": Traits(),
}
"""Provider type → traits; `cohere` and `google` are their OpenAI-compatible endpoints."""


def encode_request(request: EmbeddingRequest, upstream_model: str, traits: Traits) -> dict[str, Any]:
    _refuse_gaps(request, traits)
    body: dict[str, Any] = {**request.extra, "model": upstream_model, "input": request.input}
    if traits.dimensions and request.dimensions is not None:
        body[traits.dimensions] = request.dimensions
    if request.encoding == "base64" and traits.base64:
        body["encoding_format"] = "base64"
    if request.input_type is not None:
        body["input_type"] = request.input_type
    if request.user is not None and traits.user:
        body["user"] = request.user
    return body


def _refuse_gaps(request: EmbeddingRequest, traits: Traits) -> None:
    gaps = {
        "input": not traits.tokens and not isinstance(request.input[0], str),
        "dimensions": traits.dimensions is None and request.dimensions is not None,
    }
    refuse_uncarriable([name for name, is_gap in gaps.items() if is_gap], "this target")


class _Item(Struct):
    embedding: Raw
    index: int | None = None


class _Reply(Struct):
    data: list[_Item]
    usage: Any = None


_REPLY = msgspec.json.Decoder(_Reply)


def decode_reply(body: bytes) -> EmbeddingReply:
    """Vectors stay as they are written. Items without an index stand in their order."""
    try:
        reply = _REPLY.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        reply_object(body)  # says it better where the body is an error, or no object
        raise mismatch("has no list of embeddings") from None
    if not reply.data:
        raise mismatch("has no embedding")
    vectors = [
        Vector(position if item.index is None else item.index, checked(item.embedding))
        for position, item in enumerate(reply.data)
    ]
    return EmbeddingReply(vectors, _usage(reply.usage))


def _usage(usage: Any) -> Usage | None:
    """No text has no tokens, so a zero (LM Studio's habit) says nothing."""
    told = object_in(usage)
    tokens = count(told.get("prompt_tokens")) or count(told.get("total_tokens"))
    return Usage(input_tokens=tokens) if tokens else None
