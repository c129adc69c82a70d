"""Model names for the shell's completion, when the appliance answers quickly. It must print nothing, whatever fails."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tui.client import Client
from tui.locate import DEFAULT_CONFIG, ClientError, Place, find

PATIENCE_S = 0.7
"""A person waits at the prompt."""


def models(url: str, key: str, config_file: Path | None, incomplete: str) -> list[str]:
    try:
        slugs = asyncio.run(_slugs(find(url, key, config_file or DEFAULT_CONFIG)))
    except (ClientError, TimeoutError):
        return []
    return [slug for slug in slugs if slug.startswith(incomplete)]


async def _slugs(place: Place) -> list[str]:
    async with asyncio.timeout(PATIENCE_S), Client(place) as client:
        return [str(model["slug"]) for model in await client.items("/v1/models", {"modality": "chat"})]
