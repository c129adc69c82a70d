"""Each way of changing a file is noticed, what is no change is not, and a lost event costs a second."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest

import config
from appliance import watch as module
from appliance.reload import Configuration
from appliance.watch import Inputs, watch

PLAIN = """version: 1
include: ["conf.d/*.yaml"]
providers: {one: {type: custom, base_url: "http://one.test", api_key: "${file:secrets/one.key}"}}
models: {m: {price: free, route: [{backend: "one:x"}]}}
"""


class Watched:
    """Stands for a Configuration: reloads are counted and really load."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "scaigrid.yaml"
        (folder / "conf.d").mkdir()
        (folder / "secrets").mkdir()
        (folder / "secrets" / "one.key").write_text("first\n")
        self.path.write_text(PLAIN)
        self.loaded = config.load(self.path)
        self.loaded_unix = 4e9  # nothing is newer than that
        self.problems: tuple[config.Problem, ...] = ()
        self.reloads = 0

    async def reload(self, by: str) -> None:
        assert by
        self.reloads += 1
        try:
            self.loaded, self.problems = config.load(self.path), ()
        except config.ConfigError as error:
            self.problems = error.problems
            raise

    async def reloaded(self, seconds: float = 2.0) -> int:
        """How many there were, once it is quiet after at least one."""
        async with asyncio.timeout(seconds):
            while not self.reloads:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        count, self.reloads = self.reloads, 0
        return count


@contextlib.asynccontextmanager
async def watching(watched: Watched) -> AsyncIterator[None]:
    task = asyncio.ensure_future(watch(cast(Configuration, watched)))
    try:
        await asyncio.sleep(0.2)
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert task.cancelled(), "it ends when it is told to"


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    made = Watched(tmp_path)
    async with watching(made):
        yield made


def write(path: Path, text: str) -> None:
    path.write_text(text)


def replace(path: Path, text: str) -> None:
    new = path.with_suffix(".tmp")
    new.write_text(text)
    new.replace(path)


def recreate_folder(path: Path, text: str) -> None:
    aside = path.parent.with_name("aside")
    path.parent.rename(aside)
    path.parent.mkdir()
    path.write_text(text)


CHANGES: dict[str, tuple[str, Callable[[Path, str], None]]] = {
    "written": ("scaigrid.yaml", write),
    "replaced": ("scaigrid.yaml", replace),
    "secret written": ("secrets/one.key", write),
    "secret replaced": ("secrets/one.key", replace),
    "another folder": ("secrets/one.key", recreate_folder),
}


@pytest.mark.parametrize("how", CHANGES)
async def test_a_change_is_one_reload(watched: Watched, how: str) -> None:
    name, change = CHANGES[how]
    for number in range(2):
        change(watched.folder / name, f"{PLAIN}# {number}\n" if name.endswith(".yaml") else f"key-{number}\n")
        assert await watched.reloaded() == 1
        if change is recreate_folder:
            break


async def test_many_writes_in_a_row_are_few_reloads(watched: Watched) -> None:
    for number in range(20):
        watched.path.write_text(f"{PLAIN}# {number}\n")
        await asyncio.sleep(0.01)
    assert await watched.reloaded() <= 2


async def test_included_files_come_and_go(watched: Watched) -> None:
    more = watched.folder / "conf.d" / "more.yaml"
    more.write_text("models: {n: {price: free, route: [{backend: 'one:y'}]}}\n")
    assert await watched.reloaded() == 1
    assert "n" in watched.loaded.document.models
    more.unlink()
    assert await watched.reloaded() == 1
    assert "n" not in watched.loaded.document.models


async def test_other_files_do_not_count(watched: Watched) -> None:
    (watched.folder / "log.txt").write_text("a line\n")
    (watched.folder / "other.yaml").write_text("models: {}\n")
    (watched.folder / "conf.d" / "notes.txt").write_text("a line\n")
    await asyncio.sleep(1.3)
    assert watched.reloads == 0


def problems(watched: Watched) -> int:
    return len(watched.problems)


async def test_a_file_that_a_refused_configuration_misses_is_waited_for(watched: Watched) -> None:
    watched.path.write_text(PLAIN.replace("secrets/one.key", "later/two.key").replace("conf.d/*.yaml", "later/x.yaml"))
    assert await watched.reloaded() == 1
    assert problems(watched) == 2
    (watched.folder / "later").mkdir()
    (watched.folder / "later" / "x.yaml").write_text("models: {}\n")
    assert await watched.reloaded() == 1
    assert problems(watched) == 1
    (watched.folder / "later" / "two.key").write_text("late\n")
    assert await watched.reloaded() == 1
    assert problems(watched) == 0


async def test_what_somebody_else_loaded_is_watched_from_then_on(watched: Watched) -> None:
    watched.path.write_text(PLAIN.replace("secrets/one.key", "other.key"))
    (watched.folder / "other.key").write_text("one\n")
    await watched.reload("the API")
    await watched.reloaded()
    (watched.folder / "other.key").write_text("two\n")
    assert await watched.reloaded() == 1


async def test_a_new_file_that_is_written_again_right_after_it_was_read_is_read_again(tmp_path: Path) -> None:
    """It has no print yet that could differ, and its folder was not watched when it changed."""
    key = tmp_path / "elsewhere" / "more.key"
    key.parent.mkdir()
    key.write_text("first\n")

    class Hasty(Watched):
        async def reload(self, by: str) -> None:
            await super().reload(by)
            if self.reloads == 1:
                key.write_text("again\n")

    watched = Hasty(tmp_path)
    async with watching(watched):
        watched.path.write_text(PLAIN.replace("secrets/one.key", "elsewhere/more.key"))
        async with asyncio.timeout(4):
            while watched.loaded.contents.get(key) != b"again\n":  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_where_watching_is_impossible_it_looks_every_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def impossible(*_: object, **__: object) -> Any:
        raise OSError("no inotify watches left")

    monkeypatch.setattr(module, "awatch", impossible)
    watched = Watched(tmp_path)
    async with watching(watched):
        watched.path.write_text(f"{PLAIN}# changed\n")
        assert await watched.reloaded(3) == 1
        await asyncio.sleep(1.2)
    assert caplog.text.count("no inotify watches left") == 1


async def test_what_was_written_while_the_appliance_started_is_read(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.loaded_unix = watched.path.stat().st_mtime
    async with watching(watched):
        assert await watched.reloaded() == 1


def test_folders_are_those_of_every_link_on_the_way(tmp_path: Path) -> None:
    for name in ("live", "release-1/etc", "store"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "store" / "real.yaml").write_text("")
    (tmp_path / "release-1" / "etc" / "scaigrid.yaml").symlink_to("../../store/real.yaml")
    (tmp_path / "live" / "current").symlink_to(tmp_path / "release-1")
    path = tmp_path / "live" / "current" / "etc" / "scaigrid.yaml"
    found = Inputs(frozenset({str(path)}), frozenset()).folders()
    wanted = {"live", "live/current/etc", "release-1/etc", "store"}
    assert {str(tmp_path / name) for name in wanted} <= set(found)


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    inputs = Inputs(frozenset({str(tmp_path / "a")}), frozenset())
    assert list(inputs.folders()) == [str(tmp_path)]
    assert inputs.prints() == {str(tmp_path / "a"): ()}
