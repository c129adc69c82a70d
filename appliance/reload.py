"""Configuration: what serves, and how another one takes its place: load → check → compile → provision → swap → retire.

Whatever goes wrong before the swap leaves everything as it was. The swap itself is one piece on the loop without an
await, so that no request sees a mix of two configurations.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import ssl
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import config
from appliance.config_changes import changes, needs_restart, without_restart
from appliance.declared_budgets import abandon, prepare, put_in_force
from appliance.errors import GatewayError
from appliance.exchange import Key
from appliance.grid.compile import budgets, compile_grid
from appliance.grid.grid import Grid
from appliance.limits import Budget
from appliance.people_admin import Census, PeopleAdmin
from appliance.state import State
from appliance.tls import Certificate, UnusableCertificate, read
from config.sources import gather

LARGE = 10_000
"""Entries of a configuration from which on the garbage collector leaves it alone."""
LOGGED = 20
"""Changes that are written out in the log."""
_log = logging.getLogger("scaigrid")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reload did. `restart_needed` are the keys of `server:` whose new value waits for the next start."""

    generation: int
    changed: bool
    changes: list[str]
    restart_needed: list[str]


@dataclass(frozen=True, slots=True)
class _Compiled:
    census: Census
    grid: Grid
    budgets: list[Budget]


class Configuration:
    """One for the whole process."""

    def __init__(
        self,
        path: Path,
        loaded: config.Loaded,
        state: State,
        people: PeopleAdmin,
        keys: Callable[[], Iterable[Key]],
        certificate: Certificate | None = None,
    ) -> None:
        """`keys` gives those that the YAML does not declare."""
        self.path = path
        self.loaded = loaded
        self.loaded_unix = time.time()
        self.problems: tuple[config.Problem, ...] = ()
        """Of the last refused load; the next good one clears them."""
        self.changes: list[str] = []
        """What the generation that serves has changed, and who or what brought it."""
        self.changed_by = "start"
        self.restart_needed: list[str] = []
        self._state = state
        self._people = people
        self._keys = keys
        self._certificate = certificate
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[object]] = set()
        people.on_retired = self._close_unused

    @property
    def generation(self) -> int:
        return self._people.holder.current.grid.generation

    @property
    def failures(self) -> int:
        return self._people.holder.refused

    # -- from outside; each runs to its end even when the caller hangs up --

    async def reload(self, by: str) -> Outcome:
        """Read the files again. Raises ConfigError, and GatewayError when usage rows cannot be summed up now."""
        return await asyncio.shield(self._task(self._reload(by)))

    async def apply(self, loaded: config.Loaded, by: str) -> Outcome:
        """The same for a configuration that the caller has loaded and checked already."""
        return await asyncio.shield(self._task(self._apply(loaded, by)))

    async def edit(self, make: Callable[[config.Loaded], Iterable[config.Change]], by: str) -> Outcome:
        """Change the files themselves, and follow them. `make` gets what serves and gives the changes.

        Nothing is written that cannot be used: raises ConfigError for a change that would make the configuration wrong,
        EditRefused, and EditConflict when somebody else changed a file that does not serve yet.
        """
        return await asyncio.shield(self._task(self._edit(make, by)))

    def reload_soon(self, by: str) -> None:
        """For signals: nobody waits for it; the log says what came of it."""
        self._task(self._reload(by)).add_done_callback(lambda done: done.cancelled() or done.exception())

    async def settled(self) -> None:
        """Nothing of it is under way any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _task(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _reload(self, by: str) -> Outcome:
        async with self._lock:
            try:
                with _without_collector():
                    loaded = await asyncio.to_thread(config.load, self.path)
                    outcome = await self._follow(loaded, by)
            except config.ConfigError as error:
                self._refuse(error.problems, by)
                raise
            except Exception as fault:
                self._refuse((self._unforeseen(fault),), by)
                raise
            self.problems = ()
            return outcome

    async def _apply(self, loaded: config.Loaded, by: str) -> Outcome:
        async with self._lock:
            with _without_collector():
                return await self._follow(loaded, by)

    async def _edit(self, make: Callable[[config.Loaded], Iterable[config.Change]], by: str) -> Outcome:
        async with self._lock:
            loaded, texts = await asyncio.to_thread(self._draft, make)
            # Written before it serves: what serves is in the file, whatever happens in between.
            await asyncio.to_thread(config.write, texts, self.loaded)
            outcome = await self._follow(loaded, by)
            self.problems = ()
            return outcome

    def _draft(self, make: Callable[[config.Loaded], Iterable[config.Change]]) -> tuple[config.Loaded, dict[Path, str]]:
        """The files as they would be, read and checked like any others."""
        if others := config.changed_on_disk(self.loaded):
            names = ", ".join(sorted(str(path) for path in others))
            raise config.EditConflict(f"{names} was changed by somebody else and does not serve yet", "reload first")
        texts = config.edited(self.loaded, make(self.loaded))
        return config.load(self.path, texts=texts), texts

    # -- another configuration --

    async def _follow(self, loaded: config.Loaded, by: str) -> Outcome:
        wanted, serving = loaded.document.server, self.loaded.document.server
        waiting = needs_restart(serving, wanted)
        effective = replace(
            loaded, document=loaded.document.model_copy(update={"server": without_restart(serving, wanted)})
        )
        renewed = await asyncio.to_thread(self._renewed_certificate, effective.document.server.tls)
        told = ["server.tls: another certificate"] if renewed else []
        is_new = (loaded.hash, loaded.files) != (self.loaded.hash, self.loaded.files)
        if is_new:
            told += await asyncio.to_thread(changes, self.loaded.document, effective.document)
            await self._replace(effective)
        if renewed and self._certificate:
            self._certificate.put(*renewed)
        if is_new or renewed:
            self.changes, self.changed_by = told, by
            self._log_changes(by, told, effective if is_new else None)
        for key in waiting if waiting != self.restart_needed else ():
            _log.warning("configuration: %s takes effect at the next start; until then the old value holds", key)
        self.restart_needed = waiting
        return Outcome(self.generation, is_new or bool(renewed), told, waiting)

    async def _replace(self, loaded: config.Loaded) -> None:
        state, people = self._state, self._people
        async with people.standstill, state.usage.budgets.changing:
            compiled = await asyncio.to_thread(self._compiled, loaded, self.generation + 1)
            plan = await prepare(state, compiled.budgets)
            # From here on there is no await: all of it changes, or nothing does.
            try:
                people.follow(compiled.census, compiled.grid)
            except BaseException:
                abandon(state.ledger, plan)
                raise
            put_in_force(state.ledger, plan)
            self.loaded = loaded
            self.loaded_unix = time.time()
            if len(loaded.places) > LARGE:
                gc.freeze()  # a collection that looks at all of it would stop every call for a second

    def _compiled(self, loaded: config.Loaded, generation: int) -> _Compiled:
        census = self._people.census(loaded, self._keys())
        return _Compiled(census, compile_grid(loaded, generation, census.serving.overlay()), budgets(loaded))

    def _renewed_certificate(self, tls: config.Tls | None) -> tuple[ssl.SSLContext, str] | None:
        """The certificate that is to follow, when it is another one. Raises ConfigError."""
        if tls is None or self._certificate is None:
            return None
        try:
            context, digest = read(tls)
        except UnusableCertificate as error:
            raise config.ConfigError([self._problem_at(("server", "tls"), str(error))]) from error
        return (context, digest) if digest != self._certificate.digest else None

    # -- what is told --

    def _log_changes(self, by: str, told: list[str], loaded: config.Loaded | None) -> None:
        more = f"; and {len(told) - LOGGED} more" if len(told) > LOGGED else ""
        what = "; ".join(told[:LOGGED]) + more or "nothing that shows"
        _log.info("configuration: generation %d serves (%s): %s", self.generation, by, what)
        for warning in loaded.warnings if loaded else ():
            _log.warning("%s", warning)
        for line in self._people.serving.warnings if loaded else ():
            _log.warning("%s", line)

    def _refuse(self, problems: tuple[config.Problem, ...], by: str) -> None:
        self.problems = problems
        self._people.holder.refused += 1
        _log.error(
            "configuration refused (%s), generation %d serves on; problems: %d", by, self.generation, len(problems)
        )
        for problem in problems:
            _log.error("%s", problem)

    def _unforeseen(self, fault: Exception) -> config.Problem:
        if isinstance(fault, GatewayError):
            return self._problem_at((), fault.message)
        _log.error("the configuration could not be replaced, on a fault of ours", exc_info=fault)
        return self._problem_at((), f"a fault of the gateway, not of this file: {fault!r}; the log has more")

    def _problem_at(self, path: tuple[str, ...], message: str) -> config.Problem:
        root = gather(str(self.path), os.environ).root if path else None
        if root is None:
            return config.Problem(str(self.path), 1, 1, message)
        place = root.find(path)[1]
        return config.Problem(place.file, place.line, place.column, message)

    # -- after the swap --

    def _close_unused(self) -> None:
        """The last request of an old Grid has left: connections that no living Grid can ask for are closed."""
        grids = self._people.holder.living()
        used = {(name, endpoint.connect_s) for grid in grids for name, endpoint in grid.endpoints.items()}
        self._task(self._state.pools.keep_only(used))


@contextmanager
def _without_collector() -> Iterator[None]:
    """A large configuration makes millions of objects, none of them garbage: looking through them, again and again,
    would double the time and stop every call for a second each."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
