"""kill -9 at random moments under mixed load: what the upstream saw is what is booked, once, and budgets are the rows.

SCAIGRID_KILL_ROUNDS sets the number of rounds (`make soak` plays 50).
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from support.appliance import Gateway
from support.calling import SURFACES
from support.upstream import Call, Upstream, chunk, completion, text_stream
from support.wire import Wire, request_bytes

ROUNDS = int(os.environ.get("SCAIGRID_KILL_ROUNDS", "15"))
CLIENTS = 8
LOAD_S = (0.15, 0.7)
NANO = 10**9
BUDGETS = {
    "user": '{period: total, cost_limit: "100000"}, {period: daily, token_limit: 1000000000, timezone: Asia/Kathmandu}',
    "tenant": '{period: total, cost_limit: "100000", request_limit: 10000000}',
    "partner": '{period: weekly, cost_limit: "100000"}',
}
OFF = "{requests_per_minute: unlimited}"
KEY = "sgk_key-of-the-kill-storm-0123456789"


# -- the upstream: its count is what really happened ------------------------------------------------------------------


@dataclass
class Truth:
    """Which logical call (named in its message) reached the upstream, and how often it answered it to the end."""

    asked: Counter[str] = field(default_factory=Counter)
    finished: Counter[str] = field(default_factory=Counter)

    async def play(self, call: Call) -> None:
        name = call.json["messages"][0]["content"]
        self.asked[name] += 1
        await self._answer(call)
        self.finished[name] += 1

    async def _answer(self, call: Call) -> None:
        if call.model == "failing":
            await call.reply(500, {"error": {"message": "the next one, please"}})
        elif call.model == "endless":
            await call.start_stream()
            while not call.hung_up:
                await call.chunk(chunk({"content": "word "}))
                await asyncio.sleep(0.01)
        elif call.json.get("stream"):
            await call.stream(text_stream("one ", "two ", "three"), 0.005)
        else:
            await asyncio.sleep(random.uniform(0, 0.01))
            await call.reply(200, completion("one two"))


# -- the callers ------------------------------------------------------------------------------------------------------

MODELS = {"quick": False, "streamed": True, "failover": False, "failover-streamed": True, "endless": True}


@dataclass
class Seen:
    """What the callers know, by the name of the call."""

    whole: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)


class Caller(threading.Thread):
    """Asks one thing after the other until the appliance is gone; hangs up on every endless stream."""

    def __init__(self, gateway: Gateway, seen: Seen, name: str, seed: int) -> None:
        super().__init__(name=name)
        self._url, self._seen, self._rng = gateway.url, seen, random.Random(seed)

    def run(self) -> None:
        number = 0
        try:
            while True:
                number += 1
                with Wire(self._url) as wire:
                    self._ask(wire, f"{self.name}-{number:04}")
        except (AssertionError, OSError):
            return  # the appliance was killed, which is the end of every caller here

    def _ask(self, wire: Wire, name: str) -> None:
        model = self._rng.choice(list(MODELS))
        body = {"model": model.removesuffix("-streamed"), "stream": MODELS[model]}
        body["messages"] = [{"role": "user", "content": name}]
        surface = SURFACES[self._rng.choice(["native", "compat"])]
        self._seen.sent.add(name)
        wire.send(request_bytes(surface, body, KEY, {"X-Request-ID": name}))
        if model == "endless":
            wire.wait_for(b'"content":')
            wire.hang_up()
            self._seen.left.add(name)
        elif MODELS[model]:
            wire.wait_for(b"data: [DONE]")
            self._seen.whole.add(name)
        else:
            status, _ = wire.answer()
            assert status == 200
            self._seen.whole.add(name)


# -- the storm --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth()


@pytest.fixture(scope="module")
def seen() -> Seen:
    return Seen()


def yaml(upstream: str) -> str:
    price = '{input: "100", output: "200", request: "0.001"}'
    models = {"quick": ["quick"], "streamed": ["quick"], "failover": ["failing", "quick"], "endless": ["endless"]}
    targets = {name: ", ".join(f'{{backend: "up:{each}"}}' for each in route) for name, route in models.items()}
    # Every call of `failover` has to fail over, or the storm would have hardly a row of several attempts.
    routes = {name: f"{{circuit_breaker: off, targets: [{listed}]}}" for name, listed in targets.items()}
    lines = [f"  {name}: {{price: {price}, route: {route}}}" for name, route in routes.items()]
    return f"""
providers:
  up: {{type: custom, base_url: "{upstream}/v1"}}
models:
{chr(10).join(lines)}
partners:
  p:
    rate_limits: {OFF}
    budgets: [{BUDGETS["partner"]}]
    tenants:
      t:
        rate_limits: {OFF}
        user_rate_limits: {OFF}
        key_rate_limits: {OFF}
        budgets: [{BUDGETS["tenant"]}]
        users:
          u: {{budgets: [{BUDGETS["user"]}], api_keys: [{{key: {KEY}}}]}}
"""


@pytest.fixture(scope="module")
def gateway(truth: Truth, seen: Seen, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """An appliance that has been through it all, and runs again."""
    rng = random.Random(50)
    with Upstream() as upstream:
        upstream.answer(truth.play)
        gateway = Gateway(tmp_path_factory.mktemp("storm"), {})
        gateway.write(yaml(upstream.url))
        try:
            for number in range(ROUNDS):
                one_round(gateway, seen, number, rng)
            gateway.start()
            yield gateway
        finally:
            gateway.stop()


def one_round(gateway: Gateway, seen: Seen, number: int, rng: random.Random) -> None:
    gateway.start()
    callers = [Caller(gateway, seen, f"storm-{number:02}-{place}", rng.randrange(10**9)) for place in range(CLIENTS)]
    for caller in callers:
        caller.start()
    time.sleep(rng.uniform(*LOAD_S))
    gateway.kill()
    for caller in callers:
        caller.join()


@pytest.fixture(scope="module")
def rows(gateway: Gateway) -> dict[str, dict[str, Any]]:
    """The usage rows by the name of the call; none stands twice."""
    found = gateway.usage()
    twice = [name for name, count in Counter(row["request_id"] for row in found).items() if count > 1]
    assert twice == [], "booked twice"
    return {row["request_id"]: row for row in found}


pytestmark = pytest.mark.timeout(60 + 10 * ROUNDS)


def test_the_storm_was_one(rows: dict[str, dict[str, Any]], seen: Seen) -> None:
    """All kinds of load were in it, and every round left calls in flight."""
    assert len(seen.whole) > 10 * ROUNDS
    assert len(seen.left) > ROUNDS
    statuses = Counter(row["status"] for row in rows.values())
    assert statuses["interrupted"] >= ROUNDS
    assert statuses["cancelled"] >= ROUNDS // 2
    assert sum(len(row["attempts"]) == 2 for row in rows.values()) > ROUNDS


def test_every_call_that_the_upstream_saw_is_booked_once(rows: dict[str, dict[str, Any]], truth: Truth) -> None:
    """However often it was tried: a logical call is one row, and its row knows of the attempts."""
    assert truth.asked.keys() - rows.keys() == set(), "the upstream worked, and nothing is booked"
    for name, row in rows.items():
        if row["status"] == "completed":
            assert truth.asked[name] == len(row["attempts"]), f"{name}: asked {truth.asked[name]} times, {row}"


def test_what_is_booked_and_never_reached_the_upstream_was_on_its_way(
    rows: dict[str, dict[str, Any]], truth: Truth, seen: Seen
) -> None:
    """The note comes before the first byte leaves, so a kill between the two books a call that was not made."""
    assert rows.keys() - seen.sent == set()
    only_booked = rows.keys() - truth.asked.keys()
    assert {rows[name]["status"] for name in only_booked} <= {"interrupted", "cancelled", "failed"}
    assert len(only_booked) <= CLIENTS * ROUNDS


def test_every_whole_answer_has_its_row(rows: dict[str, dict[str, Any]], seen: Seen) -> None:
    assert seen.whole - rows.keys() == set(), "answers were given away"
    assert {rows[name]["status"] for name in seen.whole} == {"completed"}
    assert not any(rows[name]["estimated"] for name in seen.whole)


def test_what_was_in_flight_is_owed_as_an_estimate(rows: dict[str, dict[str, Any]]) -> None:
    for row in rows.values():
        if row["status"] in ("interrupted", "cancelled"):
            assert row["estimated"]
            assert row["cost"] != "0" or row["attempts"] == [], row


def test_budgets_are_the_rows(gateway: Gateway, rows: dict[str, dict[str, Any]]) -> None:
    assert_budgets(gateway, list(rows.values()))


def assert_budgets(gateway: Gateway, rows: list[dict[str, Any]]) -> None:
    found = gateway.get("/v1/accounting/budgets").json()["data"]["items"]
    assert len(found) == 4
    verified = gateway.get("/v1/accounting/verify").json()["data"]
    assert verified == {"budgets_checked": 4, "differences": []}
    for budget in found:
        since = [row for row in rows if row["created_at"] >= budget["period_start"]]
        assert nano(budget["used"]["cost"]) == sum(nano(row["cost"]) for row in since)
        assert budget["used"]["tokens"] == sum(row["total_tokens"] for row in since)
        assert budget["pending"] == {"cost": "0", "tokens": 0, "requests": 0}


def nano(amount: str) -> int:
    return int(Decimal(amount) * NANO)


def test_further_starts_change_nothing(gateway: Gateway, rows: dict[str, dict[str, Any]]) -> None:
    """Runs last: after an orderly end, and after one more kill."""
    before = sorted((row["id"], row["status"], row["cost"]) for row in rows.values())
    for end in (gateway.terminate, gateway.kill):
        end()
        gateway.start()
        after = gateway.usage()
        assert sorted((row["id"], row["status"], row["cost"]) for row in after) == before
        assert_budgets(gateway, after)
    assert "traceback" not in gateway.output().lower()
