"""The YAML and the database say something about the same names: who counts, who is left out, and what is said of it."""

from __future__ import annotations

from appliance.exchange import User
from appliance.overlay import Serving, merged, user_of
from appliance.people import CustomRole, Overlay, Partner, Person, Tenant

DECLARED = Overlay(
    {"default": Partner("default"), "north": Partner("north", declared="a.yaml:3")},
    {"default": Tenant("default", "default"), "acme": Tenant("acme", "north", declared="a.yaml:5")},
)
ALICE = User("acme:alice", "alice", "acme", "north", ("tenant_user",), declared="a.yaml:7")


def stored(
    partners: tuple[Partner, ...] = (),
    tenants: tuple[Tenant, ...] = (),
    people: tuple[Person, ...] = (),
    roles: tuple[CustomRole, ...] = (),
) -> Overlay:
    return Overlay(
        {each.id: each for each in partners},
        {each.id: each for each in tenants},
        {each.id: each for each in people},
        {each.id: each for each in roles},
    )


def merge(database: Overlay) -> Serving:
    return merged(DECLARED, [ALICE], database)


def person(name: str, tenant: str = "acme", **changes: str) -> Person:
    return Person(f"{tenant}:{name}", tenant, name, created_by="default:admin", **changes)  # type: ignore[arg-type]


def test_what_was_made_at_run_time_serves_beside_what_is_declared() -> None:
    serving = merge(
        stored(
            (Partner("east"),),
            (Tenant("globex", "east"), Tenant("initech", "north")),
            (person("bob"), person("carol", "globex")),
            (CustomRole("role_1", "initech", "R", "r"),),
        )
    )
    assert set(serving.partners) == {"default", "north", "east"}
    assert set(serving.tenants) == {"default", "acme", "globex", "initech"}
    assert set(serving.people) == {"acme:bob", "globex:carol"}
    assert set(serving.roles) == {"role_1"}
    assert serving.warnings == []


def test_the_yaml_wins_and_a_warning_names_both() -> None:
    made = 1_700_000_000.0
    serving = merge(
        stored(
            (Partner("north", "Mine", created_unix=made, created_by="default:admin"),),
            (Tenant("acme", "north", "Mine", created_unix=made, created_by="acme:alice"),),
            (person("alice", display_name="Mine"),),
        )
    )
    assert serving.partners["north"].declared == "a.yaml:3"
    assert serving.tenants["acme"].declared == "a.yaml:5"
    assert serving.people == {}
    partner, tenant, user = serving.warnings
    assert partner.startswith("a.yaml:3: the partner north is declared here and was also made over the API")
    assert "2023-11-14T22:13:20Z, by default:admin" in partner
    assert tenant.startswith("a.yaml:5: the tenant acme")
    assert "by acme:alice" in tenant
    assert user.startswith("a.yaml:7: the user acme:alice")


def test_people_of_a_tenant_that_the_yaml_declares_too_stay_its_people() -> None:
    serving = merge(stored(tenants=(Tenant("acme", "north"),), people=(person("bob"),)))
    assert set(serving.people) == {"acme:bob"}


def test_people_do_not_pass_to_a_tenant_of_the_same_name_under_another_partner() -> None:
    role = CustomRole("role_1", "acme", "R", "r")
    serving = merge(
        stored((Partner("east"),), (Tenant("acme", "east"),), (person("bob"),), (role,))  # the YAML's acme is north's
    )
    assert serving.tenants["acme"].partner_id == "north"
    assert serving.people == {}
    assert serving.roles == {}
    assert [warning.split(" of the database")[0] for warning in serving.warnings[1:]] == [
        "the user acme:bob",
        "the custom role role_1",
    ]


def test_what_was_deleted_does_not_serve_and_nothing_is_said_of_it() -> None:
    serving = merge(
        stored(
            (Partner("east", status="deleted"), Partner("north", status="deleted")),
            (Tenant("globex", "east", status="deleted"), Tenant("acme", "north", status="deleted")),
            (person("bob", status="deleted"), person("alice", status="deleted")),
        )
    )
    assert (set(serving.partners), set(serving.tenants)) == ({"default", "north"}, {"default", "acme"})
    assert serving.people == {}
    assert serving.warnings == []


def test_what_lost_its_home_is_out_of_service_and_said_so() -> None:
    serving = merge(
        stored(
            tenants=(Tenant("globex", "gone"),),
            people=(person("bob", "globex"),),
            roles=(CustomRole("role_1", "vanished", "R", "r"),),
        )
    )
    assert "globex" not in serving.tenants
    assert serving.people == {}
    assert serving.roles == {}
    tenant, user, role = serving.warnings
    assert "the tenant globex" in tenant
    assert "the partner gone" in tenant
    assert "the user globex:bob" in user
    assert "the tenant globex" in user
    assert "the tenant vanished" in role


def test_a_suspended_one_serves_as_suspended() -> None:
    serving = merge(stored(tenants=(Tenant("globex", "north", status="suspended"),)))
    assert serving.tenants["globex"].status == "suspended"


def test_a_person_becomes_a_user_of_his_tenants_partner() -> None:
    made = Person("acme:bob", "acme", "bob", "b@x.example", "Bob", "suspended", ("tenant_user",), ("role_1",), ("m:a",))
    user = user_of(made, "north")
    assert (user.id, user.name, user.tenant_id, user.partner_id) == ("acme:bob", "bob", "acme", "north")
    assert (user.email, user.display_name, user.status) == ("b@x.example", "Bob", "suspended")
    assert (user.roles, user.custom_role_ids, user.module_permissions) == (("tenant_user",), ("role_1",), ("m:a",))
    assert user.declared == ""
