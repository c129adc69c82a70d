"""Who may enter: a key is looked up by digest, cut off at once, and its Principal outlives a reload."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.exchange import Key, Principal
from appliance.people import CustomRole
from appliance.permissions import Rights, permissions_of
from appliance.state.directory import Directory, digest_of
from support.build import SECRET, Clock, make_directory, make_key, make_user

OTHER = "sgk_bobs-key-for-the-tests"


def refusal(directory: Directory, credential: str | None) -> tuple[str, str]:
    with pytest.raises(GatewayError) as caught:
        directory.principal(credential)
    assert credential is None or not credential or credential not in caught.value.message
    return caught.value.code, caught.value.message


def test_the_digest_is_sha256_of_the_whole_key() -> None:
    assert digest_of(SECRET) == hashlib.sha256(SECRET.encode()).hexdigest()


@pytest.mark.parametrize("credential", ["sgk_é", "\udcff", "x" * 100_000, "\x00", "🗝"])
def test_any_credential_has_a_digest(credential: str) -> None:
    assert refusal(make_directory(), credential)[0] == "AUTH_TOKEN_INVALID"


def test_a_known_key_is_its_user() -> None:
    assert make_directory().principal(SECRET) == Principal(
        key_id="apikey_1",
        user_id="acme:alice",
        user="alice",
        tenant_id="acme",
        partner_id="reseller",
        roles=("tenant_user",),
        permissions=permissions_of(("tenant_user",)),
        subjects=("partner:reseller", "tenant:acme", "user:acme:alice", "key:apikey_1"),
    )


@pytest.mark.parametrize("credential", [None, ""])
def test_no_key_is_said_to_be_missing(credential: str | None) -> None:
    assert refusal(make_directory(), credential)[0] == "AUTH_TOKEN_MISSING"


@pytest.mark.parametrize("credential", ["sgk_unknown", SECRET.upper(), SECRET + " ", SECRET[:-1], digest_of(SECRET)])
def test_a_key_that_is_not_exactly_it_is_invalid(credential: str) -> None:
    assert refusal(make_directory(), credential)[0] == "AUTH_TOKEN_INVALID"


# -- access is cut ----------------------------------------------------------------------------------------------------


def test_a_revoked_key_is_refused_at_once_and_its_streams_see_it() -> None:
    clock = Clock(50.0)
    directory = make_directory(clock=clock)
    principal = directory.principal(SECRET)
    directory.revoke_key("apikey_1")
    assert directory.keys["apikey_1"].revoked_unix == 50.0
    assert refusal(directory, SECRET) == ("AUTH_TOKEN_INVALID", "the API key gives no access: the key was revoked")
    with pytest.raises(GatewayError, match="revoked"):
        directory.check(principal)


def test_revoking_one_key_leaves_the_others_of_its_user() -> None:
    directory = make_directory(keys=[make_key(), make_key(OTHER, key_id="apikey_2")])
    directory.revoke_key("apikey_1")
    assert directory.principal(OTHER).key_id == "apikey_2"


def test_a_key_stops_at_the_second_it_expires() -> None:
    clock = Clock(99.0)
    key = make_key()
    key.expires_unix = 100.0
    directory = make_directory(keys=[key], clock=clock)
    principal = directory.principal(SECRET)
    clock.now = 100.0
    assert refusal(directory, SECRET) == ("AUTH_TOKEN_INVALID", "the API key has expired")
    with pytest.raises(GatewayError, match="expired"):
        directory.check(principal)


def test_a_suspended_user_is_refused() -> None:
    user = make_user()
    user.status = "suspended"
    assert refusal(make_directory([user]), SECRET)[0] == "AUTHZ_PERMISSION_DENIED"


def test_a_suspended_tenant_is_refused_but_not_its_platform_operators() -> None:
    operator = make_user("root", roles=("super_admin",))
    keys = [make_key(), make_key(OTHER, "acme:root", "apikey_2")]
    directory = make_directory([make_user(), operator], keys, suspended=["acme"])
    code, message = refusal(directory, SECRET)
    assert code == "AUTHZ_PERMISSION_DENIED"
    assert "tenant acme is suspended" in message
    assert directory.principal(OTHER).user == "root"


def test_another_tenant_s_suspension_changes_nothing() -> None:
    assert make_directory(suspended=["other"]).principal(SECRET)


# -- declared again ---------------------------------------------------------------------------------------------------


def test_declaring_the_same_again_keeps_the_principals_that_streams_hold() -> None:
    directory = make_directory()
    before = directory.principal(SECRET)
    directory.declare([make_user()], [make_key()], [])
    assert directory.principal(SECRET) is before
    assert before.inactive is None


def test_a_change_of_the_user_reaches_the_principal_that_streams_hold() -> None:
    directory = make_directory()
    held = directory.principal(SECRET)
    promoted = make_user(roles=("tenant_admin",))
    promoted.email = "alice@new.example"
    directory.declare([promoted], [make_key()], [])
    assert (held.roles, held.permissions, held.email) == (
        ("tenant_admin",),
        permissions_of(("tenant_admin",)),
        "alice@new.example",
    )


def test_a_change_of_the_key_reaches_the_principal_that_streams_hold() -> None:
    clock = Clock(10.0)
    directory = make_directory(clock=clock)
    held = directory.principal(SECRET)
    key = make_key()
    key.expires_unix = 5.0
    directory.declare([make_user()], [key], [])
    with pytest.raises(GatewayError, match="expired"):
        directory.check(held)


def test_a_key_that_is_given_to_another_user_is_that_user_from_then_on() -> None:
    directory = make_directory()
    held = directory.principal(SECRET)
    bob = make_user("bob", "zeta", roles=("tenant_viewer",))
    directory.declare([make_user(), bob], [make_key(user_id="zeta:bob")], [])
    now = directory.principal(SECRET)
    assert (now.user_id, now.user, now.tenant_id, now.roles) == ("zeta:bob", "bob", "zeta", ("tenant_viewer",))
    assert held.user_id == "acme:alice", "what is running was asked for by Alice and is booked to her"


def test_a_tenant_that_moves_to_another_partner_takes_its_principals_along() -> None:
    directory = make_directory()
    directory.principal(SECRET)
    moved = make_user()
    moved.partner_id = "another"
    directory.declare([moved], [make_key()], [])
    assert directory.principal(SECRET).partner_id == "another"


def test_a_suspension_and_its_end_reach_the_principal_that_streams_hold() -> None:
    directory = make_directory()
    held = directory.principal(SECRET)
    directory.declare([make_user()], [make_key()], ["acme"])
    with pytest.raises(GatewayError, match="suspended"):
        directory.check(held)
    directory.declare([make_user()], [make_key()], [])
    directory.check(held)


def test_a_removed_key_gives_no_access_and_its_streams_see_it() -> None:
    directory = make_directory()
    held = directory.principal(SECRET)
    directory.declare([make_user()], [], [])
    assert refusal(directory, SECRET)[0] == "AUTH_TOKEN_INVALID"
    with pytest.raises(GatewayError, match="removed"):
        directory.check(held)


def test_with_a_user_go_his_keys() -> None:
    directory = make_directory()
    held = directory.principal(SECRET)
    directory.declare([make_user("bob")], [make_key()], [])
    assert directory.keys == {}
    assert refusal(directory, SECRET)[0] == "AUTH_TOKEN_INVALID"
    with pytest.raises(GatewayError, match="removed"):
        directory.check(held)


def test_a_revoked_key_from_the_database_stays_revoked() -> None:
    key = make_key()
    key.revoked_unix = 1.0
    assert "revoked" in refusal(make_directory(keys=[key]), SECRET)[1]


# -- made at run time -------------------------------------------------------------------------------------------------


def test_a_new_key_works_at_once() -> None:
    directory = make_directory()
    directory.add_key(Key("apikey_2", digest_of(OTHER), "acme:alice"))
    assert directory.principal(OTHER).key_id == "apikey_2"
    assert set(directory.keys) == {"apikey_1", "apikey_2"}


def test_a_new_key_of_a_suspended_user_gives_no_access() -> None:
    user = make_user()
    user.status = "suspended"
    directory = make_directory([user])
    directory.add_key(Key("apikey_2", digest_of(OTHER), "acme:alice"))
    assert refusal(directory, OTHER)[0] == "AUTHZ_PERMISSION_DENIED"


@pytest.mark.parametrize(("key_id", "secret"), [("apikey_1", OTHER), ("apikey_2", SECRET)])
def test_the_same_id_or_digest_twice_is_our_mistake(key_id: str, secret: str) -> None:
    with pytest.raises(AssertionError):
        make_directory().add_key(Key(key_id, digest_of(secret), "acme:alice"))


def test_a_principal_counts_for_everything_that_he_belongs_to() -> None:
    principal = make_directory([make_user(groups=("research", "sales"))]).principal(SECRET)
    assert principal.groups == ("research", "sales")
    assert principal.subjects == (
        "partner:reseller",
        "tenant:acme",
        "group:acme:research",
        "group:acme:sales",
        "user:acme:alice",
        "key:apikey_1",
    )


def test_a_user_who_joins_a_group_counts_for_it_from_the_next_call_on() -> None:
    directory = make_directory()
    principal = directory.principal(SECRET)
    held = principal.subjects
    directory.declare([make_user(groups=("sales",))], directory.keys.values(), [])
    assert principal.subjects == (*held[:2], "group:acme:sales", *held[2:])
    directory.put_user(make_user())
    assert principal.subjects == held


def test_each_key_of_a_user_is_a_subject_of_its_own() -> None:
    directory = make_directory([make_user()], [make_key(), make_key(OTHER, key_id="apikey_2")])
    one, two = (directory.principal(secret).subjects for secret in (SECRET, OTHER))
    assert one[:-1] == two[:-1]
    assert (one[-1], two[-1]) == ("key:apikey_1", "key:apikey_2")


# -- a plan -----------------------------------------------------------------------------------------------------------


def test_a_plan_changes_nothing_until_it_is_adopted() -> None:
    directory = make_directory([make_user(), make_user("bob")], [make_key(), make_key(OTHER, "acme:bob", "apikey_2")])
    alice, bob = directory.principal(SECRET), directory.principal(OTHER)
    roster = directory.plan([make_user(roles=("tenant_admin",))], [make_key()], ["acme"])
    assert alice.roles == ("tenant_user",)
    assert directory.principal(OTHER) is bob
    assert set(directory.users) == {"acme:alice", "acme:bob"}
    directory.adopt(roster)
    assert alice.roles == ("tenant_admin",)
    assert [principal.inactive and principal.inactive[0] for principal in (alice, bob)] == [
        "AUTHZ_PERMISSION_DENIED",
        "AUTH_TOKEN_INVALID",
    ]


def test_a_plan_names_those_only_for_whom_something_changes() -> None:
    directory = make_directory([make_user(), make_user("bob")], [make_key(), make_key(OTHER, "acme:bob", "apikey_2")])
    keys = directory.keys.values()
    same = directory.plan([make_user(), make_user("bob")], keys, [])
    assert (same.changed, same.gone) == ([], [])
    other = directory.plan([make_user(), make_user("bob", roles=("tenant_viewer",))], keys, [])
    assert [known.user_id for known, _ in other.changed] == ["acme:bob"]
    ended: list[str] = []
    directory.principal(SECRET).running.add(lambda: ended.append("alice"))
    directory.adopt(other)
    assert ended == []


# -- people at run time -----------------------------------------------------------------------------------------------


def make_role(role_id: str = "role_1", **changes: Any) -> CustomRole:
    return CustomRole(role_id, "acme", "Clerk", "clerk", **changes)


def running(directory: Directory, secret: str = SECRET) -> tuple[Principal, list[str]]:
    """Who calls, and what ends when his access is cut."""
    principal, ended = directory.principal(secret), []
    principal.running.add(lambda: ended.append(principal.user))
    return principal, ended


def test_a_new_user_has_no_way_in_until_he_has_a_key() -> None:
    directory = make_directory()
    directory.put_user(make_user("bob"))
    directory.add_key(make_key(OTHER, "acme:bob", "apikey_2"))
    assert directory.principal(OTHER).user == "bob"


def test_a_change_of_a_user_reaches_who_is_in_already() -> None:
    directory = make_directory()
    principal, ended = running(directory)
    promoted = make_user(roles=("tenant_admin",))
    promoted.email, promoted.module_permissions = "new@acme.example", ("m:a",)
    directory.put_user(promoted)
    assert principal is directory.principal(SECRET)
    assert (principal.roles, principal.email) == (("tenant_admin",), "new@acme.example")
    assert principal.permissions == permissions_of(("tenant_admin",))
    assert principal.module_permissions == {"m:a"}
    assert ended == []


def test_suspending_a_user_ends_his_calls_and_lifting_it_lets_him_in() -> None:
    directory = make_directory()
    _, ended = running(directory)
    suspended = make_user()
    suspended.status = "suspended"
    directory.put_user(suspended)
    assert ended == ["alice"]
    assert refusal(directory, SECRET)[0] == "AUTHZ_PERMISSION_DENIED"
    directory.put_user(make_user())
    assert directory.principal(SECRET).user == "alice"


def test_with_a_deleted_user_go_his_keys_and_his_calls() -> None:
    directory = make_directory([make_user(), make_user("bob")], [make_key(), make_key(OTHER, "acme:bob", "apikey_2")])
    principal, ended = running(directory)
    directory.drop_user("acme:alice")
    assert ended == ["alice"]
    assert principal.inactive == ("AUTH_TOKEN_INVALID", "the user was deleted")
    assert refusal(directory, SECRET)[0] == "AUTH_TOKEN_INVALID"
    assert set(directory.keys) == {"apikey_2"}
    assert set(directory.users) == {"acme:bob"}
    assert directory.principal(OTHER).user == "bob"


def test_a_deleted_user_may_never_have_had_a_key() -> None:
    directory = make_directory([make_user(), make_user("bob")])
    directory.drop_user("acme:bob")
    assert set(directory.users) == {"acme:alice"}


def test_suspending_a_tenant_ends_the_calls_of_its_users_but_not_those_of_others_or_of_platform_operators() -> None:
    users = [make_user(), make_user("root", roles=("super_admin",)), make_user("zoe", "zeta")]
    secrets = {user.id: f"sgk_key-of-{user.name}-for-the-tests" for user in users}
    keys = [make_key(secret, user_id, f"key-of-{user_id}") for user_id, secret in secrets.items()]
    directory = make_directory(users, keys)
    ends = {user_id: running(directory, secret)[1] for user_id, secret in secrets.items()}
    directory.suspend("acme")
    assert ends == {"acme:alice": ["alice"], "acme:root": [], "zeta:zoe": []}
    assert "the tenant acme is suspended" in refusal(directory, secrets["acme:alice"])[1]
    directory.resume("acme")
    assert directory.principal(secrets["acme:alice"]).user == "alice"


def test_custom_roles_and_direct_grants_add_to_the_built_in_roles() -> None:
    user = make_user()
    user.custom_role_ids, user.module_permissions = ("role_1", "role_of_nobody"), ("m:direct",)
    role = make_role(core_permissions=("webhooks:manage",), module_permissions=("m:by-role",))
    directory = Directory(Clock())
    directory.declare([user], [make_key()], [], [role])
    principal = directory.principal(SECRET)
    assert principal.permissions == permissions_of(("tenant_user",)) | {"webhooks:manage"}
    assert principal.module_permissions == {"m:direct", "m:by-role"}
    assert directory.rights(user) == Rights(
        ("tenant_user",), frozenset({"webhooks:manage"}), frozenset({"m:direct", "m:by-role"})
    )


def test_a_changed_role_counts_at_once_and_a_dropped_one_no_more() -> None:
    user = make_user()
    user.custom_role_ids = ("role_1",)
    directory = make_directory([user])
    principal = directory.principal(SECRET)
    assert "webhooks:manage" not in principal.permissions
    directory.put_role(make_role(core_permissions=("webhooks:manage",)))
    assert "webhooks:manage" in principal.permissions
    directory.put_role(make_role(core_permissions=("routing:view",)))
    assert "webhooks:manage" not in principal.permissions
    assert "routing:view" in principal.permissions
    assert principal.custom_roles == ("clerk",)
    directory.drop_role("role_1")
    assert principal.permissions == permissions_of(("tenant_user",))
    assert not principal.custom_roles
