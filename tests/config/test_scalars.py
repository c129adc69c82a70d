"""Durations, sizes, money, moments, addresses and URLs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from config.scalars import Address, FilePath, Listen, read_duration, read_moment, read_money, read_size, read_url


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("5s", 5), ("10m", 600), ("1h", 3600), ("0.5s", 0.5)])
def test_durations(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize(("text", "size"), [("1B", 1), ("20MB", 20_000_000), ("1KiB", 1024), ("2GB", 2_000_000_000)])
def test_sizes(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "-5s", "1e3s", "5S", "1d", "١s", "5s\n", "9999999999s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(PydanticCustomError):
        read_duration(text)


@pytest.mark.parametrize("text", ["", "20", "0MB", "1.5MB", "20mb", "-1B", "20MB\n"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(PydanticCustomError):
        read_size(text)


@pytest.mark.parametrize(
    ("text", "nano"),
    [("15.00", 15_000_000_000), ("0", 0), ("0.000000001", 1), ("0.1", 100_000_000), ("007", 7_000_000_000)],
)
def test_money(text: str, nano: int) -> None:
    assert read_money(text) == nano


@given(st.integers(0, 10**21 - 1))
def test_money_is_exact_to_the_last_digit(nano: int) -> None:
    assert read_money(f"{nano // 10**9}.{nano % 10**9:09}") == nano


@pytest.mark.parametrize(
    "value", ["", ".5", "5.", "1,5", "+1", "-1", "1e3", "0.0000000001", "$1", "1_0", "１", 1, 1.5, True]
)
def test_what_is_no_money(value: Any) -> None:
    with pytest.raises(PydanticCustomError):
        read_money(value)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T12:00:00Z", datetime(2027, 1, 31, 12, tzinfo=UTC)),
        ("2027-01-31T12:00:00+02:00", datetime(2027, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_moments_are_in_utc(text: str, moment: datetime) -> None:
    assert read_moment(text) == moment
    assert read_moment(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text", ["", "soon", "2027-02-30", "2027-01-31T12:00:00", "0001-01-01T00:00:00+10:00", "12:00"]
)
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(PydanticCustomError):
        read_moment(text)


@pytest.mark.parametrize(
    ("text", "listen", "written"),
    [
        ("127.0.0.1:8000", Listen("127.0.0.1", 8000), "127.0.0.1:8000"),
        ("localhost:0", Listen("localhost", 0), "localhost:0"),
        (":8000", Listen("0.0.0.0", 8000), "0.0.0.0:8000"),
        ("[::1]:8000", Listen("::1", 8000), "[::1]:8000"),
        ("unix:run/s.sock", Listen(unix=Path("/etc/grid/run/s.sock")), "unix:/etc/grid/run/s.sock"),
        ("unix:/run/s.sock", Listen(unix=Path("/run/s.sock")), "unix:/run/s.sock"),
    ],
)
def test_addresses(text: str, listen: Listen, written: str) -> None:
    found = TypeAdapter(Address).validate_python(text, context={"folder": Path("/etc/grid")})
    assert found == listen
    assert str(found) == written


@pytest.mark.parametrize(
    "text", ["", "8000", "host", "host:", "host:x", "::1:8000", "[x]:80", "a b:80", "unix:", "h:65536"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Address).validate_python(text)


def test_paths_start_from_the_folder_of_the_file() -> None:
    paths = TypeAdapter(FilePath)
    assert paths.validate_python("./var", context={"folder": Path("/etc/grid")}) == Path("/etc/grid/var")
    assert paths.validate_python("../var", context={"folder": Path("/etc/grid")}) == Path("/etc/var")
    assert paths.validate_python("/var", context={"folder": Path("/etc/grid")}) == Path("/var")
    assert paths.validate_python("var") == Path.cwd() / "var"


def test_urls_lose_their_closing_slash() -> None:
    assert read_url("https://host/v1/") == "https://host/v1"
    assert read_url("http://[::1]:8080") == "http://[::1]:8080"


@pytest.mark.parametrize(
    "text", ["", "host", "ftp://h", "https://u@h", "https://:p@h", "http://h?x", "http://h#x", "http://é"]
)
def test_what_is_no_url(text: str) -> None:
    with pytest.raises(PydanticCustomError):
        read_url(text)
