"""Who may do what, who sees whom: roles × URLs from the appliance's own list, tenants, keys that end, isolation."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from appliance.api.routes import ROUTES, Route
from appliance.permissions import ROLES
from support import faults
from support.appliance import Answer, Gateway, running
from support.calling import SURFACES
from support.faults import begins
from support.sse import ended, failure_of
from support.upstream import Upstream
from support.wire import Wire, request_bytes


def key_of(tenant: str, user: str) -> str:
    return f"sgk_{tenant}-{user}-{'k' * 32}"


def _user(tenant: str, name: str, role: str, more: str = "") -> str:
    return f'        {name}: {{roles: [{role}], api_keys: [{{name: k, key: "{key_of(tenant, name)}"}}]{more}}}'


def _tenant(name: str, users: dict[str, str], settings: str = "") -> str:
    return f"      {name}:\n{settings}        users:\n" + "\n".join("  " + _user(name, *each) for each in users.items())


EVERYBODY = {role: role for role in ROLES}
YAML = f"""
providers:
  up: {{type: custom, base_url: "UPSTREAM/v1"}}
  demo: {{type: demo}}
models:
  open: {{price: free, route: [{{backend: "demo:x"}}]}}
  acme-own: {{price: free, route: [{{backend: "demo:x"}}]}}
  secret: {{price: free, route: [{{backend: "demo:x"}}]}}
  flowing: {{price: {{input: "1", output: "2"}}, route: [{{backend: "demo:x,pace=20ms,tokens=100000"}}]}}
  silent: {{price: {{input: "1", output: "2"}}, route: [{{backend: "up:x"}}]}}
  slow: {{price: {{input: "1", output: "2"}}, route: [{{backend: "demo:x,first=1500ms"}}]}}
partners:
  north:
    tenants:
{_tenant("acme", EVERYBODY, '        models: [open, "acme-*", flowing, silent, slow]' + chr(10))}
          gone: {{status: suspended, api_keys: [{{name: k, key: "{key_of("acme", "gone")}"}}]}}
          late:
            api_keys:
              - {{name: old, key: "{key_of("acme", "late")}", expires_at: 2020-01-01}}
{_tenant("beta", EVERYBODY)}
{_tenant("frozen", {"tenant_user": "tenant_user", "super_admin": "super_admin"}, "        status: suspended" + chr(10))}
  south:
    tenants:
{_tenant("far", EVERYBODY)}
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Upstream() as upstream:
        upstream.answer(begins(faults.stalls))
        with running(YAML.replace("UPSTREAM", upstream.url), tmp_path_factory.mktemp("access")) as gateway:
            yield gateway


def chat(model: str = "open", **members: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}]} | members


def error_code(answer: Answer) -> str:
    return str(answer.json()["error"]["code"])


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


def new_key(gateway: Gateway, **members: Any) -> tuple[str, str]:
    """Id and secret of a key for acme's tenant_user."""
    body = {"name": "short-lived", "assigned_user_id": "acme:tenant_user"} | members
    answer = gateway.post("/v1/api-keys", body, key=key_of("acme", "tenant_admin"))
    assert answer.status == 200, answer.body
    data = answer.json()["data"]
    return data["id"], data["key"]


def revoke(gateway: Gateway, key_id: str) -> None:
    assert gateway.request("DELETE", f"/v1/api-keys/{key_id}", key=key_of("acme", "tenant_admin")).status == 200


def test_a_created_key_works_until_it_is_revoked(gateway: Gateway) -> None:
    key_id, secret = new_key(gateway)
    assert gateway.get("/v1/me", key=secret).json()["data"]["id"] == "acme:tenant_user"
    assert gateway.post("/v1/inference/chat", chat(), key=secret).status == 200
    revoke(gateway, key_id)
    for answer in (gateway.get("/v1/me", key=secret), gateway.post("/v1/inference/chat", chat(), key=secret)):
        assert (answer.status, error_code(answer)) == (401, "AUTH_TOKEN_INVALID")
        assert "revoked" in answer.json()["error"]["message"]
    listed = gateway.get("/v1/api-keys", key=key_of("acme", "tenant_admin")).json()["data"]["items"]
    assert next(key["status"] for key in listed if key["id"] == key_id) == "revoked"


def test_a_key_works_until_it_expires(gateway: Gateway) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=0.6)).isoformat()
    _, secret = new_key(gateway, expires_at=soon)
    assert gateway.get("/v1/me", key=secret).status == 200
    time.sleep(0.7)
    answer = gateway.get("/v1/me", key=secret)
    assert (answer.status, error_code(answer)) == (401, "AUTH_TOKEN_INVALID")
    assert "expired" in answer.json()["error"]["message"]


def stream_with(gateway: Gateway, wire: Wire, model: str, secret: str, surface: str, request_id: str) -> None:
    headers = {"X-Request-ID": request_id, "Connection": "close"}
    wire.send(request_bytes(SURFACES[surface], chat(model, stream=True), secret, headers))
    wire.wait_for(b'"content":')


def events_of(received: bytes) -> bytes:
    """The events of a chunked answer; chunk borders fall between events here."""
    return re.sub(rb"\r\n[0-9a-f]+\r\n|\r\n", b"", received.partition(b"\r\n\r\n")[2].partition(b"\r\n")[2])


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("model", ["flowing", "silent"])
def test_revoking_a_key_ends_its_running_streams(gateway: Gateway, model: str, surface: str) -> None:
    """Also one whose upstream says nothing at the moment."""
    key_id, secret = new_key(gateway)
    request_id = f"access-revoked-{model}-{surface}"
    with Wire(gateway.url) as wire:
        stream_with(gateway, wire, model, secret, surface, request_id)
        revoke(gateway, key_id)
        assert wire.closed_within(2), "the stream runs on"
        body = events_of(wire.received)
    error = failure_of(body)
    assert error is not None
    assert error["code"] == ("AUTH_TOKEN_INVALID" if surface == "native" else "invalid_api_key")
    assert ended(body)
    row = gateway.usage_of(request_id)
    assert row["status"] in ("failed", "cancelled")
    assert row["estimated"] is True
    assert row["tokens_out"] > 0
    assert gateway.in_flight() == 0


def test_revoking_a_key_takes_effect_on_a_whole_answer_under_way(gateway: Gateway) -> None:
    """Section 2.4 of the API reference: at once, also for requests in flight."""
    key_id, secret = new_key(gateway)
    with Wire(gateway.url) as wire:
        wire.send(request_bytes(SURFACES["native"], chat("slow"), secret))
        time.sleep(0.2)
        revoke(gateway, key_id)
        status, _ = wire.answer()
    assert status == 401


def test_an_expiring_key_ends_its_running_streams(gateway: Gateway) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=0.6)).isoformat()
    _, secret = new_key(gateway, expires_at=soon)
    with Wire(gateway.url) as wire:
        stream_with(gateway, wire, "flowing", secret, "native", "access-expired-stream")
        assert wire.closed_within(3)
        error = failure_of(events_of(wire.received))
    assert error is not None
    assert error["code"] == "AUTH_TOKEN_INVALID"


def test_revoking_one_key_leaves_the_users_other_keys_alone(gateway: Gateway) -> None:
    (first_id, first), (_, second) = new_key(gateway), new_key(gateway)
    revoke(gateway, first_id)
    assert gateway.get("/v1/me", key=first).status == 401
    assert gateway.get("/v1/me", key=second).status == 200


def test_a_revoked_key_stays_revoked_after_a_restart(gateway: Gateway) -> None:
    (revoked_id, revoked), (_, alive) = new_key(gateway), new_key(gateway)
    revoke(gateway, revoked_id)
    gateway.kill()
    gateway.start()
    assert gateway.get("/v1/me", key=revoked).status == 401
    assert gateway.get("/v1/me", key=alive).status == 200


def test_a_key_of_the_yaml_cannot_be_revoked_over_the_api(gateway: Gateway) -> None:
    listed = gateway.get("/v1/api-keys", key=key_of("acme", "tenant_user")).json()["data"]["items"]
    declared = next(key for key in listed if key["declared_in"])
    answer = gateway.request("DELETE", f"/v1/api-keys/{declared['id']}", key=key_of("acme", "tenant_user"))
    assert (answer.status, error_code(answer)) == (409, "DECLARED_IN_CONFIG")
    assert "scaigrid.yaml" in answer.json()["error"]["message"]
    assert gateway.get("/v1/me", key=key_of("acme", "tenant_user")).status == 200


# -- making keys for others -------------------------------------------------------------------------------------------

PAIRS = [(maker, owner) for maker in ROLES for owner in ROLES if maker != owner]


@pytest.mark.parametrize(("maker", "owner"), PAIRS)
def test_a_key_for_another_user_never_gives_more_rights_than_its_maker_has(
    gateway: Gateway, maker: str, owner: str
) -> None:
    body = {"name": "for another", "assigned_user_id": f"acme:{owner}"}
    answer = gateway.post("/v1/api-keys", body, key=key_of("acme", maker))
    if {"api_keys:manage", "users:manage"} <= ROLES[maker] and ROLES[owner] <= ROLES[maker]:
        assert answer.status == 200
        me = gateway.get("/v1/me", key=answer.json()["data"]["key"]).json()["data"]
        assert me["id"] == f"acme:{owner}"
    else:
        assert answer.status in (403, 422)
        assert "key" not in answer.json()


@pytest.mark.parametrize(
    ("maker", "owner"), [("tenant_admin", "beta:tenant_user"), ("tenant_admin", "far:tenant_user"),
                         ("partner_admin", "far:tenant_viewer"), ("tenant_user", "far:tenant_user"),
                         ("tenant_admin", "default:admin"), ("tenant_admin", "acme:nobody")],
)  # fmt: skip
def test_a_key_for_a_stranger_is_refused_as_if_he_did_not_exist(gateway: Gateway, maker: str, owner: str) -> None:
    body = {"name": "x", "assigned_user_id": owner}
    answer = gateway.post("/v1/api-keys", body, key=key_of("acme", maker))
    assert (answer.status, error_code(answer)) == (422, "VALIDATION_ERROR")
    assert "does not exist" in answer.json()["error"]["message"]


def test_a_partner_admin_makes_keys_in_all_his_tenants(gateway: Gateway) -> None:
    body = {"name": "x", "assigned_user_id": "beta:tenant_viewer"}
    answer = gateway.post("/v1/api-keys", body, key=key_of("acme", "partner_admin"))
    assert answer.status == 200


# -- who sees whom ----------------------------------------------------------------------------------------------------

TENANTS = {"acme": "north", "beta": "north", "frozen": "north", "far": "south", "default": "default"}


def sees_people(role: str, tenant: str) -> bool:
    """Does acme's holder of the role see the users and keys of that tenant?"""
    if role == "super_admin":
        return True
    if role == "partner_admin":
        return TENANTS[tenant] == "north"
    return role == "tenant_admin" and tenant == "acme"


def sees_usage(role: str, tenant: str) -> bool:
    return sees_people(role, tenant) or (role == "partner_viewer" and TENANTS[tenant] == "north")


def items(gateway: Gateway, path: str, key: str) -> list[dict[str, Any]]:
    answer = gateway.get(path, key=key)
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json()["data"]["items"]
    return found


@pytest.fixture(scope="module")
def used(gateway: Gateway) -> dict[str, str]:
    """One call by the tenant_user of each tenant that may call: tenant → request id."""
    for tenant in ("acme", "beta", "far"):
        headers = {"X-Request-ID": f"access-used-{tenant}"}
        answer = gateway.post("/v1/inference/chat", chat(), key=key_of(tenant, "tenant_user"), headers=headers)
        assert answer.status == 200
    return {tenant: f"access-used-{tenant}" for tenant in ("acme", "beta", "far")}


@pytest.mark.parametrize("role", [role for role in ROLES if "users:manage" in ROLES[role]])
def test_the_list_of_users_ends_where_ones_scope_ends(gateway: Gateway, role: str) -> None:
    seen = {user["tenant_id"] for user in items(gateway, "/v1/users?limit=1000", key_of("acme", role))}
    assert seen == {tenant for tenant in TENANTS if sees_people(role, tenant)}


@pytest.mark.parametrize("role", ROLES)
def test_the_list_of_keys_ends_where_ones_scope_ends(gateway: Gateway, role: str) -> None:
    seen = {key["user_id"] for key in items(gateway, "/v1/api-keys?limit=1000", key_of("acme", role))}
    if role in ("tenant_user", "tenant_viewer", "partner_viewer"):
        assert seen == {f"acme:{role}"}, "his own, and nobody else's"
    else:
        assert {owner.partition(":")[0] for owner in seen} == {name for name in TENANTS if sees_people(role, name)}


@pytest.mark.parametrize("role", ROLES)
def test_a_user_outside_ones_scope_does_not_exist(gateway: Gateway, role: str) -> None:
    for user_id in ("acme:tenant_user", "beta:tenant_user", "far:tenant_user", "default:admin"):
        answer = gateway.get(f"/v1/users/{user_id}", key=key_of("acme", role))
        visible = sees_people(role, user_id.partition(":")[0]) or user_id == f"acme:{role}"
        assert answer.status == (200 if visible else 404), user_id


def test_a_bare_name_is_looked_up_in_ones_own_tenant(gateway: Gateway) -> None:
    answer = gateway.get("/v1/users/tenant_user", key=key_of("beta", "tenant_admin"))
    assert answer.json()["data"]["id"] == "beta:tenant_user"


@pytest.mark.parametrize("role", [role for role in ROLES if "api_keys:manage" in ROLES[role]])
def test_a_key_outside_ones_scope_does_not_exist(gateway: Gateway, role: str) -> None:
    for tenant in ("beta", "far"):
        made = gateway.post("/v1/api-keys", {"name": "foreign"}, key=key_of(tenant, "tenant_user")).json()["data"]
        answer = gateway.request("DELETE", f"/v1/api-keys/{made['id']}", key=key_of("acme", role))
        assert answer.status == (200 if sees_people(role, tenant) else 404)
        still = gateway.get("/v1/me", key=made["key"]).status
        assert still == (401 if sees_people(role, tenant) else 200)


@pytest.mark.parametrize("role", ROLES)
def test_usage_ends_where_ones_scope_ends(gateway: Gateway, used: dict[str, str], role: str) -> None:
    key = key_of("acme", role)
    rows = items(gateway, "/v1/accounting/usage?limit=1000", key)
    found = {row["request_id"] for row in rows}
    for tenant, request_id in used.items():
        visible = sees_usage(role, tenant) or (role == "tenant_user" and tenant == "acme")
        assert (request_id in found) == visible, tenant
        narrowed = items(gateway, f"/v1/accounting/usage?request_id={request_id}", key)
        assert len(narrowed) == visible
    if role in ("tenant_user", "tenant_viewer"):
        assert {row["user_id"] for row in rows} <= {f"acme:{role}"}


@pytest.mark.parametrize("role", ROLES)
def test_a_summary_ends_where_ones_scope_ends(gateway: Gateway, used: dict[str, str], role: str) -> None:
    sums = gateway.get("/v1/accounting/usage/summary?group_by=tenant", key=key_of("acme", role)).json()["data"]
    seen = {each["group_key"] for each in sums}
    assert seen <= {tenant for tenant in TENANTS if sees_usage(role, tenant) or tenant == "acme"}
    if role == "super_admin":
        assert set(used) <= seen


@pytest.mark.parametrize("query", ["tenant_id=far", "user_id=far:tenant_user", "tenant_id=far&user_id=tenant_user"])
@pytest.mark.parametrize("role", [role for role in ROLES if role != "super_admin"])
@pytest.mark.usefixtures("used")
def test_asking_for_a_strangers_usage_gives_none_of_it(gateway: Gateway, role: str, query: str) -> None:
    for path in ("usage", "usage/summary"):
        answer = gateway.get(f"/v1/accounting/{path}?{query}", key=key_of("acme", role))
        if answer.status == 200:
            data = answer.json()["data"]
            assert (data if path == "usage/summary" else data["items"]) == []
        else:
            assert (answer.status, error_code(answer)) == (403, "AUTHZ_PERMISSION_DENIED")
