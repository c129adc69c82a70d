"""Files are replaced whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

import config
from config import EditConflict, EditRefused, Loaded, write

OLD = "version: 1\ninclude: [conf.d/*]\n"
MORE = "providers:\n  demo: {type: demo}\n"


@pytest.fixture
def loaded(folder: Path) -> Loaded:
    (folder / "conf.d").mkdir()
    (folder / "conf.d" / "more.yaml").write_text(MORE, encoding="utf-8")
    (folder / "scaigrid.yaml").write_text(OLD, encoding="utf-8")
    return config.load("scaigrid.yaml", {})


def both(folder: Path) -> dict[Path, str]:
    return {folder / "scaigrid.yaml": "# 1\r\n" + OLD, folder / "conf.d" / "more.yaml": "\ufeff# é\n" + MORE}


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_every_file_gets_its_text_byte_for_byte(loaded: Loaded, folder: Path) -> None:
    write(both(folder), loaded)
    for file, text in both(folder).items():
        assert file.read_bytes() == text.encode("utf-8")
    assert names(folder) == {"scaigrid.yaml", "conf.d", "conf.d/more.yaml"}


def test_mode_owner_and_link_stay(loaded: Loaded, folder: Path) -> None:
    target = folder / "conf.d" / "more.yaml"
    real = folder / "real.yaml"
    target.rename(real)
    target.symlink_to("../real.yaml")
    real.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(real, 12345, 23456)
    before = real.stat()
    write({target: MORE + "# new\n"}, loaded)
    after = real.stat()
    assert target.is_symlink()
    assert real.read_text(encoding="utf-8") == MORE + "# new\n"
    assert stat.S_IMODE(after.st_mode) == 0o640
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino


def test_a_file_that_changed_meanwhile_stops_all(loaded: Loaded, folder: Path) -> None:
    (folder / "conf.d" / "more.yaml").write_text(MORE + "# somebody else\n", encoding="utf-8")
    with pytest.raises(EditConflict, match=r"more\.yaml` was changed by somebody else meanwhile \(look at it"):
        write(both(folder), loaded)
    assert (folder / "scaigrid.yaml").read_text(encoding="utf-8") == OLD
    assert names(folder) == {"scaigrid.yaml", "conf.d", "conf.d/more.yaml"}


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "give the appliance's user the right to write in"),
        (errno.ENOSPC, "the disk is full"),
    ],
)
def test_a_folder_that_cannot_be_written_is_refused(
    loaded: Loaded, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("config.edit_write.tempfile.mkstemp", refuse)
    with pytest.raises(EditRefused) as caught:
        write(both(folder), loaded)
    assert "scaigrid.yaml` cannot be replaced: " + os.strerror(number) in str(caught.value)
    assert remedy in caught.value.hint
    assert (folder / "scaigrid.yaml").read_text(encoding="utf-8") == OLD


def test_a_rename_that_fails_puts_back_what_was_renamed(
    loaded: Loaded, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def second_fails(source: str, target: Path) -> None:
        if target.name == "more.yaml":
            raise OSError(errno.EBUSY, "busy")
        replace(source, target)

    monkeypatch.setattr("config.edit_write.os.replace", second_fails)
    with pytest.raises(EditRefused, match="mount its folder instead"):
        write(both(folder), loaded)
    assert (folder / "scaigrid.yaml").read_text(encoding="utf-8") == OLD
    assert (folder / "conf.d" / "more.yaml").read_text(encoding="utf-8") == MORE
    assert names(folder) == {"scaigrid.yaml", "conf.d", "conf.d/more.yaml"}


def test_a_file_that_is_gone_is_refused(loaded: Loaded, folder: Path) -> None:
    (folder / "scaigrid.yaml").unlink()
    with pytest.raises(EditRefused, match="No such file"):
        write(both(folder), loaded)


WRITER = """
import sys, config
from pathlib import Path
file = Path("scaigrid.yaml").absolute()
print("ready", flush=True)
for number in range(10**9):
    config.write({file: f"version: 1\\n# {number}\\n" + "# filler\\n" * 20000}, config.load("scaigrid.yaml", {}))
"""


def test_killed_at_any_moment_the_file_is_whole(folder: Path) -> None:
    root = Path(config.__file__).parents[1]
    filler = "# filler\n" * 20000
    (folder / "scaigrid.yaml").write_text("version: 1\n# 0\n" + filler, encoding="utf-8")
    for after in (0.02, 0.05, 0.09):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER], env={"PYTHONPATH": str(root)}, stdout=subprocess.PIPE
        ) as made:
            assert made.stdout
            made.stdout.readline()
            time.sleep(after)
            made.send_signal(signal.SIGKILL)
        head, number, rest = (folder / "scaigrid.yaml").read_text(encoding="utf-8").split("\n", 2)
        assert (head, number[:2], rest) == ("version: 1", "# ", filler)
        assert config.load("scaigrid.yaml", {}).document.version == 1
