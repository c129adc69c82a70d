"""Partners and tenants at run time: made, changed and deleted over the API; names, and who may what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.appliance import Gateway, running
from support.people import (
    ADA,
    BOSS,
    SUE,
    UMA,
    YAML,
    call,
    data,
    delete,
    ids,
    key_for,
    new_name,
    new_partner,
    new_tenant,
    new_user,
    put,
    refusal,
    said,
)

LIMITS = {"requests_per_minute": 7, "tokens_per_minute": "unlimited", "concurrent_requests": 3}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(YAML, tmp_path_factory.mktemp("people")) as gateway:
        yield gateway


# -- partners ---------------------------------------------------------------------------------------------------------


def test_a_partner_is_made_seen_changed_and_deleted(gateway: Gateway) -> None:
    slug = new_name("partner")
    made = data(gateway.post("/v1/partners", {"slug": slug, "display_name": "East", "rate_limits": LIMITS}))
    assert (made["id"], made["slug"], made["display_name"], made["status"]) == (slug, slug, "East", "active")
    assert made["rate_limits"] == LIMITS
    assert made["declared_in"] is None
    assert made["created_at"].endswith("Z")
    assert data(gateway.get(f"/v1/partners/{slug}")) == made
    assert {"default", "north", "south", slug} <= ids(gateway, "/v1/partners")
    changed = data(put(gateway, f"/v1/partners/{slug}", {"rate_limits": None}))
    assert changed["display_name"] == "East", "what is not sent stays"
    assert changed["rate_limits"]["requests_per_minute"] == 5000
    assert data(put(gateway, f"/v1/partners/{slug}", {"display_name": None}))["display_name"] == slug
    assert data(delete(gateway, f"/v1/partners/{slug}"))["status"] == "deleted"
    assert refusal(gateway.get(f"/v1/partners/{slug}")) == (404, "NOT_FOUND")
    assert slug not in ids(gateway, "/v1/partners")


def test_a_partner_admin_sees_his_partner_and_changes_nothing_of_it(gateway: Gateway) -> None:
    """Else he could lift his own limits."""
    assert ids(gateway, "/v1/partners", BOSS) == {"north"}
    own = new_partner(gateway)
    admin = key_for(gateway, new_user(gateway, new_tenant(gateway, own), roles=["partner_admin"]))
    assert data(gateway.get(f"/v1/partners/{own}", key=admin))["id"] == own
    for answer in (
        put(gateway, f"/v1/partners/{own}", {"rate_limits": None}, admin),
        delete(gateway, f"/v1/partners/{own}", admin),
        gateway.post("/v1/partners", {"slug": new_name("partner")}, key=admin),
    ):
        assert refusal(answer) == (403, "AUTHZ_PERMISSION_DENIED")


def test_with_a_partner_go_its_tenants_and_their_users(gateway: Gateway) -> None:
    partner = new_partner(gateway)
    tenant = new_tenant(gateway, partner)
    user = new_user(gateway, tenant)
    secret = key_for(gateway, user)
    assert call(gateway, secret) == 200
    data(delete(gateway, f"/v1/partners/{partner}"))
    assert call(gateway, secret) == 401
    for path in (f"/v1/partners/{partner}", f"/v1/tenants/{tenant}", f"/v1/users/{user}"):
        assert gateway.get(path).status == 404
    assert user not in {key["user_id"] for key in data(gateway.get("/v1/api-keys?limit=1000"))["items"]}


# -- tenants ----------------------------------------------------------------------------------------------------------


def test_a_tenant_is_made_seen_changed_and_deleted(gateway: Gateway) -> None:
    slug = new_name("tenant")
    body = {"slug": slug, "partner_id": "north", "display_name": "Globex", "models": ["op*"], "rate_limits": LIMITS}
    made = data(gateway.post("/v1/tenants", body))
    assert (made["id"], made["slug"], made["partner_id"], made["status"]) == (slug, slug, "north", "active")
    assert (made["models"], made["rate_limits"]) == (["op*"], LIMITS)
    assert made["user_rate_limits"]["requests_per_minute"] == 120
    assert made["key_rate_limits"]["requests_per_minute"] == 60
    assert data(gateway.get(f"/v1/tenants/{slug}")) == made
    assert {"default", "acme", "far", slug} <= ids(gateway, "/v1/tenants")
    changed = data(put(gateway, f"/v1/tenants/{slug}", {"models": ["*"], "key_rate_limits": LIMITS}))
    assert (changed["models"], changed["display_name"], changed["key_rate_limits"]) == (["*"], "Globex", LIMITS)
    assert data(delete(gateway, f"/v1/tenants/{slug}"))["status"] == "deleted"
    assert refusal(gateway.get(f"/v1/tenants/{slug}")) == (404, "NOT_FOUND")


def test_a_new_tenants_users_call_at_once_and_see_its_models_only(gateway: Gateway) -> None:
    tenant = new_tenant(gateway, models=["op*"])
    secret = key_for(gateway, new_user(gateway, tenant))
    assert call(gateway, secret) == 200
    assert call(gateway, secret, "secret") == 403
    assert [model["slug"] for model in data(gateway.get("/v1/models", key=secret))["items"]] == ["open"]
    data(put(gateway, f"/v1/tenants/{tenant}", {"models": ["secret"]}))
    assert (call(gateway, secret), call(gateway, secret, "secret")) == (403, 200)


@pytest.mark.parametrize("limits", ["rate_limits", "user_rate_limits", "key_rate_limits"])
def test_changed_limits_hold_from_the_next_call_on(gateway: Gateway, limits: str) -> None:
    tenant = new_tenant(gateway)
    secret = key_for(gateway, new_user(gateway, tenant))
    data(put(gateway, f"/v1/tenants/{tenant}", {limits: {"requests_per_minute": 2}}))
    assert [call(gateway, secret) for _ in range(3)] == [200, 200, 429]
    data(put(gateway, f"/v1/tenants/{tenant}", {limits: {"requests_per_minute": "unlimited"}}))
    assert call(gateway, secret) == 200


def test_a_partners_limit_holds_for_all_its_tenants_together(gateway: Gateway) -> None:
    partner = new_partner(gateway, rate_limits={"requests_per_minute": 3})
    secrets = [key_for(gateway, new_user(gateway, new_tenant(gateway, partner))) for _ in range(2)]
    assert [call(gateway, secrets[number % 2]) for number in range(4)] == [200, 200, 200, 429]


def test_a_partner_admin_makes_tenants_under_his_partner_and_starts_them(gateway: Gateway) -> None:
    """From nothing to the first call of the new tenant's own people, without help from above."""
    slug = new_name("tenant")
    made = data(gateway.post("/v1/tenants", {"slug": slug}, key=BOSS))
    assert made["partner_id"] == "north", "his own, unless he says so"
    body = {"name": "first", "tenant_id": slug, "roles": ["tenant_admin"]}
    admin_id = data(gateway.post("/v1/users", body, key=BOSS))["id"]
    body = {"name": "k", "assigned_user_id": admin_id}
    admin = data(gateway.post("/v1/api-keys", body, key=BOSS))["key"]
    user_id = data(gateway.post("/v1/users", {"name": "second"}, key=admin))["id"]
    assert user_id == f"{slug}:second"
    secret = data(gateway.post("/v1/api-keys", {"name": "k", "assigned_user_id": user_id}, key=admin))["key"]
    assert call(gateway, secret) == 200
    assert data(put(gateway, f"/v1/tenants/{slug}", {"rate_limits": LIMITS}, BOSS))["rate_limits"] == LIMITS
    assert slug not in ids(gateway, "/v1/tenants", SUE)
    assert slug in ids(gateway, "/v1/tenants", BOSS)
    data(delete(gateway, f"/v1/tenants/{slug}", BOSS))
    assert call(gateway, secret) == 401


def test_a_tenant_admin_sees_his_tenant_and_changes_nothing_of_it(gateway: Gateway) -> None:
    assert ids(gateway, "/v1/tenants", ADA) == {"acme"}
    assert ids(gateway, "/v1/partners", ADA) == set()
    tenant = new_tenant(gateway)
    admin = key_for(gateway, new_user(gateway, tenant, roles=["tenant_admin"]))
    assert data(gateway.get(f"/v1/tenants/{tenant}", key=admin))["id"] == tenant
    for answer in (
        put(gateway, f"/v1/tenants/{tenant}", {"rate_limits": None}, admin),
        delete(gateway, f"/v1/tenants/{tenant}", admin),
        gateway.post("/v1/tenants", {"slug": new_name("tenant")}, key=admin),
    ):
        assert refusal(answer) == (403, "AUTHZ_PERMISSION_DENIED")


def test_a_partner_of_others_does_not_exist_for_a_new_tenant(gateway: Gateway) -> None:
    answers = [gateway.post("/v1/tenants", {"slug": "x", "partner_id": name}, key=SUE) for name in ("north", "nobody")]
    assert [refusal(answer) for answer in answers] == [(404, "NOT_FOUND")] * 2
    assert said(answers[0]).replace("north", "nobody") == said(answers[1])


def test_a_partner_admin_does_not_delete_a_tenant_with_a_super_admin_in_it(gateway: Gateway) -> None:
    tenant = new_tenant(gateway)
    operator = key_for(gateway, new_user(gateway, tenant, roles=["super_admin"]))
    assert refusal(delete(gateway, f"/v1/tenants/{tenant}", BOSS)) == (403, "AUTHZ_PERMISSION_DENIED")
    data(put(gateway, f"/v1/tenants/{tenant}", {"status": "suspended"}, BOSS))
    assert gateway.get("/v1/me", key=operator).status == 200, "and suspending it does not lock him out"


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", ["default", "north"])
def test_a_partners_name_is_given_once(gateway: Gateway, slug: str) -> None:
    assert refusal(gateway.post("/v1/partners", {"slug": slug})) == (409, "SLUG_CONFLICT")


@pytest.mark.parametrize("slug", ["default", "acme", "far"])
def test_a_tenants_name_is_given_once_over_all_partners(gateway: Gateway, slug: str) -> None:
    answer = gateway.post("/v1/tenants", {"slug": slug}, key=BOSS)
    assert refusal(answer) == (409, "SLUG_CONFLICT")
    assert "south" not in said(answer), "whose it is, is nobody else's business"


def test_a_name_made_at_run_time_is_taken_and_stays_so_when_its_bearer_is_deleted(gateway: Gateway) -> None:
    partner = new_partner(gateway)
    tenant = new_tenant(gateway, partner)
    for _ in range(2):
        assert refusal(gateway.post("/v1/partners", {"slug": partner})) == (409, "SLUG_CONFLICT")
        assert refusal(gateway.post("/v1/tenants", {"slug": tenant})) == (409, "SLUG_CONFLICT")
        delete(gateway, f"/v1/partners/{partner}")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/partners", {}, "slug"),
        ("/v1/partners", {"slug": "a b"}, "slug"),
        ("/v1/partners", {"slug": "a", "models": []}, "models"),
        ("/v1/tenants", {"slug": "a", "color": 1}, "color"),
        ("/v1/tenants", {"slug": "a", "status": "deleted"}, "status"),
        ("/v1/tenants", {"slug": "a", "rate_limits": {"requests_per_minute": -1}}, "rate_limits.requests_per_minute"),
    ],
)
def test_a_wrong_member_is_refused_by_name(gateway: Gateway, path: str, body: dict[str, Any], field: str) -> None:
    answer = gateway.post(path, body)
    assert refusal(answer) == (422, "VALIDATION_ERROR")
    assert answer.json()["error"]["details"][0]["field"] == field


# -- what the YAML declares -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/partners/north", "/v1/tenants/acme"])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_what_the_yaml_declares_is_changed_there(gateway: Gateway, method: str, path: str) -> None:
    answer = gateway.request(method, path, {"display_name": "x"} if method == "PUT" else None)
    assert refusal(answer) == (409, "DECLARED_IN_CONFIG")
    name = path.rpartition("/")[2]
    line = next(n for n, line in enumerate(gateway.config.read_text().splitlines(), 1) if line.strip() == f"{name}:")
    assert f"scaigrid.yaml:{line}" in said(answer)
    assert data(gateway.get(path))["declared_in"].endswith(f"scaigrid.yaml:{line}")


@pytest.mark.parametrize("path", ["/v1/partners/default", "/v1/tenants/default"])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_what_always_exists_cannot_be_changed(gateway: Gateway, method: str, path: str) -> None:
    answer = gateway.request(method, path, {"display_name": "x"} if method == "PUT" else None)
    assert refusal(answer) == (409, "DECLARED_IN_CONFIG")
    assert "always exists" in said(answer)


def test_a_viewer_reaches_none_of_it(gateway: Gateway) -> None:
    for path in ("/v1/partners", "/v1/tenants", "/v1/iam/custom-roles", "/v1/users"):
        assert refusal(gateway.get(path, key=UMA)) == (403, "AUTHZ_PERMISSION_DENIED")
