"""The life of a key: with no more rights than its maker may give; revoked or expired at once, also in mid-stream."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from appliance.permissions import ROLES
from support.appliance import Gateway
from support.calling import SURFACES
from support.sse import ended, failure_of
from support.tenancy import chat, error_code, key_of, running_tenancy
from support.wire import Wire, request_bytes


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_tenancy(tmp_path_factory.mktemp("access")) as gateway:
        yield gateway


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
    soon = (datetime.now(UTC) + timedelta(seconds=1.5)).isoformat()
    _, secret = new_key(gateway, expires_at=soon)
    assert gateway.get("/v1/me", key=secret).status == 200
    time.sleep(1.6)
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
    soon = (datetime.now(UTC) + timedelta(seconds=1.5)).isoformat()
    _, secret = new_key(gateway, expires_at=soon)
    with Wire(gateway.url) as wire:
        stream_with(gateway, wire, "flowing", secret, "native", "access-expired-stream")
        assert wire.closed_within(4)
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

GIVES = {  # who may give which role, may also make a key for him who has it: else nobody could start a new tenant
    "tenant_admin": {"tenant_viewer", "tenant_user", "tenant_admin"},
    "partner_admin": set(ROLES) - {"super_admin"},
    "super_admin": set(ROLES),
}
PAIRS = [(maker, owner) for maker in ROLES for owner in ROLES if maker != owner]


@pytest.mark.parametrize(("maker", "owner"), PAIRS)
def test_a_key_for_another_user_never_gives_more_rights_than_its_maker_may_give(
    gateway: Gateway, maker: str, owner: str
) -> None:
    body = {"name": "for another", "assigned_user_id": f"acme:{owner}"}
    answer = gateway.post("/v1/api-keys", body, key=key_of("acme", maker))
    if owner in GIVES.get(maker, set()):
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
