"""Who sees whom: users, keys and usage end where the caller's scope ends; what lies outside does not exist."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from appliance.permissions import ROLES
from support.appliance import Gateway
from support.tenancy import TENANTS, chat, error_code, key_of, running_tenancy


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_tenancy(tmp_path_factory.mktemp("access")) as gateway:
        yield gateway


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
