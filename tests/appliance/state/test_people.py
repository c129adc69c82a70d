"""People in the database: they come back as they went in, a change is written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import peewee
import pytest

from appliance.people import CustomRole, Partner, Person, Tenant
from appliance.state.people import Change, PeopleStore
from appliance.state.store import Store
from support.build import make_key

PARTNER = Partner("east", "East é", {"requests_per_minute": 5, "tokens_per_minute": "unlimited"}, "active", 1.5, "d:a")
TENANT = Tenant(
    "globex", "east", "Globex", "suspended", ("gpt-*", "x"), {"requests_per_minute": 1}, {}, {}, 2.5, "default:admin"
)
BOB = Person(
    "globex:bob", "globex", "bob", "b@x.example", "Bob", "active", ("tenant_user",), ("role_1",), ("m:a",), 3.5, "d:a"
)
ROLE = CustomRole("role_1", "globex", "Röle", "role", "for all", ("models:use",), ("m:a", "m:b:c"), "d:a", 4.5, 5.5)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "scaigrid.db")
    yield opened
    opened.close()


def write(store: Store, change: Change) -> None:
    PeopleStore(store).write(change).result(10)


def test_an_empty_database_knows_nobody(store: Store) -> None:
    found = PeopleStore(store).everything()
    assert (found.partners, found.tenants, found.people, found.roles) == ({}, {}, {}, {})


def test_everything_comes_back_as_it_went_in_also_after_a_restart(store: Store, tmp_path: Path) -> None:
    write(store, Change(0, [PARTNER], [TENANT], [BOB], [ROLE]))
    store.close()
    again = Store(tmp_path / "scaigrid.db")
    found = PeopleStore(again).everything()
    again.close()
    assert found.partners == {"east": PARTNER}
    assert found.tenants == {"globex": TENANT}
    assert found.people == {"globex:bob": BOB}
    assert found.roles == {"role_1": ROLE}


def test_a_second_record_of_the_same_id_takes_the_place_of_the_first(store: Store) -> None:
    write(store, Change(0, partners=[PARTNER]))
    write(store, Change(0, partners=[Partner("east", status="deleted"), Partner("west")]))
    found = PeopleStore(store).everything().partners
    assert {name: partner.status for name, partner in found.items()} == {"east": "deleted", "west": "active"}
    assert found["east"].rate_limits == {}


def test_a_role_is_dropped_and_its_slug_is_free_again(store: Store) -> None:
    write(store, Change(0, roles=[ROLE]))
    other = CustomRole("role_2", "globex", "Other", "role")
    write(store, Change(0, dropped_roles=["role_1"], roles=[other]))
    assert PeopleStore(store).everything().roles == {"role_2": other}


def test_two_roles_of_a_tenant_with_one_slug_are_our_mistake_and_nothing_of_the_change_is_kept(store: Store) -> None:
    write(store, Change(0, roles=[ROLE]))
    with pytest.raises(peewee.IntegrityError):
        write(store, Change(0, partners=[PARTNER], roles=[CustomRole("role_2", "globex", "Other", "role")]))
    found = PeopleStore(store).everything()
    assert found.partners == {}
    assert found.roles == {"role_1": ROLE}


def test_the_same_slug_in_two_tenants_is_fine(store: Store) -> None:
    write(store, Change(0, roles=[ROLE, CustomRole("role_2", "other", "Other", "role")]))
    assert set(PeopleStore(store).everything().roles) == {"role_1", "role_2"}


def test_without_keys_revokes_those_that_still_worked_and_no_others(store: Store) -> None:
    mine, before, other = (
        make_key("sgk_1", "globex:bob", "k1"),
        make_key("sgk_2", "globex:bob", "k2"),
        make_key("sgk_3", "globex:carol", "k3"),
    )
    before.revoked_unix = 10.0
    for key in (mine, before, other):
        store.save_key(key).result(10)
    write(store, Change(77.0, people=[BOB], without_keys=["globex:bob"]))
    found = store.keys()
    assert {key.id: key.revoked_unix for key in found} == {"k1": 77.0, "k2": 10.0, "k3": None}
