"""Documents in the order of their relevance to a query."""

from __future__ import annotations

from typing import Any

from appliance.exchange import Attempt, Exchange
from appliance.formats import rerank, rerank_client, rerank_cohere, rerank_common
from appliance.formats.chat import Usage
from appliance.formats.rerank import RerankReply, RerankRequest
from appliance.pipeline.operations.base import Documents, native_usage


class Rerank(Documents):
    name = "rerank"
    modality = "rerank"
    feature = "rerank"
    units = frozenset({"total_tokens", "searches"})

    def decode(self, exchange: Exchange, body: Any) -> RerankRequest:
        if exchange.surface == "native":
            request = rerank_client.decode_native(body)
            exchange.metadata = request.metadata
            return request
        return rerank_client.decode_openai(body)

    def most(self, exchange: Exchange) -> Usage:
        assert exchange.model
        return rerank.bound(exchange.asked, exchange.model.context_window)

    def likely(self, exchange: Exchange) -> Usage:
        return rerank.estimate(exchange.asked)

    def encode(self, exchange: Exchange, attempt: Attempt) -> dict[str, Any]:
        request, upstream_model = exchange.asked, attempt.target.upstream_model
        if _is_cohere(attempt):
            return rerank_cohere.encode_request(request, upstream_model)
        names = rerank_common.NAMES.get(attempt.target.endpoint.provider.type, rerank_common.NAMES["jina"])
        return rerank_common.encode_request(request, upstream_model, names)

    def decode_reply(self, exchange: Exchange, attempt: Attempt, body: bytes) -> RerankReply:
        if _is_cohere(attempt):
            return rerank_cohere.decode_reply(body, exchange.asked)
        return rerank_common.decode_reply(body, exchange.asked)

    def shown(self, exchange: Exchange, attempt: Attempt) -> dict[str, Any]:
        assert exchange.head and exchange.usage
        if exchange.surface == "native":
            return rerank_client.encode_native(attempt.answer, exchange.head, exchange.asked, native_usage(exchange))
        return rerank_client.encode_openai(attempt.answer, exchange.head, exchange.asked, exchange.usage)


def _is_cohere(attempt: Attempt) -> bool:
    return attempt.target.endpoint.provider.type == "cohere"
