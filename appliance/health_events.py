"""Changes of a backend's health as events: a log line for each, and the counter for /metrics."""

from __future__ import annotations

import json
import time

from appliance.state import State
from appliance.state.health import Health, Status

RANK: dict[Status, int] = {"healthy": 0, "degraded": 1, "unhealthy": 2, "unavailable": 3}


def watch(state: State) -> None:
    """From now on each change is logged. It runs in the middle of a call: it waits for nothing and never raises."""

    def tell(backend: str, old: Status, new: Status) -> None:
        state.log.write(
            {
                "unix": time.time(),
                "event": "backend_health",
                "level": "warning" if RANK[new] > RANK[old] else "info",
                "backend": backend,
                "old": old,
                "status": new,
                "message": f"backend {backend}: {old} → {new}",
            }
        )

    state.health.watchers.append(tell)


def rendered(health: Health) -> bytes:
    """The changes so far, as Prometheus reads them."""
    name = "scaigrid_backend_health_changes_total"
    lines = [f"# TYPE {name} counter"]
    for (backend, status), count in sorted(health.changes.items()):
        backend_id = json.dumps(backend, ensure_ascii=False)  # a label's value is escaped as JSON escapes it
        lines.append(f'{name}{{backend_id={backend_id},status="{status}"}} {count}')
    return ("\n".join(lines) + "\n").encode()
