"""The canonical types of reranking, and what a call can use. Nothing here knows a wire format."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from appliance.formats.chat import Usage
from appliance.formats.text_bound import text_bound, text_estimate

FRAME_TOKENS = 256
"""More than any model puts around one pair of query and document; some write an instruction there."""
DOCUMENTS_PER_SEARCH = 100
CHUNK_TOKENS = 250
"""Cohere counts each 500 tokens of a document, its query included, as a document; the query takes half at the most."""


class RerankRequest(Struct, omit_defaults=True):
    """Documents to put in the order of their relevance to the query. None: not said by the caller."""

    model: str
    query: str
    documents: list[str]
    top_n: int | None = None
    return_documents: bool = False
    max_tokens_per_doc: int | None = None
    metadata: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    """Members that have no canonical meaning; only upstreams of the common /rerank form can carry them."""


class Ranked(Struct):
    """A document by its place in the request."""

    index: int
    relevance_score: float


class RerankReply(Struct):
    """Best first."""

    results: list[Ranked]
    usage: Usage | None = None


def ranked(results: list[Ranked], request: RerankRequest) -> list[Ranked]:
    """Best first, and no more than asked for: some upstreams know neither."""
    ordered = sorted(results, key=lambda result: -result.relevance_score)
    return ordered if request.top_n is None else ordered[: request.top_n]


def bound(request: RerankRequest, context_window: int | None = None) -> Usage:
    """The most that the call can use. Safe, because a token covers at least a byte, and the query is counted once more
    for every piece in which a document may be read: half the context window at least, since the query takes no more
    than the other half. Where the window is not known, pieces are as small as those that Cohere bills."""
    query = text_bound(request.query) + FRAME_TOKENS
    read_at_once = max(1, context_window // 2) if context_window else CHUNK_TOKENS
    tokens = billed = 0
    for document in request.documents:
        size = text_bound(document)
        if request.max_tokens_per_doc is not None:
            size = min(size, request.max_tokens_per_doc)
        tokens += size + query * _pieces(size, read_at_once)
        billed += _pieces(size, CHUNK_TOKENS)
    return Usage(input_tokens=tokens, searches=-(-billed // DOCUMENTS_PER_SEARCH))


def _pieces(size: int, of: int) -> int:
    return max(1, -(-size // of))


def estimate(request: RerankRequest) -> Usage:
    """What the call likely used, where the upstream does not say."""
    query = text_estimate(request.query)
    tokens = sum(query + text_estimate(document) for document in request.documents)
    return Usage(input_tokens=tokens, searches=-(-len(request.documents) // DOCUMENTS_PER_SEARCH))
