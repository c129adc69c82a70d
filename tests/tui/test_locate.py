"""Where the appliance is and which key to use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tui.locate import ClientError, Place, find

YAML = """
version: 1
server: {{listen: '{listen}', data_dir: ./data{more}}}
providers: {{demo: {{type: demo}}}}
models: {{alpha: {{price: free, route: [{{backend: "demo:demo"}}]}}}}
"""
BOTH = {"SCAIGRID_URL": "http://gw.example:1", "SCAIGRID_API_KEY": "sgk_env"}


def configuration(
    folder: Path, listen: str = "127.0.0.1:8765", more: str = "", key: str | None = "sgk_admin\n"
) -> Path:
    file = folder / "scaigrid.yaml"
    file.write_text(YAML.format(listen=listen, more=more))
    if key is not None:
        (folder / "data").mkdir()
        (folder / "data/admin.key").write_text(key)
    return file


def test_flags_come_before_the_environment(tmp_path: Path) -> None:
    place = find("http://flag.example:2", "sgk_flag", tmp_path / "none.yaml", BOTH)
    assert (place.url, place.key, place.key_source) == ("http://flag.example:2", "sgk_flag", "--key")


def test_the_environment_comes_before_the_configuration(tmp_path: Path) -> None:
    place = find(config_file=configuration(tmp_path), environ=BOTH)
    assert (place.url, place.key, place.key_source) == ("http://gw.example:1", "sgk_env", "SCAIGRID_API_KEY")


def test_a_broken_configuration_does_not_matter_when_both_are_given(tmp_path: Path) -> None:
    broken = tmp_path / "scaigrid.yaml"
    broken.write_text("version: [")
    assert find(config_file=broken, environ=BOTH).key == "sgk_env"


def test_flag_and_environment_may_be_mixed(tmp_path: Path) -> None:
    assert find("http://flag.example", "", tmp_path / "none.yaml", BOTH).key == "sgk_env"


def test_the_configuration_says_both(tmp_path: Path) -> None:
    place = find(config_file=configuration(tmp_path), environ={})
    assert (place.url, place.key) == ("http://127.0.0.1:8765", "sgk_admin")
    assert place.key_source == str(tmp_path / "data/admin.key")


def test_empty_variables_are_not_given(tmp_path: Path) -> None:
    place = find(config_file=configuration(tmp_path), environ={"SCAIGRID_URL": "", "SCAIGRID_API_KEY": ""})
    assert (place.url, place.key) == ("http://127.0.0.1:8765", "sgk_admin")


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("0.0.0.0:81", "http://127.0.0.1:81"),
        (":81", "http://127.0.0.1:81"),
        ("[::]:81", "http://[::1]:81"),
        ("[::1]:81", "http://[::1]:81"),
        ("gw.example:81", "http://gw.example:81"),
    ],
)
def test_an_address_to_listen_on_becomes_one_to_call(tmp_path: Path, listen: str, url: str) -> None:
    assert find(config_file=configuration(tmp_path, listen), environ={}).url == url


def test_a_unix_socket_is_found(tmp_path: Path) -> None:
    place = find(config_file=configuration(tmp_path, "unix:./gw.sock"), environ={})
    assert place.unix == tmp_path / "gw.sock"
    assert str(place) == f"unix:{tmp_path / 'gw.sock'}"
    assert place.is_here


def test_tls_makes_it_https(tmp_path: Path) -> None:
    for name in ("c.pem", "k.pem"):
        (tmp_path / name).write_text("x")
    more = ", tls: {certificate: c.pem, key: k.pem}"
    assert find(config_file=configuration(tmp_path, more=more), environ={}).url == "https://127.0.0.1:8765"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("https://gw.example/prefix/", "https://gw.example/prefix"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_urls_may_be_written_in_these_forms(text: str, url: str) -> None:
    assert find(text, "sgk_x", environ={}).url == url


@pytest.mark.parametrize(
    "text", ["ftp://x", "http://", "http://x:port", "http://x:99999", "http://a b", "http://x?y=1"]
)
def test_other_urls_are_refused(text: str) -> None:
    with pytest.raises(ClientError, match=r"SCAIGRID_URL: .* is no URL"):
        find(environ={"SCAIGRID_URL": text, "SCAIGRID_API_KEY": "sgk_x"})


def test_the_admin_key_goes_to_this_machine(tmp_path: Path) -> None:
    assert find("http://localhost:9999", "", configuration(tmp_path), {}).key == "sgk_admin"


@pytest.mark.parametrize("url", ["https://gw.example", "http://127.0.0.1.evil.example", "http://10.0.0.9:8765"])
def test_the_admin_key_goes_to_no_other_machine(tmp_path: Path, url: str) -> None:
    with pytest.raises(ClientError, match=r"no key for .*: give --key or SCAIGRID_API_KEY"):
        find(url, "", configuration(tmp_path), {})


def test_the_admin_key_goes_to_the_address_that_its_own_configuration_names(tmp_path: Path) -> None:
    assert find("http://10.0.0.9:8765", "", configuration(tmp_path, "10.0.0.9:8765"), {}).key == "sgk_admin"


def test_no_configuration_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ClientError) as caught:
        find(config_file=tmp_path / "scaigrid.yaml", environ={})
    line = str(caught.value)
    assert line.startswith("cannot tell where the appliance is: ")
    assert "does not exist" in line
    assert "SCAIGRID_URL and SCAIGRID_API_KEY" in line
    assert "\n" not in line


def test_a_missing_key_alone_says_so(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="cannot tell which key to use: "):
        find("http://127.0.0.1:1", "", tmp_path / "scaigrid.yaml", {})


def test_several_problems_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "scaigrid.yaml"
    file.write_text("version: 2\nserver: {listen: nowhere}\n")
    with pytest.raises(ClientError, match=r"and \d+ more: scaigrid check"):
        find(config_file=file, environ={})


def test_a_key_file_that_is_not_there_yet(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match=r"admin.key: it does not exist; the first `scaigrid serve` writes it"):
        find(config_file=configuration(tmp_path, key=None), environ={})


def test_any_free_port_cannot_be_found(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="any free port"):
        find(config_file=configuration(tmp_path, "127.0.0.1:0"), environ={})


@pytest.mark.parametrize("key", ["sgk_\nx", "sgk_é", "two words", "  "])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ClientError, match="the key from --key is no API key") as caught:
        find("http://127.0.0.1:1", key, environ={})
    assert "sgk_" not in str(caught.value)


def test_the_key_is_not_shown_with_the_place() -> None:
    assert "sgk_secret" not in repr(Place("http://127.0.0.1:1", None, "sgk_secret", "--key"))
