"""`scaigrid switch` on the command line: its options, exit codes, one-line errors. The act itself: scenarios."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from support.appliance import Gateway
from support.cli import scaigrid

MODEL = """  both:
    price: free
    route: [{backend: "demo:x"}, {backend: "demo:y", enabled: false}]
"""


@pytest.fixture
def both(gateway: Gateway) -> Iterator[Gateway]:
    """With a model of two targets; the plain configuration is put back afterwards."""
    text = gateway.config.read_text()
    gateway.config.write_text(text.replace("models:\n", f"models:\n{MODEL}"))
    assert scaigrid("reload", cwd=gateway.folder).returncode == 0
    yield gateway
    gateway.config.write_text(text)
    assert scaigrid("reload", cwd=gateway.folder).returncode == 0


def test_without_an_option_the_targets_are_listed(both: Gateway) -> None:
    done = scaigrid("switch", "both", cwd=both.folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split("\t") for line in done.stdout.splitlines()] == [
        ["target", "switch", "health", "running"],
        ["demo:x", "on", "healthy", "0"],
        ["demo:y", "off", "unavailable", "0"],
    ]
    shown = json.loads(scaigrid("switch", "both", "--json", cwd=both.folder).stdout)
    assert [target["enabled"] for target in shown["targets"]] == [True, False]


def test_targets_are_flipped_one_by_one_or_all_at_once(both: Gateway) -> None:
    on = scaigrid("switch", "both", "--on", "demo:y", cwd=both.folder)
    assert on.stdout.startswith("both: demo:x → demo:x, demo:y\n")
    to = json.loads(scaigrid("switch", "both", "--to", "demo:y", "--json", cwd=both.folder).stdout)
    assert (to["before"], to["after"]) == (["demo:x", "demo:y"], ["demo:y"])
    again = scaigrid("switch", "both", "--to", "demo:y", cwd=both.folder)
    assert again.stdout == f"both: demo:y already; generation {to['generation']} serves on\n"


def test_a_model_without_a_target_is_told_on_standard_error(both: Gateway) -> None:
    off = scaigrid("switch", "both", "--off", "demo:x", cwd=both.folder)
    assert off.returncode == 0
    assert off.stdout.startswith("both: demo:x → nothing\n")
    assert off.stderr == "no target of both can serve: callers get MODEL_UNAVAILABLE\n"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("both", "--to", "demo:z"), 1, "VALIDATION_ERROR: to: 'demo:z' is no target"),
        (("nothing",), 1, "MODEL_NOT_FOUND"),
        (("both", "--to", "demo:y", "--off", "demo:x"), 2, "give one of them"),
        ((), 2, "MODEL"),
    ],
)
def test_what_cannot_be_done_is_one_line(both: Gateway, arguments: tuple[str, ...], status: int, words: str) -> None:
    done = scaigrid("switch", *arguments, cwd=both.folder)
    assert (done.returncode, done.stdout) == (status, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
