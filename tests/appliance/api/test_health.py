"""What load balancers and people are told when something that the appliance depends on fails."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from appliance.api import health
from appliance.api.accept import Appliance, Call
from appliance.api.envelope import Plain
from appliance.grid.holder import Generation, Holder
from appliance.state.journal import Journal, JournalFailed
from support.build import make_grid, make_state


class StillJournal:
    """A journal that neither gets better nor worse."""

    failure = ""
    backlog = 3
    rows_stored = 5

    def works(self) -> bool:
        return not self.failure


class FakeStore:
    failure: Exception | None = None

    async def ping(self) -> None:
        if self.failure:
            raise self.failure


@pytest.fixture
def call() -> Call:
    state = make_state()
    state.store = cast(Any, FakeStore())
    state.journal = cast(Any, StillJournal())
    state.log = cast(Any, SimpleNamespace(dropped=7))
    request = cast(Any, SimpleNamespace(args={}, body=b""))
    return Call(Appliance(Holder(Generation(make_grid())), state), make_grid(), request, "req_12345678")


def told(answer: Plain) -> tuple[int, dict[str, Any]]:
    return answer.status, json.loads(answer.body)


async def test_alive_asks_nothing_of_anybody(call: Call) -> None:
    call.state.store.failure = OSError("gone")  # type: ignore[attr-defined]
    assert told(await health.alive(call)) == (200, {"status": "ok"})


async def test_ready_when_all_is_well(call: Call) -> None:
    status, body = told(await health.ready(call))
    assert (status, body["status"], set(body["checks"].values())) == (200, "ready", {"ok"})


async def test_not_ready_when_the_database_fails(call: Call) -> None:
    call.state.store.failure = OSError("/secret/path/scaigrid.db is gone")  # type: ignore[attr-defined]
    status, body = told(await health.ready(call))
    assert (status, body["status"], body["checks"]["database"]) == (503, "unavailable", "failed: OSError")
    assert "/secret/path" not in json.dumps(body), "anybody may read this"


async def test_not_ready_when_usage_cannot_be_written(call: Call) -> None:
    call.state.journal.failure = "[Errno 28] No space left on device: '/secret/path'"
    status, body = told(await health.ready(call))
    assert (status, body["checks"]["database"]) == (503, "ok")
    assert body["checks"]["journal"] != "ok"
    assert "/secret/path" not in json.dumps(body), "anybody may read this"


async def test_not_ready_while_draining(call: Call) -> None:
    call.state.draining = True
    assert told(await health.ready(call))[0] == 503


async def test_people_are_told_more(call: Call) -> None:
    call.state.journal.failure = "No space left on device"
    body = await health.detailed(call)
    assert body["journal"] == {"backlog": 3, "stored": 5, "failure": "No space left on device"}
    assert body["log_lines_dropped"] == 7
    assert body["providers"]["one"] == {"type": "custom", "unconfigured": None}
    assert "secret-of-one" not in json.dumps(body)


async def test_metrics_are_prometheus_text_with_the_gauges(call: Call) -> None:
    call.state.in_flight = 9
    answer = await health.metrics(call)
    assert answer.content_type.startswith("text/plain; version=0.0.4")
    lines = answer.body.decode().splitlines()
    assert {"scaigrid_inflight_requests 9", "scaigrid_journal_backlog_rows 3", "scaigrid_log_lines_dropped 7"} <= set(
        lines
    )


async def test_ready_again_when_the_disk_is_well_although_no_call_came_meanwhile(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load balancer sends nothing to who is not ready: waiting for the next call to find out would be for ever."""
    journal = Journal(tmp_path, lambda rows: None)
    call.state.journal = journal
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", _full)
            with pytest.raises(JournalFailed):
                journal.begin({"id": "a"})
            assert told(await health.ready(call))[0] == 503
        assert told(await health.ready(call))[0] == 200
    finally:
        journal.close()


def _full(*_: Any) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")
