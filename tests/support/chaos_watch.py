"""Watches circuit breakers over /v1/backends, and compares what it saw with the state machine and with the upstreams.

What is seen is a sample every tenth of a second, so a short state may be missed; that time may pass no faster than the
rule says cannot.
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from support.chaos_line import Line, request_of
from support.chaos_upstream import SeenCall

EVERY_S = 0.1
EPSILON_S = 0.02
"""Times are told in floating point, and the loop's clock is not read for each step."""
ONWARDS_S = 0.3
"""A call that got leave before the circuit opened reaches its upstream within this time, and whatever the loop lags."""


@dataclass(frozen=True)
class Sample:
    """A state that held at some moment between the two times."""

    sent_at: float
    got_at: float
    breaker: str
    open_for_s: float


@dataclass
class Opening:
    """No ordinary call may reach the backend between the two times."""

    since: float
    until: float


class Watch:
    def __init__(
        self, address: tuple[str, int], admin_key: str, cooldown_s: float, wrong: Callable[[str], None]
    ) -> None:
        self._address, self._key, self._cooldown_s, self._wrong = address, admin_key, cooldown_s, wrong
        self._last: dict[str, Sample] = {}
        self._most: dict[str, float] = {}
        """Backend → what its last cooldown was at most."""
        self.openings: dict[str, list[Opening]] = {}
        self.edges: Counter[tuple[str, str, str]] = Counter()
        """(backend, from, to) as sampled; an opening after an opening is an edge too."""
        self.samples = 0
        self.backends: list[dict[str, Any]] = []
        """As /v1/backends told them the last time."""
        self._rounds = 0
        self.lag_s = 0.0
        """The most that the test's own loop was late, or that the gateway took for a plain question: on a machine under
        load everybody is late by so much."""

    async def run(self) -> None:
        """Until it is cancelled."""
        lag = asyncio.get_running_loop().create_task(self._measure_lag())
        line = await Line.to(*self._address)
        try:
            while True:
                await self._look(line)
                await asyncio.sleep(EVERY_S)
        finally:
            lag.cancel()
            await asyncio.gather(lag, return_exceptions=True)
            await line.close()

    async def fresh(self, watching: asyncio.Task[None]) -> dict[str, float]:
        """Waits for a look that begins from now on; how long each backend's circuit will yet be open."""
        wanted = self._rounds + 2
        while self._rounds < wanted:
            if watching.done():
                watching.result()
            await asyncio.sleep(EVERY_S / 4)
        return {backend: sample.open_for_s for backend, sample in self._last.items()}

    async def _look(self, line: Line) -> None:
        """One sample of every backend."""
        self.backends = (await self._get(line, "/v1/backends"))["items"]
        loop = asyncio.get_running_loop()
        for item in self.backends:
            sent_at = loop.time()
            told = await self._get(line, f"/v1/backends/{quote(item['id'], safe='')}/health")
            diagnostics = told["diagnostics"]
            self._note(item["id"], Sample(sent_at, loop.time(), diagnostics["breaker"], diagnostics["open_for_s"]))
        self._rounds += 1

    async def _get(self, line: Line, path: str) -> Any:
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        answer = await line.ask(request_of("GET", path, b"", {"Authorization": f"Bearer {self._key}"}))
        self.lag_s = max(self.lag_s, loop.time() - asked_at)
        assert answer.status == 200, answer
        return json.loads(answer.body)["data"]

    async def _measure_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.02)
            self.lag_s = max(self.lag_s, loop.time() - before - 0.02)

    # -- the state machine --------------------------------------------------------------------------------------------

    def _note(self, backend: str, now: Sample) -> None:
        self.samples += 1
        before, self._last[backend] = self._last.get(backend), now
        if before is None:
            assert now.breaker == "closed", f"{backend} begins as {now.breaker}"
            return
        opened = now.breaker == "open" and not (before.breaker == "open" and _same(before, now))
        if opened:
            self.openings.setdefault(backend, []).append(Opening(now.got_at, now.sent_at + now.open_for_s))
        if opened or now.breaker != before.breaker:
            self.edges[backend, before.breaker, now.breaker] += 1
            self._judge(backend, before, now)

    def _judge(self, backend: str, before: Sample, now: Sample) -> None:
        """Is there a way from the one to the other in the time that has passed?"""
        passed_s = now.got_at - before.sent_at + EPSILON_S
        edge = f"{backend}: {before.breaker} → {now.breaker} within {passed_s:.2f} s"
        if before.breaker == "open" and now.got_at < before.sent_at + before.open_for_s - EPSILON_S:
            self._wrong(f"{edge}, though it was to be open for {before.open_for_s:.2f} s")
        if before.breaker == "closed" and now.breaker == "half_open" and passed_s < self._cooldown_s:
            self._wrong(f"{edge}, without a cooldown")
        if now.breaker != "open":
            return
        fresh = before.breaker == "closed"
        most_s = self._cooldown_s if fresh else 2 * self._most.get(backend, self._cooldown_s)
        if now.open_for_s > most_s + EPSILON_S and passed_s < self._cooldown_s:
            self._wrong(f"{edge}, open for {now.open_for_s:.2f} s; {most_s:.2f} s are the most")
        # It may have opened at any moment since the sample before.
        self._most[backend] = now.open_for_s + passed_s

    # -- what the upstreams saw ---------------------------------------------------------------------------------------

    def compare(self, backend: str, calls: Sequence[SeenCall], lease_s: float) -> int:
        """How many openings were judged. `calls`: those that the breaker holds back, in the order of their coming."""
        times = [call.at for call in calls]
        onwards_s = ONWARDS_S + self.lag_s
        judged = 0
        for opening in self.openings.get(backend, []):
            until = opening.until - EPSILON_S
            early = calls[bisect_right(times, opening.since + onwards_s) : bisect_left(times, until)]
            for call in early:
                self._wrong(
                    f"{backend} was called by {call.nonce} {until - call.at:.2f} s before its cooldown was over"
                )
            judged += opening.since + onwards_s < until
            after = calls[bisect_left(times, until) :]
            if after:
                self._one_probe(backend, after, lease_s)
        return judged

    def _one_probe(self, backend: str, calls: Sequence[SeenCall], lease_s: float) -> None:
        """The first call after a cooldown tries; until it has told something, nobody else comes."""
        probe = calls[0]
        alone_until = min(probe.told_at or probe.ended_at, probe.at + lease_s) - EPSILON_S - self.lag_s
        for other in calls[1:]:
            if other.at >= alone_until:
                break
            self._wrong(f"{backend} was called by {other.nonce} while the probe {probe.nonce} was under way")


def _same(before: Sample, now: Sample) -> bool:
    """One opening ends at one moment, whenever it is asked about."""
    slack_s = (before.got_at - before.sent_at) + (now.got_at - now.sent_at) + EPSILON_S
    return abs((before.sent_at + before.open_for_s) - (now.sent_at + now.open_for_s)) <= slack_s
