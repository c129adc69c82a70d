"""What the tests of config share: a folder to be in, and a way to load text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import config

Load = Callable[..., config.Loaded]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def load_text(folder: Path) -> Load:
    """Writes scaigrid.yaml and loads it; `version: 1` is added."""

    def load(text: str, environ: Mapping[str, str] | None = None) -> config.Loaded:
        Path("scaigrid.yaml").write_text("version: 1\n" + text, encoding="utf-8")
        return config.load("scaigrid.yaml", environ or {})

    return load


@pytest.fixture
def problems_of(load_text: Load) -> Callable[..., list[str]]:
    """The problems of a text, one line each; fails when there are none."""

    def problems(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(config.ConfigError) as caught:
            load_text(text, environ)
        return [str(problem) for problem in caught.value.problems]

    return problems
