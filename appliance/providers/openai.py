"""OpenAI itself, and `custom`: any server that speaks OpenAI's protocol."""

from __future__ import annotations

from appliance.formats import openai
from appliance.providers.base import Provider


class OpenAI(Provider):
    type = "openai"
    format = openai
    default_base_url = "https://api.openai.com/v1"


class Custom(Provider):
    """`base_url` is required and ends in /v1 (contract section 5); the key is optional."""

    type = "custom"
    format = openai
