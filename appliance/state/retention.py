"""Deleting old usage rows, a few at a time, so that calls that end meanwhile wait for no more than one small batch.

Rollups stay, so sums over the past stay right to the quarter of an hour. Rows that a running budget is made of are
never deleted: its balance could not be recounted any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from appliance.state import rollup
from appliance.state.ledger import Account
from appliance.state.store import Store
from appliance.state.tables import UsageRow

BATCH_ROWS = 1000
MAX_BATCHES = 100
"""For one request; whoever has more to delete asks again."""
YOUNGEST_MS = 24 * 3600 * 1000
"""Calls may run for hours before their row is written, so rows this young are left alone."""


def latest_ms(accounts: Iterable[Account], now_ms: int) -> tuple[int, str]:
    """Up to when rows may be deleted, and the id of the budget that forbids more (empty: they are too young)."""
    latest, held_by = now_ms - YOUNGEST_MS, ""
    for account in accounts:
        if account.balance.start_ms < latest:
            latest, held_by = account.balance.start_ms, account.budget.id
    return latest, held_by


async def prune(store: Store, before_ms: int, max_batches: int = MAX_BATCHES) -> tuple[int, bool]:
    """Delete the rows of calls made before the quarter of an hour that holds `before_ms`: (how many, all of them?)."""
    before_ms -= before_ms % rollup.QUARTER_MS
    await asyncio.wrap_future(store.write(lambda: rollup.note_pruned(before_ms)))
    deleted = 0
    for _ in range(max_batches):
        count = await asyncio.wrap_future(store.write(lambda: _delete(before_ms)))
        deleted += count
        if count < BATCH_ROWS:
            return deleted, True
    return deleted, False


def _delete(before_ms: int) -> int:
    oldest = UsageRow.select(UsageRow.seq).where(UsageRow.created_ms < before_ms).order_by(UsageRow.created_ms)
    return int(UsageRow.delete().where(UsageRow.seq.in_(oldest.limit(BATCH_ROWS))).execute())
