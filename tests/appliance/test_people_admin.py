"""A change of people is written, then in force at once, one after the other, and to its end whoever hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

import config
from appliance.errors import GatewayError
from appliance.exchange import Principal
from appliance.grid.compile import compile_grid
from appliance.people import CustomRole, Partner, Person, Tenant
from appliance.people_admin import PeopleAdmin
from appliance.permissions import Rights
from appliance.state.directory import Directory
from appliance.state.people import Change, PeopleStore
from appliance.state.store import Store
from support.build import Clock, load_yaml, make_key

LOADED = load_yaml(
    """
providers: {d: {type: demo}}
models: {m: {price: free, route: [{backend: "d:x"}]}}
partners:
  north:
    tenants:
      acme: {users: {alice: {roles: [tenant_admin]}}}
"""
)
ALICES, BOBS = "sgk_key-of-alice-for-the-tests", "sgk_key-of-bob-for-the-tests"
BOB = Person("globex:bob", "globex", "bob", roles=("tenant_user",))
GLOBEX = Tenant("globex", "north")


class House:
    """A PeopleAdmin over a real database; `again` is a restart."""

    def __init__(self, path: Path) -> None:
        self.store = Store(path)
        self.start()

    def start(self) -> None:
        self.directory = Directory(Clock())
        keys = [make_key(ALICES, "acme:alice", "k1"), *self.store.keys()]
        self.people = PeopleAdmin(LOADED, PeopleStore(self.store), self.directory, keys)

    @property
    def alice(self) -> Principal:
        return self.directory.principal(ALICES)

    async def save(self, **change: object) -> None:
        await self.people.alone(self.alice, lambda: self.people.save(Change(1.0, **change)))  # type: ignore[arg-type]

    def give_bob_a_key(self) -> Principal:
        key = make_key(BOBS, "globex:bob", "k2")
        self.store.save_key(key).result(10)
        self.directory.add_key(key)
        return self.directory.principal(BOBS)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "scaigrid.db")
    yield made
    made.store.close()


def refused(house: House, credential: str) -> str:
    with pytest.raises(GatewayError) as caught:
        house.directory.principal(credential)
    return caught.value.message


# -- in force ---------------------------------------------------------------------------------------------------------


async def test_a_new_tenant_is_in_the_next_generation_and_its_users_get_in(house: House) -> None:
    before = house.people.holder.current.grid
    await house.save(tenants=[GLOBEX], people=[BOB])
    after = house.people.holder.current.grid
    assert (before.generation, after.generation) == (1, 2)
    assert "globex" not in before.tenants
    assert after.tenants["globex"].models == {"m"}
    assert house.give_bob_a_key().partner_id == "north"


async def test_it_is_all_there_after_a_restart(house: House) -> None:
    role = CustomRole("role_1", "globex", "R", "r", core_permissions=("webhooks:manage",))
    person = Person("globex:bob", "globex", "bob", roles=("tenant_user",), custom_role_ids=("role_1",))
    await house.save(tenants=[GLOBEX], people=[person], roles=[role], partners=[Partner("east")])
    house.give_bob_a_key()
    house.start()
    assert "webhooks:manage" in house.directory.principal(BOBS).permissions
    assert "globex" in house.people.holder.current.grid.tenants
    assert "east" in house.people.serving.partners


async def test_a_suspended_tenant_is_out_at_once_and_in_again_when_it_is_lifted(house: House) -> None:
    await house.save(tenants=[GLOBEX], people=[BOB])
    bob, ended = house.give_bob_a_key(), []
    bob.running.add(lambda: ended.append("his stream"))
    await house.save(tenants=[Tenant("globex", "north", status="suspended")])
    assert ended == ["his stream"]
    assert "the tenant globex is suspended" in refused(house, BOBS)
    assert house.people.holder.current.grid.tenants["globex"].suspended
    house.start()
    assert "the tenant globex is suspended" in refused(house, BOBS)
    await house.save(tenants=[GLOBEX])
    assert house.directory.principal(BOBS).user == "bob"


async def test_a_tenant_may_be_made_suspended(house: House) -> None:
    await house.save(tenants=[Tenant("globex", "north", status="suspended")], people=[BOB])
    key = make_key(BOBS, "globex:bob", "k2")
    house.directory.add_key(key)
    assert "suspended" in refused(house, BOBS)


async def test_with_a_partner_go_its_tenants_users_keys_and_roles(house: House) -> None:
    role = CustomRole("role_1", "globex", "R", "r")
    await house.save(partners=[Partner("east")], tenants=[Tenant("globex", "east")], people=[BOB], roles=[role])
    bob, ended = house.give_bob_a_key(), []
    bob.running.add(lambda: ended.append("his stream"))
    partner, tenant = house.people.serving.partners["east"], house.people.serving.tenants["globex"]
    change = house.people.deletion([partner], [tenant])
    await house.people.alone(house.alice, lambda: house.people.save(change))
    assert ended == ["his stream"]
    assert bob.inactive == ("AUTH_TOKEN_INVALID", "the user was deleted")
    assert "not known" in refused(house, BOBS)
    assert (house.people.serving.roles, house.directory.roles) == ({}, {})
    assert "globex" not in house.people.holder.current.grid.tenants
    (key,) = house.store.keys()
    assert key.revoked_unix is not None
    house.start()
    assert "not known" in refused(house, BOBS)
    for refuse, name in (
        (house.people.refuse_taken_partner, "east"),
        (house.people.refuse_taken_tenant, "globex"),
        (house.people.refuse_taken_user, "globex:bob"),
    ):
        with pytest.raises(GatewayError, match="taken"):
            refuse(name)


async def test_changed_roles_reach_who_is_in_already(house: House) -> None:
    await house.save(tenants=[GLOBEX], people=[BOB])
    bob = house.give_bob_a_key()
    await house.save(people=[Person("globex:bob", "globex", "bob", roles=("tenant_viewer",))])
    assert bob.roles == ("tenant_viewer",)
    assert "models:use" not in bob.permissions


async def test_rights_inside_are_those_of_all_users_together(house: House) -> None:
    role = CustomRole("role_1", "globex", "R", "r", core_permissions=("routing:view",), module_permissions=("m:a",))
    carol = Person("globex:carol", "globex", "carol", roles=("tenant_viewer",), custom_role_ids=("role_1",))
    await house.save(tenants=[GLOBEX], people=[BOB, carol], roles=[role])
    inside = house.people.rights_inside("globex")
    assert set(inside.roles) == {"tenant_user", "tenant_viewer"}
    assert inside.core == {"routing:view"}
    assert inside.module == {"m:a"}
    assert house.people.rights_inside("nowhere") == Rights()


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["default", "north"])
def test_the_name_of_a_declared_partner_is_taken(house: House, name: str) -> None:
    with pytest.raises(GatewayError) as caught:
        house.people.refuse_taken_partner(name)
    assert caught.value.code == "SLUG_CONFLICT"


@pytest.mark.parametrize("name", ["default", "acme"])
def test_the_name_of_a_declared_tenant_is_taken(house: House, name: str) -> None:
    with pytest.raises(GatewayError, match="taken"):
        house.people.refuse_taken_tenant(name)


def test_the_name_of_a_declared_user_is_taken_and_its_place_is_told(house: House) -> None:
    with pytest.raises(GatewayError, match=r"scaigrid.yaml:\d+") as caught:
        house.people.refuse_taken_user("acme:alice")
    assert caught.value.code == "SLUG_CONFLICT"
    with pytest.raises(GatewayError, match="taken"):
        house.people.refuse_taken_user("default:admin")
    house.people.refuse_taken_user("acme:bob")


async def test_names_that_people_of_a_vanished_home_bear_stay_taken(house: House) -> None:
    """Else whoever takes the name would get the users and keys of the earlier owner."""
    orphan, homeless = Tenant("lost", "vanished"), Person("ghost-town:bob", "ghost-town", "bob")
    PeopleStore(house.store).write(Change(0, tenants=[orphan], people=[homeless])).result(10)
    house.start()
    assert len(house.people.serving.warnings) == 2
    for refuse, name in (
        (house.people.refuse_taken_partner, "vanished"),
        (house.people.refuse_taken_tenant, "lost"),
        (house.people.refuse_taken_tenant, "ghost-town"),
    ):
        with pytest.raises(GatewayError, match="taken"):
            refuse(name)


async def test_a_slug_of_a_custom_role_is_taken_in_its_tenant_only(house: House) -> None:
    await house.save(roles=[CustomRole("role_1", "acme", "R", "r")])
    with pytest.raises(GatewayError, match="'r' already"):
        house.people.refuse_taken_role("acme", "r")
    house.people.refuse_taken_role("acme", "r", but="role_1")
    house.people.refuse_taken_role("default", "r")


# -- another configuration --------------------------------------------------------------------------------------------

WITHOUT_ACME = load_yaml("providers: {d: {type: demo}}\nmodels: {n: {price: free, route: [{backend: 'd:x'}]}}\n")


async def follow(house: House, loaded: config.Loaded) -> None:
    people = house.people
    async with people.standstill:
        keys = [make_key(ALICES, "acme:alice", "k1"), *house.store.keys()]
        census = people.census(loaded, keys)
        people.follow(census, compile_grid(loaded, 9, census.serving.overlay()))


async def test_people_of_the_database_follow_their_home(house: House) -> None:
    await house.save(tenants=[GLOBEX], people=[BOB])
    bob = house.give_bob_a_key()
    alice = house.alice
    await follow(house, WITHOUT_ACME)
    assert refused(house, ALICES) == "the API key is not known here"
    assert refused(house, BOBS) == "the API key is not known here"
    assert alice.inactive
    assert bob.inactive
    assert [warning.split(" of ")[0] for warning in house.people.serving.warnings] == ["the tenant globex", *ORPHANED]
    with pytest.raises(GatewayError, match="taken"):
        house.people.refuse_taken_tenant("globex")
    await follow(house, LOADED)
    assert house.people.serving.warnings == []
    assert house.directory.principal(BOBS).user_id == "globex:bob"


ORPHANED = ["the user globex:bob"]


async def test_a_name_that_the_yaml_gives_up_may_be_taken(house: House) -> None:
    await follow(house, WITHOUT_ACME)
    house.people.refuse_taken_tenant("acme")
    house.people.refuse_taken_partner("north")
    house.people.refuse_taken_user("acme:alice")


async def test_a_change_builds_on_the_configuration_that_followed(house: House) -> None:
    await follow(house, WITHOUT_ACME)
    house.directory.add_key(make_key("sgk_key-of-the-admin-for-tests", "default:admin", "k9"))
    admin = house.directory.principal("sgk_key-of-the-admin-for-tests")
    change = Change(1.0, tenants=[Tenant("fresh", "default")])
    await house.people.alone(admin, lambda: house.people.save(change))
    grid = house.people.holder.current.grid
    assert (grid.generation, set(grid.models)) == (10, {"n"})
    assert grid.tenants["fresh"].models == {"n"}


async def test_a_key_revoked_in_memory_only_stays_revoked(house: House) -> None:
    """The database may have failed to take it; the next reload must not open the door again."""
    await house.save(tenants=[GLOBEX], people=[BOB])
    house.give_bob_a_key()
    house.directory.revoke_key("k2")
    await follow(house, LOADED)
    assert "revoked" in refused(house, BOBS)


async def test_nothing_follows_while_people_may_change(house: House) -> None:
    census = house.people.census(LOADED, [])
    with pytest.raises(AssertionError):
        house.people.follow(census, house.people.holder.current.grid)


async def test_the_end_of_an_old_grid_is_told(house: House) -> None:
    told: list[int] = []
    inside = house.people.holder.enter()
    house.people.on_retired = lambda: told.append(1)
    await follow(house, LOADED)
    assert told == []
    inside.leave()
    assert told == [1]


# -- one at a time, to the end ----------------------------------------------------------------------------------------


async def test_changes_wait_for_each_other(house: House) -> None:
    told: list[str] = []

    async def slow(name: str) -> None:
        told.append(f"{name} begins")
        await asyncio.sleep(0.01)
        told.append(f"{name} ends")

    await asyncio.gather(*(house.people.alone(house.alice, lambda name=name: slow(name)) for name in "ab"))  # type: ignore[misc]
    assert told == ["a begins", "a ends", "b begins", "b ends"]


async def test_whoever_hangs_up_does_not_leave_a_change_half_done(house: House) -> None:
    caller = asyncio.ensure_future(house.save(tenants=[GLOBEX], people=[BOB]))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await house.save()  # waits until the one before is done
    assert "globex" in house.people.holder.current.grid.tenants
    assert set(PeopleStore(house.store).everything().people) == {"globex:bob"} == set(house.people.serving.people)


async def test_who_lost_his_access_while_he_waited_changes_nothing(house: House) -> None:
    alice = house.alice

    async def cut() -> None:
        house.directory.revoke_key("k1")

    first = asyncio.ensure_future(house.people.alone(alice, cut))
    second = asyncio.ensure_future(house.people.alone(alice, lambda: house.people.save(Change(0, tenants=[GLOBEX]))))
    await first
    with pytest.raises(GatewayError, match="revoked"):
        await second
    assert "globex" not in house.people.serving.tenants


async def test_what_cannot_be_written_is_not_in_force(house: House) -> None:
    twice = [CustomRole("role_1", "acme", "R", "r"), CustomRole("role_2", "acme", "R", "r")]
    with pytest.raises(Exception, match="UNIQUE"):
        await house.save(tenants=[GLOBEX], roles=twice)
    assert "globex" not in house.people.serving.tenants
    assert house.people.serving.roles == {}
    assert house.people.holder.current.grid.generation == 1
