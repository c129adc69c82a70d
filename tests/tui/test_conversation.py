"""`scaigrid chat` without -m, on a terminal and in a pipe."""

from __future__ import annotations

import json
import time

import pytest

from support.appliance import Gateway
from support.cli import scaigrid, terminal

SETTLE_S = 0.2
"""Python's readline overlooks a signal that comes between its prompt and its wait, until the next key."""


def test_history_is_kept_and_forgotten_on_request(gateway: Gateway) -> None:
    with terminal("chat", "alpha", cwd=gateway.folder) as screen:
        for line in ("first words", "second words", "/reset", "third words"):
            screen.wait_for("alpha> ")
            screen.type(line + "\r")
        screen.wait_for("tokens in")
        screen.wait_for("alpha> ")
        screen.type("\x04")
        assert screen.end() == 0
    third, second, first = (row["input_tokens"] for row in gateway.usage()[:3])
    assert second > first
    assert third == first


def test_ctrl_c_stops_the_answer_and_nothing_else(gateway: Gateway) -> None:
    with terminal("chat", "slow", cwd=gateway.folder) as screen:
        screen.wait_for("slow> ")
        screen.type("hi\r")
        screen.wait_for("Hello! This")
        screen.type("\x03")
        screen.wait_for("stopped", timeout_s=5)
        screen.wait_for("slow> ", timeout_s=5)
        screen.type("/model alpha\r")
        screen.wait_for("alpha> ")
        screen.type("still here?\r")
        assert "“still here?”" in screen.wait_for("tokens in")
        screen.wait_for("alpha> ")
        screen.type("/quit\r")
        assert screen.end() == 0
    assert "Traceback" not in screen.screen
    assert gateway.usage()[1]["status"] == "cancelled"


def test_ctrl_c_before_the_first_word_stops_too(gateway: Gateway) -> None:
    with terminal("chat", "slow", cwd=gateway.folder) as screen:
        screen.wait_for("slow> ")
        screen.type("hi\r")
        screen.wait_for("waiting for slow")
        screen.type("\x03")
        screen.wait_for("stopped", timeout_s=5)
        screen.wait_for("slow> ")
        screen.type("\x04")
        assert screen.end() == 0
    assert "Hello" not in screen.screen


def test_ctrl_c_at_the_prompt_stays_and_twice_ends(gateway: Gateway) -> None:
    with terminal("chat", "alpha", cwd=gateway.folder) as screen:
        screen.wait_for("alpha> ")
        screen.type("half a line")
        screen.wait_for("half a line")
        time.sleep(SETTLE_S)
        screen.type("\x03")
        screen.wait_for("Ctrl-C again")
        screen.wait_for("alpha> ")
        time.sleep(SETTLE_S)
        screen.type("\x03")
        assert screen.end() == 130
    assert "Traceback" not in screen.screen


def test_a_failed_answer_does_not_end_the_conversation(gateway: Gateway) -> None:
    with terminal("chat", "cut", cwd=gateway.folder) as screen:
        screen.wait_for("cut> ")
        screen.type("hi\r")
        assert "Hello!" in screen.wait_for("scaigrid: BACKEND_ERROR")
        screen.wait_for("cut> ")
        screen.type("/model nope\r")
        screen.wait_for("scaigrid: MODEL_NOT_FOUND")
        screen.wait_for("cut> ")
        screen.type("/bogus\r")
        screen.wait_for("/bogus is no command")
        screen.wait_for("cut> ")
        screen.type("/model\r")
        assert "alpha" in screen.wait_for("think")
        screen.wait_for("cut> ")
        screen.type("/help\r")
        screen.wait_for("/reset")
        screen.wait_for("cut> ")
        screen.type("/quit\r")
        assert screen.end() == 0


def test_in_a_pipe_each_line_is_a_message(gateway: Gateway) -> None:
    done = scaigrid("chat", "alpha", cwd=gateway.folder, stdin="one\n\ntwo\n/quit\nthree\n")
    assert (done.returncode, done.stderr) == (0, "")
    answers = done.stdout.splitlines()
    assert len(answers) == 2
    assert "“one”" in answers[0]
    assert "“two”" in answers[1]


def test_in_a_pipe_json_is_one_line_an_answer(gateway: Gateway) -> None:
    done = scaigrid("chat", "alpha", "--json", cwd=gateway.folder, stdin="one\ntwo\n")
    assert [json.loads(line)["model"] for line in done.stdout.splitlines()] == ["alpha", "alpha"]


@pytest.mark.parametrize(("model", "printed"), [("cut", 1), ("nope", 0)])
def test_in_a_pipe_a_failure_ends_with_1(gateway: Gateway, model: str, printed: int) -> None:
    done = scaigrid("chat", model, cwd=gateway.folder, stdin="one\ntwo\n")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == printed
    assert done.stderr.count("\n") == 1
