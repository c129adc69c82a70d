"""The canonical embedding types, and what holds for every upstream: batches split and rejoined, and the safe bound.

Nothing here knows a wire format but one thing: a vector stays the JSON that the upstream wrote (see embedding_vector).
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Raw, Struct, field

from appliance.formats.chat import Usage
from appliance.formats.reply_object import mismatch
from appliance.formats.text_bound import byte_count, text_bound, text_estimate

FRAME_TOKENS = 64
"""More than any model puts around one input: start and end marks, and the instruction of an input type."""
SPLIT_BYTES_PER_TOKEN = 2
"""Prose of every script stays above two bytes a token, so batches cut by this seldom meet an upstream's limit."""

Encoding = Literal["float", "base64"]


class EmbeddingRequest(Struct, omit_defaults=True):
    """What to embed: texts, or lists of token numbers; one vector each. None: not said by the caller."""

    model: str
    input: list[str] | list[list[int]]
    dimensions: int | None = None
    encoding: Encoding = "float"
    input_type: str | None = None
    """What the vectors are for: search_document, search_query, classification or clustering; or a vendor's word."""
    user: str | None = None
    metadata: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    """Members of OpenAI's dialect that have no canonical meaning; only OpenAI-protocol upstreams can carry them."""


class Vector(Struct):
    """One vector: a JSON list of numbers, or a JSON string with base64 of little-endian 32-bit floats."""

    index: int
    embedding: Raw


class EmbeddingReply(Struct):
    vectors: list[Vector]
    usage: Usage | None = None


# -- batches ----------------------------------------------------------------------------------------------------------


def split(request: EmbeddingRequest, most_items: int | None, most_tokens: int | None = None) -> list[EmbeddingRequest]:
    """The request in parts that an upstream takes, in order. An input too large alone is a part of its own."""
    batches: list[list[Any]] = [[]]
    tokens = 0
    for item in request.input:
        size = _tokens_of(item) if most_tokens is not None else 0
        full = most_items is not None and len(batches[-1]) >= most_items
        if batches[-1] and (full or (most_tokens is not None and tokens + size > most_tokens)):
            batches.append([])
            tokens = 0
        batches[-1].append(item)
        tokens += size
    return [request] if len(batches) == 1 else [_part(request, batch) for batch in batches]


def _tokens_of(item: str | list[int]) -> int:
    return -(-byte_count(item) // SPLIT_BYTES_PER_TOKEN) if isinstance(item, str) else len(item)


def _part(request: EmbeddingRequest, batch: list[Any]) -> EmbeddingRequest:
    return EmbeddingRequest(
        model=request.model,
        input=batch,
        dimensions=request.dimensions,
        encoding=request.encoding,
        input_type=request.input_type,
        user=request.user,
        metadata=request.metadata,
        extra=request.extra,
    )


def joined(parts: list[EmbeddingRequest], replies: list[EmbeddingReply]) -> EmbeddingReply:
    """The parts' replies as one, the vectors in the order of the inputs. Also right for a single part: it checks it.

    Usage is the sum, or unknown where one part's is.
    """
    vectors: list[Vector] = []
    for part, reply in zip(parts, replies, strict=True):
        vectors += _in_order(reply.vectors, len(part.input), len(vectors))
    return EmbeddingReply(vectors, _sum([reply.usage for reply in replies]))


def _in_order(vectors: list[Vector], expected: int, offset: int) -> list[Vector]:
    if len(vectors) != expected:
        raise mismatch(f"has {len(vectors)} vectors for {expected} inputs")
    placed: list[Vector | None] = [None] * expected
    for vector in vectors:
        if not 0 <= vector.index < expected:
            raise mismatch(f"has a vector of index {vector.index} for {expected} inputs")
        if placed[vector.index] is not None:
            raise mismatch(f"has two vectors of index {vector.index}")
        placed[vector.index] = Vector(offset + vector.index, vector.embedding)
    return [vector for vector in placed if vector is not None]


def _sum(usages: list[Usage | None]) -> Usage | None:
    total = Usage()
    for usage in usages:
        if usage is None:
            return None
        for name in Usage.__struct_fields__:
            setattr(total, name, getattr(total, name) + getattr(usage, name))
    return total


# -- before and without an upstream's word ----------------------------------------------------------------------------


def bound(request: EmbeddingRequest, context_window: int | None = None) -> Usage:
    """The most that the call can use. Safe, because a token covers at least a byte (text_bound), the frame of an input
    is counted generously, and no upstream bills more of one input than its model can read."""
    sizes = (FRAME_TOKENS + (text_bound(item) if isinstance(item, str) else len(item)) for item in request.input)
    if context_window:
        return Usage(input_tokens=sum(min(size, context_window) for size in sizes))
    return Usage(input_tokens=sum(sizes))


def estimate(request: EmbeddingRequest) -> Usage:
    """What the call likely used, where the upstream does not say."""
    return Usage(
        input_tokens=sum(text_estimate(item) if isinstance(item, str) else len(item) for item in request.input)
    )
