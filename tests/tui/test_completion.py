"""Model names for the shell."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from support.appliance import Gateway, free_port
from support.cli import scaigrid
from support.upstream import Upstream
from tui.completion import models


def test_models_are_offered_by_their_beginning(gateway: Gateway) -> None:
    assert models(gateway.url, gateway.admin_key, None, "") == ["alpha", "cut", "down", "slow", "team/steady", "think"]
    assert models("", "", gateway.config, "t") == ["team/steady", "think"]


def test_the_shell_gets_them(gateway: Gateway) -> None:
    env = {"_SCAIGRID_COMPLETE": "complete_bash", "COMP_WORDS": "scaigrid chat te", "COMP_CWORD": "2"}
    assert scaigrid(cwd=gateway.folder, env=env).stdout.split() == ["team/steady"]


def test_nothing_is_offered_nor_said_when_nobody_answers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert models(f"http://127.0.0.1:{free_port()}", "sgk_x", None, "") == []
    assert models("", "", tmp_path / "none.yaml", "") == []
    assert capfd.readouterr() == ("", "")


def test_a_slow_appliance_is_not_waited_for() -> None:
    with Upstream() as upstream:
        upstream.answer(lambda call: call.until_hung_up())
        started = time.monotonic()
        assert models(upstream.url, "sgk_x", None, "") == []
        assert time.monotonic() - started < 2
