"""Reranking of Cohere's own API, `v2/rerank`: request out, reply in."""

from __future__ import annotations

from typing import Any

from appliance.formats.chat import Usage
from appliance.formats.refused_members import refuse_uncarriable
from appliance.formats.reply_object import count, object_in, reply_object
from appliance.formats.rerank import RerankReply, RerankRequest
from appliance.formats.rerank_common import results_in


def encode_request(request: RerankRequest, upstream_model: str) -> dict[str, Any]:
    refuse_uncarriable(request.extra, "a Cohere target")
    said = {"top_n": request.top_n, "max_tokens_per_doc": request.max_tokens_per_doc}
    return {
        "model": upstream_model,
        "query": request.query,
        "documents": request.documents,
        **{name: value for name, value in said.items() if value is not None},
    }


def decode_reply(body: bytes, request: RerankRequest) -> RerankReply:
    reply = reply_object(body)
    meta = object_in(reply.get("meta"))
    billed = object_in(meta.get("billed_units"))
    searches = count(billed.get("search_units"))
    tokens = count(object_in(meta.get("tokens")).get("input_tokens")) or count(billed.get("input_tokens")) or 0
    usage = Usage(input_tokens=tokens, searches=searches) if searches is not None else None
    return RerankReply(results_in(reply.get("results"), request), usage)
