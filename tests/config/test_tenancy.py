"""Partners, tenants, users and their keys."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

import config

Load = Callable[..., config.Loaded]
KEY = "sgk_0123456789abcdefghij"


def test_a_key_and_its_digest_are_the_same_key() -> None:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    assert config.ApiKey(key=KEY).digest == digest
    assert config.ApiKey(sha256=digest.upper()).digest == digest


def test_users_have_a_role_and_tenants_all_models_without_being_asked() -> None:
    assert (config.User().roles, config.User().status, config.User().api_keys) == (("tenant_user",), "active", ())
    assert (config.Tenant().models, config.Tenant().status, config.Tenant().weight) == (("*",), "active", 1)


def test_a_whole_partner(load_text: Load) -> None:
    partner = load_text(
        "partners:\n  acme:\n    display_name: ACME\n    tenants:\n      one:\n        status: suspended\n"
        "        users:\n          alice:\n            email: a@b\n            roles: [tenant_admin, partner_viewer]\n"
        f"            api_keys: [{{name: laptop, key: {KEY}, expires_at: 2027-01-31}}]\n"
    ).document.partners["acme"]
    alice = partner.tenants["one"].users["alice"]
    assert (partner.display_name, partner.tenants["one"].status) == ("ACME", "suspended")
    assert (alice.email, alice.roles, alice.api_keys[0].name) == ("a@b", ("tenant_admin", "partner_viewer"), "laptop")
    assert alice.api_keys[0].expires_at == datetime(2027, 1, 31, tzinfo=UTC)


def test_the_default_partner_and_tenant_may_be_extended(load_text: Load) -> None:
    tenant = load_text("partners:\n  default: {tenants: {default: {users: {bob: {}}}}}\n").document.partners["default"]
    assert list(tenant.tenants["default"].users) == ["bob"]
