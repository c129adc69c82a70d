"""One line a record, JSON or text, and never a wait: whatever the reader of standard output does."""

from __future__ import annotations

import io
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from appliance.state import log as log_file
from appliance.state.log import Log, LogHandler

UNIX = 1_700_000_000.25


class Stalled(io.BytesIO):
    """An output that takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.asked = threading.Event()

    def write(self, data: Any) -> int:
        self.asked.set()
        self.go.wait(10)
        return super().write(data)


class Broken(io.BytesIO):
    """An output that fails a number of times."""

    failures = 2

    def write(self, data: Any) -> int:
        if self.failures:
            self.failures -= 1
            raise BrokenPipeError("the reader is gone")
        return super().write(data)


@pytest.fixture
def output() -> Iterator[Stalled]:
    stalled = Stalled()
    yield stalled
    stalled.go.set()


def lines(write: Callable[[Log], None], *, as_text: bool = False) -> list[str]:
    """What a Log writes."""
    output = io.BytesIO()
    log = Log(output, as_text)
    write(log)
    log.close()
    text = output.getvalue().decode()
    assert not text or text.endswith("\n")
    return text.splitlines()


def test_json_is_one_object_a_line_with_the_time_first() -> None:
    def write(log: Log) -> None:
        log.write({"unix": UNIX, "event": "request", "path": "/v1/é", "status": 200, "error": None, "text": "a\nb"})
        log.write({"unix": UNIX, "event": "request", "status": 0})

    first, second = lines(write)
    assert json.loads(first) == {
        "timestamp": "2023-11-14T22:13:20.250Z",
        "event": "request",
        "path": "/v1/é",
        "status": 200,
        "text": "a\nb",
    }
    assert list(json.loads(first))[:2] == ["timestamp", "event"]
    assert json.loads(second)["status"] == 0


def test_text_is_for_people() -> None:
    (line,) = lines(
        lambda log: log.write(
            {"unix": UNIX, "event": "request", "path": "/v1/me", "status": 200, "error": None, "x": ""}
        ),
        as_text=True,
    )
    assert line == "22:13:20 request path=/v1/me status=200"


def test_lines_come_in_the_order_they_were_written() -> None:
    def write(log: Log) -> None:
        for number in range(500):
            log.write({"unix": UNIX, "event": "e", "n": number})

    written = lines(write)
    assert [json.loads(line)["n"] for line in written] == list(range(500))


def test_a_reader_that_stalls_costs_lines_and_no_time(output: Stalled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "QUEUE_LINES", 10)
    log = Log(output, False)
    started = time.monotonic()
    for number in range(1000):
        log.write({"unix": UNIX, "event": "e", "n": number})
    assert time.monotonic() - started < 1
    assert 985 <= log.dropped <= 990
    output.go.set()
    log.close()
    assert len(output.getvalue().splitlines()) == 1000 - log.dropped


def test_a_reader_that_stalls_does_not_hold_up_the_end(output: Stalled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "QUEUE_LINES", 5)
    log = Log(output, False)
    log.write({"unix": UNIX, "event": "e"})
    assert output.asked.wait(5)
    for _ in range(50):
        log.write({"unix": UNIX, "event": "e"})
    closing = threading.Thread(target=log.close, daemon=True)
    closing.start()
    closing.join(4)
    assert not closing.is_alive()


def test_a_reader_that_is_gone_costs_lines_and_nothing_else() -> None:
    output = Broken()
    log = Log(output, False)
    for number in range(5):
        log.write({"unix": UNIX, "event": "e", "n": number})
    log.close()
    assert log.dropped == 2
    assert [json.loads(line)["n"] for line in output.getvalue().splitlines()] == [2, 3, 4]


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize(
    "fields",
    [
        {"unix": UNIX, "event": "e", "message": "\udcff in a header"},
        {"unix": UNIX, "event": "e", "what": object()},
        {"unix": 1e300, "event": "e"},
    ],
    ids=["a lone surrogate", "an object", "a time out of range"],
)
def test_a_record_that_cannot_be_written_costs_at_most_itself(fields: dict[str, Any], as_text: bool) -> None:
    output = io.BytesIO()
    log = Log(output, as_text)
    # A thread that dies says so on its own hook; the assertion below says it better.
    hook, threading.excepthook = threading.excepthook, lambda _: None
    try:
        log.write(dict(fields))
        log.write({"unix": UNIX, "event": "next"})
        log.close()
    finally:
        threading.excepthook = hook
    assert b"next" in output.getvalue()


# -- Python's own loggers ---------------------------------------------------------------------------------------------


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("scaigrid.tests")
    logger.propagate = False
    yield logger
    logger.handlers = []
    logger.propagate = True


def through(logger: logging.Logger, say: Callable[[], None]) -> list[dict[str, Any]]:
    def write(log: Log) -> None:
        logger.handlers = [LogHandler(log)]
        say()

    return [json.loads(line) for line in lines(write)]


def test_a_logger_s_record_is_a_line(logger: logging.Logger) -> None:
    (line,) = through(logger, lambda: logger.warning("%d rows of %s", 3, "é"))
    assert line.pop("timestamp")
    assert line == {"event": "log", "level": "warning", "logger": "scaigrid.tests", "message": "3 rows of é"}


def test_a_traceback_goes_into_its_line(logger: logging.Logger) -> None:
    def say() -> None:
        try:
            raise ValueError("inside")
        except ValueError:
            logger.exception("failed")

    (line,) = through(logger, say)
    assert "ValueError: inside" in line["traceback"]
    assert line["level"] == "error"


def test_a_record_whose_words_do_not_fit_harms_nobody(logger: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)

    def say() -> None:
        logger.error("%d", "no number")
        logger.error("next")

    assert [line["message"] for line in through(logger, say)][-1] == "next"
