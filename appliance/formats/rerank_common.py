"""Reranking as Jina, vLLM, llama.cpp, Together, Voyage and Hugging Face's TEI serve it: one form, with other names.

Servers that count no searches make one of each call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from appliance.formats.chat import Usage
from appliance.formats.refused_members import refuse_uncarriable
from appliance.formats.reply_object import count, mismatch, object_in, reply_object, reply_value
from appliance.formats.rerank import Ranked, RerankReply, RerankRequest


@dataclass(frozen=True, slots=True)
class Names:
    """A server's names of the members; `top_n` is None where it has none, and the list is cut here."""

    documents: str = "documents"
    top_n: str | None = "top_n"
    model: str | None = "model"


NAMES: dict[str, Names] = {
    "jina": Names(),
    "voyage": Names(top_n="top_k"),
    "tei": Names(documents="texts", top_n=None, model=None),
}
"""`jina` is what every server but the others speaks."""


def encode_request(request: RerankRequest, upstream_model: str, names: Names) -> dict[str, Any]:
    refuse_uncarriable(["max_tokens_per_doc"] if request.max_tokens_per_doc is not None else [], "this target")
    body: dict[str, Any] = {**request.extra, "query": request.query, names.documents: request.documents}
    if names.model:
        body[names.model] = upstream_model
    if names.top_n and request.top_n is not None:
        body[names.top_n] = request.top_n
    return body


def decode_reply(body: bytes, request: RerankRequest) -> RerankReply:
    """The results stand in `results`, in `data`, or are the reply itself."""
    value = reply_value(body)
    if isinstance(value, list):
        return RerankReply(results_in(value, request))
    reply = reply_object(body)
    listed = reply["results"] if "results" in reply else reply.get("data")
    return RerankReply(results_in(listed, request), _usage(reply))


def _usage(reply: dict[str, Any]) -> Usage | None:
    told = object_in(reply.get("usage"))
    tokens = count(told.get("total_tokens")) or count(told.get("prompt_tokens"))
    return Usage(input_tokens=tokens, searches=1) if tokens else None


def results_in(listed: Any, request: RerankRequest) -> list[Ranked]:
    """Raises UPSTREAM_SHAPE_MISMATCH for a document that was not asked about, or is ranked twice."""
    if not isinstance(listed, list) or not listed:
        raise mismatch("has no ranking")
    results = [_result(item) for item in listed]
    places = {result.index for result in results}
    if len(places) < len(results):
        raise mismatch("ranks a document twice")
    if min(places) < 0 or max(places) >= len(request.documents):
        raise mismatch("ranks a document that was not sent")
    if request.top_n is None and len(results) < len(request.documents):
        raise mismatch(f"ranks {len(results)} of {len(request.documents)} documents")
    return results


def _result(item: Any) -> Ranked:
    said = item if isinstance(item, dict) else {}
    index, score = said.get("index"), said.get("relevance_score", said.get("score"))
    if type(index) is not int or not isinstance(score, int | float) or isinstance(score, bool):
        raise mismatch("has a result without index and score")
    return Ranked(index, float(score))
