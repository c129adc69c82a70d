"""Where a budget's period begins and ends: local midnights of the budget's own time zone, as Unix milliseconds.

Days have 23, 24 or 25 hours where the clocks change; a week begins on Monday.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from appliance.limits import Period

NEVER_MS = 1 << 62
"""The end of a period that does not end."""


def window(period: Period, timezone: str, now_ms: int) -> tuple[int, int]:
    """(start, end) of the period that holds `now_ms`; the end is exclusive."""
    if period == "total":
        return 0, NEVER_MS
    zone = ZoneInfo(timezone)
    today = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(zone).date()
    if period == "daily":
        first, last = today, today + timedelta(days=1)
    elif period == "weekly":
        first = today - timedelta(days=today.weekday())
        last = first + timedelta(days=7)
    else:
        first = today.replace(day=1)
        last = (first + timedelta(days=32)).replace(day=1)
    return _midnight_ms(first, zone), _midnight_ms(last, zone)


def _midnight_ms(day: date, zone: ZoneInfo) -> int:
    """A midnight that the clocks skip (some zones change at 00:00) is the first moment after it."""
    local = datetime(day.year, day.month, day.day, tzinfo=zone)
    return int(local.timestamp() * 1000)
