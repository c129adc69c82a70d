"""`scaigrid serve`: builds State and Grid, starts Sanic on our own loop, drains and stops.

The listening socket and the loop are ours, so that while calls in flight finish, new ones still get a proper 503.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
import secrets
import signal
import socket
import ssl
import stat
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop
from sanic import Sanic
from sanic.application.state import ApplicationServerInfo
from sanic.http.constants import HTTP

import config
from appliance import app as application
from appliance import health_events, probes
from appliance.api.accept import Appliance
from appliance.exchange import Key
from appliance.grid.compile import budgets
from appliance.grid.prices import usd
from appliance.limits import Budget
from appliance.people import ADMIN_USER_ID
from appliance.people_admin import PeopleAdmin
from appliance.reload import Configuration
from appliance.state import State
from appliance.state.directory import Directory, digest_of
from appliance.state.health import Health
from appliance.state.journal import Journal, Row, recover
from appliance.state.ledger import Balance, Ledger
from appliance.state.limiter import Limiter
from appliance.state.log import Log, LogHandler
from appliance.state.metrics import Metrics
from appliance.state.people import PeopleStore
from appliance.state.pools import Pools
from appliance.state.responses import Responses
from appliance.state.store import SchemaMismatch, Store
from appliance.state.usage import UsageStore
from appliance.tls import Certificate, UnusableCertificate
from appliance.watch import watch

BACKLOG = 1024
POLL_S = 0.05
KEEP_S = 60.0
CUT_S = 2.0
"""How long calls that were cut may take to book what they used."""
_log = logging.getLogger("scaigrid")


class CannotStart(Exception):
    """Why the appliance does not start, in one line for the operator."""


def serve(loaded: config.Loaded, path: Path) -> None:
    """Run until SIGTERM or SIGINT, with what was loaded from this file. Raises CannotStart."""
    assert __debug__, "never run with -O: the ledger's assertions are part of the product"
    server = loaded.document.server
    data_dir = server.data_dir
    lock = _own(data_dir)
    try:
        state = _state(data_dir, loaded)
        admin_key = _admin_key(data_dir / "admin.key")
        people = _people(loaded, state, admin_key)
        listener = _listen(server.listen)
        certificate = _certificate(server.tls)
        configuration = Configuration(
            path, loaded, state, people, lambda: [*state.store.keys(), admin_key], certificate
        )
        appliance = Appliance(people.holder, state, people, configuration)
        app = application.build(appliance, server.body_limit, server.upload_limit)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_main(app, appliance, listener, certificate.front if certificate else None))
        if server.listen.unix:
            server.listen.unix.unlink(missing_ok=True)
    finally:
        os.close(lock)


# -- before the first request -----------------------------------------------------------------------------------------


def _own(data_dir: Path) -> int:
    """Only one appliance may use a data directory: two would book into the same journal."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotStart(f"the data directory {data_dir} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise CannotStart(
            f"another appliance already uses the data directory {data_dir}; stop it, or set another server.data_dir"
        ) from None
    return lock


def _state(data_dir: Path, loaded: config.Loaded) -> State:
    database = data_dir / "scaigrid.db"
    database.touch(mode=0o600)
    try:
        store = Store(database)
    except SchemaMismatch as error:
        raise CannotStart(str(error)) from error
    except Exception as error:  # peewee and sqlite3 have many ways to say it
        raise CannotStart(f"the database {database} cannot be opened: {error}") from error

    usage = UsageStore(store)

    def save(rows: Sequence[Row]) -> None:
        store.write(lambda: usage.add(rows)).result()

    log = Log()
    _route_loggers(log)
    folder = data_dir / "journal"
    folder.mkdir(mode=0o700, exist_ok=True)
    finished, interrupted = recover(folder, save)
    if finished or interrupted:
        _log.warning(
            "the last run did not end in order: %d usage rows recovered, %d calls booked as interrupted",
            finished,
            interrupted,
        )
    for problem in loaded.warnings:
        _log.warning("%s", problem)
    spool = data_dir / "uploads"
    spool.mkdir(mode=0o700, exist_ok=True)
    for left in spool.iterdir():
        left.unlink()  # of calls that a kill ended
    retention_s = loaded.document.server.responses_retention
    return State(
        directory=Directory(time.time),
        store=store,
        usage=usage,
        ledger=_ledger(loaded, usage),
        limiter=Limiter(),
        journal=Journal(folder, save),
        pools=Pools(),
        metrics=Metrics(),
        log=log,
        health=Health(),
        responses=Responses(store, retention_s) if retention_s else None,
        spool=spool,
    )


def _people(loaded: config.Loaded, state: State, admin_key: Key) -> PeopleAdmin:
    keys = [*state.store.keys(), admin_key]
    people = PeopleAdmin(loaded, PeopleStore(state.store), state.directory, keys)
    for warning in people.serving.warnings:
        _log.warning("%s", warning)
    return people


def _ledger(loaded: config.Loaded, usage: UsageStore) -> Ledger:
    """Balances are what the rows say: nothing else is kept, so nothing else can differ from them after a restart."""
    ledger = Ledger(_tell_budget)
    ledger.continue_from(usage.highest_entry())
    now_ms = int(time.time() * 1000)
    for budget in [*budgets(loaded), *usage.budgets.load()]:
        account = ledger.open(budget, now_ms)
        balance = account.balance
        used = usage.used(budget.subject, balance.start_ms, balance.end_ms, ledger.next_entry)
        ledger.add_opening(account, used)
    return ledger


def _tell_budget(event: str, budget: Budget, balance: Balance) -> None:
    _log.warning(
        "%s: budget %s has used %s USD, %d tokens, %d requests of its period",
        event,
        budget.id,
        usd(balance.cost),
        balance.tokens,
        balance.requests,
    )


def _admin_key(path: Path) -> Key:
    """The first key of all (contract section 1). Deleting the file and starting again makes a new one."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(f"sgk_{secrets.token_urlsafe(32)}\n")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o600)
        _log.warning("%s could be read by others; its mode is 0600 again", path)
    secret = path.read_text().strip()
    if not secret.startswith("sgk_") or len(secret) < 36:
        raise CannotStart(f"{path} holds no key; delete it, and the next start makes a new one")
    return Key(
        id="apikey_admin",
        digest=digest_of(secret),
        user_id=ADMIN_USER_ID,
        name="admin.key",
        prefix=secret[:8],
        created_unix=path.stat().st_mtime,
        declared=str(path),
    )


def _route_loggers(log: Log) -> None:
    handler = LogHandler(log)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("scaigrid").setLevel(logging.INFO)
    for name in ("sanic.root", "sanic.error", "sanic.server"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.WARNING)


def _listen(listen: config.Listen) -> socket.socket:
    try:
        if listen.unix:
            return _listen_unix(listen.unix)
        family = socket.AF_INET6 if ":" in (listen.host or "") else socket.AF_INET
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((listen.host, listen.port))
    except OSError as error:
        raise CannotStart(
            f"cannot listen on {listen}: {error.strerror}; set another server.listen, or stop what uses it"
        ) from error
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def _listen_unix(path: Path) -> socket.socket:
    if path.is_socket():
        path.unlink()  # left by a killed appliance; a living one would hold the data directory's lock
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o117)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def _certificate(tls: config.Tls | None) -> Certificate | None:
    try:
        return Certificate(tls) if tls else None
    except UnusableCertificate as error:
        raise CannotStart(str(error)) from error


# -- running ----------------------------------------------------------------------------------------------------------


async def _main(
    app: Sanic[Any, Any], appliance: Appliance, listener: socket.socket, tls: ssl.SSLContext | None
) -> None:
    state, configuration = appliance.state, appliance.configuration
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, configuration.reload_soon, "SIGHUP")
    # Sanic learns from this list that HTTP/1.1 is all we serve, and then leaves an empty alt-svc header out.
    app.state.server_info.append(ApplicationServerInfo(settings={"version": HTTP.VERSION_1}))
    server = await app.create_server(sock=listener, ssl=tls, backlog=BACKLOG)
    assert server
    await server.startup()  # type: ignore[no-untyped-call]
    port = 0 if configuration.loaded.document.server.listen.unix else listener.getsockname()[1]
    gc.freeze()  # what lives as long as the process need not be looked at by every collection
    _announce(configuration.loaded, "https" if tls else "http", port)
    health_events.watch(state)
    always = (_keep(state), watch(configuration), probes.run(appliance.holder, state))
    helpers = [loop.create_task(work) for work in always]
    await stop.wait()
    for helper in helpers:
        helper.cancel()
    state.draining = True
    hurry = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, hurry.set)
    await _drain(state, hurry, configuration.loaded.document.server.drain_timeout)
    server.close()  # type: ignore[no-untyped-call]
    for connection in list(server.connections):
        connection.abort()
    await _until_empty(state, asyncio.Event(), CUT_S)
    await server.wait_closed()  # type: ignore[no-untyped-call]
    await configuration.settled()
    await state.pools.close()
    state.journal.close()
    state.store.close()
    _log.info("stopped")
    state.log.close()


async def _keep(state: State) -> None:
    """The net under the ledger: a reservation that nobody resolved is given back, and said so loudly."""
    while True:
        await asyncio.sleep(KEEP_S)
        lost = state.ledger.expire(int(time.time() * 1000))
        if lost:
            _log.error("ledger: %d reservations were never resolved and are given back; this is a fault of ours", lost)
        if state.responses:
            try:
                await state.responses.prune()
            except Exception as error:  # a full disk, say: the next round tries again
                _log.error("responses that are kept too long could not be deleted: %s", error)


async def _drain(state: State, hurry: asyncio.Event, timeout_s: float) -> None:
    """Calls in flight finish; new ones get 503 meanwhile. What is not done in time is cut, and booked as such."""
    if state.in_flight:
        _log.info(
            "draining: %d calls in flight may finish within %g s; a second signal cuts them", state.in_flight, timeout_s
        )
    await _until_empty(state, hurry, timeout_s)
    # The last answers' bytes are on their way; closing now would cut them.
    await asyncio.sleep(POLL_S)


async def _until_empty(state: State, hurry: asyncio.Event, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while state.in_flight and not hurry.is_set() and time.monotonic() < end:  # noqa: ASYNC110 - an event per call costs
        await asyncio.sleep(POLL_S)


def _announce(loaded: config.Loaded, scheme: str, port: int) -> None:
    """The three start lines (contract section 1)."""
    server = loaded.document.server
    key_file = server.data_dir / "admin.key"
    model = next((name for name, entry in loaded.document.models.items() if entry.status != "disabled"), "MODEL")
    if server.listen.unix:
        url, socket_option = "http://localhost", f"--unix-socket {server.listen.unix} "
    else:
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(server.listen.host or "", server.listen.host)
        host = f"[{host}]" if host and ":" in host and not host.startswith("[") else host
        url, socket_option = f"{scheme}://{host}:{port}", ""
    curl = "curl -s " + ("-k " if scheme == "https" else "") + socket_option
    lines = [
        f"ScaiGrid serves at {url}" + (f" ({server.listen})" if server.listen.unix else ""),
        f"Admin key: {key_file}",
        f'Try it: {curl}{url}/v1/inference/chat -H "Authorization: Bearer $(cat {key_file})" '
        f"-H 'Content-Type: application/json' "
        f'-d \'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}\'',
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
