"""Roles × URLs from the appliance's own list, the models of a tenant, and who is out altogether."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from appliance.api.routes import ROUTES, Route
from appliance.permissions import ROLES
from support.appliance import Answer, Gateway
from support.calling import SURFACES
from support.tenancy import chat, error_code, key_of, running_tenancy


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_tenancy(tmp_path_factory.mktemp("access")) as gateway:
        yield gateway


# -- roles × URLs -----------------------------------------------------------------------------------------------------

PARAMETERS = {"slug": "open", "user_id": "acme:{role}", "key_id": "apikey_of_nobody"}


def path_of(route: Route, role: str) -> str:
    return re.sub(r"<(\w+)(:\w+)?>", lambda found: PARAMETERS.get(found[1], "x").format(role=role), route.path)


def body_of(route: Route) -> Any:
    if route.operation:
        return chat()
    return {"name": "from the matrix"} if route.method in ("POST", "PUT", "PATCH") else None


def ask(gateway: Gateway, route: Route, role: str, key: str | None) -> Answer:
    return gateway.request(route.method, path_of(route, role), body_of(route), key=key)


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_a_role_reaches_the_urls_that_its_permissions_open(gateway: Gateway, route: Route, role: str) -> None:
    answer = ask(gateway, route, role, key_of("acme", role))
    if route.permission in ("public", "any") or route.permission in ROLES[role]:
        assert answer.status not in (401, 403), answer.body
        assert answer.status < 500, answer.body
        return
    assert answer.status == 403
    if route.path.startswith("/oai/"):
        assert error_code(answer) == "permission_denied"
    else:
        assert error_code(answer) == "AUTHZ_PERMISSION_DENIED"
    assert route.permission in answer.json()["error"]["message"], "it says which permission is missing"


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_without_a_key_only_public_urls_answer(gateway: Gateway, route: Route) -> None:
    answer = ask(gateway, route, "tenant_user", None)
    if route.permission == "public":
        assert answer.status == 200
    else:
        assert answer.status == 401


# -- models -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tenant", "sees"), [("acme", {"open", "acme-own"}), ("beta", {"open", "acme-own", "secret"})])
def test_a_tenant_sees_the_models_of_its_globs(gateway: Gateway, tenant: str, sees: set[str]) -> None:
    key = key_of(tenant, "tenant_user")
    native = {item["slug"] for item in gateway.get("/v1/models", key=key).json()["data"]["items"]}
    compat = {item["id"] for item in gateway.get("/oai/v1/models", key=key).json()["data"]}
    assert native == compat == sees | {"flowing", "silent", "slow"}


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
