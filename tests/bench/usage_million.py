"""A million usage rows in a database of its own: how long summaries, pages, budgets' openings and batches take.

`.venv/bin/python tests/bench/usage_million.py [ROWS]`; not part of the default run. The figures stand in
docs/performance.md.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from appliance.permissions import Scope
from appliance.state.periods import NEVER_MS
from appliance.state.retention import prune
from appliance.state.rollup import GROUPS
from appliance.state.store import Store
from appliance.state.usage import UsageFilter, UsageStore

TENANTS, USERS, MODELS, BACKENDS = 20, 50, 8, 2
DAYS = 30
START_MS = 1_760_000_000_000
DAY_MS = 86_400_000
BATCH = 20_000
ROUNDS = 5
EVERYTHING = Scope()
FILTERS = {
    "everything": UsageFilter(EVERYTHING),
    "a tenant": UsageFilter(EVERYTHING, tenant_id="tenant7"),
    "a user": UsageFilter(EVERYTHING, user_id="tenant7:user3"),
    "a model": UsageFilter(EVERYTHING, model="model2"),
    "failed": UsageFilter(EVERYTHING, status="failed"),
    "a partner": UsageFilter(Scope("partner1")),
    "the last week": UsageFilter(EVERYTHING, start_ms=START_MS + 23 * DAY_MS + 4_567),
    "7 ragged days": UsageFilter(EVERYTHING, start_ms=START_MS + 5 * DAY_MS + 123_457, end_ms=START_MS + 12 * DAY_MS),
    "22 ragged hours": UsageFilter(EVERYTHING, start_ms=START_MS + DAY_MS + 99, end_ms=START_MS + DAY_MS + 79_200_001),
}


def rows(count: int) -> Iterator[dict[str, Any]]:
    """Traffic of 1000 users in 20 tenants, spread over 30 days."""
    rng = Random(7)
    for number in range(count):
        tenant = rng.randrange(TENANTS)
        user = rng.randrange(USERS)
        model = rng.randrange(MODELS)
        backend = rng.randrange(BACKENDS)
        yield {
            "id": f"usage_{number:024x}",
            "request_id": f"req_{number:024x}",
            "created_ms": START_MS + number * DAYS * DAY_MS // count,
            "partner_id": f"partner{tenant % 4}",
            "tenant_id": f"tenant{tenant}",
            "user_id": f"tenant{tenant}:user{user}",
            "key_id": f"apikey_{tenant * USERS + user:016x}",
            "model": f"model{model}",
            "backend_id": f"provider{backend}:upstream{model}",
            "provider": f"provider{backend}",
            "surface": "native",
            "operation": "chat",
            "status": "failed" if rng.random() < 0.02 else "completed",
            "input_tokens": rng.randrange(10_000),
            "output_tokens": rng.randrange(2_000),
            "charged": 1,
            "cost_nano": rng.randrange(50_000_000),
            "backend_cost_nano": rng.randrange(40_000_000),
            "latency_ms": 900,
            "finish_reason": "stop",
            "entry": number + 1,
            "attempts": '[{"backend":"provider0:upstream","status":"completed","latency_ms":899,"error":null}]',
            "price": '{"price":{"base":{"input":1,"output":2}},"cost":null}',
        }


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scaigrid.db"
        store = Store(path)
        usage = UsageStore(store)
        fill(store, usage, count)
        print(f"the database has {path.stat().st_size / 1e6:.0f} MB")
        for name, where in FILTERS.items():
            for group_by in GROUPS:
                await timed(f"summary by {group_by}, {name}", partial(usage.summary, where, group_by))
            await timed(f"a page of 100 rows, {name}", partial(usage.rows, where, 101, None))
        for subject in ("tenant:tenant7", "user:tenant7:user3", "partner:partner1", "key:apikey_0000000000000007"):
            span = (START_MS, NEVER_MS, count)
            await timed(f"a budget's opening, {subject}", partial(usage.used_by_now, subject, *span))
        batch(store, usage, count)
        start = time.perf_counter()
        deleted, _ = await prune(store, START_MS + 3 * DAY_MS, max_batches=50)
        print(f"pruning: {deleted} rows in {(time.perf_counter() - start) * 1000:.0f} ms")
        store.close()


def fill(store: Store, usage: UsageStore, count: int) -> None:
    start = time.perf_counter()
    source = rows(count)
    while many := list(itertools.islice(source, BATCH)):
        store.write(partial(usage.add, many)).result()
    print(f"{count} rows stored with their rollups in {time.perf_counter() - start:.1f} s")


def batch(store: Store, usage: UsageStore, count: int) -> None:
    """What the journal's thread does: batches of at most 500 rows, each a transaction."""
    like_one = next(rows(1))
    for size in (1, 50, 500):
        changes: list[dict[str, Any]] = [{"id": f"late_{size}_{number}", "entry": count + 1} for number in range(size)]
        one_user = [like_one | change | {"id": change["id"] + "_one"} for change in changes]
        many_users = [row | change for row, change in zip(rows(size), changes, strict=True)]
        for name, many in (("one user", one_user), ("many users", many_users)):
            start = time.perf_counter()
            store.write(partial(usage.add, many)).result()
            print(f"{f'a batch of {size}, {name}':44} {(time.perf_counter() - start) * 1000:8.1f} ms")


async def timed(what: str, work: Callable[[], Awaitable[Any]]) -> None:
    """The slowest of a few rounds, the first of which finds nothing in the connection's cache."""
    slowest = 0.0
    for _ in range(ROUNDS):
        start = time.perf_counter()
        await work()
        slowest = max(slowest, time.perf_counter() - start)
    print(f"{what:44} {slowest * 1000:8.1f} ms", flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
