"""Tenants of the YAML and of the database become what the Grid says of them: limits, models, standing."""

from __future__ import annotations

import pytest

from appliance.grid.compile import compile_grid, recompile_tenants
from appliance.grid.tenants import KEY_LIMITS, PARTNER_LIMITS, TENANT_LIMITS, USER_LIMITS, declared, limits_of
from appliance.limits import Limits
from appliance.people import Overlay, Partner, Rates, Tenant
from support.build import load_yaml

YAML = """
models:
  gpt-4: {price: free, route: [{backend: "d:x"}]}
  gpt-5: {price: free, route: [{backend: "d:x"}]}
  claude: {price: free, route: [{backend: "d:x"}]}
providers: {d: {type: demo}}
partners:
  north:
    display_name: North
    rate_limits: {requests_per_minute: 7}
    tenants:
      acme:
        display_name: Acme
        status: suspended
        models: ["gpt-*"]
        rate_limits: {tokens_per_minute: 1000, requests_per_minute: unlimited}
"""
LOADED = load_yaml(YAML)


def overlay(*tenants: Tenant, partners: tuple[Partner, ...] = ()) -> Overlay:
    return Overlay({partner.id: partner for partner in partners}, {tenant.id: tenant for tenant in tenants})


def test_what_is_declared_comes_with_its_place_and_default_is_always_there() -> None:
    found = declared(LOADED)
    assert set(found.partners) == {"default", "north"}
    assert set(found.tenants) == {"default", "acme"}
    acme = found.tenants["acme"]
    assert (acme.partner_id, acme.display_name, acme.status, acme.models) == ("north", "Acme", "suspended", ("gpt-*",))
    assert acme.rate_limits == {"tokens_per_minute": 1000, "requests_per_minute": "unlimited"}
    assert acme.declared.endswith("scaigrid.yaml:13")
    assert found.partners["north"].declared.endswith("scaigrid.yaml:9")
    assert (found.partners["default"].declared, found.tenants["default"].declared) == ("", "")


def test_a_declared_default_is_the_declared_one() -> None:
    found = declared(load_yaml("partners: {default: {tenants: {default: {models: [x]}}}}\n"))
    assert found.tenants["default"].models == ("x",)
    assert found.tenants["default"].declared
    assert found.partners["default"].declared


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({}, Limits(10, 20, 30)),
        ({"requests_per_minute": 1}, Limits(1, 20, 30)),
        ({"tokens_per_minute": "unlimited"}, Limits(10, None, 30)),
        ({"concurrent_requests": 2, "requests_per_minute": "unlimited"}, Limits(None, 20, 2)),
    ],
)
def test_written_limits_count_and_the_others_keep_their_defaults(rates: Rates, expected: Limits) -> None:
    assert limits_of(rates, Limits(10, 20, 30)) == expected


def test_a_tenant_made_at_run_time_stands_in_the_grid_like_a_declared_one() -> None:
    made = Tenant(
        "globex",
        "north",
        models=("gpt-*", "nothing"),
        rate_limits={"requests_per_minute": 3},
        user_rate_limits={"requests_per_minute": 2},
        key_rate_limits={"concurrent_requests": 1},
    )
    tenant = compile_grid(LOADED, 1, overlay(made)).tenants["globex"]
    assert (tenant.partner_id, tenant.display_name, tenant.suspended) == ("north", "globex", False)
    assert tenant.models == {"gpt-4", "gpt-5"}
    assert tenant.partner_limits.requests_per_minute == 7
    assert (tenant.limits.requests_per_minute, tenant.user_limits.requests_per_minute) == (3, 2)
    assert tenant.key_limits == Limits(KEY_LIMITS.requests_per_minute, None, 1)


def test_without_written_limits_the_documented_ones_hold() -> None:
    made = Tenant("globex", "east")
    tenant = compile_grid(LOADED, 1, overlay(made, partners=(Partner("east"),))).tenants["globex"]
    assert (tenant.partner_limits, tenant.limits) == (PARTNER_LIMITS, TENANT_LIMITS)
    assert (tenant.user_limits, tenant.key_limits) == (USER_LIMITS, KEY_LIMITS)
    assert tenant.models == {"gpt-4", "gpt-5", "claude"}


def test_what_the_yaml_declares_counts_before_the_overlay() -> None:
    grid = compile_grid(LOADED, 1, overlay(Tenant("acme", "east"), partners=(Partner("north"),)))
    assert grid.tenants["acme"].partner_id == "north"
    assert grid.tenants["acme"].suspended
    assert grid.tenants["acme"].partner_limits.requests_per_minute == 7


def test_a_tenant_without_a_partner_is_not_served() -> None:
    assert "globex" not in compile_grid(LOADED, 1, overlay(Tenant("globex", "nowhere"))).tenants


def test_a_change_of_tenants_leaves_models_and_endpoints_as_they_are() -> None:
    old = compile_grid(LOADED, 1)
    new = recompile_tenants(old, LOADED, 2, overlay(Tenant("globex", "north", status="suspended")))
    assert (old.generation, new.generation, new.hash) == (1, 2, old.hash)
    assert new.models is old.models
    assert new.endpoints is old.endpoints
    assert "globex" not in old.tenants
    assert new.tenants["globex"].suspended
