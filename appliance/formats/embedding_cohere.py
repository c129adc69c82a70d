"""Embeddings of Cohere's own API, `v2/embed`: request out, reply in."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from appliance.errors import invalid
from appliance.formats.chat import Usage
from appliance.formats.embedding import EmbeddingReply, EmbeddingRequest, Vector
from appliance.formats.embedding_vector import checked, is_base64
from appliance.formats.members import one_of
from appliance.formats.refused_members import refuse_uncarriable
from appliance.formats.reply_object import count, mismatch, object_in, reply_object

MOST_ITEMS = 96

DEFAULT_INPUT_TYPE = "search_document"
INPUT_TYPES = {
    "search_document": "search_document",
    "document": "search_document",
    "passage": "search_document",
    "search_query": "search_query",
    "query": "search_query",
    "classification": "classification",
    "clustering": "clustering",
}
"""`input_type` → Cohere's word, which it asks for. `user` is let go: it is a label for another provider's watch."""


def encode_request(request: EmbeddingRequest, upstream_model: str) -> dict[str, Any]:
    gaps = [] if isinstance(request.input[0], str) else ["input"]
    refuse_uncarriable([*gaps, *request.extra], "a Cohere target")
    asked = request.input_type or DEFAULT_INPUT_TYPE
    if asked not in INPUT_TYPES:
        raise invalid("input_type", f"must be {one_of(tuple(INPUT_TYPES))} for a Cohere target")
    body: dict[str, Any] = {
        "model": upstream_model,
        "texts": request.input,
        "input_type": INPUT_TYPES[asked],
        "embedding_types": ["float"],
    }
    if request.dimensions is not None:
        body["output_dimension"] = request.dimensions
    return body


class _ByType(Struct):
    float: list[Raw]


class _Reply(Struct):
    embeddings: _ByType
    meta: Any = None


_REPLY = msgspec.json.Decoder(_Reply)


def decode_reply(body: bytes) -> EmbeddingReply:
    """Cohere answers in the order of the texts."""
    try:
        reply = _REPLY.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        reply_object(body)  # says it better where the body is an error, or no object
        raise mismatch("has no list of embeddings") from None
    listed = reply.embeddings.float
    if not listed or any(is_base64(embedding) for embedding in listed):
        raise mismatch("has no embedding")
    billed = object_in(object_in(reply.meta).get("billed_units"))
    tokens = count(billed.get("input_tokens"))
    vectors = [Vector(i, checked(embedding)) for i, embedding in enumerate(listed)]
    return EmbeddingReply(vectors, Usage(input_tokens=tokens) if tokens else None)
