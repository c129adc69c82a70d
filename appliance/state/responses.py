"""Answers of the Responses API that were asked to be kept, so that a later call can go on from them.

They belong to the tenant and are deleted when their time is over. SQL lives here and in the other stores only.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import msgspec

from appliance.state.store import Store
from appliance.state.tables import StoredResponseRow

MAX_CHAIN = 1000
"""The longest conversation that is followed back. Real ones end before it at their model's context window."""


class ConversationTooLarge(Exception):
    pass


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """`items` is what the caller sent, `response` the whole answer object with its output."""

    id: str
    tenant_id: str
    user_id: str
    previous_id: str
    created_unix: float
    items: list[Any]
    response: dict[str, Any]


class Responses:
    def __init__(self, store: Store, retention_s: float) -> None:
        self._store = store
        self.retention_s = retention_s
        """0: nothing is kept."""

    async def keep(self, kept: StoredResponse) -> None:
        row = {
            "id": kept.id,
            "tenant_id": kept.tenant_id,
            "user_id": kept.user_id,
            "previous_id": kept.previous_id,
            "created_unix": kept.created_unix,
            "expires_unix": kept.created_unix + self.retention_s,
            "items": msgspec.json.encode(kept.items).decode(),
            "response": msgspec.json.encode(kept.response).decode(),
        }
        await asyncio.wrap_future(self._store.write(lambda: StoredResponseRow.insert(row).execute()))

    async def get(self, tenant_id: str, response_id: str) -> StoredResponse | None:
        return await self._store.read(lambda: _get(tenant_id, response_id))

    async def history(self, tenant_id: str, response_id: str, limit_chars: int) -> list[Any] | None:
        """All items from the conversation's beginning up to that answer; None when a part of it is not there.

        Raises ConversationTooLarge instead of reading more than `limit_chars`.
        """
        return await self._store.read(lambda: _history(tenant_id, response_id, limit_chars))

    async def delete(self, tenant_id: str, response_id: str) -> bool:
        def work() -> int:
            mine = (StoredResponseRow.tenant_id == tenant_id) & (StoredResponseRow.id == response_id)
            return int(StoredResponseRow.delete().where(mine).execute())

        return bool(await asyncio.wrap_future(self._store.write(work)))

    async def prune(self) -> int:
        """Delete what is older than it may be."""
        now = time.time()

        def work() -> int:
            return int(StoredResponseRow.delete().where(StoredResponseRow.expires_unix <= now).execute())

        return await asyncio.wrap_future(self._store.write(work))


def _row(tenant_id: str, response_id: str) -> Any:
    return StoredResponseRow.get_or_none(
        (StoredResponseRow.tenant_id == tenant_id)
        & (StoredResponseRow.id == response_id)
        & (StoredResponseRow.expires_unix > time.time())
    )


def _get(tenant_id: str, response_id: str) -> StoredResponse | None:
    row = _row(tenant_id, response_id)
    if row is None:
        return None
    return StoredResponse(
        id=row.id,
        tenant_id=row.tenant_id,
        user_id=row.user_id,
        previous_id=row.previous_id,
        created_unix=row.created_unix,
        items=msgspec.json.decode(row.items),
        response=msgspec.json.decode(row.response),
    )


def _history(tenant_id: str, response_id: str, limit_chars: int) -> list[Any] | None:
    turns: list[list[Any]] = []
    size = 0
    while response_id and len(turns) < MAX_CHAIN:
        row = _row(tenant_id, response_id)
        if row is None:
            return None
        size += len(row.items) + len(row.response)
        if size > limit_chars:
            raise ConversationTooLarge(f"more than {limit_chars} characters")
        turns.append([*msgspec.json.decode(row.items), *msgspec.json.decode(row.response).get("output", [])])
        response_id = row.previous_id
    return None if response_id else [item for turn in reversed(turns) for item in turn]
