"""Reranking for callers: Cohere's and Jina's common form under /oai, and the native one, requests in and replies out.

The native reply is the `data` object; must not add the envelope, `meta` or the cost.
"""

from __future__ import annotations

from typing import Any

from appliance.errors import invalid
from appliance.formats.base import ReplyHead
from appliance.formats.chat import Usage
from appliance.formats.members import Members, items, kind
from appliance.formats.refused_members import refuse_unknown
from appliance.formats.rerank import RerankReply, RerankRequest, ranked


def decode_openai(body: dict[str, Any]) -> RerankRequest:
    members = Members(body)
    request = _decode(members)
    request.extra = members.rest()
    return request


def decode_native(body: dict[str, Any]) -> RerankRequest:
    members = Members(body)
    request = _decode(members)
    request.metadata = members.plain_object("metadata")
    refuse_unknown(members)
    return request


def _decode(members: Members) -> RerankRequest:
    documents = items(members.needed("documents"), "documents")
    if not documents:
        raise invalid("documents", "must hold at least one document")
    return RerankRequest(
        model=members.needed_text("model"),
        query=members.needed_text("query"),
        documents=[_document(document, f"documents.{i}") for i, document in enumerate(documents)],
        top_n=members.integer("top_n", 1),
        return_documents=bool(members.flag("return_documents")),
        max_tokens_per_doc=members.integer("max_tokens_per_doc", 1),
    )


def _document(value: Any, path: str) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        raise invalid(path, f"must be a string, or an object with text, not {kind(value)}")
    members = Members(value, path)
    text = members.needed_text("text")
    for name in members.rest():
        raise invalid(members.at(name), "cannot be ranked; a document has text only")
    return text


def encode_openai(reply: RerankReply, head: ReplyHead, request: RerankRequest, usage: Usage) -> dict[str, Any]:
    """`usage` is what is booked; it is told in Jina's member and in Cohere's."""
    return {
        "id": head.id,
        "model": head.model,
        "results": _results(reply, request),
        "usage": {"prompt_tokens": usage.input_tokens, "total_tokens": usage.total_tokens},
        "meta": {"billed_units": {"search_units": usage.searches}},
    }


def encode_native(reply: RerankReply, head: ReplyHead, request: RerankRequest, usage: dict[str, Any]) -> dict[str, Any]:
    """`usage` as native_units.usage_object made it."""
    return {"id": head.id, "model": head.model, "results": _results(reply, request), "usage": usage}


def _results(reply: RerankReply, request: RerankRequest) -> list[dict[str, Any]]:
    """Documents come from the request: no upstream needs to send them back."""
    results = []
    for result in ranked(reply.results, request):
        entry: dict[str, Any] = {"index": result.index, "relevance_score": result.relevance_score}
        if request.return_documents:
            entry["document"] = {"text": request.documents[result.index]}
        results.append(entry)
    return results
