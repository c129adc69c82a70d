"""/v1/routing/explain: what would become of a call, for those who may see its tenant. The call is not made."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from appliance.api.accept import Call
from appliance.errors import GatewayError, clipped, invalid
from appliance.exchange import Principal, User
from appliance.formats.features import FEATURES
from appliance.grid.grid import FrontendModel, Tenant
from appliance.permissions import ROLES, Scope, accounting_scope, permissions_of
from appliance.pipeline.estimate import BYTES_PER_TOKEN
from appliance.pipeline.explain import Question, explain
from appliance.pipeline.operations import OPERATIONS
from appliance.pipeline.operations.base import Documents
from config.problems import nearest

KNOWN = ("model", "tenant", "user", "role", "needs", "input_tokens", "max_tokens", "n", "operation", "stream")
METADATA = "metadata."
INPUT_TOKENS = 1000
"""How long an input is taken to be, unless the question says."""
MOST_CHOICES = 128
MOST_OUTPUT_TOKENS = 1_000_000_000
CALLS = ("chat", "embed", "image", "transcribe", "translate", "speak", "rerank")
"""What may be asked about; those of the Responses API are chats."""


async def explain_call(call: Call) -> dict[str, Any]:
    """Nobody is called, nothing is counted or held."""
    _refuse_unknown(call)
    scope = accounting_scope(call.principal)
    tenant = _tenant(call, scope)
    user = _user(call, scope, tenant)
    model = _model(call, scope, tenant)
    question = Question(
        model=model,
        caller=_caller(call, tenant, user),
        operation=_operation(call, model),
        metadata={key.removeprefix(METADATA): call.query[key] for key in call.query if key.startswith(METADATA)},
        needs=frozenset(_listed(call, "needs", FEATURES)),
        input_tokens=_number(call, "input_tokens", 0, call.grid.body_limit // BYTES_PER_TOKEN) or 0,
        max_tokens=_number(call, "max_tokens", 1, MOST_OUTPUT_TOKENS),
        n=_number(call, "n", 1, MOST_CHOICES) or 1,
        stream=_is_streamed(call),
    )
    sees_partner = scope.holds(tenant.partner_id, "", "")
    now = asyncio.get_running_loop().time()
    return explain(question, call.grid, call.state, now, time.time(), sees_partner=sees_partner)


def _refuse_unknown(call: Call) -> None:
    """A misspelt word would explain another call than the one that was meant."""
    for name in call.query:
        if name not in KNOWN and (not name.startswith(METADATA) or name == METADATA):
            others = ", ".join((*KNOWN, "metadata.KEY"))
            raise invalid(clipped(name), f"is no parameter of this URL; {_hint(name, KNOWN, f'known are {others}')}")


def _hint(name: str, known: Iterable[str], otherwise: str) -> str:
    guess = nearest(name, known)
    return f"did you mean {guess!r}?" if guess else otherwise


# -- who --------------------------------------------------------------------------------------------------------------


def _tenant(call: Call, scope: Scope) -> Tenant:
    """The one that is asked about, else the user's, else the caller's own. Outside the scope none exists."""
    query, own = call.query, call.principal.tenant_id
    of_user = query.get("user", "").rpartition(":")[0]
    tenant_id = query.get("tenant") or of_user or own
    if scope.tenant_id and tenant_id != scope.tenant_id:
        raise GatewayError("AUTHZ_PERMISSION_DENIED", "tenant: other tenants need accounting:view_partner")
    seen = {
        tenant.id: tenant
        for tenant in call.grid.tenants.values()
        if scope.holds(tenant.partner_id, tenant.id, scope.user_id)
    }
    if tenant_id not in seen:
        hint = _hint(tenant_id, seen, "GET /v1/tenants lists those you may see")
        raise GatewayError("NOT_FOUND", f"the tenant {clipped(tenant_id)!r} does not exist; {hint}", param="tenant")
    return seen[tenant_id]


def _user(call: Call, scope: Scope, tenant: Tenant) -> User | None:
    """A bare name is of the tenant. Who may see only his own usage asks about himself."""
    written = call.query.get("user") or scope.user_id
    if not written:
        return None
    user_id = written if ":" in written else f"{tenant.id}:{written}"
    if scope.user_id and user_id != scope.user_id:
        raise GatewayError("AUTHZ_PERMISSION_DENIED", "user: other users need accounting:view_tenant")
    user = call.state.directory.users.get(user_id)
    if user is None or user.tenant_id != tenant.id:
        names = [user.name for user in call.state.directory.users.values() if user.tenant_id == tenant.id]
        hint = _hint(user_id.rpartition(":")[2], names, "GET /v1/users lists those you may see")
        message = f"the tenant {tenant.id} has no user {clipped(written)!r}; {hint}"
        raise GatewayError("NOT_FOUND", message, param="user")
    return user


def _caller(call: Call, tenant: Tenant, user: User | None) -> Principal:
    """Whoever would call, with the roles that the question adds. Without a user it is anybody who may call at all."""
    asked = tuple(_listed(call, "role", ROLES))
    subjects: tuple[str, ...] = (f"partner:{tenant.partner_id}", f"tenant:{tenant.id}")
    if user is None:
        may = frozenset({"models:use"})
        caller = Principal("", "", "", tenant.id, tenant.partner_id, asked, may, subjects=subjects)
    else:
        roles = tuple(dict.fromkeys((*user.roles, *asked)))
        key_id = _only_key(call, user)
        groups = (f"group:{tenant.id}:{group}" for group in user.groups)
        subjects = (*subjects, *groups, f"user:{user.id}", *([f"key:{key_id}"] if key_id else []))
        may = permissions_of(roles) | call.state.directory.rights(user).core
        caller = Principal(
            key_id, user.id, user.name, tenant.id, tenant.partner_id, roles, may, groups=user.groups, subjects=subjects
        )
        caller.custom_roles = call.state.directory.custom_roles(user)
        if user.status != "active":
            caller.inactive = ("AUTHZ_PERMISSION_DENIED", "the user is suspended")
    # Platform operators get in although their tenant is suspended (state/directory.py).
    if tenant.suspended and "super_admin" not in caller.roles and caller.inactive is None:
        caller.inactive = ("AUTHZ_PERMISSION_DENIED", f"the tenant {tenant.id} is suspended")
    return caller


def _only_key(call: Call, user: User) -> str:
    """The key that he would call with, where there is no choice."""
    now = time.time()
    keys = [
        key.id
        for key in call.state.directory.keys.values()
        if key.user_id == user.id and key.revoked_unix is None and (key.expires_unix is None or key.expires_unix > now)
    ]
    return keys[0] if len(keys) == 1 else ""


# -- what -------------------------------------------------------------------------------------------------------------


def _model(call: Call, scope: Scope, tenant: Tenant) -> FrontendModel:
    """Who sees all tenants may also ask about a model that this one may not use; for others it is refused as in a call.

    What a model of another tenant is made of is nobody else's business.
    """
    name = call.query.get("model")
    if not name:
        raise invalid("model", "is required: the frontend model that the call would ask for")
    known = tenant.models if scope.partner_id else call.grid.models
    model = call.grid.models.get(name)
    if model is None:
        hint = _hint(name, known, "GET /v1/models lists those you may use")
        raise GatewayError("MODEL_NOT_FOUND", f"the model {clipped(name)!r} does not exist; {hint}", param="model")
    if name not in known:
        message = f"the model {name!r} is not enabled for the tenant {tenant.id}"
        raise GatewayError("MODEL_ACCESS_DENIED", message, param="model")
    return model


def _operation(call: Call, model: FrontendModel) -> str:
    """The kind of call: the one that is asked about, else the first of the model's modality that a target can serve."""
    serving = [name for name in CALLS if OPERATIONS[name].modality == model.modality]
    asked = call.query.get("operation")
    if not asked:
        able = [name for name in serving if _is_served(model, name)]
        return (able or serving)[0]
    if asked not in serving:
        message = f"a model of modality {model.modality} is called for {' or '.join(serving)}, not {clipped(asked)!r}"
        raise invalid("operation", message)
    return asked


def _is_served(model: FrontendModel, name: str) -> bool:
    operation = OPERATIONS[name]
    if not isinstance(operation, Documents):
        return True
    priced = not operation.charged_by or bool(operation.charged_by & model.price.written)
    return priced and any(operation.feature not in target.lacks for target in model.policy.targets)


def _listed(call: Call, name: str, known: Iterable[str]) -> list[str]:
    """Words of a list, between commas or as the parameter repeated."""
    written = [word.strip() for text in call.sanic.args.getlist(name, []) for word in text.split(",")]
    words = [word for word in written if word]
    for word in words:
        if word not in known:
            hint = _hint(word, known, f"known are {', '.join(known)}")
            raise invalid(name, f"there is no {clipped(word)!r}; {hint}")
    return words


_DEFAULTS = {"input_tokens": INPUT_TOKENS, "n": 1}


def _number(call: Call, name: str, least: int, most: int) -> int | None:
    text = call.query.get(name)
    if text is None:
        return _DEFAULTS.get(name)
    if not text.isascii() or not text.isdigit() or len(text) > 12 or not least <= int(text) <= most:
        raise invalid(name, f"takes a whole number from {least} to {most}")
    return int(text)


def _is_streamed(call: Call) -> bool:
    text = call.query.get("stream", "false")
    if text not in ("true", "false"):
        raise invalid("stream", "takes true or false")
    return text == "true"
