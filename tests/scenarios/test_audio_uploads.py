"""Uploads of recordings: whole to each target and never in memory; callers who leave; what a kill leaves behind."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from support.appliance import Gateway, running
from support.modal_rules import call, form, people, row_of, until
from support.modal_upstream import by_model, form_of
from support.recordings import (
    BYTES_PER_SECOND,
    FILE,
    KIND,
    MB,
    PATHS,
    PLAYS,
    YAML,
    open_uploads,
    recording,
    text_of,
    uploads,
)
from support.upstream import Upstream
from support.wire import Wire, request_bytes


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.answer(by_model(PLAYS))
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    everybody = people()
    with running(YAML.format(url=upstream.url, people=everybody), tmp_path_factory.mktemp("audio")) as gateway:
        yield gateway
        until("nothing is in flight", lambda: gateway.in_flight() == 0)
        assert uploads(gateway) == [], "every upload is removed when its call has ended"


def memory_kb(gateway: Gateway, name: str) -> int:
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    found = re.search(rf"{name}:\s+(\d+) kB", status)
    assert found
    return int(found[1])


# -- large files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("surface", PATHS)
def test_25_mb_go_to_both_targets_whole_and_never_into_memory(
    gateway: Gateway, upstream: Upstream, surface: str
) -> None:
    file = recording(25 * MB / BYTES_PER_SECOND)
    call(gateway, KIND, "second", surface)  # what is loaded once is loaded now
    before = len(upstream.calls)
    Path(f"/proc/{gateway.process.pid}/clear_refs").write_text("5")
    at_rest = memory_kb(gateway, "VmRSS")
    answer = call(gateway, replace(KIND, file=file), "second", surface)
    peak = memory_kb(gateway, "VmHWM")
    assert text_of(answer, surface) == "hello there"
    sent = [form_of(each) for each in upstream.calls[before:]]
    assert [each["model"] for each in sent] == [[b"fails"], [b"hears"]]
    assert all(each["file"] == [file] for each in sent)
    row = row_of(gateway, answer)
    assert [attempt["status"] for attempt in row["attempts"]] == ["failed", "completed"]
    assert row["cost"] == "0.009", "charged as the upstream told"
    assert peak - at_rest < 6 * 1024, f"{peak - at_rest} kB more than at rest"
    until("the files are closed", lambda: open_uploads(gateway) == 0)


@pytest.mark.parametrize("surface", PATHS)
def test_a_connection_that_breaks_fails_over_with_the_whole_file(
    gateway: Gateway, upstream: Upstream, surface: str
) -> None:
    answer = call(gateway, KIND, "cut", surface)
    assert text_of(answer, surface) == "hello there"
    assert form_of(upstream.calls[-1])["file"] == [FILE]
    assert len(row_of(gateway, answer)["attempts"]) == 2


def test_a_file_above_the_limit_is_refused(gateway: Gateway, upstream: Upstream) -> None:
    before = len(upstream.calls)
    data, content_type = form({"model": "minute"}, bytes(41_000_000))
    headers = {"Content-Type": content_type, "X-Request-ID": "audio-too-large"}
    with Wire(gateway.url) as wire:
        wire.try_to_send(request_bytes(PATHS["compat"], data, gateway.admin_key, headers))
        status, body = wire.answer()
    assert status == 413, body
    assert "upload_limit" in json.loads(body)["error"]["message"]
    assert len(upstream.calls) == before


# -- callers who leave ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", ["hang_up", "reset"])
@pytest.mark.parametrize("surface", PATHS)
def test_a_caller_who_leaves_while_he_uploads(gateway: Gateway, upstream: Upstream, surface: str, leave: str) -> None:
    before = len(upstream.calls)
    data, content_type = form({"model": "minute"}, recording(25 * MB / BYTES_PER_SECOND))
    request_id = f"audio-uploading-{surface}-{leave}"
    headers = {"Content-Type": content_type, "X-Request-ID": request_id}
    request = request_bytes(PATHS[surface], data, gateway.admin_key, headers)
    with Wire(gateway.url) as wire:
        wire.send(request[: 10 * MB])
        until("the upload is being kept", lambda: uploads(gateway))
        getattr(wire, leave)()
    until("the file is removed", lambda: not uploads(gateway), 1)
    until("nothing is in flight", lambda: gateway.in_flight() == 0)
    assert open_uploads(gateway) == 0
    assert len(upstream.calls) == before
    assert gateway.usage(request_id=request_id) == []


@pytest.mark.parametrize("leave", ["hang_up", "reset"])
@pytest.mark.parametrize("surface", PATHS)
def test_a_caller_who_leaves_while_the_upstream_works(
    gateway: Gateway, upstream: Upstream, surface: str, leave: str
) -> None:
    before = len(upstream.calls)
    data, content_type = form({"model": "stuck"}, FILE)
    request_id = f"audio-working-{surface}-{leave}"
    headers = {"Content-Type": content_type, "X-Request-ID": request_id}
    with Wire(gateway.url) as wire:
        wire.send(request_bytes(PATHS[surface], data, gateway.admin_key, headers))
        until("the upstream is called", lambda: len(upstream.calls) > before)
        left_at = getattr(wire, leave)()
    seen = upstream.calls[before]
    until("the upstream sees the hang-up", lambda: seen.hung_up)
    assert seen.hung_up_at - left_at < 1
    until("the file is removed", lambda: not uploads(gateway), 1)
    until("nothing is in flight", lambda: gateway.in_flight() == 0)
    until("the file is closed", lambda: open_uploads(gateway) == 0)
    row = gateway.usage_of(request_id)
    assert (row["status"], row["estimated"]) == ("cancelled", True)
    assert Decimal(row["cost"]) == pytest.approx(Decimal("0.009"), abs=Decimal("0.00001")), "it is owed"


def test_a_caller_who_leaves_while_the_file_goes_upstream(gateway: Gateway, tmp_path: Path) -> None:
    """The upstream takes no more than its socket's buffer: the hang-up ends the sending."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        yaml_text = YAML.format(url=f"http://127.0.0.1:{port}", people=people())
        with running(yaml_text, tmp_path) as own, Wire(own.url) as wire:
            data, content_type = form({"model": "minute"}, recording(25 * MB / BYTES_PER_SECOND))
            headers = {"Content-Type": content_type, "X-Request-ID": "audio-sending"}
            wire.send(request_bytes(PATHS["compat"], data, own.admin_key, headers))
            connection, _ = server.accept()
            with connection:
                connection.settimeout(2)
                assert connection.recv(100)
                wire.hang_up()
                end = time.monotonic() + 1.5
                while connection.recv(MB):
                    assert time.monotonic() < end
            until("the file is removed", lambda: not uploads(own), 1)
            until("the file is closed", lambda: open_uploads(own) == 0)
            row = own.usage_of("audio-sending")
            assert (row["status"], row["estimated"]) == ("cancelled", True)


def test_what_a_kill_left_behind_is_removed_at_the_next_start(tmp_path: Path) -> None:
    with Upstream() as upstream:
        upstream.answer(by_model(PLAYS))
        with running(YAML.format(url=upstream.url, people=people()), tmp_path) as own:
            data, content_type = form({"model": "stuck"}, FILE)
            headers = {"Content-Type": content_type, "X-Request-ID": "audio-killed"}
            with Wire(own.url) as wire:
                wire.send(request_bytes(PATHS["compat"], data, own.admin_key, headers))
                until("the upstream is called", lambda: upstream.calls)
                own.kill()
            assert len(uploads(own)) == 1
            own.start()
            assert uploads(own) == []
            row = own.usage_of("audio-killed")
            assert (row["status"], row["estimated"], row["units"]) == ("interrupted", True, {"audio_ms": 90_000})
