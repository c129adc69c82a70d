"""Embeddings of the Gemini API: `models/NAME:batchEmbedContents`, request out, reply in."""

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

MOST_ITEMS = 100

TASK_TYPES = {
    "search_document": "RETRIEVAL_DOCUMENT",
    "document": "RETRIEVAL_DOCUMENT",
    "search_query": "RETRIEVAL_QUERY",
    "query": "RETRIEVAL_QUERY",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
}
"""`input_type` → Google's word. `user` is let go: it is a label for the other provider's abuse watch."""


def encode_request(request: EmbeddingRequest, upstream_model: str) -> dict[str, Any]:
    gaps = [] if isinstance(request.input[0], str) else ["input"]
    refuse_uncarriable([*gaps, *request.extra], "a Google target")
    model = upstream_model if upstream_model.startswith("models/") else f"models/{upstream_model}"
    settings = {"model": model, **settings_of(request)}
    return {"requests": [{**settings, "content": {"parts": [{"text": text}]}} for text in request.input]}


def settings_of(request: EmbeddingRequest) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if request.input_type is not None:
        if request.input_type not in TASK_TYPES:
            raise invalid("input_type", f"must be {one_of(tuple(TASK_TYPES))} for a Google target")
        settings["taskType"] = TASK_TYPES[request.input_type]
    if request.dimensions is not None:
        settings["outputDimensionality"] = request.dimensions
    return settings


class _Embedding(Struct):
    values: Raw


class _Reply(Struct):
    embeddings: list[_Embedding]
    usageMetadata: Any = None


_REPLY = msgspec.json.Decoder(_Reply)


def decode_reply(body: bytes) -> EmbeddingReply:
    """Google answers in the order of the requests. Most models tell no usage."""
    try:
        reply = _REPLY.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        reply_object(body)  # says it better where the body is an error, or no object
        raise mismatch("has no list of embeddings") from None
    if not reply.embeddings or any(is_base64(embedding.values) for embedding in reply.embeddings):
        raise mismatch("has no embedding")
    vectors = [Vector(i, checked(embedding.values)) for i, embedding in enumerate(reply.embeddings)]
    tokens = count(object_in(reply.usageMetadata).get("promptTokenCount"))
    return EmbeddingReply(vectors, Usage(input_tokens=tokens) if tokens else None)
