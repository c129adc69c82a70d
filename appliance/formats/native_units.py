"""`usage` as the native surface shows it for every modality: the token counts, and the other units that were used."""

from __future__ import annotations

from typing import Any

from appliance.formats import native
from appliance.formats.chat import Usage


def usage_object(usage: Usage, cost: str, estimated: bool) -> dict[str, Any]:
    """`cost` is a decimal string in USD. A unit that was not used is left out; audio is shown in seconds."""
    units: dict[str, Any] = {
        "images": usage.images,
        "audio_seconds": usage.audio_ms / 1000,
        "characters": usage.characters,
        "searches": usage.searches,
    }
    return native.usage_object(usage, cost, estimated) | {name: used for name, used in units.items() if used}
