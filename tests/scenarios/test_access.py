"""Roles × URLs from the appliance's own list, strangers at every door, the models of a tenant, and who is out."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from appliance.api.routes import ROUTES, Route
from appliance.grid.compile import key_id_of
from appliance.permissions import ROLES
from appliance.state.directory import digest_of
from support.appliance import Answer, Gateway
from support.calling import SURFACES
from support.inference_urls import BY_PATH, MODALITIES
from support.tenancy import chat, error_code, key_of, running_tenancy


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_tenancy(tmp_path_factory.mktemp("access")) as gateway:
        yield gateway


# -- roles × URLs -----------------------------------------------------------------------------------------------------


def _key_id(role: str) -> str:
    return key_id_of(digest_of(key_of("acme", role)))


PARAMETERS: dict[str, Callable[[str], str]] = {
    "slug": lambda role: "open",
    "partner_id": lambda role: "north",
    "tenant_id": lambda role: "acme",
    "user_id": lambda role: f"acme:{role}",
    "key_id": _key_id,
    "budget_id": lambda role: "budget_of_nobody",
    "provider_id": lambda role: "up",
    "backend_id": lambda role: "demo:x",
}
"""Parameter of a path → something of acme's that exists. A new one needs a line, here or in MADE."""


def path_of(route: Route, role: str, gateway: Gateway) -> str:
    def value(found: re.Match[str]) -> str:
        if found[1] in MADE:
            return MADE[found[1]](gateway)
        assert found[1] in PARAMETERS, f"{route.path}: say in PARAMETERS what {found[1]} may be"
        return PARAMETERS[found[1]](role)

    return re.sub(r"<(\w+)(:\w+)?>", value, route.path)


def new_role(gateway: Gateway) -> str:
    body = {"name": "r", "slug": f"role-{next(_NUMBERS)}", "tenant_id": "acme", "core_permissions": ["models:list"]}
    return str(gateway.post("/v1/iam/custom-roles", body).json()["data"]["id"])


def new_response(gateway: Gateway) -> str:
    body = {"model": "open", "input": "hi"}
    return str(gateway.post("/oai/v1/responses", body, key=key_of("acme", "tenant_admin")).json()["id"])


MADE: dict[str, Callable[[Gateway], str]] = {"role_id": new_role, "response_id": new_response}
"""Parameter of a path → what is made for each call, since one of the URLs deletes it."""

_NUMBERS = itertools.count()


def body_of(route: Route) -> Any:
    return {"name": "from the matrix"} if route.method in ("POST", "PUT", "PATCH") else None


def ask(gateway: Gateway, route: Route, role: str, key: str | None) -> Answer:
    if route.operation:
        return BY_PATH[route.path].post(gateway, BY_PATH[route.path].modality, key=key)
    return gateway.request(route.method, path_of(route, role, gateway), body_of(route), key=key)


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


PARTNERS = {"partner_admin", "super_admin"}
RESERVED = {
    "POST /v1/partners": {"super_admin"},
    "PUT /v1/partners/<partner_id>": {"super_admin"},
    "DELETE /v1/partners/<partner_id>": {"super_admin"},
    "GET /v1/partners/<partner_id>": PARTNERS,
    "POST /v1/tenants": PARTNERS,
    "PUT /v1/tenants/<tenant_id>": PARTNERS,
    "DELETE /v1/tenants/<tenant_id>": PARTNERS,
    "DELETE /v1/accounting/usage": {"super_admin"},
}
"""URLs for which the permission (of which there is none for tenants and partners) is not enough: also one of these."""

OPEN_TO_ALL_KEYS = {
    "GET /v1/me",
    "GET /v1/auth/me",
    "GET /v1/users/<user_id>",
    "GET /v1/users/<user_id>/module-permissions",
    "GET /v1/api-keys",
}


DENIED = {"oai": "permission_denied", "anthropic": "permission_error"}
"""Dialect → its word for a permission that is lacking; elsewhere it is the native code."""


def test_which_urls_ask_for_no_permission_is_written_here_too() -> None:
    """A new URL needs a permission; one that asks for none has to be argued for, in this list."""
    assert {name_of(route) for route in ROUTES if route.permission == "any"} == OPEN_TO_ALL_KEYS


def test_every_inference_url_is_in_the_table_of_the_matrices() -> None:
    """support/inference_urls.py: bad requests, hang-ups, drains and secrets are tried at each of them."""
    assert {route.path for route in ROUTES if route.operation} == set(BY_PATH)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_a_role_reaches_the_urls_that_its_permissions_open(gateway: Gateway, route: Route, role: str) -> None:
    answer = ask(gateway, route, role, key_of("acme", role))
    if route.permission in ROLES[role] and role not in RESERVED.get(name_of(route), ROLES):
        assert error_code(answer) in ("AUTHZ_PERMISSION_DENIED", "NOT_FOUND")
        return
    if route.permission in ("public", "any") or route.permission in ROLES[role]:
        assert answer.status not in (401, 403), answer.body
        assert answer.status < 500, answer.body
        assert answer.status == 200 or not route.operation, answer.body
        return
    assert answer.status == 403
    assert error_code(answer) == DENIED.get(route.path.split("/")[1], "AUTHZ_PERMISSION_DENIED")
    assert route.permission in answer.json()["error"]["message"], "it says which permission is missing"


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_without_a_key_only_public_urls_answer(gateway: Gateway, route: Route) -> None:
    answer = ask(gateway, route, "tenant_user", None)
    if route.permission == "public":
        assert answer.status == 200
    else:
        assert answer.status == 401


# -- strangers × URLs -------------------------------------------------------------------------------------------------

NOTHING_THERE = {"NOT_FOUND", "not_found"}
STRANGERS = [("beta", "tenant_admin"), ("far", "tenant_admin"), ("far", "partner_admin")]
OWNED = [
    route
    for route in ROUTES
    if re.search(r"<(partner_id|tenant_id|user_id|key_id|role_id|budget_id|response_id)\b", route.path)
]


@pytest.mark.parametrize("stranger", STRANGERS, ids="-".join)
@pytest.mark.parametrize("route", OWNED, ids=name_of)
def test_what_belongs_to_others_does_not_exist_for_an_admin_of_elsewhere(
    gateway: Gateway, route: Route, stranger: tuple[str, str]
) -> None:
    """Whatever he tries: 404, in the very words that he gets for what nobody has."""
    path, key = path_of(route, "tenant_user", gateway), key_of(*stranger)
    parameter = path.removeprefix(route.path.partition("<")[0]).partition("/")[0]
    answer = gateway.request(route.method, path, body_of(route), key=key)
    if route.permission == "any" or route.permission in ROLES[stranger[1]]:
        assert answer.status == 404
    else:
        assert answer.status == 403, "whoever may do this nowhere learns nothing here either"
        assert route.permission in answer.json()["error"]["message"]
        return
    assert error_code(answer) in NOTHING_THERE
    nothing = gateway.request(route.method, path.replace(parameter, "nothing-there"), body_of(route), key=key)
    assert nothing.status == 404
    messages = [each.json()["error"]["message"] for each in (answer, nothing)]
    assert messages[0].replace(parameter, "nothing-there") == messages[1]


ANSWERS_A_QUESTION = "/v1/routing/explain"
"""It lists nothing; tests/scenarios/test_explain.py says who may ask about whom."""
LISTS = [
    route
    for route in ROUTES
    if route.method == "GET"
    and "<" not in route.path
    and route.permission != "public"
    and route.path != ANSWERS_A_QUESTION
]


@pytest.mark.parametrize("stranger", STRANGERS, ids="-".join)
@pytest.mark.parametrize("route", LISTS, ids=name_of)
def test_no_list_names_what_belongs_to_others(gateway: Gateway, route: Route, stranger: tuple[str, str]) -> None:
    new_role(gateway)
    gateway.post("/v1/inference/chat", chat(), key=key_of("acme", "tenant_user"))
    answer = gateway.get(route.path, key=key_of(*stranger))
    assert answer.status in (200, 403)
    assert not re.search(r'"acme"|\bacme:', answer.body.decode())


# -- models -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tenant", "sees"), [("acme", {"open", "acme-own"}), ("beta", {"open", "acme-own", "secret"})])
def test_a_tenant_sees_the_models_of_its_globs(gateway: Gateway, tenant: str, sees: set[str]) -> None:
    key = key_of(tenant, "tenant_user")
    native = {item["slug"] for item in gateway.get("/v1/models", key=key).json()["data"]["items"]}
    compat = {item["id"] for item in gateway.get("/oai/v1/models", key=key).json()["data"]}
    assert native == compat == sees | {"flowing", "silent", "slow", *MODALITIES}
    anthropic = {item["id"] for item in gateway.get("/anthropic/v1/models", key=key).json()["data"]}
    assert anthropic == native - set(MODALITIES) | {"chat"}, "only chat models speak this dialect"


@pytest.mark.parametrize("role", ["tenant_user", "tenant_admin", "super_admin"])
def test_a_model_outside_the_globs_is_denied_whatever_the_role(gateway: Gateway, role: str) -> None:
    """Access belongs to the tenant: it says what is booked where."""
    key = key_of("acme", role)
    native = gateway.post("/v1/inference/chat", chat("secret"), key=key)
    assert (native.status, error_code(native)) == (403, "MODEL_ACCESS_DENIED")
    compat = gateway.post("/oai/v1/chat/completions", chat("secret"), key=key)
    assert (compat.status, error_code(compat)) == (403, "model_not_found")
    assert gateway.get("/v1/models/secret", key=key).status == 404
    assert gateway.get("/oai/v1/models/secret", key=key).status == 404
    assert gateway.get("/anthropic/v1/models/secret", key=key).status == 404
    assert gateway.post("/v1/inference/chat", chat("acme-own"), key=key).status == 200


# -- who is out -------------------------------------------------------------------------------------------------------

OUT = {  # whose key: status, words of the reason
    ("frozen", "tenant_user"): (403, "suspended"),
    ("acme", "gone"): (403, "suspended"),
    ("acme", "late"): (401, "expired"),
}


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("who", OUT, ids="-".join)
def test_whoever_is_out_gets_nowhere(gateway: Gateway, who: tuple[str, str], surface: str) -> None:
    status, words = OUT[who]
    answers = [gateway.post(SURFACES[surface], chat(), key=key_of(*who)), gateway.get("/v1/me", key=key_of(*who))]
    for answer in answers:
        assert answer.status == status
        assert words in answer.json()["error"]["message"]


def test_the_platforms_own_people_get_in_although_their_tenant_is_suspended(gateway: Gateway) -> None:
    assert gateway.get("/v1/me", key=key_of("frozen", "super_admin")).status == 200
