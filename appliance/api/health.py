"""/health for the load balancer, /health/ready for the orchestrator, /health/detailed for people, /metrics."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from appliance import health_events
from appliance.api.accept import Call
from appliance.api.envelope import Plain, iso


async def alive(call: Call) -> Plain:
    return Plain({"status": "ok"})


async def ready(call: Call) -> Plain:
    """503 while draining, when the database does not answer, or when usage cannot be written."""
    checks = await _checks(call)
    good = all(value == "ok" for value in checks.values())
    return Plain({"status": "ready" if good else "unavailable", "checks": checks}, 200 if good else 503)


async def detailed(call: Call) -> dict[str, Any]:
    state = call.state
    return {
        "checks": await _checks(call),
        "generation": call.grid.generation,
        "started_at": iso(call.appliance.started_unix),
        "uptime_s": int(time.time() - call.appliance.started_unix),
        "in_flight": state.in_flight,
        "journal": {
            "backlog": state.journal.backlog,
            "stored": state.journal.rows_stored,
            "failure": state.journal.failure or None,
        },
        "log_lines_dropped": state.log.dropped,
        "providers": {
            name: {"type": endpoint.provider.type, "unconfigured": endpoint.unconfigured}
            for name, endpoint in call.grid.endpoints.items()
        },
        "limits": {"body_limit_bytes": call.grid.body_limit},
    }


async def metrics(call: Call) -> Plain:
    state = call.state
    gauges = {
        "scaigrid_inflight_requests": state.in_flight,
        "scaigrid_journal_backlog_rows": state.journal.backlog,
        "scaigrid_config_generation": call.grid.generation,
        "scaigrid_config_reload_failures_total": call.appliance.holder.refused,
        "scaigrid_log_lines_dropped": state.log.dropped,
        "scaigrid_hedges_total": state.hedges.begun,
        "scaigrid_hedges_won_total": state.hedges.won,
    }
    text = state.metrics.render(gauges, _of_backends(call)) + health_events.rendered(state.health)
    return Plain(text, content_type="text/plain; version=0.0.4; charset=utf-8")


BREAKER_STATES = {"closed": 0, "half_open": 1, "open": 2}


def _of_backends(call: Call) -> dict[str, dict[str, float]]:
    """The three documented gauges, for every backend that a policy names."""
    health, now = call.state.health, asyncio.get_running_loop().time()
    usable: dict[str, bool] = {}
    for model in call.grid.models.values():
        for target in model.policy.targets:
            usable[target.backend] = usable.get(target.backend, False) or target.usable
    good = ("healthy", "degraded")
    return {
        "scaigrid_backend_health": {
            backend: int(health.status(backend, now, usable=can) in good) for backend, can in usable.items()
        },
        "scaigrid_backend_inflight_requests": {backend: health.in_flight(backend) for backend in usable},
        "scaigrid_circuit_breaker_state": {
            backend: BREAKER_STATES[health.breaker_state(backend, now)] for backend in usable
        },
    }


async def _checks(call: Call) -> dict[str, str]:
    """`redis` and `modules` are part of the documented answer; nothing here depends on either, so both are well."""
    journal = "ok" if call.state.journal.works() else "usage cannot be written"
    checks = {"database": "ok", "redis": "ok", "modules": "ok", "journal": journal}
    try:
        await call.state.store.ping()
    except Exception as error:  # whatever the database says, it is the answer
        checks["database"] = f"failed: {type(error).__name__}"
    if call.state.draining:
        checks["draining"] = "in-flight calls are finishing"
    return checks
