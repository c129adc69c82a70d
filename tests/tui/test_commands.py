"""What the commands look like: help, options that every command has, and shell completion."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.appliance import Gateway, free_port
from support.cli import scaigrid

TALKING = [
    ("chat",),
    ("keys", "create"),
    ("keys", "list"),
    ("keys", "revoke"),
    ("usage",),
    ("explain",),
]
LOCAL = [("serve",), ("check",), ("version",)]


@pytest.mark.parametrize("command", TALKING)
def test_commands_that_talk_share_their_options(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = scaigrid(*command, "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for option in ("--json", "--url", "--key", "--config", "SCAIGRID_URL", "SCAIGRID_API_KEY"):
        assert option in done.stdout


@pytest.mark.parametrize("command", [*TALKING, ("serve",), ("check",)])
def test_help_has_an_example(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = scaigrid(*command, "--help", cwd=tmp_path)
    assert f"scaigrid {' '.join(command)}" in done.stdout.split("Usage:", 1)[1].split("\n", 1)[1]


def test_the_overview_names_every_command_in_its_panel(tmp_path: Path) -> None:
    local, talking = scaigrid("--help", cwd=tmp_path).stdout.split("Talk to a running gateway")
    assert all(f"│ {name}" in local.split("Run the gateway", 1)[1] for name in ("serve", "check", "version"))
    assert all(f"│ {name}" in talking for name in ("chat", "keys", "usage"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bogus",), "No such command 'bogus'; see `scaigrid --help`"),
        (("cha",), "Did you mean 'chat'?"),
        (("chat", "--bogus"), "No such option: --bogus; see `scaigrid chat --help`"),
        (("chat", "a", "b"), "unexpected extra argument"),
        (("keys", "bogus"), "see `scaigrid keys --help`"),
        (("usage", "--url", "ftp://x"), "Invalid value for '--url': 'ftp://x' is no URL"),
    ],
)
def test_wrong_usage_is_one_line_and_2(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = scaigrid(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.startswith("scaigrid: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [("chat", "-m", "hi"), ("chat",), ("keys", "list"), ("usage",), ("usage", "summary"), ("reload",)]
)
def test_an_appliance_that_does_not_run_is_one_line_and_1(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    env = {"SCAIGRID_URL": f"http://127.0.0.1:{free_port()}", "SCAIGRID_API_KEY": "sgk_x"}
    done = scaigrid(*arguments, cwd=tmp_path, env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == f"scaigrid: cannot reach {env['SCAIGRID_URL']}: connection refused; is `scaigrid serve` running?\n"
    )


def test_environment_and_flags_find_the_appliance_from_anywhere(gateway: Gateway, tmp_path: Path) -> None:
    env = {"SCAIGRID_URL": gateway.url, "SCAIGRID_API_KEY": gateway.admin_key}
    assert scaigrid("keys", "list", cwd=tmp_path, env=env).returncode == 0
    flags = ("--url", gateway.url, "--key", gateway.admin_key)
    assert scaigrid("keys", "list", *flags, cwd=tmp_path).returncode == 0
    assert scaigrid("keys", "list", "-c", gateway.config, cwd=tmp_path).returncode == 0
    wrong = scaigrid("keys", "list", cwd=tmp_path, env=env | {"SCAIGRID_API_KEY": "sgk_wrong"})
    assert "the key came from SCAIGRID_API_KEY" in wrong.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_shown(tmp_path: Path, shell: str) -> None:
    env = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = scaigrid("--show-completion", shell, cwd=tmp_path, env=env)
    assert done.returncode == 0
    assert "_SCAIGRID_COMPLETE" in done.stdout


def test_completion_can_be_installed(tmp_path: Path) -> None:
    env = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", "HOME": str(tmp_path)}
    done = scaigrid("--install-completion", "bash", cwd=tmp_path, env=env)
    assert done.returncode == 0
    assert (tmp_path / ".bashrc").exists()


def test_completion_knows_commands_and_choices(tmp_path: Path) -> None:
    assert complete("scaigrid ke", tmp_path) == ["keys"]
    assert complete("scaigrid keys re", tmp_path) == ["revoke"]
    assert complete("scaigrid usage --by te", tmp_path) == ["tenant"]


def complete(line: str, cwd: Path) -> list[str]:
    """What bash would offer for the last word."""
    words = line.split(" ")
    env = {"_SCAIGRID_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = scaigrid(cwd=cwd, env=env)
    assert done.stderr == ""
    return done.stdout.split()
