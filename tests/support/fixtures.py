"""Finds the recorded provider answers and reads them; tests skip where the folder is missing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

REPO_ROOT = Path(__file__).resolve().parents[2]
FIXTURES = Path(os.environ.get("SCAIGRID_FIXTURES") or REPO_ROOT.parent / "shared" / "fixtures")
PROVIDERS = FIXTURES / "providers"

needs_fixtures = pytest.mark.skipif(
    not PROVIDERS.is_dir(), reason=f"no recorded answers at {PROVIDERS} (set SCAIGRID_FIXTURES)"
)


def recorded(name: str) -> bytes:
    """The body of a recording, named by its path below `providers`, such as `openai/chat-text.response.json`."""
    return (PROVIDERS / name).read_bytes()


def recorded_json(name: str) -> Any:
    return json.loads(recorded(name))


def recorded_meta(name: str) -> dict[str, Any]:
    """The meta file that belongs to a body: status, content type, source."""
    stem = name.split(".response.")[0]
    meta: dict[str, Any] = json.loads(recorded(f"{stem}.meta.json"))
    return meta
