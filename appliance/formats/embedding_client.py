"""Embeddings for callers: the OpenAI surface and the native one, requests in and replies out.

The replies hold undecoded JSON (msgspec.Raw), so they are to be encoded with msgspec. The native one is the `data`
object; must not add the envelope, `meta` or the cost.
"""

from __future__ import annotations

from typing import Any, cast

from appliance.errors import invalid
from appliance.formats.base import ReplyHead
from appliance.formats.chat import Usage
from appliance.formats.embedding import EmbeddingReply, EmbeddingRequest, Encoding
from appliance.formats.embedding_vector import as_base64, as_floats
from appliance.formats.members import Members, kind
from appliance.formats.refused_members import refuse_unknown

MOST_TOKEN_NUMBER = 2**31 - 1


def decode_openai(body: dict[str, Any]) -> EmbeddingRequest:
    members = Members(body)
    request = _decode(members)
    request.extra = members.rest()
    return request


def decode_native(body: dict[str, Any]) -> EmbeddingRequest:
    """OpenAI's form with `metadata`; a member that has no meaning here is refused."""
    members = Members(body)
    request = _decode(members)
    request.metadata = members.plain_object("metadata")
    refuse_unknown(members)
    return request


def _decode(members: Members) -> EmbeddingRequest:
    asked = members.value("encoding_format")
    encoding = "float" if asked is None else members.word("encoding_format", ("float", "base64"))
    return EmbeddingRequest(
        model=members.needed_text("model"),
        input=_input(members.needed("input")),
        dimensions=members.integer("dimensions", 1),
        encoding=cast(Encoding, encoding),
        input_type=members.text("input_type"),
        user=members.text("user"),
    )


def _input(value: Any) -> list[str] | list[list[int]]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise invalid("input", f"must be a string, a list of strings, or a list of tokens, not {kind(value)}")
    if not value:
        raise invalid("input", "must not be an empty list")
    kinds = set(map(type, value))
    if kinds == {str}:
        return cast(list[str], value)
    if kinds == {int}:
        return [_tokens(value, "input")]
    if kinds == {list}:
        return [_tokens(tokens, f"input.{i}") for i, tokens in enumerate(value)]
    expected = next(made for made in (str, int, list, object) if isinstance(value[0], made))
    at = next((i for i, item in enumerate(value) if type(item) is not expected), 0)
    raise invalid(f"input.{at}", f"must be a string or a token like all the others, not {kind(value[at])}")


def _tokens(value: list[Any], path: str) -> list[int]:
    if not value or set(map(type, value)) != {int}:
        raise invalid(path, "must be a list of token numbers that is not empty")
    if min(value) < 0 or max(value) > MOST_TOKEN_NUMBER:
        raise invalid(path, f"must hold token numbers from 0 to {MOST_TOKEN_NUMBER}")
    return value


def encode_openai(reply: EmbeddingReply, head: ReplyHead, encoding: Encoding, usage: Usage) -> dict[str, Any]:
    """`usage` is what is booked, since OpenAI's clients rely on the member."""
    items = [{"object": "embedding", **item} for item in _items(reply, encoding)]
    counts = {"prompt_tokens": usage.input_tokens, "total_tokens": usage.total_tokens}
    return {"object": "list", "data": items, "model": head.model, "usage": counts}


def encode_native(reply: EmbeddingReply, head: ReplyHead, encoding: Encoding, usage: dict[str, Any]) -> dict[str, Any]:
    """`usage` as native_units.usage_object made it."""
    return {"id": head.id, "model": head.model, "data": _items(reply, encoding), "usage": usage}


def _items(reply: EmbeddingReply, encoding: Encoding) -> list[dict[str, Any]]:
    written = as_base64 if encoding == "base64" else as_floats
    return [{"index": vector.index, "embedding": written(vector.embedding)} for vector in reply.vectors]
