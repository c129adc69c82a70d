"""Expands `${env:NAME}`, `${env:NAME:-default}` and `${file:PATH}` in a text. What they give is never in a message."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from config.problems import meant, shown

MAX_FILE = 1_000_000
"""Bytes that a `${file:…}` may hold."""

SCHEMES = ("env", "file")

_PIECE = re.compile(r"\$\$\{|\$\{([A-Za-z]+):([^}]*)\}|\$\{")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Unresolved(Exception):
    """A reference that gives no text; `missing` names the environment variable that is not set, if that is why."""

    def __init__(self, message: str, hint: str = "", missing: str | None = None) -> None:
        super().__init__(message)
        self.message, self.hint, self.missing = message, hint, missing


def expand(text: str, folder: Path, environ: Mapping[str, str], files: dict[Path, bytes]) -> str:
    """The text with every reference replaced; files that were read are noted in `files`."""

    def piece(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        if match[1] is None:
            raise Unresolved("`${` begins no reference", "write `${env:NAME}`, or `$${` for the two characters")
        return _resolve(match[1], match[2], folder, environ, files)

    return _PIECE.sub(piece, text)


def _resolve(scheme: str, rest: str, folder: Path, environ: Mapping[str, str], files: dict[Path, bytes]) -> str:
    if "${" in rest:
        raise Unresolved("references do not stand inside each other", "use one environment variable")
    if scheme == "env":
        return _environment(rest, environ)
    if scheme == "file":
        return _file(rest, folder, files)
    if scheme == "secret":
        raise Unresolved("`${secret:…}` is not served by this version", "use `${env:NAME}` or `${file:PATH}`")
    known = "the schemes are " + " and ".join(f"`{name}`" for name in SCHEMES)
    raise Unresolved(f"a reference has the unknown scheme {shown(scheme)}", meant(scheme, SCHEMES, known))


def _environment(rest: str, environ: Mapping[str, str]) -> str:
    name, has_default, default = rest.partition(":-")
    if not _NAME.fullmatch(name):
        raise Unresolved("a `${env:…}` holds no variable's name", "write `${env:NAME}` or `${env:NAME:-default}`")
    value = environ.get(name, "")
    if has_default:
        return value or default
    if name not in environ:
        hint = f"set it, or write `${{env:{name}:-default}}`"
        raise Unresolved(f"the environment variable {shown(name)} is not set", hint, missing=name)
    return value


def _file(rest: str, folder: Path, files: dict[Path, bytes]) -> str:
    path = folder / rest
    hint = "a relative path is relative to the folder of the file it stands in"
    try:
        if not path.is_file():
            raise Unresolved(f"the file {shown(rest)} of a `${{file:…}}` does not exist", hint)
        with path.open("rb") as stream:
            content = stream.read(MAX_FILE + 1)
    except (OSError, ValueError):
        raise Unresolved(f"the file {shown(rest)} of a `${{file:…}}` cannot be read", hint) from None
    if len(content) > MAX_FILE:
        raise Unresolved(f"the file {shown(rest)} of a `${{file:…}}` is larger than {MAX_FILE} bytes")
    files[path.absolute()] = content
    try:
        return content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise Unresolved(f"the file {shown(rest)} of a `${{file:…}}` is not UTF-8 text") from None
