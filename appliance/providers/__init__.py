"""PROVIDERS: the readable list of what `type:` may say. A provider that differs from OpenAI in data only is a row in
compatible.py; another one is a file and a line here. Both also have a row in config/services.py."""

from __future__ import annotations

from appliance.providers.anthropic import Anthropic
from appliance.providers.azure import Azure
from appliance.providers.base import Provider
from appliance.providers.compatible import COMPATIBLE
from appliance.providers.demo import Demo
from appliance.providers.google import Google
from appliance.providers.openai import Custom, OpenAI

_OWN: tuple[Provider, ...] = (OpenAI(), Azure(), Custom(), Anthropic(), Google(), Demo())

PROVIDERS: dict[str, Provider] = {provider.type: provider for provider in (*_OWN, *COMPATIBLE)}
