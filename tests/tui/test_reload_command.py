"""`scaigrid reload`: what it prints for people and machines. More in tests/scenarios/test_reload.py."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from support.appliance import Gateway
from support.cli import scaigrid


@pytest.fixture
def plain(gateway: Gateway) -> Iterator[str]:
    """The text of the good configuration, which is put back afterwards."""
    text = gateway.config.read_text()
    yield text
    gateway.config.write_text(text)
    assert scaigrid("reload", cwd=gateway.folder).returncode == 0


def flags(gateway: Gateway) -> tuple[str, ...]:
    return "--url", gateway.url, "--key", gateway.admin_key


def test_nothing_new_is_said_in_one_line(gateway: Gateway) -> None:
    done = scaigrid("reload", cwd=gateway.folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("generation ")


def test_what_changed_is_printed_also_when_the_watcher_was_faster(gateway: Gateway, plain: str) -> None:
    gateway.config.write_text(
        plain.replace("models:\n", "models:\n  fresh: {price: free, route: [{backend: demo:x}]}\n")
    )
    first = scaigrid("reload", cwd=gateway.folder)
    second = scaigrid("reload", cwd=gateway.folder)
    for done in (first, second):
        assert (done.returncode, done.stderr) == (0, "")
        assert "model fresh added\n" in done.stdout
    assert " serves already, since " in second.stdout
    shown = json.loads(scaigrid("reload", "--json", cwd=gateway.folder).stdout)
    assert shown["changes"] == ["model fresh added"]
    assert shown["changed"] is False
    assert shown["problems"] == []


def test_problems_are_printed_as_check_prints_them(gateway: Gateway, plain: str) -> None:
    gateway.config.write_text(plain + "modles: {}\n")
    checked = scaigrid("check", "-c", gateway.config, cwd=gateway.folder)
    asked = scaigrid("reload", *flags(gateway), cwd=gateway.folder)
    alone = scaigrid("reload", "-c", gateway.config, cwd=gateway.folder)
    for done in (asked, alone):
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(checked.stderr)
    assert asked.stderr.splitlines()[-1].endswith("serves on")
    assert alone.stderr.splitlines()[-1].startswith("the gateway was not asked")
    for more in (flags(gateway), ("-c", str(gateway.config))):
        done = scaigrid("reload", "--json", *more, cwd=gateway.folder)
        assert done.returncode == 1
        assert "did you mean `models`?" in {problem["hint"] for problem in json.loads(done.stdout)}


def test_a_static_key_is_named_on_standard_error(gateway: Gateway, plain: str) -> None:
    gateway.config.write_text(plain.replace("server:\n", "server:\n  upload_limit: 5MB\n"))
    done = scaigrid("reload", cwd=gateway.folder)
    assert done.returncode == 0
    assert "server.upload_limit takes effect at the next start" in done.stderr


def test_who_may_not_is_refused_in_one_line(gateway: Gateway) -> None:
    made = scaigrid("keys", "create", "--tenant", "acme", "--user", "bob", cwd=gateway.folder).stdout.strip()
    done = scaigrid("reload", "--key", made, cwd=gateway.folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert "AUTHZ_PERMISSION_DENIED" in done.stderr
    assert done.stderr.count("\n") == 1
