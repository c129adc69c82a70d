"""Embeddings: one call of the caller's may be several of the upstream's, because each takes only so many texts."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from appliance.errors import GatewayError
from appliance.exchange import Attempt, Exchange
from appliance.formats import (
    embedding,
    embedding_client,
    embedding_cohere,
    embedding_google,
    embedding_openai,
    embedding_vertex,
)
from appliance.formats.chat import Usage
from appliance.formats.embedding import EmbeddingReply, EmbeddingRequest
from appliance.pipeline.call import AttemptFailed, mismatch, open_upstream, read_whole
from appliance.pipeline.operations.base import Documents, native_usage
from appliance.state import State

AT_A_TIME = 4
"""Calls of one request that run at the same time: long lists get done, and nobody floods an upstream."""


class Embed(Documents):
    name = "embed"
    modality = "embedding"
    feature = "embeddings"

    def decode(self, exchange: Exchange, body: Any) -> EmbeddingRequest:
        if exchange.surface == "native":
            request = embedding_client.decode_native(body)
            exchange.metadata = request.metadata
            return request
        return embedding_client.decode_openai(body)

    def needs(self, exchange: Exchange) -> frozenset[str]:
        return frozenset({"dimensions"} if exchange.asked.dimensions is not None else ())

    def most(self, exchange: Exchange) -> Usage:
        assert exchange.model
        return embedding.bound(exchange.asked, exchange.model.context_window)

    def likely(self, exchange: Exchange) -> Usage:
        return embedding.estimate(exchange.asked)

    def translate(self, exchange: Exchange, attempt: Attempt) -> None:
        assert exchange.model
        request: EmbeddingRequest = exchange.asked
        dimensions = exchange.model.default_params.get("dimensions")
        if request.dimensions is None and dimensions is not None and "dimensions" not in attempt.target.lacks:
            request = msgspec.structs.replace(request, dimensions=dimensions)
        own = _own_form(attempt)
        if own is not None:
            attempt.parts = embedding.split(request, own.MOST_ITEMS)
        else:
            traits = _traits(attempt)
            attempt.parts = embedding.split(request, traits.most_items, traits.most_tokens)
        attempt.body = self._body(attempt, attempt.parts[0])  # says now what this target cannot carry

    def _body(self, attempt: Attempt, part: EmbeddingRequest) -> bytes:
        upstream_model, own = attempt.target.upstream_model, _own_form(attempt)
        if own is not None:
            return msgspec.json.encode(own.encode_request(part, upstream_model))
        return msgspec.json.encode(embedding_openai.encode_request(part, upstream_model, _traits(attempt)))

    async def fetch(self, exchange: Exchange, attempt: Attempt, state: State) -> None:
        # No more parts at once than the provider serves: a call must not be turned away by its own parts.
        at_once = exchange.grid.queues[attempt.target.endpoint.name].at_once
        room = asyncio.Semaphore(min(AT_A_TIME, at_once))

        async def one(part: EmbeddingRequest) -> EmbeddingReply:
            async with room:
                upstream = await open_upstream(exchange, attempt, state, self.name, self._body(attempt, part))
                try:
                    body = await read_whole(exchange, attempt, upstream)
                finally:
                    upstream.close()
            reply: EmbeddingReply = self.understood(exchange, attempt, body)
            return reply

        loop = asyncio.get_running_loop()
        calls = [loop.create_task(one(part)) for part in attempt.parts]
        try:
            replies = await asyncio.gather(*calls)
        finally:  # the first failure ends the others, and none is under way when the next target is asked
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        try:
            attempt.answer = embedding.joined(attempt.parts, replies)
        except GatewayError as error:
            raise AttemptFailed(mismatch(attempt, error.message)) from error
        attempt.usage = attempt.answer.usage

    def encode(self, exchange: Exchange, attempt: Attempt) -> dict[str, Any]:
        raise AssertionError("translate makes the bodies, one for each part")

    def decode_reply(self, exchange: Exchange, attempt: Attempt, body: bytes) -> EmbeddingReply:
        reply: EmbeddingReply = (_own_form(attempt) or embedding_openai).decode_reply(body)
        return reply

    def shown(self, exchange: Exchange, attempt: Attempt) -> dict[str, Any]:
        assert exchange.head and exchange.usage
        encoding = exchange.asked.encoding
        if exchange.surface == "native":
            return embedding_client.encode_native(attempt.answer, exchange.head, encoding, native_usage(exchange))
        return embedding_client.encode_openai(attempt.answer, exchange.head, encoding, exchange.usage)


OWN_FORMS: dict[str, Any] = {
    "cohere": embedding_cohere,
    "google": embedding_google,
    "google on vertex": embedding_vertex,
}
"""Kinds of providers whose embeddings have a form of their own; all others have OpenAI's."""


def _own_form(attempt: Attempt) -> Any:
    endpoint = attempt.target.endpoint
    is_vertex = endpoint.provider.type == "google" and endpoint.credential is not None
    return OWN_FORMS.get("google on vertex" if is_vertex else endpoint.provider.type)


def _traits(attempt: Attempt) -> embedding_openai.Traits:
    traits = embedding_openai.TRAITS
    return traits.get(attempt.target.endpoint.provider.type, traits["custom"])
