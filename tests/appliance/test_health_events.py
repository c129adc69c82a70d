"""A change of health is one log line and one count."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

from appliance.health_events import rendered, watch
from appliance.state import State
from appliance.state.breaker import Rule
from appliance.state.health import Health, Permit
from appliance.state.log import _as_json, _as_text
from support.build import make_state

RULE = Rule(2, 30.0, 10.0)


def watched() -> tuple[State, list[dict[str, Any]]]:
    lines: list[dict[str, Any]] = []
    state = make_state()
    state.log = cast(Any, SimpleNamespace(write=lines.append))
    watch(state)
    return state, lines


def fail(health: Health, backend: str, times: int, now: float = 100.0) -> None:
    for _ in range(times):
        given = health.permit(backend, RULE, now)
        assert isinstance(given, Permit)
        health.started(given, now)
        health.finished(given, "connect", now)


def test_a_change_is_one_line_that_says_from_what_to_what() -> None:
    state, lines = watched()
    fail(state.health, "openai:gpt-4o", 1)
    assert lines == []
    fail(state.health, "openai:gpt-4o", 1)
    line = lines.pop()
    assert lines == []
    assert line.pop("unix") > 1_700_000_000
    assert line == {
        "event": "backend_health",
        "level": "warning",
        "backend": "openai:gpt-4o",
        "old": "healthy",
        "status": "unhealthy",
        "message": "backend openai:gpt-4o: healthy → unhealthy",
    }


def test_what_gets_better_is_no_warning() -> None:
    state, lines = watched()
    state.health.spare("one:a", 100.0, 5.0)
    state.health.refresh(106.0)
    assert [(line["status"], line["level"]) for line in lines] == [("degraded", "warning"), ("healthy", "info")]


def test_the_line_can_be_written_in_both_forms() -> None:
    state, lines = watched()
    state.health.spare('one:a "b"', 100.0, 5.0)
    assert json.loads(_as_json(dict(lines[0])))["backend"] == 'one:a "b"'
    assert " backend_health " in _as_text(dict(lines[0])).decode()


def test_changes_are_counted_for_prometheus() -> None:
    state, _ = watched()
    fail(state.health, "one:a", 2)
    state.health.spare('one:"b\\', 100.0, 5.0)
    state.health.refresh(106.0)
    assert rendered(state.health).decode().splitlines() == [
        "# TYPE scaigrid_backend_health_changes_total counter",
        'scaigrid_backend_health_changes_total{backend_id="one:\\"b\\\\",status="degraded"} 1',
        'scaigrid_backend_health_changes_total{backend_id="one:\\"b\\\\",status="healthy"} 1',
        'scaigrid_backend_health_changes_total{backend_id="one:a",status="unhealthy"} 1',
    ]


def test_before_the_first_change_there_is_nothing_to_count() -> None:
    assert rendered(Health()) == b"# TYPE scaigrid_backend_health_changes_total counter\n"
