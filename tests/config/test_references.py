"""`${env:…}` and `${file:…}`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import config
from config.references import Unresolved, expand

Load = Callable[..., config.Loaded]
ENVIRON = {"A": "alpha", "EMPTY": "", "NESTED": "${env:A}"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${env:A}", "alpha"),
        ("x ${env:A} y ${env:A}", "x alpha y alpha"),
        ("${env:NOT_SET:-default}", "default"),
        ("${env:NOT_SET:-}", ""),
        ("${env:EMPTY}", ""),
        ("${env:EMPTY:-default}", "default"),
        ("${env:A:-default}", "alpha"),
        ("${env:NOT_SET:-a:-b}", "a:-b"),
        ("$${env:A}", "${env:A}"),
        ("$5 and $x and {}", "$5 and $x and {}"),
        ("${env:NESTED}", "${env:A}"),
    ],
)
def test_references_are_replaced(text: str, value: str, tmp_path: Path) -> None:
    assert expand(text, tmp_path, ENVIRON, {}) == value


def test_files_lose_the_line_breaks_at_their_end(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"one\ntwo\r\n\n")
    files: dict[Path, bytes] = {}
    assert expand("<${file:key}>", tmp_path, {}, files) == "<one\ntwo>"
    assert expand(f"${{file:{tmp_path / 'key'}}}", Path("/"), {}, files) == "one\ntwo"
    assert files == {tmp_path / "key": b"one\ntwo\r\n\n"}


def test_files_that_cannot_serve_are_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "big").write_bytes(b"x" * 1_000_001)
    for name, message in [
        ("missing", "the file `missing` of a `${file:…}` does not exist"),
        (".", "the file `.` of a `${file:…}` does not exist"),
        ("nul\0", "the file `nul\\x00` of a `${file:…}` does not exist"),
        ("binary", "the file `binary` of a `${file:…}` is not UTF-8 text"),
        ("big", "the file `big` of a `${file:…}` is larger than 1000000 bytes"),
    ]:
        with pytest.raises(Unresolved) as caught:
            expand(f"${{file:{name}}}", tmp_path, {}, {})
        assert caught.value.message == message


def test_a_reference_of_an_included_file_starts_from_its_own_folder(load_text: Load, folder: Path) -> None:
    (folder / "conf.d").mkdir()
    (folder / "conf.d" / "key").write_text("from-conf-d\n")
    (folder / "conf.d" / "a.yaml").write_text("providers:\n  a: {type: openai, api_key: '${file:key}'}\n")
    loaded = load_text("include: [conf.d/*.yaml]\n")
    assert loaded.document.providers["a"].api_key == "from-conf-d"
    assert loaded.files == (folder / "scaigrid.yaml", folder / "conf.d" / "a.yaml", folder / "conf.d" / "key")


def test_references_are_not_replaced_in_keys(problems_of: Callable[..., list[str]]) -> None:
    found = problems_of("models:\n  ${env:A}: {price: free, route: []}\n", {"A": "alpha"})
    assert found[0].startswith("scaigrid.yaml:3:3: `${env:A}` is not usable as a model's name")
