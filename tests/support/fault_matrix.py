"""The fault matrix: what an upstream can do wrong × whole or streamed × how many targets, and what has to follow.

Data and the contract's rules as arithmetic; it calls nobody. A cell's backends have names of their own, because health
and Retry-After are kept by the backend's name: what one cell teaches the appliance cannot reach another.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from support import faults
from support.faults import BAD_PARAM, NO_MODEL, QUOTA, Play, answers, begins, streams
from support.upstream import Call, chunk, completion, text_stream

RETRIES = 2
TARGETS = (1, 2, 3)
SHAPES = ("whole", "streamed")
LEAST_PAUSE_S = 0.05
"""Half of the first pause of 0.1 s, as the jitter may make it. Each further one is twice as long."""
RECOVERS = ("connect", "timeout", "rate_limited", "server_error")
"""Kinds of failure after which the same target may be asked again; also the `retry_on` of the product."""
STATUS = {
    "BACKEND_ERROR": 502,
    "BACKEND_TIMEOUT": 504,
    "BACKEND_RATE_LIMITED": 429,
    "UPSTREAM_SHAPE_MISMATCH": 502,
    "MODEL_UNAVAILABLE": 503,
    "VALIDATION_ERROR": 422,
}


# -- the faults -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """`kind` and `code` (of the caller's error when no target is left) are read off the contract."""

    name: str
    title: str
    play: Play | None
    kind: str
    code: str
    shapes: tuple[str, ...] = SHAPES
    provider: str = "up"
    after_content: bool = False
    """The caller has a part of the answer already."""
    retry_after: tuple[float, float] | None = None
    """At least and at most so much is told to the caller, in seconds."""

    @property
    def comes_back(self) -> bool:
        """May the target be asked again within the same call?"""
        waits_long = self.retry_after is not None and self.retry_after[0] > 2
        return self.kind in RECOVERS and not waits_long

    @property
    def is_final(self) -> bool:
        """Nobody else is asked."""
        return self.kind == "caller" or self.after_content

    @property
    def has_pauses(self) -> bool:
        """Slow upstreams, or pauses before the same target is asked again; all other cells end at once."""
        return self.comes_back or self.kind == "timeout"


def _429(name: str, title: str, play: Play, least: float, most: float) -> Fault:
    return Fault(name, title, play, "rate_limited", "BACKEND_RATE_LIMITED", retry_after=(least, most))


def _status(status: int, kind: str, code: str, body: object = None) -> Fault:
    return Fault(str(status), str(status), answers(status, body), kind, code)


def _sound(call: Call) -> object:
    words = ("answer of ", call.model[-1])
    if call.json.get("stream"):
        return call.stream(text_stream(*words))
    return call.reply(200, completion("".join(words)))


BILL = {"error": {"message": "Insufficient Balance", "type": "unknown_error", "code": "invalid_request_error"}}
PAGE = b"<html><h1>It works!</h1></html>"
WHOLE, STREAMED = (("whole",), ("streamed",))
NO_ANSWER = ("server_error", "UPSTREAM_SHAPE_MISMATCH")
BROKEN = ("server_error", "BACKEND_ERROR")
OPERATORS = ("operator", "MODEL_UNAVAILABLE")

FAULTS = [
    Fault("sound", "none, to compare", None, "", ""),
    Fault("not-configured", "target not configured", None, "", "MODEL_UNAVAILABLE", provider="nokey"),
    Fault("connect-refused", "connection refused", None, "connect", "BACKEND_ERROR", provider="refusing"),
    Fault("tls-failure", "TLS: certificate not trusted", None, "connect", "BACKEND_ERROR", provider="selfsigned"),
    Fault("reset-before-headers", "reset before headers", faults.reset_before_headers, "connect", "BACKEND_ERROR"),
    Fault("reset-after-headers", "reset after headers", faults.reset_after_headers, *BROKEN),
    _status(408, "timeout", "BACKEND_TIMEOUT"),
    Fault("slow-first-byte", "slow first byte", faults.never_answer, "timeout", "BACKEND_TIMEOUT", provider="slow"),
    Fault("429", "429 without Retry-After", answers(429), "rate_limited", "BACKEND_RATE_LIMITED"),
    _429("429-short", "429, Retry-After: 1", answers(429, retry_after="1"), 1, 1),
    _429("429-long", "429, Retry-After: 3600", answers(429, retry_after="3600"), 3598, 3600),
    _429(
        "429-date", "429, a date 30 s ahead", lambda call: answers(429, retry_after=faults.http_date(30))(call), 27, 30
    ),
    Fault("429-quota", "429, quota used up", answers(429, QUOTA), "quota", "BACKEND_RATE_LIMITED"),
    Fault("402-quota", "402, quota used up", answers(402, BILL), *OPERATORS),
    _status(401, *OPERATORS),
    _status(403, *OPERATORS),
    _status(404, *OPERATORS, NO_MODEL),
    _status(400, "caller", "VALIDATION_ERROR", BAD_PARAM),
    _status(500, *BROKEN),
    _status(502, *BROKEN),
    _status(503, *BROKEN),
    _status(529, *BROKEN),
    Fault("empty-200", "empty 200", answers(200, b""), *NO_ANSWER),
    Fault("garbage-200", "200 with a web page", answers(200, PAGE, content_type="text/html"), *NO_ANSWER),
    Fault("truncated-200", "200, JSON ends in its middle", answers(200, b'{"id": "a", "choi'), *NO_ANSWER, WHOLE),
    Fault("truncated-event", "200, first event truncated", streams(chunk({"content": "a"})[:40]), *NO_ANSWER, STREAMED),
    Fault("error-200", "200 that holds an error", answers(200, {"error": {"message": "no"}}), *NO_ANSWER, WHOLE),
    Fault("error-event", "200, first event is an error", streams(faults.error_event("no", "a")), *BROKEN, STREAMED),
    Fault(
        "stall-body",
        "stall in the body",
        faults.half_the_body_then_stall,
        "timeout",
        "BACKEND_TIMEOUT",
        WHOLE,
        provider="stalling",
    ),
    Fault("cut-body", "cut in the body", faults.half_the_body_then_close, *BROKEN, WHOLE),
    Fault(
        "stall-mid-stream",
        "stall after content",
        begins(faults.stalls),
        "timeout",
        "BACKEND_TIMEOUT",
        STREAMED,
        provider="stalling",
        after_content=True,
    ),
    Fault(
        "cut-mid-stream",
        "cut after content",
        begins(faults.closes_without_last_chunk),
        *BROKEN,
        STREAMED,
        after_content=True,
    ),
    Fault(
        "error-mid-stream",
        "error event after content",
        begins(faults.says_error),
        *BROKEN,
        STREAMED,
        after_content=True,
    ),
]
PLAYS: dict[str, Play] = {"sound": _sound} | {fault.name: fault.play for fault in FAULTS if fault.play}


# -- the cells --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """`series` first: only the first target has the fault; all: every target has it. One target is both: `all`."""

    fault: Fault
    shape: str
    series: str
    targets: int

    def __str__(self) -> str:
        return f"{self.fault.name}/{self.shape}/{self.series}-{self.targets}"

    def is_faulty(self, place: int) -> bool:
        return self.fault.name != "sound" and (self.series == "all" or place == 1)

    def upstream_model(self, place: int) -> str:
        """It begins with the play of the scripted upstream and ends with the target's place."""
        return f"{self.fault.name if self.is_faulty(place) else 'sound'}/{self}/{place}"

    def backend(self, place: int) -> str:
        return f"{self.fault.provider if self.is_faulty(place) else 'up'}:{self.upstream_model(place)}"

    @property
    def places(self) -> range:
        return range(1, self.targets + 1)

    @property
    def asked(self) -> list[int]:
        """Whom the contract wants to be asked, in this order, as places in the policy's list."""
        if self.fault.is_final:
            return [1]
        configured = [place for place in self.places if self.fault.provider != "nokey" or not self.is_faulty(place)]
        sound = [place for place in configured if not self.is_faulty(place)]
        if sound:
            return configured[: configured.index(sound[0]) + 1]
        rounds = itertools.repeat(configured, 1 + RETRIES if self.fault.comes_back else 1)
        return list(itertools.chain(*rounds))[: 1 + RETRIES]

    @property
    def is_answered(self) -> bool:
        return bool(self.asked) and not self.is_faulty(self.asked[-1])

    @property
    def pause_s(self) -> float:
        """The least time that passes in pauses: before each second and third time that a target is asked."""
        rounds = (len(self.asked) - 1) // self.targets
        least = self.fault.retry_after[0] if self.fault.retry_after else 0.0
        return sum(max(LEAST_PAUSE_S * 2.0**number, least) for number in range(rounds))


def _cells() -> Iterator[Cell]:
    for fault in FAULTS:
        for shape in fault.shapes:
            for targets in TARGETS:
                yield Cell(fault, shape, "all", targets)
                if targets > 1:
                    yield Cell(fault, shape, "first", targets)


CELLS = list(_cells())
