"""Roles add up, permissions are asked by name, and nobody sees beyond his own branch of the tree."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import config
from appliance.api.routes import ROUTES
from appliance.errors import GatewayError
from appliance.exchange import Principal
from appliance.permissions import (
    PERMISSIONS,
    ROLES,
    Deed,
    Rights,
    Scope,
    Subject,
    Thing,
    accounting_scope,
    authorize,
    holds_module_permission,
    may_give,
    not_module_keys,
    people_scope,
    permissions_of,
    require,
)
from support.build import make_principal

ROLE_SETS = st.lists(st.sampled_from(sorted(ROLES)), max_size=4).map(tuple)
MINE, COLLEAGUE = ("reseller", "acme", "acme:alice"), ("reseller", "acme", "acme:bob")
SIBLING, STRANGER = ("reseller", "zeta", "zeta:zoe"), ("other", "omega", "omega:olaf")
PEOPLE = (MINE, COLLEAGUE, SIBLING, STRANGER)


def test_the_roles_are_those_that_the_configuration_knows() -> None:
    assert set(ROLES) == set(get_args(config.Role))


@pytest.mark.parametrize("role", ROLES)
def test_a_role_holds_known_permissions_only(role: str) -> None:
    assert ROLES[role] <= set(PERMISSIONS)


def test_super_admin_may_everything() -> None:
    assert ROLES["super_admin"] == set(PERMISSIONS)


def test_each_role_of_a_tenant_may_what_the_lesser_one_may() -> None:
    assert ROLES["tenant_viewer"] < ROLES["tenant_user"] < ROLES["tenant_admin"] < ROLES["super_admin"]
    assert ROLES["partner_viewer"] < ROLES["partner_admin"] < ROLES["super_admin"]


@pytest.mark.parametrize("role", ["tenant_viewer", "partner_viewer", "partner_admin"])
def test_viewers_and_partners_do_not_call_inference(role: str) -> None:
    assert "models:use" not in ROLES[role]


@pytest.mark.parametrize("role", sorted(set(ROLES) - {"super_admin"}))
def test_only_the_platform_s_operators_change_models_and_routing(role: str) -> None:
    assert not {"models:manage", "routing:manage"} & ROLES[role]


@given(ROLE_SETS)
def test_roles_add_up(roles: tuple[str, ...]) -> None:
    assert permissions_of(roles) == {permission for role in roles for permission in ROLES[role]}


def test_every_route_asks_for_a_known_permission() -> None:
    assert {route.permission for route in ROUTES} <= set(PERMISSIONS) | {"any", "public"}


def test_only_health_and_metrics_are_open_to_everybody() -> None:
    assert {route.path for route in ROUTES if route.permission == "public"} == {"/health", "/health/ready", "/metrics"}


def test_require_says_which_permission_is_missing_and_what_roles_there_are() -> None:
    with pytest.raises(GatewayError, match=r"users:manage.*tenant_user") as caught:
        require(make_principal("tenant_user"), "users:manage")
    assert (caught.value.code, caught.value.status) == ("AUTHZ_PERMISSION_DENIED", 403)
    require(make_principal("tenant_admin"), "users:manage")


def test_a_permission_that_is_not_in_the_table_is_our_mistake() -> None:
    with pytest.raises(AssertionError):
        require(make_principal("super_admin"), "models:eat")


# -- scopes -----------------------------------------------------------------------------------------------------------


def seen(scope: Scope) -> list[tuple[str, str, str]]:
    return [person for person in PEOPLE if scope.holds(*person)]


@pytest.mark.parametrize(
    ("role", "usage", "people"),
    [
        ("tenant_viewer", [MINE], [MINE]),
        ("tenant_user", [MINE], [MINE]),
        ("tenant_admin", [MINE, COLLEAGUE], [MINE, COLLEAGUE]),
        ("partner_viewer", [MINE, COLLEAGUE, SIBLING], [MINE]),
        ("partner_admin", [MINE, COLLEAGUE, SIBLING], [MINE, COLLEAGUE, SIBLING]),
        ("super_admin", list(PEOPLE), list(PEOPLE)),
    ],
)
def test_how_far_a_role_sees(role: str, usage: list[tuple[str, str, str]], people: list[tuple[str, str, str]]) -> None:
    assert seen(accounting_scope(make_principal(role))) == usage
    assert seen(people_scope(make_principal(role))) == people


@given(ROLE_SETS.filter(bool), st.sampled_from(sorted(ROLES)))
def test_one_role_more_never_shows_less(roles: tuple[str, ...], more: str) -> None:
    for scope_of in (accounting_scope, people_scope):
        before = seen(scope_of(make_principal(*roles)))
        assert set(before) <= set(seen(scope_of(make_principal(*roles, more))))


@given(ROLE_SETS.filter(lambda roles: roles and "super_admin" not in roles))
def test_nobody_but_the_platform_s_operators_sees_another_partner(roles: tuple[str, ...]) -> None:
    for scope_of in (accounting_scope, people_scope):
        assert STRANGER not in seen(scope_of(make_principal(*roles)))
        assert MINE in seen(scope_of(make_principal(*roles)))


def test_without_any_role_no_usage_is_shown() -> None:
    nobody = Principal("k", "acme:alice", "alice", "acme", "reseller", (), frozenset())
    with pytest.raises(GatewayError):
        accounting_scope(nobody)
    assert seen(people_scope(nobody)) == [MINE]


def test_a_name_that_begins_like_another_is_another() -> None:
    assert not Scope("reseller", "acme").holds("reseller", "acme2", "acme2:x")
    assert not Scope("reseller").holds("reseller2", "x", "x:y")


@pytest.mark.parametrize("roles", [("tenant_admin", "partner_viewer"), ("partner_viewer", "tenant_admin")])
def test_looking_at_a_partner_and_managing_a_tenant_is_not_managing_the_partner(roles: tuple[str, ...]) -> None:
    """Roles add up: each brings its permissions as far as that role reaches, and no further."""
    assert seen(people_scope(make_principal(*roles))) == [MINE, COLLEAGUE]
    assert seen(accounting_scope(make_principal(*roles))) == [MINE, COLLEAGUE, SIBLING]


# -- who may do what to whom ------------------------------------------------------------------------------------------

PLACES = {
    "my partner": ("reseller", "", ""),
    "my tenant": ("reseller", "acme", ""),
    "a colleague": COLLEAGUE,
    "a sibling tenant": ("reseller", "zeta", ""),
    "a sibling's user": SIBLING,
    "another partner": ("other", "", ""),
    "a stranger's tenant": ("other", "omega", ""),
    "a stranger": STRANGER,
}
MINE_ONLY = {"my tenant", "a colleague"}
MY_PARTNERS = {name for name, place in PLACES.items() if place[0] == "reseller"}
REACH: dict[tuple[str, Thing], tuple[set[str], set[str]]] = {  # role, thing: where he sees, where he changes
    ("tenant_admin", "partner"): (set(), set()),
    ("tenant_admin", "tenant"): (MINE_ONLY, set()),
    ("tenant_admin", "user"): (MINE_ONLY, MINE_ONLY),
    ("tenant_admin", "role"): (MINE_ONLY, MINE_ONLY),
    ("tenant_admin", "key"): (MINE_ONLY, MINE_ONLY),
    ("partner_admin", "partner"): (MY_PARTNERS, set()),
    ("partner_admin", "tenant"): (MY_PARTNERS, MY_PARTNERS),
    ("partner_admin", "user"): (MY_PARTNERS, MY_PARTNERS),
    ("partner_admin", "role"): (MY_PARTNERS, MY_PARTNERS),
    ("partner_admin", "key"): (MY_PARTNERS, MY_PARTNERS),
    **{("super_admin", thing): (set(PLACES), set(PLACES)) for thing in get_args(Thing)},
    **{
        (role, thing): (set(), set())
        for role in ("tenant_viewer", "tenant_user", "partner_viewer")
        for thing in get_args(Thing)
    },
}


def outcome(principal: Principal, deed: Deed, subject: Subject) -> str:
    try:
        authorize(principal, deed, subject, "it does not exist")
    except GatewayError as error:
        return error.code
    return "yes"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("role", "thing"), REACH)
def test_who_sees_and_changes_what(role: str, thing: Thing, place: str) -> None:
    sees, changes = REACH[role, thing]
    subject = Subject(thing, *PLACES[place])
    assert outcome(make_principal(role), "see", subject) == ("yes" if place in sees else "NOT_FOUND")
    wanted = "yes" if place in changes else "AUTHZ_PERMISSION_DENIED" if place in sees else "NOT_FOUND"
    assert outcome(make_principal(role), "change", subject) == wanted


@pytest.mark.parametrize("role", ["tenant_viewer", "tenant_user", "partner_viewer"])
def test_everybody_sees_himself_and_changes_his_own_keys(role: str) -> None:
    assert outcome(make_principal(role), "see", Subject("user", *MINE)) == "yes"
    assert outcome(make_principal(role), "change", Subject("user", *MINE)) == "AUTHZ_PERMISSION_DENIED"
    assert outcome(make_principal(role), "change", Subject("key", *MINE)) == "yes"


GIVES = {
    "tenant_viewer": set(),
    "tenant_user": set(),
    "partner_viewer": set(),
    "tenant_admin": {"tenant_viewer", "tenant_user", "tenant_admin"},
    "partner_admin": set(ROLES) - {"super_admin"},
    "super_admin": set(ROLES),
}


@pytest.mark.parametrize("given", ROLES)
@pytest.mark.parametrize("giver", ROLES)
def test_nobody_gives_a_role_above_his_own(giver: str, given: str) -> None:
    subject = Subject("user", *COLLEAGUE, rights=Rights((given,)))
    assert (outcome(make_principal(giver), "change", subject) == "yes") == (given in GIVES[giver])


@pytest.mark.parametrize("giver", ["tenant_admin", "partner_admin"])
def test_nobody_gives_single_permissions_beyond_what_he_could_give_as_roles(giver: str) -> None:
    known = frozenset().union(*(ROLES[role] for role in GIVES[giver]))
    assert may_give(make_principal(giver), Rights(core=known))
    for permission in set(PERMISSIONS) - known:
        assert not may_give(make_principal(giver), Rights(core=frozenset({permission}))), permission


def clerk(*permissions: str, module: frozenset[str] = frozenset()) -> Principal:
    """A tenant_viewer with a custom role."""
    principal = make_principal("tenant_viewer")
    principal.permissions |= {"users:manage", *permissions}
    principal.module_permissions = module
    return principal


def test_who_manages_users_by_a_custom_role_gives_what_it_holds_and_no_more() -> None:
    assert may_give(clerk(), Rights(("tenant_viewer",)))
    assert not may_give(clerk(), Rights(("tenant_user",)))
    assert may_give(clerk(*ROLES["tenant_user"]), Rights(("tenant_user",)))
    assert may_give(clerk("webhooks:manage"), Rights(core=frozenset({"webhooks:manage"})))
    assert not may_give(clerk(), Rights(core=frozenset({"webhooks:manage"})))
    assert not may_give(clerk(*PERMISSIONS), Rights(("tenant_admin",))), "with it would come all module permissions"
    assert not may_give(clerk(*PERMISSIONS), Rights(("partner_viewer",))), "it reaches beyond his tenant"


def test_a_custom_role_reaches_no_further_than_its_tenant() -> None:
    holder = clerk(*PERMISSIONS)
    for thing in get_args(Thing):
        for place in (SIBLING, STRANGER):
            assert outcome(holder, "see", Subject(thing, *place)) == "NOT_FOUND"


@pytest.mark.parametrize("role", ROLES)
def test_administrators_hold_every_module_permission_and_others_those_they_were_given(role: str) -> None:
    principal = make_principal(role)
    admin = role in ("tenant_admin", "partner_admin", "super_admin")
    assert holds_module_permission(principal, "scaibot:bots:create") == admin
    assert may_give(principal, Rights(module=frozenset({"m:a"}))) == admin
    principal.module_permissions = frozenset({"scaibot:bots:create"})
    assert holds_module_permission(principal, "scaibot:bots:create")
    assert holds_module_permission(principal, "scaibot:bots:delete") == admin


def test_module_permissions_are_given_by_who_holds_them() -> None:
    assert may_give(clerk(module=frozenset({"m:a", "m:b"})), Rights(module=frozenset({"m:a"})))
    assert not may_give(clerk(module=frozenset({"m:a"})), Rights(module=frozenset({"m:a", "m:b"})))


def test_what_is_no_module_permission() -> None:
    good = ["scaibot:view", "scaibot:bots:create", "a1:b-2:c_3"]
    bad = ["", "scaibot", "a:b:c:d", "A:b", "a b:c", "a:", ":a", "users:manage", "a:b\n", "*:*", "a" * 65 + ":b"]
    assert not_module_keys(good) == []
    assert not_module_keys([*good, *bad]) == bad
