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
    what: str
    handler: Callable[[Call], Awaitable[Any]] | None = None
    operation: str = ""
    """Set for inference: the request goes down the line of appliance/pipeline/run.py."""
    logged: bool = True


_USAGE_QUERY = "`start`, `end`, `period`, `user_id`, `tenant_id`, `model`, `backend_id`, `status`, `request_id`"

ROUTES: tuple[Route, ...] = (
    # inference
    Route(
        "POST",
        "/v1/inference/chat",
        "models:use",
        "chat completion, native; streamed with `stream: true`",
        operation="chat",
    ),
    Route("POST", "/oai/v1/chat/completions", "models:use", "chat completion in OpenAI's dialect", operation="chat"),
    # models
    Route(
        "GET",
        "/v1/models",
        "models:list",
        "frontend models that the tenant may use; `modality`, `status`, `limit`, `cursor`",
        models.list_models,
    ),
    Route(
        "GET",
        "/v1/models/<slug:path>",
        "models:list",
        "one frontend model; a `/` in its name is `%2F`",
        models.get_model,
    ),
    Route("GET", "/oai/v1/models", "models:list", "the same in OpenAI's shape", oai.list_models),
    Route("GET", "/oai/v1/models/<slug:path>", "models:list", "one, in OpenAI's shape", oai.get_model),
    # people
    Route("GET", "/v1/me", "any", "the caller: user, tenant, roles, permissions", people.me),
    Route("GET", "/v1/auth/me", "any", "the same", people.me),
    Route(
        "GET",
        "/v1/users",
        "users:manage",
        "users of the caller's scope; `status`, `limit`, `cursor`",
        people.list_users,
    ),
    Route("GET", "/v1/users/<user_id:path>", "any", "one user (oneself needs no permission)", people.get_user),
    Route(
        "GET",
        "/v1/api-keys",
        "any",
        "one's own keys; an administrator's whole scope; `limit`, `cursor`",
        people.list_keys,
    ),
    Route(
        "POST",
        "/v1/api-keys",
        "api_keys:manage",
        "make a key: `name`, `expires_at`?, `assigned_user_id`?; `key` is shown this once",
        people.create_key,
    ),
    Route(
        "DELETE",
        "/v1/api-keys/<key_id>",
        "api_keys:manage",
        "revoke at once, running streams included",
        people.revoke_key,
    ),
    # accounting
    Route(
        "GET",
        "/v1/accounting/usage",
        "accounting:view_own",
        f"usage rows, newest first; {_USAGE_QUERY}, `limit`, `cursor`",
        accounting.list_usage,
    ),
    Route(
        "GET",
        "/v1/accounting/usage/summary",
        "accounting:view_own",
        f"sums by `group_by` (model, user, backend, tenant, key, day); {_USAGE_QUERY}",
        accounting.summarize_usage,
    ),
    # configuration
    Route(
        "GET",
        "/v1/config",
        "routing:view",
        "generation, when, hash, problems of the last refused load",
        configuration.get_config,
    ),
    # platform
    Route("GET", "/health", "public", "alive", health.alive, logged=False),
    Route(
        "GET",
        "/health/ready",
        "public",
        "503 while draining, or when the database or the journal fails",
        health.ready,
        logged=False,
    ),
    Route("GET", "/health/detailed", "admin:access", "what it depends on, what is in flight, limits", health.detailed),
    Route("GET", "/metrics", "public", "Prometheus text", health.metrics, logged=False),
)
