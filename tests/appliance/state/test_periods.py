"""Budget periods partition time: every moment lies in exactly one window of each kind, whatever the clocks do."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import cache
from random import Random
from zoneinfo import ZoneInfo, available_timezones

import pytest

from appliance.limits import Period
from appliance.state.periods import NEVER_MS, window

ZONES = (
    "UTC",
    "Europe/Amsterdam",
    "America/New_York",
    "America/Sao_Paulo",  # changed its clocks at midnight, until 2019
    "America/Havana",  # 01:00 → 00:00: midnight comes twice
    "America/Santiago",
    "Asia/Kathmandu",  # a quarter of an hour off
    "Asia/Beirut",  # 00:00 → 01:00: there is no midnight
    "Asia/Tehran",
    "Australia/Lord_Howe",  # half an hour of daylight saving
    "Pacific/Apia",  # left out 30 December 2011
    "Pacific/Chatham",
    "Africa/Casablanca",  # four changes a year, around Ramadan
    "Africa/Cairo",
)
PERIODS: tuple[Period, ...] = ("daily", "weekly", "monthly")
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SHORTEST_MS = {"daily": 22 * HOUR_MS, "weekly": 6 * DAY_MS - HOUR_MS, "monthly": 27 * DAY_MS}
LONGEST_MS = {"daily": 26 * HOUR_MS, "weekly": 7 * DAY_MS + 2 * HOUR_MS, "monthly": 31 * DAY_MS + 2 * HOUR_MS}


def ms(year: int, month: int = 1, day: int = 1, zone: str = "UTC") -> int:
    return int(datetime(year, month, day, tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def local(moment_ms: int, zone: str) -> datetime:
    return datetime.fromtimestamp(moment_ms / 1000, UTC).astimezone(ZoneInfo(zone))


def begins_a_day(moment_ms: int, zone: str) -> bool:
    """It is the first moment of its date: midnight, or the first moment after one that the clocks skipped."""
    return local(moment_ms, zone).date() != local(moment_ms - 1, zone).date()


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("period", PERIODS)
def test_windows_follow_each_other_without_gap_or_overlap(period: Period, zone: str) -> None:
    """A walk through a quarter of a century, every daylight-saving change of it included."""
    start, end = window(period, zone, ms(2010))
    while start < ms(2036):
        assert SHORTEST_MS[period] <= end - start <= LONGEST_MS[period], local(start, zone)
        assert begins_a_day(start, zone)
        assert window(period, zone, end - 1) == (start, end)
        following = window(period, zone, end)
        assert following[0] == end, f"a gap or an overlap at {local(end, zone)}"
        start, end = following


@pytest.mark.parametrize("period", PERIODS)
def test_every_moment_lies_in_its_own_window(period: Period) -> None:
    rng = Random(period)
    for _ in range(4000):
        zone, now_ms = rng.choice(ZONES), rng.randrange(ms(2012), ms(2045))
        start, end = window(period, zone, now_ms)
        assert start <= now_ms < end, (zone, local(now_ms, zone))
        assert window(period, zone, start) == (start, end)


@pytest.mark.parametrize("period", PERIODS)
def test_the_hours_around_every_change_of_the_clocks_lie_in_their_own_windows(period: Period) -> None:
    for zone in ZONES:
        for change_ms in changes(zone, 2012, 2032):
            for minutes in range(-180, 181, 15):
                now_ms = change_ms + minutes * 60_000
                start, end = window(period, zone, now_ms)
                assert start <= now_ms < end, (zone, local(now_ms, zone))


@cache
def changes(zone: str, first: int, last: int) -> list[int]:
    """The moments, to the minute, at which the zone's offset changes."""
    found: list[int] = []
    step = 6 * HOUR_MS
    for early in range(ms(first), ms(last), step):
        low, high = early, early + step
        if local(low, zone).utcoffset() == local(high, zone).utcoffset():
            continue
        while high - low > 60_000:
            middle = (low + high) // 2
            if local(middle, zone).utcoffset() == local(low, zone).utcoffset():
                low = middle
            else:
                high = middle
        found.append(high - high % 60_000)
    return found


def test_a_zone_that_changes_its_clocks_was_really_walked_through() -> None:
    assert len(changes("Europe/Amsterdam", 2020, 2022)) == 4
    assert changes("Asia/Kathmandu", 2012, 2014) == []


def test_no_zone_of_the_database_has_a_window_without_its_own_moment() -> None:
    """All of them, late in each month of a year."""
    for zone in sorted(available_timezones()):
        for month in range(1, 13):
            now_ms = ms(2026, month, 28) + month * HOUR_MS
            for period in PERIODS:
                start, end = window(period, zone, now_ms)
                assert start <= now_ms < end, zone
                assert window(period, zone, end)[0] == end, zone


def test_a_day_has_23_hours_when_the_clocks_go_forward_and_25_when_they_go_back() -> None:
    zone = "Europe/Amsterdam"
    forward = window("daily", zone, ms(2026, 3, 29, zone))
    back = window("daily", zone, ms(2026, 10, 25, zone))
    assert forward[1] - forward[0] == 23 * HOUR_MS
    assert back[1] - back[0] == 25 * HOUR_MS


def test_a_week_begins_on_monday_and_a_month_on_its_first() -> None:
    zone = "Asia/Kathmandu"
    now_ms = ms(2026, 7, 15, zone) + 5 * HOUR_MS
    week, month = window("weekly", zone, now_ms), window("monthly", zone, now_ms)
    assert [local(moment, zone).date() for moment in week] == [date(2026, 7, 13), date(2026, 7, 20)]
    assert [local(moment, zone).date() for moment in month] == [date(2026, 7, 1), date(2026, 8, 1)]
    assert local(week[0], zone).time() == local(month[0], zone).time() == datetime.min.time()


def test_the_same_moment_is_another_day_elsewhere() -> None:
    now_ms = ms(2026, 1, 31) + 23 * HOUR_MS
    assert window("monthly", "Pacific/Apia", now_ms)[0] == ms(2026, 2, 1, "Pacific/Apia")
    assert window("monthly", "America/New_York", now_ms)[0] == ms(2026, 1, 1, "America/New_York")


def test_a_day_that_a_zone_left_out_has_no_window() -> None:
    """Samoa went from 29 to 31 December 2011 at midnight."""
    zone = "Pacific/Apia"
    before = window("daily", zone, ms(2011, 12, 29, zone) + HOUR_MS)
    assert local(before[1], zone).date() == date(2011, 12, 31)
    assert window("daily", zone, before[1])[0] == before[1]


def test_a_total_never_ends() -> None:
    assert window("total", "Europe/Amsterdam", ms(2026)) == (0, NEVER_MS)
    assert ms(9000) < NEVER_MS
