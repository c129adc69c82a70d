"""Pictures from a prompt."""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.exchange import Attempt, Exchange
from appliance.formats import image, image_client, image_google, image_openai
from appliance.formats.chat import Usage
from appliance.formats.image import ImageReply, ImageRequest
from appliance.pipeline.operations.base import Documents, native_usage


class Image(Documents):
    name = "image"
    modality = "image"
    feature = "images_out"
    units = frozenset({"total_tokens", "images"})

    def decode(self, exchange: Exchange, body: Any) -> ImageRequest:
        if exchange.surface == "native":
            request = image_client.decode_native(body)
            exchange.metadata = request.metadata
            return request
        return image_client.decode_openai(body)

    def most(self, exchange: Exchange) -> Usage:
        return image.bound(_with_defaults(exchange))

    def likely(self, exchange: Exchange) -> Usage:
        return image.estimate(_with_defaults(exchange))

    def encode(self, exchange: Exchange, attempt: Attempt) -> dict[str, Any]:
        request, upstream_model = _with_defaults(exchange), attempt.target.upstream_model
        if attempt.target.endpoint.dialect == "google":
            return image_google.encode_request(request, upstream_model)
        return image_openai.encode_request(request, upstream_model)

    def decode_reply(self, exchange: Exchange, attempt: Attempt, body: bytes) -> ImageReply:
        if attempt.target.endpoint.dialect == "google":
            return image_google.decode_reply(body)
        return image_openai.decode_reply(body)

    def shown(self, exchange: Exchange, attempt: Attempt) -> dict[str, Any]:
        assert exchange.head
        if exchange.surface == "native":
            return image_client.encode_native(attempt.answer, exchange.head, native_usage(exchange))
        return image_client.encode_openai(attempt.answer, exchange.head)


def _with_defaults(exchange: Exchange) -> ImageRequest:
    """What the operator's YAML says where the caller says nothing."""
    assert exchange.model
    request: ImageRequest = exchange.asked
    defaults = {name: value for name, value in exchange.model.default_params.items() if getattr(request, name) is None}
    return msgspec.structs.replace(request, **defaults) if defaults else request
