"""How fast a backend answers: percentiles over its latest calls, forgotten when they are old."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque

CALLS_KEPT = 200
MAX_AGE_S = 600.0


class Window:
    """The latest values, also in order of size: adding moves a few hundred bytes, reading a percentile is one look."""

    __slots__ = ("_by_age", "_by_size")

    def __init__(self) -> None:
        self._by_age: deque[tuple[float, float]] = deque()
        self._by_size: list[float] = []

    def add(self, now: float, seconds: float) -> None:
        self._prune(now)
        if len(self._by_age) == CALLS_KEPT:
            self._drop_oldest()
        self._by_age.append((now, seconds))
        insort(self._by_size, seconds)

    def count(self, now: float) -> int:
        self._prune(now)
        return len(self._by_size)

    def percentile(self, share: float, now: float, at_least: int = 1) -> float | None:
        """The smallest value that `share` of the calls did not exceed; None when fewer than `at_least` are known."""
        self._prune(now)
        values = self._by_size
        if not values or len(values) < at_least:
            return None
        return values[max(0, math.ceil(share * len(values)) - 1)]

    def _prune(self, now: float) -> None:
        while self._by_age and self._by_age[0][0] <= now - MAX_AGE_S:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, seconds = self._by_age.popleft()
        del self._by_size[bisect_left(self._by_size, seconds)]


class Latency:
    """One backend's. `first_token` holds streamed calls only: an unstreamed one tells its time in `total`."""

    __slots__ = ("first_token", "total")

    def __init__(self) -> None:
        self.first_token = Window()
        self.total = Window()

    def summary(self, now: float) -> dict[str, int | None]:
        """Whole milliseconds for people; None where nothing is known."""
        return {
            "first_token_ms_p50": _ms(self.first_token.percentile(0.5, now)),
            "first_token_ms_p95": _ms(self.first_token.percentile(0.95, now)),
            "total_ms_p50": _ms(self.total.percentile(0.5, now)),
            "total_ms_p95": _ms(self.total.percentile(0.95, now)),
        }


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
