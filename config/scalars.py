"""The written forms of single values: durations, sizes, money, names, addresses, URLs, paths, points in time.

Every type here reads text as it stands in the YAML and says what is wrong without repeating what may be secret.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PlainValidator, StringConstraints, ValidationInfo, WithJsonSchema

from config.nodes import kind
from config.problems import flaw

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
NANO = 10**9
"""Nano-USD in one USD."""

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)")
_SIZE = re.compile(r"([0-9]{1,12})(B|KB|MB|GB|KiB|MiB|GiB)")
_MONEY = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,9}))?")
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252})")
_LISTEN = re.compile(r"(?:\[([^\]]*)\]|([^:\[\]]*)):([0-9]{1,5})")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_OWN_HEADERS = {"host", "content-length", "transfer-encoding", "connection", "content-type", "content-encoding"}
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
MAX_SOCKET_PATH = 107


def setting(as_written: Any, meaning: str, *, secret: bool = False) -> Any:
    """A field with a default that is written and read as in the YAML; a secret one stays out of repr."""
    return Field(default=as_written, validate_default=True, description=meaning, repr=not secret)


def _form(name: str, pattern: str) -> WithJsonSchema:
    """What editors check: the pattern, or anything that holds a reference."""
    return WithJsonSchema({"type": "string", "pattern": rf"^(?:{pattern})$|\$\{{", "x-form": name})


def _due(value: object, what: str, example: str) -> str:
    if not isinstance(value, str):
        raise flaw(f"{what} is due, found {kind(value)}", f"write it like {example}")
    return value


def read_duration(value: object) -> float:
    text = _due(value, "a duration", "`30s`")
    match = _DURATION.fullmatch(text)
    if not match:
        raise flaw("{} is no duration", "write a number and one of ms, s, m, h, like `500ms` or `10m`", text)
    return float(match[1]) * SECONDS[match[2]]


def read_time_limit(value: object) -> float:
    seconds = read_duration(value)
    if seconds <= 0:
        raise flaw("this duration must be longer than nothing", "write it like `30s`")
    return seconds


def read_size(value: object) -> int:
    text = _due(value, "a size", "`20MB`")
    match = _SIZE.fullmatch(text)
    if not match or not int(match[1]):
        raise flaw("{} is no size", f"write a whole number and one of {', '.join(BYTES)}, like `20MB`", text)
    return int(match[1]) * BYTES[match[2]]


def read_money(value: object) -> int:
    """USD as a decimal text → whole nano-USD."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise flaw("money is a text, found a number", 'put it in quotes, like "15.00"')
    text = _due(value, "an amount of money", '"15.00"')
    match = _MONEY.fullmatch(text)
    if not match:
        if text.startswith("-"):
            raise flaw("an amount of money may not be negative", 'write it like "15.00"')
        raise flaw("{} is no amount of money", 'write USD with at most 9 decimals, like "15.00"', text)
    return int(match[1]) * NANO + int((match[2] or "").ljust(9, "0"))


def read_moment(value: object) -> datetime:
    """A date (its first moment in UTC) or a time with its zone → UTC."""
    text = _due(value, "a date or time", "`2027-01-31` or `2027-01-31T12:00:00Z`")
    try:
        moment = datetime.fromisoformat(text)
        bare_date = len(text) <= len("2027-01-31")
        utc = moment.replace(tzinfo=UTC) if bare_date else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise flaw("{} is no date or time", "write `2027-01-31` or `2027-01-31T12:00:00Z`", text) from None
    if moment.tzinfo is None and not bare_date:
        raise flaw("this time has no time zone", "end it with `Z` for UTC, or with an offset like `+01:00`")
    return utc


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the gateway listens: host and port, or the path of a Unix socket."""

    host: str | None = None
    port: int | None = None
    unix: Path | None = None

    def __str__(self) -> str:
        if self.unix:
            return f"unix:{self.unix}"
        return f"[{self.host}]:{self.port}" if ":" in (self.host or "") else f"{self.host}:{self.port}"


def read_listen(value: object, info: ValidationInfo) -> Listen:
    text = _due(value, "an address", "`127.0.0.1:8000` or `unix:/run/scaigrid.sock`")
    if text.startswith("unix:"):
        path = read_path(text.removeprefix("unix:"), info)
        if len(os.fsencode(path)) > MAX_SOCKET_PATH:
            raise flaw(f"the socket's path is longer than {MAX_SOCKET_PATH} bytes", "choose a shorter one")
        return Listen(unix=path)
    match = _LISTEN.fullmatch(text)
    if not match or int(match[3]) > 65535:
        hint = "write HOST:PORT, `[::1]:8000` for IPv6, or `unix:/PATH`; ports end at 65535"
        raise flaw("{} is no address to listen on", hint, text)
    if match[1] is not None:
        return Listen(_ip6(match[1]), int(match[3]))
    host = match[2] or "0.0.0.0"
    if not _HOST.fullmatch(host):
        raise flaw("{} is no host", "write a name or an IP address before the port", host)
    return Listen(host, int(match[3]))


def _ip6(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise flaw("{} is no IPv6 address", "write it like `[::1]:8000`", text) from None


def read_path(value: object, info: ValidationInfo) -> Path:
    """A path, made absolute from the folder of the configuration."""
    text = _due(value, "a path", "`./var`")
    if not text or "\0" in text:
        raise flaw("this is no path", "write it like `./var`")
    folder: Path = (info.context or {}).get("folder") or Path.cwd()
    return Path(os.path.normpath(folder.absolute() / text))


def read_existing_file(value: object, info: ValidationInfo) -> Path:
    path = read_path(value, info)
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        message = f"the file {{}} cannot be read: {error.strerror}"
        raise flaw(message, "check path and rights", str(path)) from None


def read_url(value: object) -> str:
    """An http or https address without user, query and fragment; the closing slash is taken off."""
    text = _due(value, "a URL", "`https://host/v1`")
    hint = "write it like `https://host/v1`"
    try:
        parts = urlsplit(text)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        raise flaw("this is no URL", hint) from None
    if parts.username is not None or parts.password is not None:
        raise flaw("a URL may not hold a user or password", "write the secret as `api_key`, or under `headers`")
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_fits or not _clean(text):
        raise flaw("an http or https URL is due", hint)
    if parts.query or parts.fragment:
        raise flaw("this URL may hold neither `?` nor `#`", hint)
    url = text.rstrip("/")
    if url.endswith(("/chat/completions", "/messages", "/responses", "/embeddings")):
        hint = "write what stands before it: in OpenAI's dialect up to `/v1`, for anthropic up to before `/v1`"
        raise flaw("`base_url` ends before the dialect's own path", hint)
    return url


def _clean(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text and "\\" not in text


def check_slug(text: str) -> str:
    if not _SLUG.fullmatch(text):
        hint = "1 to 64 letters, digits, `.`, `_`, `-`, the first a letter or digit"
        raise flaw("{} is not usable as a name here", hint, text)
    return text


def check_model_name(text: str) -> str:
    if not _MODEL.fullmatch(text):
        hint = "1 to 128 letters, digits, `.`, `_`, `:`, `/`, `@`, `-`, the first a letter or digit"
        raise flaw("{} is not usable as a model's name", hint, text)
    return text


def check_email(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise flaw("this is no e-mail address", "write it like `alice@acme.example`")
    return text


def check_header_name(text: str) -> str:
    if not _HEADER_NAME.fullmatch(text):
        raise flaw("{} is no HTTP header name", "use letters, digits and `-`", text)
    if text.lower() in _OWN_HEADERS:
        raise flaw("the header {} is set by the gateway itself", "remove it", text)
    return text


def check_header_value(text: str) -> str:
    if not _HEADER_VALUE.fullmatch(text):
        hint = "printable ASCII only, with no space or line break at its ends"
        raise flaw("the value cannot be sent in an HTTP header", hint)
    return text


Duration = Annotated[float, PlainValidator(read_duration), _form("duration", _DURATION.pattern)]
TimeLimit = Annotated[float, PlainValidator(read_time_limit), _form("duration", _DURATION.pattern)]
Size = Annotated[int, PlainValidator(read_size), _form("size", _SIZE.pattern)]
Money = Annotated[int, PlainValidator(read_money), _form("money", _MONEY.pattern)]
Moment = Annotated[datetime, PlainValidator(read_moment), _form("date or time", "[0-9].*")]
Address = Annotated[Listen, PlainValidator(read_listen), _form("address", "unix:.+|.*:[0-9]+")]
FilePath = Annotated[Path, PlainValidator(read_path), _form("path", ".+")]
ExistingFile = Annotated[Path, PlainValidator(read_existing_file), _form("path", ".+")]
Url = Annotated[str, PlainValidator(read_url), _form("URL", "https?://.+")]
Slug = Annotated[str, AfterValidator(check_slug)]
ModelName = Annotated[str, AfterValidator(check_model_name)]
Email = Annotated[str, AfterValidator(check_email)]
HeaderName = Annotated[str, AfterValidator(check_header_name)]
HeaderValue = Annotated[str, AfterValidator(check_header_value)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
