"""FORMATS: the readable list of dialects that callers may speak."""

from __future__ import annotations

from appliance.formats import anthropic, completions, generate, native, openai, responses
from appliance.formats.base import ClientFormat

FORMATS: dict[str, ClientFormat] = {
    "native": native,
    "openai": openai,
    "responses": responses,
    "anthropic": anthropic,
    "generate": generate,
    "completions": completions,
}
