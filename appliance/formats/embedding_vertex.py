"""Embeddings of Google's models on Vertex AI: `models/NAME:predict`, request out, reply in."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from appliance.formats.chat import Usage
from appliance.formats.embedding import EmbeddingReply, EmbeddingRequest, Vector
from appliance.formats.embedding_google import settings_of
from appliance.formats.embedding_vector import checked, is_base64
from appliance.formats.refused_members import refuse_uncarriable
from appliance.formats.reply_object import count, mismatch, object_in, reply_object

MOST_ITEMS = 1
"""gemini-embedding takes one text a call; the older models take more, at most five where they are asked outside of the
United States."""


def encode_request(request: EmbeddingRequest, upstream_model: str) -> dict[str, Any]:
    gaps = [] if isinstance(request.input[0], str) else ["input"]
    refuse_uncarriable([*gaps, *request.extra], "a Google target")
    settings = settings_of(request)
    task = {"task_type": settings["taskType"]} if "taskType" in settings else {}
    body: dict[str, Any] = {"instances": [{"content": text, **task} for text in request.input]}
    if "outputDimensionality" in settings:
        body["parameters"] = {"outputDimensionality": settings["outputDimensionality"]}
    return body


class _Embedding(Struct):
    values: Raw
    statistics: Any = None


class _Prediction(Struct):
    embeddings: _Embedding


class _Reply(Struct):
    predictions: list[_Prediction]


_REPLY = msgspec.json.Decoder(_Reply)


def decode_reply(body: bytes) -> EmbeddingReply:
    """The answers stand in the order of the texts; each tells its own tokens."""
    try:
        reply = _REPLY.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        reply_object(body)  # says it better where the body is an error, or no object
        raise mismatch("has no list of embeddings") from None
    found = [prediction.embeddings for prediction in reply.predictions]
    if not found or any(is_base64(embedding.values) for embedding in found):
        raise mismatch("has no embedding")
    told = [count(object_in(embedding.statistics).get("token_count")) for embedding in found]
    usage = Usage(input_tokens=sum(tokens or 0 for tokens in told)) if all(told) else None
    return EmbeddingReply([Vector(i, checked(embedding.values)) for i, embedding in enumerate(found)], usage)
