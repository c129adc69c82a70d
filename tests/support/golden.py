"""Compares a value with a golden file, or rewrites the file when SCAIGRID_GOLDEN=write; decides nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def check_golden(path: Path, actual: object) -> None:
    """Assert that `actual` (plain JSON values) equals the golden file at `path`; a relative path is under GOLDEN."""
    file = GOLDEN / path
    text = json.dumps(actual, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if os.environ.get("SCAIGRID_GOLDEN") == "write":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return
    assert file.is_file(), f"{file} is missing: write it with SCAIGRID_GOLDEN=write, then read it"
    expected = json.loads(file.read_text(encoding="utf-8"))
    assert json.loads(text) == expected, f"{file} differs: rewrite it with SCAIGRID_GOLDEN=write if the change is meant"
