"""Users at run time: nobody gives a role above his own, nor touches who holds more; the YAML's are changed there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.appliance import Answer, Gateway, running
from support.people import (
    ADA,
    BOSS,
    SUE,
    YAML,
    call,
    data,
    delete,
    ids,
    key_for,
    new_name,
    new_role,
    new_tenant,
    new_user,
    put,
    refusal,
    said,
)

DENIED = (403, "AUTHZ_PERMISSION_DENIED")
MISSING = (404, "NOT_FOUND")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(YAML, tmp_path_factory.mktemp("people-users")) as gateway:
        yield gateway


def invalid_field(answer: Answer) -> str:
    assert refusal(answer) == (422, "VALIDATION_ERROR")
    return str(answer.json()["error"]["details"][0]["field"])


# -- users ------------------------------------------------------------------------------------------------------------


def test_a_user_is_made_seen_changed_and_deleted(gateway: Gateway) -> None:
    name = new_name("user")
    body = {"name": name, "email": "b@acme.example", "display_name": "Bob", "roles": ["tenant_viewer"]}
    made = data(gateway.post("/v1/users", body, key=ADA))
    assert made["id"] == f"acme:{name}"
    assert (made["name"], made["tenant_id"], made["partner_id"]) == (name, "acme", "north")
    assert (made["email"], made["display_name"], made["status"]) == ("b@acme.example", "Bob", "active")
    assert (made["roles"], made["custom_role_ids"], made["module_permissions"]) == (["tenant_viewer"], [], [])
    assert (made["declared_in"], made["created_at"][-1]) == (None, "Z")
    path = f"/v1/users/{made['id']}"
    assert data(gateway.get(path, key=ADA)) == made
    assert made["id"] in ids(gateway, "/v1/users", ADA)
    changed = data(put(gateway, path, {"email": None}, ADA))
    assert (changed["email"], changed["display_name"]) == (None, "Bob"), "what is not sent stays"
    assert data(put(gateway, path, {"status": "suspended"}, ADA))["status"] == "suspended"
    assert made["id"] in ids(gateway, "/v1/users?status=suspended", ADA)
    assert data(put(gateway, path, {"status": "active"}, ADA))["status"] == "active"
    assert data(delete(gateway, path, ADA))["status"] == "deleted"
    assert refusal(gateway.get(path, key=ADA)) == MISSING
    assert made["id"] not in ids(gateway, "/v1/users", ADA)


def test_a_user_is_a_tenant_user_unless_said_otherwise_and_calls_with_his_key(gateway: Gateway) -> None:
    user = new_user(gateway)
    assert data(gateway.get(f"/v1/users/{user}"))["roles"] == ["tenant_user"]
    assert call(gateway, key_for(gateway, user)) == 200


def test_a_name_that_was_ever_used_is_taken(gateway: Gateway) -> None:
    user = new_user(gateway)
    for name in ("ada", user.partition(":")[2]):
        assert refusal(gateway.post("/v1/users", {"name": name}, key=ADA)) == (409, "SLUG_CONFLICT")
    assert "scaigrid.yaml:" in said(gateway.post("/v1/users", {"name": "ada"}, key=ADA))
    data(delete(gateway, f"/v1/users/{user}", ADA))
    answer = gateway.post("/v1/users", {"name": user.partition(":")[2]}, key=ADA)
    assert refusal(answer) == (409, "SLUG_CONFLICT")


def test_the_usage_of_a_deleted_user_stays(gateway: Gateway) -> None:
    user = new_user(gateway)
    assert call(gateway, key_for(gateway, user)) == 200
    data(delete(gateway, f"/v1/users/{user}"))
    assert len(gateway.usage(user_id=user)) == 1


@pytest.mark.parametrize("status", ["suspended", "deleted"])
def test_suspending_and_deleting_cuts_all_keys_of_the_user(gateway: Gateway, status: str) -> None:
    user = new_user(gateway)
    secrets = [key_for(gateway, user) for _ in range(2)]
    if status == "suspended":
        data(put(gateway, f"/v1/users/{user}", {"status": "suspended"}, ADA))
    else:
        data(delete(gateway, f"/v1/users/{user}", ADA))
    assert [call(gateway, secret) for secret in secrets] == [403 if status == "suspended" else 401] * 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "x", "email": "nobody"}, "email"),
        ({"name": "x", "roles": ["king"]}, "roles.0"),
        ({"name": "x", "roles": "tenant_user"}, "roles"),
        ({"name": "x", "status": "active"}, "status"),
        ({"name": "x", "custom_role_ids": []}, "custom_role_ids"),
    ],
)
def test_a_wrong_member_of_a_new_user_is_refused_by_name(gateway: Gateway, body: dict[str, Any], field: str) -> None:
    assert invalid_field(gateway.post("/v1/users", body)) == field


def test_a_tenant_of_others_does_not_exist_for_a_new_user(gateway: Gateway) -> None:
    for key, tenants in ((ADA, ("far", "default", "nowhere")), (SUE, ("acme", "default", "nowhere"))):
        answers = [gateway.post("/v1/users", {"name": "x", "tenant_id": tenant}, key=key) for tenant in tenants]
        assert {refusal(answer) for answer in answers} == {MISSING}
        assert len({said(answer).replace(f"'{t}'", "") for answer, t in zip(answers, tenants, strict=True)}) == 1


# -- users of the YAML ------------------------------------------------------------------------------------------------

CHANGES = [
    ("PUT", "", {"display_name": "x"}),
    ("PUT", "/roles", {"roles": ["tenant_viewer"]}),
    ("PUT", "/module-permissions", {"permissions": []}),
    ("DELETE", "", None),
]


@pytest.mark.parametrize(("method", "tail", "body"), CHANGES)
def test_a_user_of_the_yaml_is_changed_there(gateway: Gateway, method: str, tail: str, body: Any) -> None:
    answer = gateway.request(method, f"/v1/users/acme:uma{tail}", body, key=ADA)
    assert refusal(answer) == (409, "DECLARED_IN_CONFIG")
    lines = gateway.config.read_text().splitlines()
    line = next(number for number, line in enumerate(lines, 1) if line.strip().startswith("uma:"))
    assert f"scaigrid.yaml:{line}" in said(answer)


@pytest.mark.parametrize(("method", "tail", "body"), CHANGES)
def test_the_first_administrator_cannot_be_changed(gateway: Gateway, method: str, tail: str, body: Any) -> None:
    answer = gateway.request(method, f"/v1/users/default:admin{tail}", body)
    assert refusal(answer) == (409, "DECLARED_IN_CONFIG")
    assert "always exists" in said(answer)


def test_a_user_of_the_yaml_may_have_keys_of_the_api(gateway: Gateway) -> None:
    assert call(gateway, key_for(gateway, "acme:uma")) == 200


# -- roles ------------------------------------------------------------------------------------------------------------


def test_roles_are_replaced_and_count_at_once(gateway: Gateway) -> None:
    user = new_user(gateway)
    secret = key_for(gateway, user)
    changed = data(put(gateway, f"/v1/users/{user}/roles", {"roles": ["tenant_viewer", "tenant_viewer"]}, ADA))
    assert changed["roles"] == ["tenant_viewer"]
    assert call(gateway, secret) == 403
    data(put(gateway, f"/v1/users/{user}/roles", {"roles": ["tenant_admin"]}, ADA))
    assert gateway.get("/v1/users", key=secret).status == 200
    data(put(gateway, f"/v1/users/{user}/roles", {"roles": []}, ADA))
    assert gateway.get("/v1/models", key=secret).status == 403


def test_roles_and_custom_roles_are_changed_apart(gateway: Gateway) -> None:
    user, role = new_user(gateway), new_role(gateway, core_permissions=["webhooks:manage"])
    with_role = data(put(gateway, f"/v1/users/{user}/roles", {"custom_role_ids": [role]}, ADA))
    assert (with_role["roles"], with_role["custom_role_ids"]) == (["tenant_user"], [role])
    assert "webhooks:manage" in with_role["permissions"]
    without = data(put(gateway, f"/v1/users/{user}/roles", {"roles": ["tenant_viewer"]}, ADA))
    assert (without["roles"], without["custom_role_ids"]) == (["tenant_viewer"], [role])
    assert invalid_field(put(gateway, f"/v1/users/{user}/roles", {}, ADA)) == "roles"
    assert invalid_field(put(gateway, f"/v1/users/{user}/roles", {"role": "x"}, ADA)) == "role"


GIVERS = {  # who gives what to a user of acme
    ADA: {"tenant_viewer", "tenant_user", "tenant_admin"},
    BOSS: {"tenant_viewer", "tenant_user", "tenant_admin", "partner_viewer", "partner_admin"},
    "": {"tenant_viewer", "tenant_user", "tenant_admin", "partner_viewer", "partner_admin", "super_admin"},
}
EVERY_ROLE = sorted(GIVERS[""])


@pytest.mark.parametrize("role", EVERY_ROLE)
@pytest.mark.parametrize("giver", GIVERS, ids=["tenant_admin", "partner_admin", "super_admin"])
def test_nobody_gives_a_role_above_his_own(gateway: Gateway, giver: str, role: str) -> None:
    user = new_user(gateway)
    answers = [
        put(gateway, f"/v1/users/{user}/roles", {"roles": ["tenant_user", role]}, giver),
        gateway.post("/v1/users", {"name": new_name("user"), "tenant_id": "acme", "roles": [role]}, key=giver),
    ]
    for answer in answers:
        assert (answer.status == 200) == (role in GIVERS[giver])
        assert answer.status == 200 or refusal(answer) == DENIED
    if role not in GIVERS[giver]:
        assert data(gateway.get(f"/v1/users/{user}"))["roles"] == ["tenant_user"]


@pytest.mark.parametrize("above", ["partner_viewer", "partner_admin", "super_admin"])
def test_who_holds_more_is_not_touched(gateway: Gateway, above: str) -> None:
    """A tenant's administrator sees that he is there, and that is all."""
    user = new_user(gateway, roles=[above])
    secret = key_for(gateway, user)
    key_id = next(key["id"] for key in data(gateway.get("/v1/api-keys?limit=1000"))["items"] if key["user_id"] == user)
    path = f"/v1/users/{user}"
    assert data(gateway.get(path, key=ADA))["id"] == user
    for answer in (
        put(gateway, path, {"status": "suspended"}, ADA),
        put(gateway, f"{path}/roles", {"roles": []}, ADA),
        put(gateway, f"{path}/module-permissions", {"permissions": []}, ADA),
        delete(gateway, path, ADA),
        gateway.post("/v1/api-keys", {"name": "k", "assigned_user_id": user}, key=ADA),
        delete(gateway, f"/v1/api-keys/{key_id}", ADA),
    ):
        assert refusal(answer) == DENIED
    assert gateway.get("/v1/me", key=secret).status == 200


def test_an_administrator_may_give_up_his_own_role(gateway: Gateway) -> None:
    user = new_user(gateway, roles=["tenant_admin"])
    secret = key_for(gateway, user)
    data(put(gateway, f"/v1/users/{user}/roles", {"roles": ["tenant_user"]}, secret))
    assert refusal(put(gateway, f"/v1/users/{user}/roles", {"roles": ["tenant_admin"]}, secret)) == DENIED


def test_looking_at_a_partner_and_managing_a_tenant_is_not_managing_the_partner(gateway: Gateway) -> None:
    secret = key_for(gateway, new_user(gateway, roles=["tenant_admin", "partner_viewer"]))
    other = new_user(gateway, new_tenant(gateway))
    assert refusal(gateway.get(f"/v1/users/{other}", key=secret)) == MISSING
    user = new_user(gateway)
    assert refusal(put(gateway, f"/v1/users/{user}/roles", {"roles": ["partner_viewer"]}, secret)) == DENIED
