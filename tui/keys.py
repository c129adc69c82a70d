"""`scaigrid keys`: create, list and revoke API keys. A secret is printed once, and kept nowhere."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text

from tui.client import Client, segment
from tui.locate import Place
from tui.output import Column, moment, note, print_json, print_table, visible

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_COLUMNS = (
    Column("id", keep=True),
    Column("user"),
    Column("name"),
    Column("status", keep=True),
    Column("expires", keep=True),
)


async def create(place: Place, user_id: str, name: str, expires_at: str | None, *, as_json: bool) -> None:
    body = {"name": name, "assigned_user_id": user_id, "expires_at": expires_at}
    async with Client(place) as client:
        key = await client.post("/v1/api-keys", body)
    if as_json:
        print_json(key)
    elif sys.stdout.isatty():
        _show(key)
    else:
        sys.stdout.write(key["key"] + "\n")


async def list_keys(place: Place, *, as_json: bool) -> None:
    async with Client(place) as client:
        keys = await client.items("/v1/api-keys")
    if as_json:
        print_json(keys)
        return
    now = datetime.now(UTC)
    print_table(_COLUMNS, [_row(key, now) for key in keys], [_status(key, now) != "active" for key in keys])


async def revoke(place: Place, key_id: str, *, as_json: bool) -> None:
    async with Client(place) as client:
        key = await client.delete(f"/v1/api-keys/{segment(key_id)}")
    if as_json:
        print_json(key)
    else:
        sys.stdout.write(visible(f"revoked {key['id']} ({key['name']} of {key['user_id']})") + "\n")


def expiry(text: str, now: datetime) -> str:
    """`2027-12-31`, `2027-12-31T12:00:00Z` or `90d` from now → ISO 8601. Raises ValueError with what is wrong."""
    found = re.fullmatch(r"(\d+)([smhdw])", text)
    try:
        if found:
            return (now + timedelta(**{_UNITS[found[2]]: int(found[1])})).isoformat(timespec="seconds")
        when = datetime.fromisoformat(text)
    except OverflowError:
        raise ValueError(f"{text!r} is too far away") from None
    except ValueError:
        raise ValueError(
            f"{text!r} is no date such as 2027-12-31, no time such as 2027-12-31T12:00:00Z, and no duration such as 90d"
        ) from None
    if when.tzinfo is None and len(text) > len("2027-12-31"):
        raise ValueError("this time has no time zone: end it with Z for UTC, or with an offset like +01:00")
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).isoformat(timespec="seconds")


def _show(key: dict[str, Any]) -> None:
    """The key stands alone on its line, so that it can be copied from a terminal of any width."""
    facts = f"{key['id']} · {key['name']} · user {key['user_id']} · expires {moment(key['expires_at'], day_only=True)}"
    console = Console(highlight=False)
    if console.width < len(key["key"]) + 4:
        console.out(key["key"], highlight=False)
    else:
        text = Group(Text(key["key"], style="bold"), Text(visible(facts), style="dim"))
        console.print(Panel(text, title="API key", title_align="left", expand=False))
    note("This is the only time it is shown. Send it as: Authorization: Bearer KEY")


def _row(key: dict[str, Any], now: datetime) -> list[str]:
    expires = moment(key["expires_at"], day_only=True)
    return [key["id"], key["user_id"], key["name"], _status(key, now), expires]


def _status(key: dict[str, Any], now: datetime) -> str:
    is_over = key["expires_at"] and datetime.fromisoformat(key["expires_at"]) <= now
    return "expired" if is_over and key["status"] == "active" else str(key["status"])
