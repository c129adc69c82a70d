"""`scaigrid keys`: create, list, revoke."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from support.appliance import Gateway
from support.cli import scaigrid, terminal
from tui.keys import expiry

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
FOR_ALICE = ("--tenant", "acme", "--user", "alice")


def test_in_a_pipe_only_the_key_is_printed_and_it_opens_the_door(gateway: Gateway) -> None:
    done = scaigrid("keys", "create", *FOR_ALICE, "--name", "laptop", cwd=gateway.folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"sgk_[A-Za-z0-9_-]{43}\n", done.stdout)
    assert gateway.get("/v1/me", key=done.stdout.strip()).json()["data"]["id"] == "acme:alice"


def test_json_is_the_whole_object(gateway: Gateway) -> None:
    done = scaigrid("keys", "create", *FOR_ALICE, "--expires", "90d", "--json", cwd=gateway.folder)
    key = json.loads(done.stdout)
    assert key["key"].startswith("sgk_")
    assert key["user_id"] == "acme:alice"
    left = datetime.fromisoformat(key["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89, hours=23) < left <= timedelta(days=90)


def test_a_terminal_shows_the_key_on_a_line_of_its_own(gateway: Gateway) -> None:
    with terminal("keys", "create", *FOR_ALICE, cwd=gateway.folder) as screen:
        assert screen.end() == 0
    assert re.search(r"^│ sgk_[A-Za-z0-9_-]{43} +│$", screen.screen, re.M)
    assert "only time it is shown" in screen.screen


def test_the_list_shows_every_key_and_no_secret(gateway: Gateway) -> None:
    secret = scaigrid("keys", "create", *FOR_ALICE, "--name", "listed", cwd=gateway.folder).stdout.strip()
    done = scaigrid("keys", "list", cwd=gateway.folder)
    assert done.returncode == 0
    heading, *rows = (line.split("\t") for line in done.stdout.splitlines())
    assert heading == ["id", "user", "name", "status", "expires"]
    assert ["acme:alice", "listed", "active", "-"] in [row[1:] for row in rows]
    assert ["default:admin", "admin.key", "active", "-"] in [row[1:] for row in rows]
    assert secret not in done.stdout


def test_the_list_fits_into_80_columns_with_whole_ids(gateway: Gateway) -> None:
    name = "a name that is far too long for a narrow terminal"
    made = scaigrid("keys", "create", *FOR_ALICE, "--name", name, "--json", cwd=gateway.folder)
    with terminal("keys", "list", cwd=gateway.folder) as screen:
        assert screen.end() == 0
    row = next(line for line in screen.screen.splitlines() if json.loads(made.stdout)["id"] in line)
    assert len(row) <= 80
    assert "active" in row
    assert "…" in row


def test_a_name_cannot_steer_the_terminal_or_break_the_list(gateway: Gateway) -> None:
    refused = scaigrid("keys", "create", *FOR_ALICE, "--name", "x\x1b[31m\ty", cwd=gateway.folder)
    assert refused.returncode == 1
    scaigrid("keys", "create", *FOR_ALICE, "--name", "[red]x y", cwd=gateway.folder)
    assert "[red]x y" in scaigrid("keys", "list", cwd=gateway.folder).stdout
    with terminal("keys", "list", cwd=gateway.folder) as screen:
        assert screen.end() == 0
    assert "[red]x" in screen.screen
    assert b"\x1b[31m" not in screen.raw


def test_a_revoked_key_is_shown_as_such_and_opens_nothing(gateway: Gateway) -> None:
    key = json.loads(scaigrid("keys", "create", *FOR_ALICE, "--json", cwd=gateway.folder).stdout)
    done = scaigrid("keys", "revoke", key["id"], cwd=gateway.folder)
    assert (done.returncode, done.stdout) == (0, f"revoked {key['id']} (key of acme:alice)\n")
    assert gateway.get("/v1/me", key=key["key"]).status == 401
    row = next(line for line in scaigrid("keys", "list", cwd=gateway.folder).stdout.splitlines() if key["id"] in line)
    assert "\trevoked\t" in row
    again = scaigrid("keys", "revoke", key["id"], "--json", cwd=gateway.folder)
    assert json.loads(again.stdout)["status"] == "revoked"


def test_the_list_has_all_pages(gateway: Gateway) -> None:
    listed = json.loads(scaigrid("keys", "list", "--json", cwd=gateway.folder).stdout)
    assert [key["id"] for key in listed] == sorted({key["id"] for key in listed})


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("create", "--tenant", "acme", "--user", "nobody"), 1, "the user 'acme:nobody' does not exist"),
        (("create", *FOR_ALICE, "--expires", "2020-01-01"), 1, "lies in the past"),
        (("create", "--tenant", "acme"), 2, "Missing option '--user'"),
        (("create", *FOR_ALICE, "--expires", "soon"), 2, "'--expires': 'soon' is no date"),
        (("create", *FOR_ALICE, "--expires", "2027-12-31T12:00"), 2, "no time zone"),
        (("revoke", "apikey_none"), 1, "NOT_FOUND: the API key 'apikey_none' does not exist"),
        (("revoke", "../me"), 1, "NOT_FOUND"),
        (("revoke", "apikey_admin"), 1, "DECLARED_IN_CONFIG"),
        (("revoke",), 2, "Missing argument 'ID'"),
    ],
)
def test_what_cannot_be_done_is_one_line(gateway: Gateway, arguments: tuple[str, ...], status: int, said: str) -> None:
    done = scaigrid("keys", *arguments, cwd=gateway.folder)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("90d", "2027-02-20T12:00:00+00:00"),
        ("12h", "2026-11-23T00:00:00+00:00"),
        ("2w", "2026-12-06T12:00:00+00:00"),
        ("2027-12-31", "2027-12-31T00:00:00+00:00"),
        ("2027-12-31T12:00:00Z", "2027-12-31T12:00:00+00:00"),
        ("2027-12-31T12:00:00+01:00", "2027-12-31T12:00:00+01:00"),
    ],
)
def test_an_expiry_is_a_date_a_time_or_a_duration(text: str, meant: str) -> None:
    assert expiry(text, NOW) == meant


@pytest.mark.parametrize(
    "text", ["", "90", "d", "-1d", "1.5d", "90 d", "99999999999d", "2027-13-01", "2027-12-31T12:00"]
)
def test_any_other_expiry_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        expiry(text, NOW)
