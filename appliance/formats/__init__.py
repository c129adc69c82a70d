"""FORMATS: the readable list of dialects that callers may speak."""

from __future__ import annotations

from appliance.formats import native, openai
from appliance.formats.base import ClientFormat

FORMATS: dict[str, ClientFormat] = {"native": native, "openai": openai}
