"""find(): where the appliance is and which key to use: from flags, then environment, then the data directory.

It must not read the configuration when URL and key are given otherwise: the YAML of another machine is not here.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import config

URL_VARIABLE, KEY_VARIABLE = "SCAIGRID_URL", "SCAIGRID_API_KEY"
DEFAULT_CONFIG = Path("scaigrid.yaml")


class ClientError(Exception):
    """Why the appliance could not be asked, or what it answered instead of a result: always one readable line."""

    def __init__(self, message: str, *, code: str = "", status: int = 0, request_id: str = "") -> None:
        super().__init__(" ".join(message.split()))
        self.code = code
        self.status = status
        self.request_id = request_id


@dataclass(frozen=True, slots=True)
class Place:
    """Where an appliance listens, and the key to show it. `url` has no slash at its end."""

    url: str
    unix: Path | None = None
    key: str = field(default="", repr=False)
    key_source: str = ""

    def __str__(self) -> str:
        return f"unix:{self.unix}" if self.unix else self.url

    @property
    def is_here(self) -> bool:
        """On this machine: its certificate may be self-signed, and the admin key may be sent to it."""
        return self.unix is not None or _is_loopback(urlsplit(self.url).hostname or "")


def find(
    url: str = "", key: str = "", config_file: Path = DEFAULT_CONFIG, environ: Mapping[str, str] | None = None
) -> Place:
    """The appliance to talk to. Raises ClientError when that cannot be told."""
    environ = os.environ if environ is None else environ
    written = url or environ.get(URL_VARIABLE, "")
    place = parse_url(written, "--url" if url else URL_VARIABLE) if written else None
    secret, source = (key, "--key") if key else (environ.get(KEY_VARIABLE, ""), KEY_VARIABLE)
    if place is None or not secret:
        lacking = "where the appliance is" if place is None else "which key to use"
        server = _server(config_file, lacking)
        if not secret:
            secret, source = _admin_key(server, place)
        place = place or _place_of(server, config_file)
    return Place(place.url, place.unix, _checked(secret, source), source)


def parse_url(text: str, origin: str) -> Place:
    """`http://host:8000`, `https://host/prefix`, `host:8000` or `unix:/path`."""
    if text.startswith("unix:"):
        return Place("http://localhost", Path(text.removeprefix("unix:")).expanduser().absolute())
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and text.isprintable()
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or parts.username or " " in text:
        raise ClientError(f"{origin}: {text!r} is no URL such as http://127.0.0.1:8000 or unix:/run/scaigrid.sock")
    return Place(f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/"))


def _server(config_file: Path, lacking: str) -> config.Server:
    import config  # only now: it costs a quarter of a second, and most scripts give URL and key

    try:
        return config.load(config_file).document.server
    except config.ConfigError as error:
        more = f" (and {len(error.problems) - 1} more: scaigrid check)" if len(error.problems) > 1 else ""
        raise ClientError(
            f"cannot tell {lacking}: {error.problems[0]}{more}; "
            f"give --url and --key, or {URL_VARIABLE} and {KEY_VARIABLE}, or -c FILE"
        ) from None


def _place_of(server: config.Server, config_file: Path) -> Place:
    scheme = "https" if server.tls else "http"
    listen = server.listen
    if listen.unix:
        return Place(f"{scheme}://localhost", listen.unix)
    if not listen.port:
        raise ClientError(f"{config_file} lets the appliance listen on any free port; give --url or {URL_VARIABLE}")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host or "", listen.host or "127.0.0.1")
    return Place(f"{scheme}://{f'[{host}]' if ':' in host else host}:{listen.port}")


def _admin_key(server: config.Server, place: Place | None) -> tuple[str, str]:
    """The key that the first start wrote. It opens everything, so it goes to no machine but the one it was made on."""
    path = server.data_dir / "admin.key"
    if place and not place.is_here and place.url.split("://")[1] != str(server.listen):
        raise ClientError(
            f"no key for {place}: give --key or {KEY_VARIABLE} (the admin key in {path} is sent to this machine only)"
        )
    try:
        return path.read_text().strip(), str(path)
    except FileNotFoundError:
        reason = "it does not exist; the first `scaigrid serve` writes it"
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
    raise ClientError(f"cannot read the admin key {path}: {reason}; or give --key or {KEY_VARIABLE}")


def _checked(secret: str, source: str) -> str:
    """A stray line break or letter of another script would end in the HTTP client, far from where it was written."""
    stripped = secret.strip()
    if not stripped.isascii() or not stripped.isprintable() or not stripped or " " in stripped:
        raise ClientError(f"the key from {source} is no API key: one word of letters, digits, `_` and `-` is due")
    return stripped


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
