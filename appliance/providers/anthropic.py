"""Anthropic's Messages API: its own key header, a version header, and `base_url` without the /v1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.formats import anthropic
from appliance.providers.base import Provider

if TYPE_CHECKING:
    import config  # for its types only: the request path loads no YAML library


class Anthropic(Provider):
    type = "anthropic"
    format_name = "anthropic"
    format = anthropic
    default_base_url = "https://api.anthropic.com"
    chat_path = "/v1/messages"

    def auth_headers(self, entry: config.Provider) -> dict[str, str]:
        headers = {"anthropic-version": "2023-06-01"}
        if entry.api_key:
            headers["x-api-key"] = entry.api_key
        return headers
