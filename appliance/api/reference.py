"""docs/api.md, written from the tables of routes, permissions, roles and error codes, so that it cannot lie.

`python -m appliance.api.reference` rewrites the file; tests/test_docs.py compares.
"""

from __future__ import annotations

import re
from pathlib import Path

from appliance.api.routes import ROUTES, Route
from appliance.errors import CODES
from appliance.formats.openai_error import ERRORS
from appliance.permissions import PERMISSIONS, ROLES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"

_HEAD = """# API

<!-- Written by `python -m appliance.api.reference`; edit the tables in appliance/ instead. -->

Every call but the public ones carries `Authorization: Bearer sgk_…`. Every response has `X-Request-ID`: the caller's
own when it matches `[A-Za-z0-9_.:-]{8,128}`, else a new one. Inference answers also have `X-Scaigrid-Backend`,
`X-Scaigrid-Attempts`, `X-Scaigrid-Generation` (of the configuration that served it) and, where another frontend model
took over, `X-Scaigrid-Fallback` with its name.

Native answers are `{"status": "ok", "data": …}`, lists `{"data": {"items": […]}, "pagination": {"has_more",
"next_cursor"}}`, errors `{"status": "error", "error": {"code", "message", "retry_after"?, "details"?}, "meta":
{"request_id"}}`. The compat surface answers in OpenAI's shapes. Branch on the code, never on the status alone. Times
are ISO 8601 in UTC, money is a decimal string in USD, prices are per million tokens.
"""


_METRICS = """## Metrics

| name | labels | |
| --- | --- | --- |
| `scaigrid_requests_total` | model, status, protocol | inference calls by outcome |
| `scaigrid_tokens_total` | model, direction, tenant_id | input and output tokens |
| `scaigrid_request_duration_seconds` | model, backend | histogram, from the request to its last byte |
| `scaigrid_time_to_first_token_seconds` | model | histogram |
| `scaigrid_backend_health` | backend_id | 1 while it is healthy or degraded |
| `scaigrid_backend_inflight_requests` | backend_id | calls under way |
| `scaigrid_backend_health_changes_total` | backend_id, status | changes of a backend's health, by what it became |
| `scaigrid_circuit_breaker_state` | backend_id | 0 closed, 1 half-open, 2 open |
| `scaigrid_inflight_requests` | | inference calls under way |
| `scaigrid_journal_backlog_rows` | | finished rows that wait for the database |
| `scaigrid_config_generation` | | the generation that serves |
| `scaigrid_config_reload_failures_total` | | loads of the configuration that were refused |
| `scaigrid_hedges_total` | | attempts that were begun beside a slow one |
| `scaigrid_hedges_won_total` | | those of them that answered first |
| `scaigrid_log_lines_dropped` | | lines that the reader of standard output was too slow for |
"""


def page() -> str:
    return "\n".join([_HEAD, _routes(), _permissions(), _codes(), _METRICS])


def _routes() -> str:
    rows = [f"| {r.method} | `{_path(r.path)}` | {_needs(r)} | {r.what} |" for r in ROUTES]
    return "\n".join(["## URLs", "", "| | URL | needs | |", "| --- | --- | --- | --- |", *rows, ""])


def _path(path: str) -> str:
    return re.sub(r"<(\w+)(:path)?>", r"{\1}", path)


def _needs(route: Route) -> str:
    return {"any": "a valid key", "public": "nothing"}.get(route.permission, f"`{route.permission}`")


def _permissions() -> str:
    names = list(ROLES)
    head = ["## Permissions and roles", "", f"| permission | | {' | '.join(f'`{name}`' for name in names)} |"]
    rule = f"| --- | --- | {' | '.join('---' for _ in names)} |"
    rows = [
        f"| `{key}` | {what} | {' | '.join('yes' if key in ROLES[name] else '' for name in names)} |"
        for key, what in PERMISSIONS.items()
    ]
    return "\n".join([*head, rule, *rows, ""])


def _codes() -> str:
    head = ["## Error codes", "", "| code | status | compat status, type, code | may a later try succeed? | |"]
    rows = [
        f"| `{name}` | {code.status} | {ERRORS[name].status} `{ERRORS[name].type}` `{ERRORS[name].code}` "
        f"| {'yes' if code.retryable else 'no'} | {code.meaning} |"
        for name, code in CODES.items()
    ]
    return "\n".join([*head, "| --- | --- | --- | --- | --- |", *rows, ""])


if __name__ == "__main__":
    PAGE.write_text(page())
