"""Which ScaiGrid this is."""

from __future__ import annotations

import platform
import re
import sqlite3
import subprocess
from pathlib import Path

import pytest

from appliance.version import commit, version


def test_all_four_facts_are_known() -> None:
    facts = version()
    assert re.fullmatch(r"\d+\.\d+\.\d+", facts["version"])
    assert facts["python"] == platform.python_version()
    assert facts["database"] == f"SQLite {sqlite3.sqlite_version}"
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", facts["commit"])


def test_a_checkout_has_its_commit(tmp_path: Path) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@x.example", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    assert re.fullmatch(r"[0-9a-f]{40}", commit(tmp_path))


def test_a_folder_without_a_repository_or_commits_has_none(tmp_path: Path) -> None:
    assert commit(tmp_path) == "unknown"
    (tmp_path / "inside").mkdir()
    subprocess.run(["git", "-C", tmp_path, "init", "-q"], check=True)
    assert commit(tmp_path) == "unknown"
    assert commit(tmp_path / "inside") == "unknown"


def test_without_git_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(tmp_path) == "unknown"
