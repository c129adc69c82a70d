"""What is loaded at run time. Which file may name which is checked by import-linter (`make check`)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PROMISES = {
    "config": {"appliance", "tui", "sanic", "aiohttp", "peewee", "textual"},
    "tui": {"appliance", "sanic", "peewee"},
    "tui.commands": {"appliance", "sanic", "peewee", "yaml"},
    "appliance.errors": {"sanic", "aiohttp", "peewee", "yaml", "pydantic", "config", "tui"},
    "appliance.formats": {"sanic", "aiohttp", "peewee", "yaml", "pydantic", "config", "tui"},
    "appliance.providers": {"sanic", "peewee", "yaml", "pydantic", "config", "tui"},
    "appliance.pipeline.run": {"sanic", "yaml", "pydantic", "config", "tui", "appliance.grid.holder"},
    "appliance.state": {"sanic", "yaml", "pydantic", "config", "tui", "appliance.grid", "appliance.pipeline"},
    "appliance.__main__": {"sanic", "aiohttp", "peewee", "config", "textual", "pydantic"},
}
"""Module → what importing it must not load: the command line starts fast, and parts can be used on their own."""


@pytest.mark.parametrize("module", PROMISES)
def test_importing_a_part_loads_no_more_than_it_needs(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert PROMISES[module] & set(done.stdout.split()) == set()


def test_the_assertions_of_the_ledger_are_on() -> None:
    assert __debug__, "never run with -O"
