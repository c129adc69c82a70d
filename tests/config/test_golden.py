"""Mistakes and the exact problems they give: tests/golden/config/*.txt hold YAML, a line of dashes, the problems.

`make golden` rewrites what stands below the dashes.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import config

FOLDER = Path(__file__).parent.parent / "golden" / "config"
CASES = sorted(FOLDER.glob("*.txt"))
DASHES = "-" * 40 + "\n"
ENVIRON = {"SET": "CANARY-in-the-environment"}


def verdict(file: str) -> str:
    """The problems or, when there are none, the warnings."""
    try:
        loaded = config.load(file, ENVIRON)
    except config.ConfigError as error:
        return "".join(f"{problem}\n" for problem in error.problems)
    return "".join(f"warning: {problem}\n" for problem in loaded.warnings) or "no problem\n"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_each_mistake_gives_exactly_its_problems(case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yaml, _, expected = case.read_text(encoding="utf-8").partition(DASHES)
    monkeypatch.chdir(tmp_path)
    Path("scaigrid.yaml").write_text(yaml, encoding="utf-8")
    found = verdict("scaigrid.yaml")
    if os.environ.get("SCAIGRID_GOLDEN") == "write":
        case.write_text(yaml + DASHES + found, encoding="utf-8")
        expected = found
    assert found == expected, "if this is meant: make golden"


def test_there_are_enough_mistakes() -> None:
    assert len(CASES) >= 25


def test_no_problem_shows_a_secret() -> None:
    for case in CASES:
        problems = case.read_text(encoding="utf-8").partition(DASHES)[2]
        assert "CANARY" not in problems, case.name
        assert "HUNTER" not in problems.upper(), case.name
