"""Every URL of the appliance in one list: method, path, permission, handler.

`permission` is a name of appliance/permissions.py, `any` (whoever has a valid key), or `public` (no key asked). A path
parameter is `<name>`; `<name:path>` also takes encoded slashes, as in /v1/models/tenant%2Facme%2Fsummarizer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from appliance.api import (
    accounting,
    anthropic,
    backend_writes,
    budgets,
    configuration,
    health,
    keys,
    model_switch,
    model_writes,
    models,
    oai,
    partners,
    provider_writes,
    providers,
    responses,
    roles,
    routing,
    routing_policies,
    tenants,
    users,
)
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
    surface: str = ""
    """The caller's dialect (a name in FORMATS), where the URL's beginning does not say it."""
    upload: bool = False
    """A form with a file: it goes to disk as it arrives, and server.upload_limit holds."""
    logged: bool = True


def _inference(path: str, operation: str, what: str, *, surface: str = "", upload: bool = False) -> Route:
    return Route("POST", path, "models:use", what, operation=operation, surface=surface, upload=upload)


_USAGE_QUERY = (
    "`start`, `end`, `period`, `user_id`, `tenant_id`, `key_id`, `model`, `backend_id`, `status`, `request_id`"
)

ROUTES: tuple[Route, ...] = (
    # inference, native
    _inference("/v1/inference/chat", "chat", "chat completion, native; streamed with `stream: true`"),
    _inference(
        "/v1/inference/generate",
        "chat",
        "a text that goes on from `prompt`; streamed with `stream: true`",
        surface="generate",
    ),
    _inference("/v1/inference/embed", "embed", "embeddings: `input`, `dimensions`?, `encoding_format`?"),
    _inference("/v1/inference/images/generate", "image", "pictures: `prompt`, `n`?, `size`?, `quality`?, `style`?"),
    _inference(
        "/v1/inference/audio/transcribe", "transcribe", "text from speech: a form with `file` and `model`", upload=True
    ),
    _inference("/v1/inference/audio/synthesize", "speak", "speech from text: `input`, `voice`, `response_format`?"),
    _inference("/v1/inference/rerank", "rerank", "documents by their relevance: `query`, `documents`, `top_n`?"),
    # inference in OpenAI's dialect
    _inference("/oai/v1/chat/completions", "chat", "chat completion in OpenAI's dialect"),
    _inference("/oai/v1/completions", "chat", "the older form of it: one `prompt`", surface="completions"),
    _inference(
        "/oai/v1/responses",
        "respond",
        "OpenAI's Responses API; answers are kept for `previous_response_id` unless `store` is false",
        surface="responses",
    ),
    Route(
        "GET",
        "/oai/v1/responses/<response_id>",
        "models:use",
        "an answer that was kept, for callers of the same tenant",
        responses.get_response,
    ),
    Route("DELETE", "/oai/v1/responses/<response_id>", "models:use", "forget it", responses.delete_response),
    Route(
        "GET",
        "/oai/v1/responses/<response_id>/input_items",
        "models:use",
        "what its caller had sent; `order`, `limit`, `after`",
        responses.list_input_items,
    ),
    _inference("/oai/v1/embeddings", "embed", "embeddings in OpenAI's dialect"),
    _inference("/oai/v1/images/generations", "image", "pictures in OpenAI's dialect"),
    _inference("/oai/v1/audio/transcriptions", "transcribe", "text from speech in OpenAI's dialect", upload=True),
    _inference("/oai/v1/audio/translations", "translate", "English text from speech", upload=True),
    _inference("/oai/v1/audio/speech", "speak", "speech from text in OpenAI's dialect"),
    _inference("/oai/v1/rerank", "rerank", "reranking in the form of Cohere and Jina"),
    # inference in Anthropic's dialect; the key may stand in `x-api-key`
    _inference("/anthropic/v1/messages", "chat", "Anthropic's Messages API"),
    _inference("/anthropic/v1/messages/count_tokens", "count", "input tokens that a message would have; costs nothing"),
    Route("GET", "/anthropic/v1/models", "models:list", "frontend models in Anthropic's shape", anthropic.list_models),
    Route("GET", "/anthropic/v1/models/<slug:path>", "models:list", "one, in Anthropic's shape", anthropic.get_model),
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
    Route(
        "POST",
        "/v1/models",
        "models:manage",
        "make a frontend model (super admins), in the YAML: `slug`, `price` (or `input_price_per_mtok` and "
        "`output_price_per_mtok`), `route` (a policy's name, a policy, a list of targets); `display_name`?, "
        "`description`?, `modality`?, `context_window`?, `max_output_tokens`?, `default_params`?, `system_prompt`?, "
        "`fallback`?, `status`?",
        model_writes.create_model,
    ),
    Route(
        "PUT",
        "/v1/models/<slug:path>",
        "models:manage",
        "change what is sent (super admins), in the YAML; null takes a member away",
        model_writes.update_model,
    ),
    Route(
        "DELETE",
        "/v1/models/<slug:path>",
        "models:manage",
        "delete a model that is `disabled`, or has no target that is on (super admins)",
        model_writes.delete_model,
    ),
    Route(
        "GET",
        "/v1/models/<slug:path>/switch",
        "routing:view",
        "the model's targets, on or off, their health, and the models that share its policy",
        model_switch.get_switch,
    ),
    Route(
        "POST",
        "/v1/models/<slug:path>/switch",
        "routing:manage",
        "switch the model (super admins): `to` a target, all others off; or `on`, `off`: one target alone",
        model_switch.switch_model,
    ),
    Route("GET", "/oai/v1/models", "models:list", "the same in OpenAI's shape", oai.list_models),
    Route("GET", "/oai/v1/models/<slug:path>", "models:list", "one, in OpenAI's shape", oai.get_model),
    Route(
        "GET",
        "/v1/providers",
        "models:manage",
        "providers, their types and whether they can be called; `limit`, `cursor`",
        providers.list_providers,
    ),
    Route("GET", "/v1/providers/<provider_id>", "models:manage", "one provider", providers.get_provider),
    Route(
        "POST",
        "/v1/providers",
        "models:manage",
        "make a provider (super admins), in the YAML: `name`, `type`, and its members there; `api_key` best as "
        "`${env:NAME}`",
        provider_writes.create_provider,
    ),
    Route(
        "PUT",
        "/v1/providers/<provider_id>",
        "models:manage",
        "change what is sent (super admins), in the YAML; null takes a member away",
        provider_writes.update_provider,
    ),
    Route(
        "DELETE",
        "/v1/providers/<provider_id>",
        "models:manage",
        "delete a provider that no target refers to (super admins)",
        provider_writes.delete_provider,
    ),
    Route(
        "POST",
        "/v1/providers/<provider_id>/discover",
        "models:manage",
        "ask the provider which models it offers; `configured` tells which of them a policy names",
        providers.discover,
    ),
    Route(
        "GET",
        "/v1/backends",
        "models:manage",
        "backend models: provider, cost, what they lack, the frontend models they serve; `limit`, `cursor`",
        providers.list_backends,
    ),
    Route(
        "GET",
        "/v1/backends/<backend_id:path>/health",
        "models:manage",
        "healthy, degraded, unhealthy or unavailable, and what it follows from",
        providers.get_backend_health,
    ),
    Route("GET", "/v1/backends/<backend_id:path>", "models:manage", "one backend model", providers.get_backend),
    Route(
        "POST",
        "/v1/backends",
        "models:manage",
        "add a target (super admins), in the YAML: `provider_id` and `upstream_model`, or `uri`; `model` or `policy`; "
        "`priority`?, `weight`?, `cost`?, `enabled`?, `when`?, `capabilities`?",
        backend_writes.create_backend,
    ),
    Route(
        "PUT",
        "/v1/backends/<backend_id:path>",
        "models:manage",
        "change all targets with this backend (super admins): `enabled`, `weight`, `priority`, `cost`",
        backend_writes.update_backend,
    ),
    Route(
        "DELETE",
        "/v1/backends/<backend_id:path>",
        "models:manage",
        "take all targets with this backend out of their policies (super admins)",
        backend_writes.delete_backend,
    ),
    Route(
        "GET",
        "/v1/routing-policies",
        "routing:view",
        "routing policies in the words of the YAML, those inside models as `model:SLUG`; `limit`, `cursor`",
        routing_policies.list_policies,
    ),
    Route("GET", "/v1/routing-policies/<slug:path>", "routing:view", "one of them", routing_policies.get_policy),
    Route(
        "POST",
        "/v1/routing-policies",
        "routing:manage",
        "make a policy (super admins), in the YAML: `name`, `targets`, and its members there",
        routing_policies.create_policy,
    ),
    Route(
        "PUT",
        "/v1/routing-policies/<slug:path>",
        "routing:manage",
        "change what is sent (super admins), in the YAML; `targets` replaces the list, null brings a default back",
        routing_policies.update_policy,
    ),
    Route(
        "DELETE",
        "/v1/routing-policies/<slug:path>",
        "routing:manage",
        "delete a policy that no model uses (super admins)",
        routing_policies.delete_policy,
    ),
    Route(
        "GET",
        "/v1/routing/explain",
        "routing:view",
        "what would become of a call, which is not made: targets in order and why, limits, budgets, worst case; "
        "`model`, `tenant`?, `user`?, `role`?, `metadata.KEY`?, `needs`?, `input_tokens`?, `max_tokens`?, `n`?, "
        "`operation`?, `stream`?",
        routing.explain_call,
    ),
    # people
    Route("GET", "/v1/me", "any", "the caller: user, tenant, roles, permissions", users.me),
    Route("GET", "/v1/auth/me", "any", "the same", users.me),
    Route(
        "GET",
        "/v1/partners",
        "admin:access",
        "partners of the caller's scope; `limit`, `cursor`",
        partners.list_partners,
    ),
    Route(
        "POST",
        "/v1/partners",
        "admin:access",
        "make a partner (super admins): `slug`, `display_name`?, `rate_limits`?",
        partners.create_partner,
    ),
    Route("GET", "/v1/partners/<partner_id>", "admin:access", "one partner", partners.get_partner),
    Route(
        "PUT",
        "/v1/partners/<partner_id>",
        "admin:access",
        "change what is sent (super admins): `display_name`, `rate_limits`",
        partners.update_partner,
    ),
    Route(
        "DELETE",
        "/v1/partners/<partner_id>",
        "admin:access",
        "delete it with its tenants and their users (super admins); names stay taken",
        partners.delete_partner,
    ),
    Route(
        "GET",
        "/v1/tenants",
        "admin:access",
        "tenants of the caller's scope; `status`, `limit`, `cursor`",
        tenants.list_tenants,
    ),
    Route(
        "POST",
        "/v1/tenants",
        "admin:access",
        "make a tenant (partner and super admins): `slug`, `partner_id`?, and the members of PUT",
        tenants.create_tenant,
    ),
    Route("GET", "/v1/tenants/<tenant_id>", "admin:access", "one tenant", tenants.get_tenant),
    Route(
        "PUT",
        "/v1/tenants/<tenant_id>",
        "admin:access",
        "change what is sent (partner and super admins): `display_name`, `status` (`active` or `suspended`), `models` "
        "(globs), `rate_limits`, `user_rate_limits`, `key_rate_limits`",
        tenants.update_tenant,
    ),
    Route(
        "DELETE",
        "/v1/tenants/<tenant_id>",
        "admin:access",
        "delete it with its users (partner and super admins), running streams included; names stay taken",
        tenants.delete_tenant,
    ),
    Route(
        "GET",
        "/v1/users",
        "users:manage",
        "users of the caller's scope; `status`, `limit`, `cursor`",
        users.list_users,
    ),
    Route(
        "POST",
        "/v1/users",
        "users:manage",
        "make a user: `name`, `tenant_id`?, `email`?, `display_name`?, `roles`?",
        users.create_user,
    ),
    Route("GET", "/v1/users/<user_id>", "any", "one user (oneself needs no permission)", users.get_user),
    Route(
        "PUT",
        "/v1/users/<user_id>",
        "users:manage",
        "change what is sent: `display_name`, `email`, `status` (`active` or `suspended`)",
        users.update_user,
    ),
    Route(
        "DELETE",
        "/v1/users/<user_id>",
        "users:manage",
        "delete: keys are revoked, running streams end, the name stays taken",
        users.delete_user,
    ),
    Route(
        "PUT",
        "/v1/users/<user_id>/roles",
        "users:manage",
        "replace `roles`, `custom_role_ids`, or both",
        users.set_roles,
    ),
    Route(
        "GET",
        "/v1/users/<user_id>/module-permissions",
        "any",
        "module permissions given to the user directly (one's own need no permission)",
        users.get_module_permissions,
    ),
    Route(
        "PUT",
        "/v1/users/<user_id>/module-permissions",
        "users:manage",
        "replace them: `permissions`, keys like `scaibot:bots:create`",
        users.set_module_permissions,
    ),
    Route(
        "GET",
        "/v1/iam/custom-roles",
        "users:manage",
        "custom roles of the caller's scope; `limit`, `cursor`",
        roles.list_roles,
    ),
    Route(
        "POST",
        "/v1/iam/custom-roles",
        "users:manage",
        "make a custom role: `name`, `slug`?, `description`?, `core_permissions`?, `module_permissions`?, `tenant_id`?",
        roles.create_role,
    ),
    Route("GET", "/v1/iam/custom-roles/<role_id>", "users:manage", "one custom role", roles.get_role),
    Route(
        "PUT",
        "/v1/iam/custom-roles/<role_id>",
        "users:manage",
        "change what is sent; it counts at once for whoever has the role",
        roles.update_role,
    ),
    Route(
        "DELETE",
        "/v1/iam/custom-roles/<role_id>",
        "users:manage",
        "delete it, and take it from all who have it",
        roles.delete_role,
    ),
    Route(
        "GET",
        "/v1/api-keys",
        "any",
        "one's own keys; an administrator's whole scope; `limit`, `cursor`",
        keys.list_keys,
    ),
    Route(
        "POST",
        "/v1/api-keys",
        "api_keys:manage",
        "make a key: `name`, `expires_at`?, `assigned_user_id`?; `key` is shown this once",
        keys.create_key,
    ),
    Route(
        "DELETE",
        "/v1/api-keys/<key_id>",
        "api_keys:manage",
        "revoke at once, running streams included",
        keys.revoke_key,
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
    Route(
        "GET",
        "/v1/accounting/export",
        "accounting:view_own",
        f"usage rows as a download, oldest first; `format` (csv, json, ndjson), {_USAGE_QUERY}",
        accounting.export_usage,
    ),
    Route(
        "GET",
        "/v1/accounting/verify",
        "admin:access",
        "counts every balance of the caller's scope anew from the usage rows: `differences` is empty when all is well",
        accounting.verify_balances,
    ),
    Route(
        "DELETE",
        "/v1/accounting/usage",
        "admin:access",
        "delete usage rows of calls `before` a time (super admins), none that a running budget counts; sums stay",
        accounting.prune_usage,
    ),
    Route(
        "GET",
        "/v1/accounting/budgets",
        "accounting:view_own",
        "budgets of the caller's scope, or that apply to him; `scope`, `scope_id`, `limit`, `cursor`",
        budgets.list_budgets,
    ),
    Route(
        "POST",
        "/v1/accounting/budgets",
        "accounting:manage_budgets",
        "make a budget: `scope` (partner, tenant, user, group, key), `scope_id`, `period` (daily, weekly, monthly, "
        "total), at least one of `cost_limit`, `token_limit`, `request_limit`; `soft_limit_pct`?, `hard_action`?, "
        "`timezone`?, `name`?",
        budgets.create_budget,
    ),
    Route(
        "GET",
        "/v1/accounting/budgets/<budget_id:path>",
        "accounting:view_own",
        "one budget: its limits, what is used, pending and left, its period and state",
        budgets.get_budget,
    ),
    Route(
        "PUT",
        "/v1/accounting/budgets/<budget_id:path>",
        "accounting:manage_budgets",
        "change what is sent, null takes a limit away; not what somebody of wider reach put on a tenant or partner",
        budgets.update_budget,
    ),
    Route(
        "DELETE",
        "/v1/accounting/budgets/<budget_id:path>",
        "accounting:manage_budgets",
        "delete a budget, by the same rule",
        budgets.delete_budget,
    ),
    # configuration
    Route(
        "GET",
        "/v1/config",
        "routing:view",
        "generation, when, hash, problems of the last refused load",
        configuration.get_config,
    ),
    Route(
        "POST",
        "/v1/config/reload",
        "routing:manage",
        "read the configuration again: what changed, or 422 with the problems, and the old one serves on",
        configuration.reload_config,
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
