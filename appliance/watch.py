"""watch(): reloads the configuration soon after one of its files changed, in whatever way.

Folders are watched, not files, because editors and orchestrators replace files and links instead of writing to them.
Events only say that it is time to look; what counts is whether one of the files is another one than before. So a lost
event costs a second, and an unrelated one costs nothing.
"""

from __future__ import annotations

import asyncio
import fnmatch
import glob
import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path

from watchfiles import Change, awatch

from appliance.reload import Configuration
from config.references import Unresolved, expand
from config.sources import gather

EVENTS_MS = 20
"""Events are collected for so long."""
QUIET_MS = 50
"""A file is read when it has stayed the same for so long …"""
BUSY_MS = 300
"""… or after this time, when the writing does not end."""
POLL_MS = 1000
MAX_LINKS = 40
BY = "files changed"
_FILE = re.compile(rb"\$\{file:([^}$]+)\}")
_log = logging.getLogger("scaigrid")

Prints = dict[str, tuple[int, ...]]
"""Path → what tells one content from another without reading it; empty when there is no such file."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Absolute paths that make up a configuration, and globs whose matches belong to it."""

    files: frozenset[str]
    globs: frozenset[str]

    def prints(self) -> Prints:
        found = (match for pattern in self.globs for match in glob.glob(pattern, recursive=True))
        return {path: _print(path) for path in sorted({*self.files, *found})}

    def folders(self) -> dict[str, tuple[int, ...]]:
        """Where a change may give one of the paths another content; with the identity of each folder."""
        paths = {*self.files, *self.globs}
        every = {os.path.dirname(step) for path in paths for step in _steps(path)}
        for pattern in self.globs:
            every.update(glob.glob(os.path.dirname(pattern), recursive=True))
        return {path: _print(path)[:2] for path in sorted(every) if os.path.isdir(path)}

    def names(self) -> set[str]:
        """What an entry of a folder is called if it can matter here; globs among them."""
        return {name for path in (*self.files, *self.globs) for step in _steps(path) for name in step.split(os.sep)}


async def watch(configuration: Configuration) -> None:
    """Runs until it is cancelled."""
    watcher = _Watcher(configuration)
    await watcher.begin()
    while True:
        try:
            await watcher.follow_events()
        except (OSError, RuntimeError) as error:  # no rights, no inotify watches left, no such file system
            watcher.tell_once(error)
            await asyncio.sleep(POLL_MS / 1000)
            await watcher.look()


class _Watcher:
    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._known: tuple[object, ...] = ()
        self._inputs = Inputs(frozenset(), frozenset())
        self._seen: Prints = {}
        self._told = False

    async def begin(self) -> None:
        """What was written while the appliance started is not known to it yet: then it is read again."""
        await self._take_inputs()
        since_ns = int((self._configuration.loaded_unix - 60) * 1e9)
        if any(max(print_[3:], default=0) > since_ns for print_ in self._seen.values()):
            await self._reload()

    async def follow_events(self) -> None:
        """Until there are other folders to watch."""
        folders = await asyncio.to_thread(self._inputs.folders)
        if not folders:
            raise OSError("none of its folders exists")
        names = await asyncio.to_thread(self._inputs.names)

        patterns = [name for name in names if glob.has_magic(name)]

        def matters(_: Change, path: str) -> bool:
            entry = os.path.basename(path)
            return entry in names or any(fnmatch.fnmatchcase(entry, pattern) for pattern in patterns)

        events = awatch(
            *folders,
            watch_filter=matters,
            debounce=2 * EVENTS_MS,
            step=EVENTS_MS,
            rust_timeout=POLL_MS,
            yield_on_timeout=True,
            recursive=False,
            ignore_permission_denied=True,
        )
        async with aclosing(events):
            begun = asyncio.ensure_future(anext(events))  # noqa: TID251 - awaited below
            try:
                await asyncio.sleep(0)  # now the folders are watched
                await self.look()  # for what happened before
                changes = await begun
            finally:
                begun.cancel()
                await asyncio.wait([begun])  # the generator cannot be closed while it runs
            while True:
                await self.look()
                # `changes` is empty when there was none for a while
                if changes and await asyncio.to_thread(self._inputs.folders) != folders:
                    return
                changes = await anext(events)

    async def look(self) -> None:
        now = await asyncio.to_thread(self._inputs.prints)
        if now != self._seen:
            self._seen = await self._quiet(now)
            await self._reload()
        elif self._known != self._state_of():  # somebody else has reloaded
            await self._take_inputs()

    async def _quiet(self, now: Prints) -> Prints:
        for _ in range(BUSY_MS // QUIET_MS):
            before = now
            await asyncio.sleep(QUIET_MS / 1000)
            now = await asyncio.to_thread(self._inputs.prints)
            if now == before:
                break
        return now

    async def _reload(self) -> None:
        with suppress(Exception):  # the log and GET /v1/config tell; the next change is the next try
            await self._configuration.reload(BY)
        await self._take_inputs()

    async def _take_inputs(self) -> None:
        self._known = self._state_of()
        self._inputs = await asyncio.to_thread(_inputs, self._configuration)
        found = await asyncio.to_thread(self._inputs.prints)
        unread = await asyncio.to_thread(self._unread, [path for path in found if path not in self._seen])
        # A path that was known keeps what it was read as, and one that has changed since it was read gets no print at
        # all: the next look finds either.
        self._seen = {path: () if path in unread else self._seen.get(path, found[path]) for path in found}

    def _unread(self, paths: Iterable[str]) -> set[str]:
        """Those of them that do not hold any more what serves. What a refused load read is not known."""
        if self._configuration.problems:
            return set()
        contents = self._configuration.loaded.contents
        return {path for path in paths if Path(path) in contents and _bytes(path) != contents[Path(path)]}

    def _state_of(self) -> tuple[object, ...]:
        return self._configuration.loaded, self._configuration.problems

    def tell_once(self, error: Exception) -> None:
        if not self._told:
            self._told = True
            _log.warning("the configuration's folders cannot be watched (%s); they are looked at every second", error)


def _bytes(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except OSError:
        return None


def _inputs(configuration: Configuration) -> Inputs:
    """Of what serves, and, when a load was refused, of what it tried to read: a file that is missing may come."""
    loaded, path = configuration.loaded, os.path.abspath(configuration.path)
    tls = loaded.document.server.tls
    files = {path, *map(str, loaded.files), *((str(tls.certificate), str(tls.key)) if tls else ())}
    globs = {os.path.join(os.path.dirname(path), pattern) for pattern in loaded.document.include}
    if configuration.problems:
        for wanted in _wanted(configuration.path):
            (globs if glob.has_magic(wanted) else files).add(wanted)
    return Inputs(frozenset(files), frozenset(globs))


def _wanted(path: Path) -> Iterator[str]:
    """Paths that a refused configuration names, as far as it can be read."""
    sources = gather(str(path), os.environ)
    for file, content in sources.files.items():
        yield str(file)
        for match in _FILE.finditer(content):
            yield str(file.parent / os.fsdecode(match[1]))
    root = sources.root
    include = root.value.get("include") if root and isinstance(root.value, dict) else None
    nodes = list(include.value) if include and isinstance(include.value, list) else []
    nodes += [root.find(("server", "tls", key))[0] for key in ("certificate", "key")] if root else []
    for node in nodes:
        if isinstance(node.value, str):
            with suppress(Unresolved):
                folder = path.absolute().parent
                yield str(folder / expand(node.value, folder, os.environ, {}))


def _print(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _steps(path: str) -> Iterator[str]:
    """The path, and every link on the way to what it means: each may be replaced."""
    for _ in range(MAX_LINKS):
        yield path
        link = _first_link(path)
        if link is None:
            return
        yield link
        with suppress(OSError):
            target = os.path.join(os.path.dirname(link), os.readlink(link))
            path = os.path.normpath(target + path[len(link) :])


def _first_link(path: str) -> str | None:
    parts = path.split(os.sep)
    steps = (os.sep.join(parts[:end]) for end in range(2, len(parts) + 1))
    return next((step for step in steps if os.path.islink(step)), None)
