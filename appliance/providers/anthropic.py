"""Anthropic's Messages API: its own key header, a version header, and `base_url` without the /v1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from appliance.formats import anthropic
from appliance.formats.anthropic_passthrough import PASSTHROUGH
from appliance.providers.base import Endpoint, Provider

if TYPE_CHECKING:
    import config  # for its types only: the request path loads no YAML library

PATHS = {"chat": "/v1/messages", "count": "/v1/messages/count_tokens", "models": "/v1/models?limit=1000"}


class Anthropic(Provider):
    type = "anthropic"
    format_name = "anthropic"
    format = anthropic
    passthrough = PASSTHROUGH

    def auth_headers(self, entry: config.Provider) -> dict[str, str]:
        headers = {"anthropic-version": "2023-06-01"}
        if entry.api_key:
            headers["x-api-key"] = entry.api_key
        return headers

    def url(self, endpoint: Endpoint, operation: str, upstream_model: str, stream: bool) -> str:
        return endpoint.base_url + PATHS[operation]

    def models_of(self, body: Any) -> list[dict[str, Any]]:
        return [{"id": model["id"], "display_name": model.get("display_name")} for model in body["data"]]
