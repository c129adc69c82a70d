"""Every URL of the appliance in one list: method, path, permission, handler.

`permission` is a name of appliance/permissions.py, `any` (whoever has a valid key), or `public` (no key asked). A path
parameter is `<name>`; `<name:path>` also takes encoded slashes, as in /v1/models/tenant%2Facme%2Fsummarizer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from appliance.api import accounting, configuration, health, models, oai, people
from appliance.api.accept import Call


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    permission: str
    handler: Callable[[Call], Awaitable[Any]] | None = None
    operation: str = ""
    """Set for inference: the request goes down the line of appliance/pipeline/run.py."""
    logged: bool = True


ROUTES: tuple[Route, ...] = (
    # inference
    Route("POST", "/v1/inference/chat", "models:use", operation="chat"),
    Route("POST", "/oai/v1/chat/completions", "models:use", operation="chat"),
    # models
    Route("GET", "/v1/models", "models:list", models.list_models),
    Route("GET", "/v1/models/<slug:path>", "models:list", models.get_model),
    Route("GET", "/oai/v1/models", "models:list", oai.list_models),
    Route("GET", "/oai/v1/models/<slug:path>", "models:list", oai.get_model),
    # people
    Route("GET", "/v1/me", "any", people.me),
    Route("GET", "/v1/auth/me", "any", people.me),
    Route("GET", "/v1/users", "users:manage", people.list_users),
    Route("GET", "/v1/users/<user_id:path>", "any", people.get_user),
    Route("GET", "/v1/api-keys", "any", people.list_keys),
    Route("POST", "/v1/api-keys", "api_keys:manage", people.create_key),
    Route("DELETE", "/v1/api-keys/<key_id>", "api_keys:manage", people.revoke_key),
    # accounting
    Route("GET", "/v1/accounting/usage", "accounting:view_own", accounting.list_usage),
    Route("GET", "/v1/accounting/usage/summary", "accounting:view_own", accounting.summarize_usage),
    # configuration
    Route("GET", "/v1/config", "routing:view", configuration.get_config),
    # platform
    Route("GET", "/health", "public", health.alive, logged=False),
    Route("GET", "/health/ready", "public", health.ready, logged=False),
    Route("GET", "/health/detailed", "admin:access", health.detailed),
    Route("GET", "/metrics", "public", health.metrics, logged=False),
)
