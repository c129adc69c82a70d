"""kill -9 under load, twenty times over one data directory: what a client holds whole is booked once, and only once."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.appliance import Gateway
from support.calling import SURFACES
from support.wire import Wire, request_bytes

ROUNDS = 20
CLIENTS = 6
LOAD_S = (0.1, 0.6)
YAML = """
providers:
  demo: {type: demo}
models:
  quick: {price: {input: "1", output: "2"}, route: [{backend: "demo:q"}]}
  streamed: {price: {input: "1", output: "2"}, route: [{backend: "demo:s,pace=1ms,tokens=8"}]}
  endless: {price: {input: "1", output: "2"}, route: [{backend: "demo:e,pace=20ms,tokens=100000"}]}
"""


@dataclass
class Seen:
    """What the clients of all rounds know, by request id."""

    whole: set[str] = field(default_factory=set)
    """Answers received to their last byte."""
    begun: set[str] = field(default_factory=set)
    """Streams of which some content came."""
    asked: set[str] = field(default_factory=set)


class Client(threading.Thread):
    """Asks one thing after the other until the appliance is gone."""

    def __init__(self, gateway: Gateway, seen: Seen, name: str) -> None:
        super().__init__(name=name)
        self._url, self._key, self._seen = gateway.url, gateway.admin_key, seen

    def run(self) -> None:
        number = 0
        try:
            with Wire(self._url) as wire:
                while True:
                    number += 1
                    self._ask(wire, f"kill-{self.name}-{number:04}", streamed=number % 2 == 0)
        except (AssertionError, OSError):
            return  # the appliance was killed, which is the end of every client here

    def _ask(self, wire: Wire, request_id: str, *, streamed: bool) -> None:
        surface = SURFACES["compat" if request_id[-3:] < "500" and streamed else "native"]
        body = {"model": "streamed" if streamed else "quick", "stream": streamed, "messages": MESSAGES}
        self._seen.asked.add(request_id)
        wire.send(request_bytes(surface, body, self._key, {"X-Request-ID": request_id}))
        if not streamed:
            status, _ = wire.answer()
            if status:
                assert status == 200
                self._seen.whole.add(request_id)
            return
        wire.wait_for(b'"content":')
        self._seen.begun.add(request_id)
        wire.wait_for(b"data: [DONE]")
        self._seen.whole.add(request_id)
        wire.wait_for(b"\r\n0\r\n\r\n")
        wire.received = b""


MESSAGES = [{"role": "user", "content": "Tell me something, and be quick about it."}]


def one_round(gateway: Gateway, seen: Seen, number: int, rng: random.Random) -> None:
    gateway.start()
    clients = [Client(gateway, seen, f"{number:02}-{place}") for place in range(CLIENTS)]
    with Wire(gateway.url) as open_stream:
        request_id = f"kill-{number:02}-open"
        body = {"model": "endless", "stream": True, "messages": MESSAGES}
        open_stream.send(request_bytes(SURFACES["native"], body, gateway.admin_key, {"X-Request-ID": request_id}))
        open_stream.wait_for(b'"content":')
        seen.asked.add(request_id)
        for client in clients:
            client.start()
        time.sleep(rng.uniform(*LOAD_S))
        gateway.kill()
    for client in clients:
        client.join()


@pytest.fixture(scope="module")
def seen() -> Seen:
    return Seen()


@pytest.fixture(scope="module")
def gateway(seen: Seen, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An appliance that has been through it all, and runs again."""
    gateway = Gateway(tmp_path_factory.mktemp("kill"), {})
    gateway.write(YAML)
    rng = random.Random(20)
    try:
        for number in range(ROUNDS):
            one_round(gateway, seen, number, rng)
            if number % 4 == 0:
                kill_during_recovery(gateway, rng)
        gateway.start()
        yield gateway
    finally:
        gateway.stop()


def kill_during_recovery(gateway: Gateway, rng: random.Random) -> None:
    """Kill it somewhere in its start, while it may be replaying what the last kill left."""
    gateway.launch()
    time.sleep(rng.uniform(0.3, 0.9))
    gateway.kill()


@pytest.fixture(scope="module")
def rows(gateway: Gateway) -> dict[str, dict[str, Any]]:
    """The usage rows by request id; no request id stands twice."""
    found = gateway.usage()
    twice = [request_id for request_id, count in Counter(row["request_id"] for row in found).items() if count > 1]
    assert twice == [], "booked twice"
    assert len({row["id"] for row in found}) == len(found)
    return {row["request_id"]: row for row in found}


@pytest.mark.usefixtures("gateway")
def test_the_load_was_one(seen: Seen) -> None:
    assert len(seen.whole) > 10 * ROUNDS, "too few answers to show anything"
    assert any(request_id in seen.begun for request_id in seen.whole), "no stream came to its end"


def test_every_answer_that_a_client_holds_whole_has_its_row(seen: Seen, rows: dict[str, dict[str, Any]]) -> None:
    lost = sorted(seen.whole - rows.keys())
    assert lost == [], f"{len(lost)} of {len(seen.whole)} answers were given away"
    unfinished = [request_id for request_id in seen.whole if rows[request_id]["status"] != "completed"]
    assert unfinished == []


def test_an_answer_that_had_begun_is_booked_whatever_became_of_it(seen: Seen, rows: dict[str, dict[str, Any]]) -> None:
    assert seen.begun - rows.keys() == set()


def test_what_was_in_flight_is_booked_as_interrupted(rows: dict[str, dict[str, Any]]) -> None:
    for number in range(ROUNDS):
        row = rows[f"kill-{number:02}-open"]
        assert (row["status"], row["estimated"]) == ("interrupted", True)
        assert row["tokens_in"] > 0
        assert row["cost"] != "0"
        assert row["model"] == "endless"


def test_nothing_was_booked_that_nobody_asked_for(seen: Seen, rows: dict[str, dict[str, Any]]) -> None:
    assert rows.keys() - seen.asked == set()
    assert {row["status"] for row in rows.values()} == {"completed", "interrupted"}
    completed = [row for row in rows.values() if row["status"] == "completed"]
    assert all(row["tokens_out"] > 0 and not row["estimated"] for row in completed)


def test_a_further_start_adds_nothing(gateway: Gateway, rows: dict[str, dict[str, Any]]) -> None:
    """After an orderly end, and after one more kill without any call."""
    before = sorted(row["id"] for row in rows.values())
    assert gateway.terminate() == 0
    gateway.start()
    assert sorted(row["id"] for row in gateway.usage()) == before
    gateway.kill()
    gateway.start()
    assert sorted(row["id"] for row in gateway.usage()) == before


def test_no_journal_is_left_damaged(gateway: Gateway) -> None:
    assert list(Path(gateway.data_dir).rglob("*.damaged")) == []
    assert "traceback" not in gateway.output().lower()
    assert len(list((gateway.data_dir / "journal").glob("*.jsonl"))) == 1, "old segments are gone once they are stored"
