"""PROVIDERS: the readable list of what `type:` may say. A new provider is one file and one line here."""

from __future__ import annotations

from appliance.providers.anthropic import Anthropic
from appliance.providers.base import Provider
from appliance.providers.demo import Demo
from appliance.providers.openai import Custom, OpenAI

PROVIDERS: dict[str, Provider] = {provider.type: provider for provider in (OpenAI(), Custom(), Anthropic(), Demo())}
