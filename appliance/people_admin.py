"""PeopleAdmin: who there is at run time, and every change of it: written to the database, then in force at once.

It does what it is told; who may tell it is decided in permissions.py, by the handlers in api/.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import config
from appliance.errors import GatewayError
from appliance.exchange import Key, Principal
from appliance.grid.compile import compile_grid, people, recompile_tenants
from appliance.grid.grid import Grid
from appliance.grid.holder import Generation, Holder
from appliance.grid.tenants import declared
from appliance.overlay import Serving, merged, user_of
from appliance.people import Partner, Person, Tenant
from appliance.permissions import Rights
from appliance.state.directory import Directory, Roster
from appliance.state.people import Change, PeopleStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Census:
    """All that a configuration and the database say together of people, worked out and not yet in force."""

    loaded: config.Loaded
    serving: Serving
    taken_partners: set[str]
    taken_tenants: set[str]
    taken_users: set[str]
    roster: Roster


class PeopleAdmin:
    """One for the whole process. `serving` is what there is now; it is changed by `save` and by a reload alone."""

    def __init__(self, loaded: config.Loaded, store: PeopleStore, directory: Directory, keys: Iterable[Key]) -> None:
        """`keys` are those that the YAML does not declare."""
        self._store = store
        self._directory = directory
        self._lock = asyncio.Lock()
        self._running: set[asyncio.Task[object]] = set()
        self.on_retired: Callable[[], None] | None = None
        """Told when the last request of an old Grid has left."""
        census = self.census(loaded, keys)
        self._take(census)
        self.holder = Holder(Generation(compile_grid(loaded, 1, self.serving.overlay()), self._let_go))

    # -- another configuration --

    @property
    def standstill(self) -> asyncio.Lock:
        """Whoever holds it keeps people as they are: from `census` to `follow` nothing may come between."""
        return self._lock

    def census(self, loaded: config.Loaded, keys: Iterable[Key]) -> Census:
        """Who there would be with this configuration. Takes long; a thread may do it. `keys` as at the start."""
        stored = self._store.everything()
        users, declared_keys = people(loaded)
        serving = merged(declared(loaded), users, stored)
        taken_users = {*stored.people, *(user.id for user in users)}
        tenants = serving.tenants
        users += [user_of(person, tenants[person.tenant_id].partner_id) for person in serving.people.values()]
        suspended = [tenant.id for tenant in tenants.values() if tenant.status != "active"]
        # A key that is known may have been revoked without the database having taken it.
        known = self._directory.keys
        made = [known.get(key.id, key) for key in keys]
        return Census(
            loaded=loaded,
            serving=serving,
            taken_partners={*stored.partners, *(tenant.partner_id for tenant in stored.tenants.values())},
            taken_tenants={
                *stored.tenants,
                *(person.tenant_id for person in stored.people.values()),
                *(role.tenant_id for role in stored.roles.values()),
            },
            taken_users=taken_users,
            roster=self._directory.plan(users, [*declared_keys, *made], suspended, serving.roles.values()),
        )

    def follow(self, census: Census, grid: Grid) -> None:
        """Put the configuration in force: its Grid, its people. Short, and in one piece."""
        assert self._lock.locked()
        self._take(census)
        self.holder.swap(Generation(grid, self._let_go))

    def _take(self, census: Census) -> None:
        self._loaded = census.loaded
        self.serving = census.serving
        self._taken_partners = census.taken_partners
        self._taken_tenants = census.taken_tenants
        self._taken_users = census.taken_users
        self._directory.adopt(census.roster)

    def _let_go(self, _: Grid) -> None:
        if self.on_retired:
            self.on_retired()

    # -- names: one that was ever in use stays taken, because usage rows, budgets and keys bear it --

    def refuse_taken_partner(self, partner_id: str) -> None:
        if partner_id in self.serving.partners or partner_id in self._taken_partners:
            raise _taken("partner", partner_id, self.serving.partners.get(partner_id))

    def refuse_taken_tenant(self, tenant_id: str) -> None:
        """Tenants are unique over all partners."""
        if tenant_id in self.serving.tenants or tenant_id in self._taken_tenants:
            raise _taken("tenant", tenant_id, None)  # it may be a stranger's: nothing is told about it

    def refuse_taken_user(self, user_id: str) -> None:
        if user_id in self._directory.users or user_id in self._taken_users:
            raise _taken("user", user_id, self._directory.users.get(user_id))

    def refuse_taken_role(self, tenant_id: str, slug: str, but: str = "") -> None:
        for role in self.serving.roles.values():
            if (role.tenant_id, role.slug) == (tenant_id, slug) and role.id != but:
                raise GatewayError("SLUG_CONFLICT", f"the tenant has a custom role {slug!r} already", param="slug")

    # -- changes --

    async def alone(self, principal: Principal, work: Callable[[], Awaitable[T]]) -> T:
        """One change at a time: what it checks stays true until it is done.

        It runs to its end even when the caller hangs up; else the database could say one thing and the memory another.
        """
        task = asyncio.get_running_loop().create_task(self._locked(principal, work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _locked(self, principal: Principal, work: Callable[[], Awaitable[T]]) -> T:
        async with self._lock:
            self._directory.check(principal)  # he may have lost his access while he waited
            return await work()

    async def save(self, change: Change) -> None:
        """Write the change, then put it in force. Only inside `alone`."""
        assert self._lock.locked()
        await asyncio.wrap_future(self._store.write(change))
        for partner in change.partners:
            self._put_partner(partner)
        for tenant in change.tenants:
            self._put_tenant(tenant)
        for role in change.roles:
            self.serving.roles[role.id] = role
            self._directory.put_role(role)
        for person in change.people:
            self._put_person(person)
        for role_id in change.dropped_roles:
            del self.serving.roles[role_id]
            self._directory.drop_role(role_id)
        if change.partners or change.tenants:
            await self._swap()

    def rights_inside(self, tenant_id: str) -> Rights:
        """All that the tenant's users hold, taken together."""
        users = (user for user in self._directory.users.values() if user.tenant_id == tenant_id)
        held = [self._directory.rights(user) for user in users]
        return Rights(
            tuple({role for rights in held for role in rights.roles}),
            frozenset[str]().union(*(rights.core for rights in held)),
            frozenset[str]().union(*(rights.module for rights in held)),
        )

    def deletion(self, partners: Sequence[Partner], tenants: Sequence[Tenant]) -> Change:
        """What goes with them: users and their keys, custom roles. Rows stay, because names stay taken."""
        gone = {tenant.id for tenant in tenants}
        users = [person for person in self.serving.people.values() if person.tenant_id in gone]
        return Change(
            time.time(),
            [replace(partner, status="deleted") for partner in partners],
            [replace(tenant, status="deleted") for tenant in tenants],
            [replace(person, status="deleted") for person in users],
            dropped_roles=[role.id for role in self.serving.roles.values() if role.tenant_id in gone],
            without_keys=[person.id for person in users],
        )

    def _put_partner(self, partner: Partner) -> None:
        self._taken_partners.add(partner.id)
        _put(self.serving.partners, partner)

    def _put_tenant(self, tenant: Tenant) -> None:
        self._taken_tenants.add(tenant.id)
        before = self.serving.tenants.get(tenant.id)
        _put(self.serving.tenants, tenant)
        if tenant.status == "suspended":
            self._directory.suspend(tenant.id)
        elif tenant.status == "active" and before and before.status == "suspended":
            self._directory.resume(tenant.id)

    def _put_person(self, person: Person) -> None:
        self._taken_users.add(person.id)
        _put(self.serving.people, person)
        if person.status == "deleted":
            self._directory.drop_user(person.id)
        else:
            self._directory.put_user(user_of(person, self.serving.tenants[person.tenant_id].partner_id))

    async def _swap(self) -> None:
        """A thousand tenants and a hundred globs take a while: a thread compiles, calls go on in the old Grid."""
        grid = self.holder.current.grid
        overlay = self.serving.overlay()
        new = await asyncio.to_thread(recompile_tenants, grid, self._loaded, grid.generation + 1, overlay)
        self.holder.swap(Generation(new, self._let_go))


Record = TypeVar("Record", Partner, Tenant, Person)


def _put(records: dict[str, Record], record: Record) -> None:
    if record.status == "deleted":
        del records[record.id]
    else:
        records[record.id] = record


def _taken(what: str, name: str, known: object) -> GatewayError:
    declared_in = getattr(known, "declared", "")
    where = f"; it is declared in {declared_in}" if declared_in else ""
    return GatewayError(
        "SLUG_CONFLICT",
        f"the name {name!r} of a {what} is taken{where}; names of deleted ones stay taken: choose another",
    )
