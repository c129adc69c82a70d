"""Whoever is suspended or deleted is out at once, in mid-stream too; a restart changes nothing, and the YAML wins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.appliance import Gateway, running
from support.calling import SURFACES
from support.people import (
    YAML,
    call,
    chat,
    data,
    delete,
    ids,
    key_for,
    new_partner,
    new_tenant,
    new_user,
    put,
    refusal,
)
from support.sse import ended, failure_of
from support.wire import Wire, request_bytes

LIMITS = {"requests_per_minute": 7, "tokens_per_minute": "unlimited", "concurrent_requests": 3}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(YAML, tmp_path_factory.mktemp("people-cut")) as gateway:
        yield gateway


# -- access is cut ----------------------------------------------------------------------------------------------------


def cut(gateway: Gateway, way: str, tenant: str, user: str) -> None:
    if way == "tenant suspended":
        data(put(gateway, f"/v1/tenants/{tenant}", {"status": "suspended"}))
    elif way == "tenant deleted":
        data(delete(gateway, f"/v1/tenants/{tenant}"))
    elif way == "user suspended":
        data(put(gateway, f"/v1/users/{user}", {"status": "suspended"}))
    elif way == "user deleted":
        data(delete(gateway, f"/v1/users/{user}"))
    else:
        data(delete(gateway, f"/v1/partners/{data(gateway.get(f'/v1/tenants/{tenant}'))['partner_id']}"))


WAYS = ["tenant suspended", "user suspended", "tenant deleted", "user deleted", "partner deleted"]


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("way", WAYS)
def test_running_streams_end_when_access_is_cut(gateway: Gateway, way: str, surface: str) -> None:
    tenant = new_tenant(gateway, new_partner(gateway))
    user = new_user(gateway, tenant)
    secret = key_for(gateway, user)
    with Wire(gateway.url) as wire:
        wire.send(request_bytes(SURFACES[surface], chat("flowing", stream=True), secret, {"Connection": "close"}))
        wire.wait_for(b'"content":')
        cut(gateway, way, tenant, user)
        assert wire.closed_within(2), "the stream runs on"
    body = wire.received
    assert ended(body)
    error = failure_of(body)
    assert error is not None
    assert way.split()[1] in error["message"], "it says why"
    assert call(gateway, secret) in (401, 403)
    assert gateway.in_flight() == 0


def test_a_suspension_can_be_lifted(gateway: Gateway) -> None:
    tenant = new_tenant(gateway)
    secret = key_for(gateway, new_user(gateway, tenant))
    data(put(gateway, f"/v1/tenants/{tenant}", {"status": "suspended"}))
    assert call(gateway, secret) == 403
    assert tenant in ids(gateway, "/v1/tenants?status=suspended")
    data(put(gateway, f"/v1/tenants/{tenant}", {"status": "active"}))
    assert call(gateway, secret) == 200


# -- restarts ---------------------------------------------------------------------------------------------------------


def test_everything_is_as_it_was_after_a_kill(gateway: Gateway) -> None:
    partner = new_partner(gateway, display_name="East")
    tenant, frozen = (
        new_tenant(gateway, partner, models=["op*"], rate_limits=LIMITS),
        new_tenant(gateway, partner, status="suspended"),
    )
    secret, cold = key_for(gateway, new_user(gateway, tenant)), key_for(gateway, new_user(gateway, frozen))
    gone = new_user(gateway, tenant)
    gone_secret = key_for(gateway, gone)
    data(delete(gateway, f"/v1/users/{gone}"))
    paths = (f"/v1/partners/{partner}", f"/v1/tenants/{tenant}", f"/v1/tenants/{frozen}", "/v1/users?limit=1000")
    before = [data(gateway.get(path)) for path in paths]
    gateway.kill()
    gateway.start()
    assert [data(gateway.get(path)) for path in paths] == before
    assert call(gateway, secret) == 200
    assert call(gateway, secret, "secret") == 403
    assert call(gateway, cold) == 403
    assert call(gateway, gone_secret) == 401
    body = {"name": gone.partition(":")[2], "tenant_id": tenant}
    assert refusal(gateway.post("/v1/users", body)) == (409, "SLUG_CONFLICT")


def test_the_yaml_wins_over_the_database_at_the_next_start_and_a_warning_names_both(tmp_path: Any) -> None:
    with running(YAML, tmp_path) as gateway:
        data(gateway.post("/v1/tenants", {"slug": "globex", "partner_id": "north", "display_name": "By the API"}))
        ann, bob = (data(gateway.post("/v1/users", {"name": n, "tenant_id": "globex"}))["id"] for n in ("ann", "bob"))
        keys = [key_for(gateway, user) for user in (ann, bob)]
        gateway.terminate()
        more = "      globex: {display_name: By the YAML, users: {ann: {roles: [tenant_viewer]}}}\n"
        gateway.config.write_text(gateway.config.read_text().replace("  south:\n", more + "  south:\n"))
        gateway.start()
        globex = data(gateway.get("/v1/tenants/globex"))
        assert globex["display_name"] == "By the YAML"
        assert data(gateway.get("/v1/users/globex:ann"))["roles"] == ["tenant_viewer"]
        assert [call(gateway, key) for key in keys] == [403, 200], "ann as the YAML has her, bob as he was"
        warnings = [line["message"] for line in gateway.log_lines() if "made over the API" in str(line.get("message"))]
        assert len(warnings) == 2
        for warning, what in zip(warnings, ("the tenant globex", "the user globex:ann"), strict=True):
            assert what in warning
            assert "scaigrid.yaml:" in warning
            assert "by default:admin" in warning
        assert refusal(put(gateway, "/v1/tenants/globex", {"display_name": "x"})) == (409, "DECLARED_IN_CONFIG")
