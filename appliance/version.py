"""Which ScaiGrid this is: version, commit, Python, database."""

from __future__ import annotations

import platform
import sqlite3
import subprocess
from importlib import metadata
from pathlib import Path

UNKNOWN = "unknown"
GIT_TIMEOUT_S = 2
_ROOT = Path(__file__).resolve().parents[1]


def version() -> dict[str, str]:
    return {
        "version": _release(),
        "commit": commit(_ROOT),
        "python": platform.python_version(),
        "database": f"SQLite {sqlite3.sqlite_version}",
    }


def commit(root: Path) -> str:
    """The commit of a checkout. An installed copy has none, also when it lies inside somebody else's checkout."""
    if not (root / ".git").exists():
        return UNKNOWN
    command = ["git", "-C", str(root), "rev-parse", "--verify", "--quiet", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return UNKNOWN
    return found.stdout.strip() if found.returncode == 0 else UNKNOWN


def _release() -> str:
    try:
        return metadata.version("scaigrid")
    except metadata.PackageNotFoundError:
        return UNKNOWN
