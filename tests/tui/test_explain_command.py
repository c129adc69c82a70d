"""The options of `scaigrid explain`, and what is refused before anything is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.api.routing import CALLS
from support.cli import scaigrid


def test_help_names_every_option_with_an_example(tmp_path: Path) -> None:
    done = scaigrid("explain", "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for option in ("model", "tenant", "user", "role", "metadata", "needs", "input-tokens", "max-tokens", "n", "json"):
        assert f"--{option} " in done.stdout
    assert all(name in done.stdout for name in CALLS)
    assert "scaigrid explain --model gpt --tenant acme" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--model"),
        (("--model", "m", "--metadata", "data"), "'data' is no KEY=VALUE"),
        (("--model", "m", "--metadata", "=x"), "'=x' is no KEY=VALUE"),
        (("--model", "m", "--input-tokens", "-1"), "'--input-tokens'"),
        (("--model", "m", "--max-tokens", "0"), "'--max-tokens'"),
        (("--model", "m", "--n", "0"), "'--n'"),
        (("--model", "m", "--operation", "dance"), "'dance' is not one of"),
        (("--model", "m", "more"), "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_one_line_and_2(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = scaigrid("explain", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
