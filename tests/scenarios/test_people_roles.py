"""Custom roles and module permissions: they open and close doors at once, and nobody gives more than he holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.appliance import Answer, Gateway, running
from support.people import (
    ADA,
    BOSS,
    YAML,
    call,
    data,
    delete,
    ids,
    key_for,
    new_name,
    new_role,
    new_user,
    put,
    refusal,
)

DENIED = (403, "AUTHZ_PERMISSION_DENIED")
MISSING = (404, "NOT_FOUND")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(YAML, tmp_path_factory.mktemp("people-roles")) as gateway:
        yield gateway


def invalid_field(answer: Answer) -> str:
    assert refusal(answer) == (422, "VALIDATION_ERROR")
    return str(answer.json()["error"]["details"][0]["field"])


# -- custom roles -----------------------------------------------------------------------------------------------------


def test_a_custom_role_is_made_seen_changed_and_deleted(gateway: Gateway) -> None:
    name = new_name("Night shift ")
    body = {
        "name": name,
        "description": "reads at night",
        "core_permissions": ["models:list", "accounting:view_tenant"],
        "module_permissions": ["scaibot:bots:create", "scaimatrix:ingest"],
    }
    made = data(gateway.post("/v1/iam/custom-roles", body, key=ADA))
    assert made["id"].startswith("role_")
    assert (made["name"], made["slug"]) == (name, name.lower().replace(" ", "-"))
    assert (made["tenant_id"], made["created_by"], made["description"]) == ("acme", "acme:ada", "reads at night")
    assert made["core_permissions"] == ["accounting:view_tenant", "models:list"]
    assert made["module_permissions"] == ["scaibot:bots:create", "scaimatrix:ingest"]
    assert made["created_at"] == made["updated_at"]
    path = f"/v1/iam/custom-roles/{made['id']}"
    assert data(gateway.get(path, key=ADA)) == made
    assert made["id"] in ids(gateway, "/v1/iam/custom-roles", ADA)
    changed = data(put(gateway, path, {"name": "Day", "core_permissions": []}, ADA))
    assert (changed["name"], changed["slug"], changed["core_permissions"]) == ("Day", made["slug"], [])
    assert changed["module_permissions"] == made["module_permissions"], "what is not sent stays"
    assert changed["updated_at"] > changed["created_at"]
    assert data(delete(gateway, path, ADA))["id"] == made["id"]
    assert refusal(gateway.get(path, key=ADA)) == MISSING
    body = {"name": "Again", "slug": made["slug"]}
    assert data(gateway.post("/v1/iam/custom-roles", body, key=ADA))["slug"] == made["slug"], "its slug is free again"


def test_a_custom_role_opens_what_it_holds_at_once_and_closes_it_again(gateway: Gateway) -> None:
    role, user = new_role(gateway, core_permissions=["models:use"]), new_user(gateway, roles=["tenant_viewer"])
    secret = key_for(gateway, user)
    assert call(gateway, secret) == 403
    data(put(gateway, f"/v1/users/{user}/roles", {"custom_role_ids": [role]}, ADA))
    assert call(gateway, secret) == 200
    data(put(gateway, f"/v1/iam/custom-roles/{role}", {"core_permissions": ["models:list"]}, ADA))
    assert call(gateway, secret) == 403
    data(put(gateway, f"/v1/iam/custom-roles/{role}", {"core_permissions": ["models:use"]}, ADA))
    assert call(gateway, secret) == 200
    data(delete(gateway, f"/v1/iam/custom-roles/{role}", ADA))
    assert call(gateway, secret) == 403
    assert data(gateway.get(f"/v1/users/{user}"))["custom_role_ids"] == []


def test_custom_roles_survive_a_restart(gateway: Gateway) -> None:
    role = new_role(gateway, core_permissions=["models:use"], module_permissions=["scaibot:view"])
    user = new_user(gateway, roles=["tenant_viewer"])
    data(put(gateway, f"/v1/users/{user}/roles", {"custom_role_ids": [role]}))
    data(put(gateway, f"/v1/users/{user}/module-permissions", {"permissions": ["scaimatrix:ingest"]}))
    secret = key_for(gateway, user)
    gateway.kill()
    gateway.start()
    assert call(gateway, secret) == 200
    assert data(gateway.get("/v1/me", key=secret))["module_permissions"] == ["scaibot:view", "scaimatrix:ingest"]


@pytest.mark.parametrize("permission", ["routing:manage", "models:manage", "accounting:view_partner"])
def test_a_custom_role_holds_no_more_than_its_maker_may_give(gateway: Gateway, permission: str) -> None:
    body = {"name": new_name("role"), "core_permissions": [permission]}
    assert refusal(gateway.post("/v1/iam/custom-roles", body, key=ADA)) == DENIED
    mine = new_role(gateway)
    answer = put(gateway, f"/v1/iam/custom-roles/{mine}", {"core_permissions": [permission]}, ADA)
    assert refusal(answer) == DENIED
    above = new_role(gateway, core_permissions=[permission])
    user = new_user(gateway)
    for answer in (
        put(gateway, f"/v1/users/{user}/roles", {"custom_role_ids": [above]}, ADA),
        put(gateway, f"/v1/iam/custom-roles/{above}", {"name": "x"}, ADA),
        delete(gateway, f"/v1/iam/custom-roles/{above}", ADA),
    ):
        assert refusal(answer) == DENIED


def test_a_custom_role_of_another_tenant_does_not_exist(gateway: Gateway) -> None:
    foreign = new_role(gateway, "far")
    assert refusal(gateway.get(f"/v1/iam/custom-roles/{foreign}", key=BOSS)) == MISSING
    assert foreign not in ids(gateway, "/v1/iam/custom-roles", BOSS)
    body = {"name": "x", "tenant_id": "far"}
    assert refusal(gateway.post("/v1/iam/custom-roles", body, key=BOSS)) == MISSING
    for role in (foreign, "role_of_nobody"):
        answer = put(gateway, f"/v1/users/{new_user(gateway)}/roles", {"custom_role_ids": [role]}, "")
        assert invalid_field(answer) == "custom_role_ids"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "ÄÖÜ"}, "slug"),
        ({"name": "x", "core_permissions": ["models:eat"]}, "core_permissions"),
        ({"name": "x", "module_permissions": ["nothing"]}, "module_permissions"),
        ({"name": "x", "module_permissions": ["users:manage"]}, "module_permissions"),
        ({"name": "x", "permissions": []}, "permissions"),
    ],
)
def test_a_wrong_member_of_a_custom_role_is_named(gateway: Gateway, body: dict[str, Any], field: str) -> None:
    assert invalid_field(gateway.post("/v1/iam/custom-roles", body, key=ADA)) == field


def test_a_custom_roles_slug_is_given_once_in_its_tenant(gateway: Gateway) -> None:
    slug = new_name("slug")
    role = new_role(gateway, slug=slug)
    new_role(gateway, "far", slug=slug)
    for answer in (
        gateway.post("/v1/iam/custom-roles", {"name": "x", "slug": slug}, key=ADA),
        gateway.post("/v1/iam/custom-roles", {"name": "x", "slug": "tenant_user"}, key=ADA),
        put(gateway, f"/v1/iam/custom-roles/{new_role(gateway)}", {"slug": slug}, ADA),
    ):
        assert refusal(answer) == (409, "SLUG_CONFLICT")
    assert data(put(gateway, f"/v1/iam/custom-roles/{role}", {"slug": slug}, ADA))["slug"] == slug


def test_who_manages_users_by_a_custom_role_stays_in_his_tenant_and_below_himself(gateway: Gateway) -> None:
    role = new_role(gateway, core_permissions=["users:manage", "api_keys:manage"])
    clerk = new_user(gateway)
    data(put(gateway, f"/v1/users/{clerk}/roles", {"custom_role_ids": [role]}))
    secret = key_for(gateway, clerk)
    made = data(gateway.post("/v1/users", {"name": new_name("user")}, key=secret))
    assert made["tenant_id"] == "acme"
    body = {"name": new_name("user"), "roles": ["tenant_admin"]}
    assert refusal(gateway.post("/v1/users", body, key=secret)) == DENIED
    assert refusal(gateway.post("/v1/users", {"name": "x", "tenant_id": "far"}, key=secret)) == MISSING
    assert refusal(gateway.get("/v1/users/far:sue", key=secret)) == MISSING
    path = f"/v1/users/{made['id']}/module-permissions"
    assert refusal(put(gateway, path, {"permissions": ["scaibot:view"]}, secret)) == DENIED, "he holds none himself"


# -- module permissions -----------------------------------------------------------------------------------------------


def test_module_permissions_are_replaced_as_a_whole(gateway: Gateway) -> None:
    user = new_user(gateway)
    path, secret = f"/v1/users/{user}/module-permissions", key_for(gateway, user)
    assert data(gateway.get(path, key=ADA)) == {"user_id": user, "permissions": []}
    given = ["scaimatrix:ingest", "scaibot:bots:create", "scaibot:bots:create"]
    assert data(put(gateway, path, {"permissions": given}, ADA))["permissions"] == sorted(set(given))
    assert data(gateway.get(path, key=secret))["permissions"] == sorted(set(given)), "one sees one's own"
    assert data(gateway.get("/v1/me", key=secret))["module_permissions"] == sorted(set(given))
    assert data(put(gateway, path, {"permissions": []}, ADA))["permissions"] == []
    assert data(gateway.get("/v1/me", key=secret))["module_permissions"] == []


@pytest.mark.parametrize("permission", ["bots", "a:b:c:d", "Bots:create", "users:manage", "a: b"])
def test_a_key_of_another_form_is_refused(gateway: Gateway, permission: str) -> None:
    path = f"/v1/users/{new_user(gateway)}/module-permissions"
    assert invalid_field(put(gateway, path, {"permissions": ["a:b", permission]}, ADA)) == "permissions"
    assert invalid_field(put(gateway, path, {}, ADA)) == "permissions"


def test_module_permissions_of_others_cannot_be_read(gateway: Gateway) -> None:
    secret = key_for(gateway, new_user(gateway))
    for user in ("acme:uma", "far:sue", "acme:nobody"):
        assert refusal(gateway.get(f"/v1/users/{user}/module-permissions", key=secret)) == MISSING
