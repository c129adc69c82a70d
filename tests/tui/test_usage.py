"""`scaigrid usage`: rows and sums, for people, pipes and machines."""

from __future__ import annotations

import json

import pytest

from support.appliance import Gateway
from support.cli import scaigrid, terminal


@pytest.fixture(scope="module")
def used(gateway: Gateway) -> Gateway:
    """The appliance after three calls of the admin and two of alice, one of which failed."""
    made = scaigrid("keys", "create", "--tenant", "acme", "--user", "alice", cwd=gateway.folder)
    alice = made.stdout.strip()
    for model, key in (("alpha", ""), ("alpha", ""), ("alpha", ""), ("think", alice), ("cut", alice)):
        gateway.post("/v1/inference/chat", {"model": model, "messages": [{"role": "user", "content": "hi"}]}, key=key)
    return gateway


def test_rows_come_newest_first_with_what_they_cost(used: Gateway) -> None:
    done = scaigrid("usage", cwd=used.folder)
    assert (done.returncode, done.stderr) == (0, "")
    heading, *rows = (line.split("\t") for line in done.stdout.splitlines())
    assert heading == ["time (UTC)", "model", "user", "in", "out", "USD", "ms", "status"]
    assert [row[1] for row in rows] == ["cut", "think", "alpha", "alpha", "alpha"]
    assert rows[-1][2:6] == ["default:admin", "4", "34", "0.000072"]
    assert rows[0][7] == "failed"


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (("--model", "alpha"), 3),
        (("--user", "alice", "--tenant", "acme"), 2),
        (("--user", "acme:alice"), 2),
        (("--tenant", "default"), 3),
        (("--tenant", "nobody"), 0),
        (("--period", "hour"), 5),
        (("--limit", "2"), 2),
        (("--limit", "5000"), 5),
        (("rows", "--model", "alpha"), 3),
    ],
)
def test_filters_narrow_the_rows(used: Gateway, filters: tuple[str, ...], count: int) -> None:
    assert len(json.loads(scaigrid("usage", *filters, "--json", cwd=used.folder).stdout)) == count


@pytest.mark.parametrize(
    "form", [("summary", "--by", "model"), ("--by", "model", "summary"), ("--by", "model"), ("summary",)]
)
def test_sums_by_model(used: Gateway, form: tuple[str, ...]) -> None:
    done = scaigrid("usage", *form, "--json", cwd=used.folder)
    sums = {entry["group_key"]: entry for entry in json.loads(done.stdout)}
    assert sums["alpha"]["request_count"] == 3
    assert sums["alpha"]["total_cost"] == "0.000216"


@pytest.mark.parametrize(
    ("by", "group"), [("user", "acme:alice"), ("tenant", "acme"), ("backend", "demo:demo"), ("key", "apikey_admin")]
)
def test_sums_by_everything_else(used: Gateway, by: str, group: str) -> None:
    done = scaigrid("usage", "summary", "--by", by, "--period", "day", cwd=used.folder)
    assert done.stdout.startswith(f"{by}\trequests\t")
    assert f"\n{group}\t" in done.stdout


def test_a_terminal_shows_a_table_of_80_columns(used: Gateway) -> None:
    with terminal("usage", cwd=used.folder) as screen:
        assert screen.end() == 0
    assert max(map(len, screen.screen.splitlines())) <= 80
    assert "default:admin" in screen.screen
    assert "completed" in screen.screen


def test_a_terminal_shows_the_total_of_sums(used: Gateway) -> None:
    with terminal("usage", "summary", cwd=used.folder) as screen:
        assert screen.end() == 0
    total = screen.screen.split("total", 1)[1].split()
    assert total[0] == "5"
    assert "0.000216" in total


def test_a_terminal_shows_20_rows_and_says_that_there_are_more(used: Gateway) -> None:
    for _ in range(20):
        used.post("/v1/inference/chat", {"model": "team/steady", "messages": [{"role": "user", "content": "x"}]})
    with terminal("usage", cwd=used.folder) as screen:
        assert screen.end() == 0
    assert screen.screen.count("team/steady") == 20
    assert "--limit" in screen.screen
    assert len(json.loads(scaigrid("usage", "--json", cwd=used.folder).stdout)) == 25


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--by", "team"), "'team' is not one of"),
        (("--period", "year"), "'year' is not one of"),
        (("--limit", "0"), "'--limit'"),
        (("rows", "--by", "model"), "usage summary"),
        (("summary", "--limit", "3"), "'--limit'"),
        (("nonsense",), "'nonsense'"),
    ],
)
def test_wrong_usage_is_one_line_and_2(used: Gateway, arguments: tuple[str, ...], said: str) -> None:
    done = scaigrid("usage", *arguments, cwd=used.folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_who_may_not_see_a_tenant_is_told_so(used: Gateway) -> None:
    key = scaigrid("keys", "create", "--tenant", "acme", "--user", "alice", cwd=used.folder).stdout.strip()
    done = scaigrid("usage", "--tenant", "default", "--key", key, cwd=used.folder)
    assert done.returncode == 1
    assert done.stderr.startswith("scaigrid: AUTHZ_PERMISSION_DENIED: ")
    assert len(json.loads(scaigrid("usage", "--json", "--key", key, cwd=used.folder).stdout)) == 2
