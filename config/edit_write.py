"""write(): new texts become the files, each whole or not at all, whenever the appliance is killed."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from config.edit_change import EditConflict, EditRefused
from config.edit_diff import content_of
from config.load import Loaded

REMEDIES = {
    errno.EROFS: "the file system is read-only: edit the file where it comes from, then reload",
    errno.EBUSY: "the file is a mount of its own: mount its folder instead",
    errno.ENOSPC: "the disk is full: make room",
    errno.EDQUOT: "the disk quota is used up: make room",
}
"""Error → what to do; for all others the rights are to be checked."""


def write(texts: Mapping[Path, str], loaded: Loaded) -> None:
    """Replaces the files by their new texts; raises EditRefused, with nothing changed, when one cannot be replaced.

    Links stay and their targets are replaced. Mode and owner stay. A file that changed since it was loaded stops all.
    """
    targets = {Path(os.path.realpath(file)): (file, text.encode("utf-8")) for file, text in texts.items()}
    waiting = dict[Path, str]()
    try:
        for target, (_, content) in targets.items():
            waiting[target] = _temporary(target, content)
        for file in texts:
            if content_of(file) != loaded.contents.get(file):
                raise EditConflict(f"`{file}` was changed by somebody else meanwhile", "look at it, then retry")
        _rename(waiting, {target: loaded.contents[file] for target, (file, _) in targets.items()})
    finally:
        for name in waiting.values():
            with suppress(OSError):  # what was renamed is gone
                os.unlink(name)


def _temporary(target: Path, content: bytes) -> str:
    """A file beside the target with all of the content on disk. Its name is one that no include matches by `*`."""
    name = ""
    try:
        like = target.stat()
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            made = os.fstat(stream.fileno())
            if (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid):
                os.fchown(stream.fileno(), like.st_uid, like.st_gid)
            os.fchmod(stream.fileno(), like.st_mode & 0o7777)  # after the owner, whose change would drop bits of it
            os.fsync(stream.fileno())
    except OSError as error:
        if name:
            os.unlink(name)
        raise _refused(target, error) from None
    return name


def _rename(waiting: Mapping[Path, str], before: Mapping[Path, bytes]) -> None:
    done = list[Path]()
    try:
        for target, name in waiting.items():
            os.replace(name, target)
            done.append(target)
    except OSError as error:
        for replaced in done:
            with suppress(OSError):  # what cannot be put back is still a whole file
                os.replace(_temporary(replaced, before[replaced]), replaced)
        raise _refused(target, error) from None
    for folder in {target.parent for target in waiting}:
        _sync(folder)


def _sync(folder: Path) -> None:
    """The folder's own record of the rename; some file systems refuse, and need none."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _refused(target: Path, error: OSError) -> EditRefused:
    reason = error.strerror or type(error).__name__
    remedy = REMEDIES.get(error.errno or 0, f"give the appliance's user the right to write in `{target.parent}`")
    return EditRefused(f"`{target}` cannot be replaced: {reason}", remedy)
