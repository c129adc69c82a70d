"""OpenAI itself, and `custom`: any server that speaks OpenAI's protocol."""

from __future__ import annotations

from msgspec.structs import replace

from appliance.formats import openai
from appliance.formats.openai_passthrough import PASSTHROUGH
from appliance.formats.openai_quirks import OPENAI
from appliance.providers.base import Provider


class OpenAI(Provider):
    type = "openai"
    format = openai
    passthrough = PASSTHROUGH


class Custom(Provider):
    """`base_url` is required and ends in /v1 (contract section 5); the key is optional.

    Such servers mostly know `top_k` and go on from a last assistant message; the rows of compatible.py say more.
    """

    type = "custom"
    format = openai.Upstream(replace(OPENAI, top_k=True, prefill={}))
    passthrough = PASSTHROUGH
