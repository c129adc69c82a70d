"""People in the database: what was made over the API. SQL lives here and in the other stores only.

It keeps what it is told; whether a change is allowed, and what the YAML says, is not decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import msgspec

from appliance.people import CustomRole, Overlay, Partner, Person, Tenant
from appliance.state.store import Store, rows_of
from appliance.state.tables import ApiKeyRow, CustomRoleRow, PartnerRow, PersonRow, Table, TenantRow, database

Record = TypeVar("Record", Partner, Tenant, Person, CustomRole)

_MAPPINGS = {"rate_limits", "user_rate_limits", "key_rate_limits"}
_LISTS = {"models", "roles", "custom_role_ids", "core_permissions", "module_permissions"}


@dataclass(frozen=True, slots=True)
class Change:
    """Records to be written, new or in the place of those with the same id, in one transaction or not at all.

    `without_keys` are ids of users whose keys are revoked at `at_unix`.
    """

    at_unix: float
    partners: Sequence[Partner] = ()
    tenants: Sequence[Tenant] = ()
    people: Sequence[Person] = ()
    roles: Sequence[CustomRole] = ()
    dropped_roles: Sequence[str] = ()
    without_keys: Sequence[str] = ()


class PeopleStore:
    def __init__(self, store: Store) -> None:
        self._store = store

    def everything(self) -> Overlay:
        """Called once, at start."""
        with database.connection_context():
            return Overlay(
                _by_id(PartnerRow, Partner),
                _by_id(TenantRow, Tenant),
                _by_id(PersonRow, Person),
                _by_id(CustomRoleRow, CustomRole),
            )

    def write(self, change: Change) -> Future[None]:
        def work() -> None:
            for role_id in change.dropped_roles:
                CustomRoleRow.delete().where(CustomRoleRow.id == role_id).execute()
            _put(PartnerRow, change.partners)
            _put(TenantRow, change.tenants)
            _put(PersonRow, change.people)
            _put(CustomRoleRow, change.roles)
            for user_id in change.without_keys:
                ApiKeyRow.update(revoked_unix=change.at_unix).where(
                    ApiKeyRow.user_id == user_id, ApiKeyRow.revoked_unix.is_null()
                ).execute()

        return self._store.write(work)


def _by_id(table: type[Table], record: type[Record]) -> dict[str, Record]:
    return {row["id"]: record(**{name: _read(name, value) for name, value in row.items()}) for row in _rows(table)}


def _rows(table: type[Table]) -> list[dict[str, Any]]:
    return rows_of(table.select())


def _put(table: type[Table], records: Sequence[Partner | Tenant | Person | CustomRole]) -> None:
    for record in records:
        columns = {name: _written(name, value) for name, value in asdict(record).items() if name != "declared"}
        # Not REPLACE: it would also take away another role that bears the same slug.
        changed = {name: value for name, value in columns.items() if name != "id"}
        table.insert(columns).on_conflict(conflict_target=["id"], update=changed).execute()


def _written(name: str, value: Any) -> Any:
    return msgspec.json.encode(value).decode() if name in _MAPPINGS | _LISTS else value


def _read(name: str, value: Any) -> Any:
    if name in _MAPPINGS:
        return msgspec.json.decode(value)
    return tuple(msgspec.json.decode(value)) if name in _LISTS else value
