"""The command itself: serve, check, version, and how it ends."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.appliance import SCAIGRID, running
from support.cli import environment, scaigrid

GOOD = """
version: 1
providers: {demo: {type: demo}}
models: {alpha: {price: free, route: [{backend: "demo:demo"}]}}
"""
BAD = """\
version: 1
providers: {demo: {type: demo}}
models:
  alpha: {price: free, route: [{backend: "dmo:demo"}]}
  beta: {route: [{backend: "demo:demo"}]}
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "scaigrid.yaml"
    file.write_text(text)
    return file


def test_check_of_a_good_file_is_one_line(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    done = scaigrid("check", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "scaigrid.yaml: good (1 providers, 1 models, 0 tenants)\n"


def test_check_names_every_problem_with_its_place_and_a_hint(tmp_path: Path) -> None:
    write(tmp_path, BAD)
    done = scaigrid("check", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert [line.split(": ")[0].rsplit(":", 1)[0] for line in lines] == ["scaigrid.yaml:4", "scaigrid.yaml:5"]
    assert "did you mean `demo`" in lines[0]


def test_check_as_json_is_a_list_of_problems(tmp_path: Path) -> None:
    write(tmp_path, BAD)
    done = scaigrid("check", "--json", cwd=tmp_path)
    problems = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (1, "")
    assert [problem["line"] for problem in problems] == [4, 5]
    assert set(problems[0]) == {"file", "line", "column", "message", "hint"}


def test_check_as_json_of_a_good_file_is_an_empty_list(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    done = scaigrid("check", "--json", cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)) == (0, [])


def test_check_of_a_missing_file_is_a_problem_with_a_place(tmp_path: Path) -> None:
    done = scaigrid("check", "-c", "none.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("none.yaml:1:1: ")


def test_serve_refuses_a_bad_file_as_check_does(tmp_path: Path) -> None:
    write(tmp_path, BAD)
    done = scaigrid("serve", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == scaigrid("check", cwd=tmp_path).stderr


def test_serve_that_cannot_start_is_one_line(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with running(GOOD, first) as gateway:
        write(second, gateway.config.read_text())
        done = scaigrid("serve", cwd=second)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("scaigrid: cannot listen on 127.0.0.1:")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_ends_in_order_when_told_to(tmp_path: Path, number: signal.Signals) -> None:
    with running(GOOD, tmp_path) as gateway:
        gateway.process.send_signal(number)
        assert gateway.process.wait(20) == 0


def test_version_tells_four_facts(tmp_path: Path) -> None:
    done = scaigrid("version", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ScaiGrid", "commit", "Python", "database"]
    facts = json.loads(scaigrid("version", "--json", cwd=tmp_path).stdout)
    assert list(facts) == ["version", "commit", "python", "database"]
    assert facts["version"] in done.stdout


def test_version_loads_nothing_heavy(tmp_path: Path) -> None:
    """Loading Sanic, aiohttp or the configuration would double the time a person waits."""
    done = scaigrid("version", cwd=tmp_path, env={"PYTHONPROFILEIMPORTTIME": "1"})
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "tui.commands" in loaded
    assert not loaded & {"sanic", "aiohttp", "config", "textual", "uvloop"}


def test_version_is_quick(tmp_path: Path) -> None:
    """Measured as work, not as time: other programs may keep the processor busy."""

    def seconds() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = seconds()
    scaigrid("version", cwd=tmp_path)
    assert seconds() - before < 0.7


def test_without_a_command_the_help_is_printed(tmp_path: Path) -> None:
    done = scaigrid(cwd=tmp_path)
    assert done.returncode == 2
    assert "Usage: scaigrid" in done.stdout + done.stderr


def test_a_reader_who_has_left_is_no_traceback(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [SCAIGRID, "version"], stdout=writer, stderr=subprocess.PIPE, env=environment(), cwd=tmp_path, timeout=20
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [SCAIGRID, "version"], stdout=full, stderr=subprocess.PIPE, env=environment(), cwd=tmp_path, timeout=20
        )
    assert done.returncode == 1
    assert done.stderr.startswith(b"scaigrid: ")
    assert b"No space left" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(("closed", "status"), [("<&-", 0), (">&-", 0), ("2>&-", 0)])
def test_a_closed_stream_is_no_traceback(tmp_path: Path, closed: str, status: int) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"{SCAIGRID}" version {closed}'], capture_output=True, env=environment(), cwd=tmp_path, timeout=20
    )
    assert (done.returncode, done.stderr) == (status, b"")


def test_a_fault_of_ours_is_one_line_unless_the_traceback_is_asked_for(tmp_path: Path) -> None:
    script = "import appliance.__main__ as command, appliance.version as facts; facts.version = None; command.main()"
    run = [sys.executable, "-c", script, "version"]
    done = subprocess.run(run, capture_output=True, text=True, env=environment(), cwd=tmp_path, timeout=20)
    assert done.returncode == 1
    assert done.stderr.startswith("scaigrid: a fault of ours: TypeError(")
    assert done.stderr.count("\n") == 1
    loud = subprocess.run(
        run, capture_output=True, text=True, env=environment({"SCAIGRID_TRACEBACK": "1"}), cwd=tmp_path, timeout=20
    )
    assert "Traceback" in loud.stderr
