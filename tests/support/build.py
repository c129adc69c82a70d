"""Small builders for unit tests: a Grid from YAML text, an Exchange, a State of fakes, a clock that is turned by hand.

Nothing here opens a socket, a database or a thread.
"""

from __future__ import annotations

import asyncio
import functools
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any, cast

import config
from appliance.exchange import Attempt, Exchange, Failure, Key, Principal, Upload, Upstream, User
from appliance.grid.compile import compile_grid
from appliance.grid.grid import Grid, Target
from appliance.limits import Budget
from appliance.permissions import permissions_of
from appliance.pipeline.operations import OPERATIONS
from appliance.state import State
from appliance.state.directory import Directory, digest_of
from appliance.state.fair_queue import FairQueue, Slot
from appliance.state.health import Health
from appliance.state.journal import Journal, JournalFailed
from appliance.state.ledger import Ledger
from appliance.state.limiter import Limiter
from appliance.state.log import Log
from appliance.state.metrics import Metrics
from appliance.state.pools import Pools
from appliance.state.responses import Responses
from appliance.state.store import Store
from appliance.state.usage import UsageStore

SECRET = "sgk_alices-key-for-the-tests"
RECEIVED_UNIX = 1_700_000_000.25
"""When every exchange of the unit tests was received."""

YAML = """
providers:
  one: {type: custom, base_url: "http://one.test/v1", api_key: secret-of-one}
  two: {type: custom, base_url: "http://two.test/v1", api_key: secret-of-two}
  three: {type: custom, base_url: "http://three.test/v1"}
  claude: {type: anthropic, api_key: secret-of-claude}
models:
  m:
    price: {input: "1.00", output: "2.00", cached_input: "0.10", cache_write: "1.25"}
    route:
      - {backend: "one:a", cost: {input: "0.50", output: "0.60"}}
      - {backend: "two:b"}
  claude:
    price: {input: "3.00", output: "15.00"}
    max_output_tokens: 4096
    route: [{backend: "claude:claude-x"}]
partners:
  reseller:
    tenants:
      acme: {models: ["*"], users: {alice: {email: alice@acme.example, roles: [tenant_admin]}}}
"""


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def load_yaml(text: str, environ: Mapping[str, str] | None = None) -> config.Loaded:
    """`version: 1` is put before the text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scaigrid.yaml"
        path.write_text("version: 1\n" + text, encoding="utf-8")
        path.chmod(0o600)
        return config.load(path, environ or {})


@functools.cache
def make_grid(text: str = YAML) -> Grid:
    """The same text gives the same Grid: it is immutable."""
    return compile_grid(load_yaml(text), generation=1)


def grid_of_targets(*targets: str, policy: str = "") -> Grid:
    """Model `m` with these targets, each `provider:model` or a YAML flow mapping; `policy` holds further keys."""
    entries = [target if target.startswith("{") else f'{{backend: "{target}"}}' for target in targets]
    names = sorted({entry.partition('backend: "')[2].partition(":")[0] for entry in entries})
    providers = "".join(f'  {name}: {{type: custom, base_url: "http://{name}.test/v1"}}\n' for name in names)
    route = f"{{targets: [{', '.join(entries)}]{', ' + policy if policy else ''}}}"
    return make_grid(f"providers:\n{providers}models:\n  m:\n    price: free\n    route: {route}\n")


def make_principal(
    *roles: str,
    tenant: str = "acme",
    partner: str = "reseller",
    user: str = "alice",
    groups: tuple[str, ...] = (),
) -> Principal:
    roles = roles or ("tenant_user",)
    user_id = f"{tenant}:{user}"
    subjects = (f"partner:{partner}", f"tenant:{tenant}", *(f"group:{tenant}:{group}" for group in groups))
    return Principal(
        "apikey_1",
        user_id,
        user,
        tenant,
        partner,
        roles,
        permissions_of(roles),
        groups=groups,
        subjects=(*subjects, f"user:{user_id}", "key:apikey_1"),
    )


class FakeClient:
    """The caller's side: what was sent, and in which way."""

    def __init__(self) -> None:
        self.started = False
        self.ended = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.sent: list[bytes] = []
        self.content_type = ""
        self.broken_off = False

    async def whole(
        self, status: int, headers: dict[str, str], body: bytes, content_type: str = "application/json"
    ) -> None:
        assert not self.status, "only one answer"
        assert not self.started
        self.status, self.headers, self.body, self.ended = status, headers, body, True
        self.content_type = content_type

    async def start_stream(
        self, headers: dict[str, str], content_type: str = "text/event-stream; charset=utf-8"
    ) -> None:
        assert not self.status, "only one answer"
        self.started, self.status, self.headers = True, 200, headers
        self.content_type = content_type

    async def send(self, data: bytes) -> None:
        assert self.started
        assert not self.ended
        self.sent.append(data)
        self.body += data

    async def end(self) -> None:
        assert self.started
        assert not self.ended
        self.ended = True

    async def break_off(self) -> None:
        assert self.started
        self.broken_off = True

    def json(self) -> Any:
        return json.loads(self.body)


class FakeJournal:
    """Keeps what was begun and ended; `failing` makes it refuse like a full disk."""

    def __init__(self) -> None:
        self.begun: list[dict[str, Any]] = []
        self.ended: list[dict[str, Any]] = []
        self.failing = False

    def begin(self, row: dict[str, Any]) -> None:
        self._refuse()
        self.begun.append(row)

    def end(self, row: dict[str, Any]) -> None:
        self._refuse()
        self.ended.append(row)

    def _refuse(self) -> None:
        if self.failing:
            raise JournalFailed("the disk is full")


class FakeUpstream:
    """An Upstream of prepared pieces: bytes arrive, exceptions are raised, numbers are seconds of silence."""

    def __init__(
        self, *pieces: bytes | float | Exception, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.headers = headers or {}
        self.closed = 0
        self.reads = 0
        self._pieces = list(pieces)

    async def chunk(self) -> bytes:
        self.reads += 1
        while self._pieces:
            piece = self._pieces.pop(0)
            if isinstance(piece, Exception):
                raise piece
            if isinstance(piece, bytes):
                return piece
            await asyncio.sleep(piece)
        return b""

    def close(self) -> None:
        self.closed += 1


class FakePools:
    """Answers `open` from a script: an Upstream, an exception, or seconds to hang before the next entry."""

    def __init__(self, *script: Upstream | Exception | float) -> None:
        self.script = list(script)
        self.opened: list[tuple[str, str, Mapping[str, str], bytes]] = []
        self.uploads: list[Upload | None] = []
        self.places: dict[str, FairQueue] = {}

    def queue(self, name: str, at_once: int, size: int, generation: int = 0) -> FairQueue:
        return self.places.setdefault(name, FairQueue(at_once, size))

    @property
    def in_use(self) -> int:
        """Places that nobody gave back."""
        return sum(queue.in_use for queue in self.places.values())

    async def open(
        self,
        name: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        max_connections: int,
        connect_s: float,
        sent: Callable[[], None],
        method: str = "POST",
        upload: Upload | None = None,
        slot: Slot | None = None,
    ) -> Upstream:
        if slot:
            slot.release()
        sent()
        self.opened.append((name, url, headers, body))
        self.uploads.append(upload)
        answer = self.script.pop(0)
        if isinstance(answer, int | float):
            await asyncio.sleep(answer)
            answer = self.script.pop(0)
        assert not isinstance(answer, int | float), "one wait before each answer"
        if isinstance(answer, Exception):
            raise answer
        return answer


def make_directory(
    users: Iterable[User] = (), keys: Iterable[Key] = (), suspended: Iterable[str] = (), clock: Clock | None = None
) -> Directory:
    """By default Alice of tenant `acme`, a tenant_user whose key is SECRET."""
    directory = Directory(clock or Clock())
    users = list(users) or [make_user()]
    directory.declare(users, list(keys) or [make_key(user_id=users[0].id)], suspended)
    return directory


def make_user(
    name: str = "alice",
    tenant: str = "acme",
    *,
    roles: tuple[str, ...] = ("tenant_user",),
    groups: tuple[str, ...] = (),
) -> User:
    return User(f"{tenant}:{name}", name, tenant, "reseller", roles, groups=groups)


def make_key(secret: str = SECRET, user_id: str = "acme:alice", key_id: str = "apikey_1") -> Key:
    return Key(key_id, digest_of(secret), user_id)


def make_budget(cost_limit: int | None = None, **changes: Any) -> Budget:
    """A blocking budget of the tenant acme for ever, named `b`."""
    known = {"id": "b", "scope": "tenant", "subject": "tenant:acme", "period": "total", "cost_limit": cost_limit}
    return Budget(**cast(Any, known | changes))


def make_state(
    *,
    pools: FakePools | None = None,
    journal: FakeJournal | None = None,
    directory: Directory | None = None,
    budgets: Iterable[Budget] = (),
    responses: Any = None,
    seed: int = 0,
) -> State:
    """A State whose parts with a life of their own (journal, pools, store, log) are fakes or absent."""
    ledger = Ledger()
    for budget in budgets:
        ledger.open(budget, int(RECEIVED_UNIX * 1000))
    return State(
        directory=directory or make_directory(),
        store=cast(Store, None),
        usage=cast(UsageStore, None),
        ledger=ledger,
        limiter=Limiter(),
        journal=cast(Journal, journal or FakeJournal()),
        pools=cast(Pools, pools or FakePools()),
        metrics=Metrics(),
        log=cast(Log, None),
        health=Health(),
        responses=cast(Responses | None, responses),
        rng=Random(seed),
    )


def journal_of(state: State) -> FakeJournal:
    return cast(FakeJournal, state.journal)


def client_of(exchange: Exchange) -> FakeClient:
    return cast(FakeClient, exchange.client)


def chat_body(model: str = "m", **changes: Any) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]} | changes).encode()


def make_exchange(
    grid: Grid | None = None,
    body: bytes | None = None,
    *,
    surface: str = "native",
    operation: str = "chat",
    clock: Any = None,
    principal: Principal | None = None,
    credential: str | None = SECRET,
    ip: str = "192.0.2.1",
) -> Exchange:
    """An exchange as `accept` makes it, with a caller who may use inference."""
    clock = clock or Clock()
    return Exchange(
        request_id="req_of_the_test",
        surface=surface,
        operation=OPERATIONS[operation],
        grid=grid or make_grid(),
        client=FakeClient(),
        credential=credential,
        body=chat_body() if body is None else body,
        received_at=clock(),
        received_unix=RECEIVED_UNIX,
        clock=clock,
        ip=ip,
        usage_id="usage_0123456789abcdef",
        principal=principal or make_principal(),
    )


def make_attempt(target: Target, number: int = 1, **changes: Any) -> Attempt:
    attempt = Attempt(number, target)
    for name, value in changes.items():
        setattr(attempt, name, value)
    return attempt


def failure(kind: str, code: str = "BACKEND_ERROR", **changes: Any) -> Failure:
    return Failure(cast(Any, kind), code, f"told to fail: {kind}", **changes)


def usage_row(row_id: str = "usage_1", **changes: Any) -> dict[str, Any]:
    """A finished call as pipeline.record notes it."""
    row: dict[str, Any] = {
        "id": row_id,
        "request_id": f"req_{row_id}",
        "created_ms": 1_700_000_000_000,
        "partner_id": "reseller",
        "tenant_id": "acme",
        "user_id": "acme:alice",
        "key_id": "apikey_1",
        "groups": "",
        "model": "m",
        "backend_id": "one:a",
        "provider": "one",
        "surface": "native",
        "operation": "chat",
        "stream": False,
        "status": "completed",
        "estimated": False,
        "input_tokens": 10,
        "output_tokens": 5,
        "cached_input_tokens": 4,
        "cache_write_tokens": 0,
        "reasoning_tokens": 2,
        "charged": 1,
        "reserved_nano": 0,
        "entry": 0,
        "cost_nano": 1500,
        "backend_cost_nano": 700,
        "latency_ms": 42,
        "ttft_ms": None,
        "finish_reason": "stop",
        "error_code": "",
        "attempts": "[]",
        "price": "{}",
        "units": None,
        "metadata": None,
    }
    return row | changes
