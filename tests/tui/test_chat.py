"""`scaigrid chat`: one shot, in a pipe and on a terminal."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest

from support.appliance import SCAIGRID, Gateway
from support.cli import environment, scaigrid, terminal


def test_a_pipe_gets_the_bare_answer(gateway: Gateway) -> None:
    done = scaigrid("chat", "alpha", "-m", "Hello there", cwd=gateway.folder)
    assert done.returncode == 0
    assert "Hello there" in done.stdout
    assert done.stdout.endswith(".\n")
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


def test_the_first_model_that_can_answer_is_the_default(gateway: Gateway) -> None:
    scaigrid("chat", "-m", "which one?", cwd=gateway.folder)
    assert gateway.usage()[0]["model"] == "alpha"


def test_a_minus_reads_the_message_from_standard_input(gateway: Gateway) -> None:
    done = scaigrid("chat", "alpha", "-m", "-", cwd=gateway.folder, stdin="two\nlines\n")
    assert done.returncode == 0
    assert "two\nlines" in done.stdout


def test_the_system_prompt_is_sent(gateway: Gateway) -> None:
    scaigrid("chat", "alpha", "-m", "x", cwd=gateway.folder)
    without = gateway.usage()[0]["input_tokens"]
    scaigrid("chat", "alpha", "-m", "x", "--system", "one two three four five", cwd=gateway.folder)
    assert gateway.usage()[0]["input_tokens"] > without


def test_json_is_the_whole_answer_with_usage_and_meta(gateway: Gateway) -> None:
    done = scaigrid("chat", "alpha", "-m", "hi", "--json", cwd=gateway.folder)
    answer = json.loads(done.stdout)
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["cost"] == "0.000072"
    assert answer["meta"]["backend"] == "demo:demo"


def test_reasoning_stays_out_of_a_pipe(gateway: Gateway) -> None:
    done = scaigrid("chat", "think", "-m", "hi", cwd=gateway.folder)
    assert done.returncode == 0
    assert "Hello" in done.stdout
    assert "step" not in done.stdout


def test_a_failure_in_mid_stream_is_one_line_after_what_was_printed(gateway: Gateway) -> None:
    done = scaigrid("chat", "cut", "-m", "hi", cwd=gateway.folder)
    assert done.returncode == 1
    assert done.stdout.startswith("Hello!")
    assert done.stdout.endswith("\n")
    assert done.stderr.startswith("scaigrid: BACKEND_ERROR: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("model", "code"), [("down", "BACKEND_ERROR"), ("nope", "MODEL_NOT_FOUND")])
def test_a_refusal_names_code_reason_and_request(gateway: Gateway, model: str, code: str) -> None:
    done = scaigrid("chat", model, "-m", "hi", cwd=gateway.folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"scaigrid: {code}: ")
    assert "(request req_" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("message", ["", " \n"])
def test_an_empty_message_is_wrong_usage(gateway: Gateway, message: str) -> None:
    done = scaigrid("chat", "-m", message, cwd=gateway.folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nothing to ask" in done.stderr


def test_standard_input_that_is_no_text_is_refused(gateway: Gateway) -> None:
    done = scaigrid("chat", "-m", "-", cwd=gateway.folder, stdin=b"\xff\xfe")
    assert (done.returncode, done.stderr) == (1, "scaigrid: standard input is not text in UTF-8\n")


def test_a_reader_who_leaves_ends_the_answer_quietly(gateway: Gateway) -> None:
    process = subprocess.Popen(
        [SCAIGRID, "chat", "slow", "-m", "hi"],
        cwd=gateway.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout
    assert process.stderr
    assert process.stdout.read(5) == b"Hello"
    process.stdout.close()
    with process.stderr as errors:
        assert errors.read() == b""
    assert process.wait(20) == 1


def test_ctrl_c_ends_quietly_with_130_and_hangs_up(gateway: Gateway) -> None:
    process = subprocess.Popen(
        [SCAIGRID, "chat", "slow", "-m", "hi"],
        cwd=gateway.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout
    process.stdout.read(5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, b"")
    end = time.monotonic() + 5
    while gateway.usage()[0]["model"] != "slow" and time.monotonic() < end:
        time.sleep(0.05)
    assert gateway.usage()[0]["status"] == "cancelled"


def test_a_terminal_shows_a_spinner_dimmed_reasoning_and_the_cost(gateway: Gateway) -> None:
    with terminal("chat", "think", "-m", "hi", cwd=gateway.folder) as screen:
        screen.wait_for("waiting for think")
        assert screen.end() == 0
    assert b"\x1b[2;3mstep" in screen.raw
    reasoning, answer = screen.screen.index("step1"), screen.screen.index("Hello!")
    assert reasoning < answer
    last = screen.screen.rstrip().splitlines()[-1]
    assert "tokens in" in last
    assert "$0" in last
    assert "demo:think" in last
    assert screen.raw.rfind(b"\x1b[?25h") > screen.raw.rfind(b"\x1b[?25l"), "the cursor is hidden"


def test_what_a_model_says_cannot_steer_the_terminal(gateway: Gateway) -> None:
    with terminal("chat", "alpha", "-m", "\x1b]0;owned\x07 \x1b[31mred", cwd=gateway.folder) as screen:
        assert screen.end() == 0
    assert "owned" in screen.screen, "the demo model repeats what it was told"
    assert b"\x1b]0;" not in screen.raw
    assert b"\x1b[31m" not in screen.raw


def test_a_model_with_a_slash_in_its_name_answers(gateway: Gateway) -> None:
    assert scaigrid("chat", "team/steady", "-m", "hi", cwd=gateway.folder).returncode == 0
