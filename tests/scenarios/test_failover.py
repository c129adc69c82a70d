"""Everything an upstream can do wrong before its first content: what the caller sees, who is asked next, the row.

Each case has backend models of its own, so that what one case teaches the appliance (spare this backend) cannot reach
another. Provider `a` misbehaves as the model's name says; provider `b` always answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from support import faults
from support.appliance import Gateway, free_port, running
from support.calling import Seen, call
from support.faults import BAD_PARAM, NO_MODEL, QUOTA, Play, answers, streams
from support.sse import ended, failure_of, text_of
from support.upstream import DONE, Upstream, chunk, completion, text_stream

STATUS = {  # error code: HTTP status on the native and on the compat surface
    "BACKEND_ERROR": (502, 502),
    "BACKEND_TIMEOUT": (504, 504),
    "BACKEND_RATE_LIMITED": (429, 429),
    "UPSTREAM_SHAPE_MISMATCH": (502, 502),
    "MODEL_UNAVAILABLE": (503, 503),
    "VALIDATION_ERROR": (422, 400),
}
OPENAI_CODES = {"VALIDATION_ERROR": None, "BACKEND_RATE_LIMITED": "rate_limit_exceeded"}
"""Where OpenAI has a word of its own; the other codes are ours in small letters."""


# -- the cases --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """`again`: the same target is asked once more (retries: 1). `next`: another target takes over."""

    name: str
    play: Play | None
    code: str
    again: bool = True
    next: bool = True
    provider: str = "a"
    retry_after: tuple[float, float] | None = None
    param: str | None = None
    attempt_code: str = ""
    """The attempt's own error where it differs from what the caller sees."""


def operator_fault(name: str, play: Play) -> Case:
    """The operator has to act: never asked twice, and the caller hears that no target is left."""
    return Case(name, play, "MODEL_UNAVAILABLE", again=False, attempt_code="BACKEND_ERROR")


def caller_fault(name: str, play: Play, param: str | None = None) -> Case:
    """No other target would say anything else."""
    return Case(name, play, "VALIDATION_ERROR", again=False, next=False, param=param)


def limited(name: str, play: Play, least: float, most: float, *, again: bool = False) -> Case:
    return Case(name, play, "BACKEND_RATE_LIMITED", again=again, retry_after=(least, most))


BOTH = [
    Case("connect-refused", None, "BACKEND_ERROR", provider="dead"),
    Case("tls-handshake-hangs", None, "BACKEND_ERROR", provider="tls"),
    Case("reset-before-headers", faults.reset_before_headers, "BACKEND_ERROR"),
    Case("reset-after-headers", faults.reset_after_headers, "BACKEND_ERROR"),
    Case("no-http-at-all", lambda call: call.raw(b"SSH-2.0-OpenSSH\r\n\r\n"), "BACKEND_ERROR"),
    Case("slow-first-byte", faults.never_answer, "BACKEND_TIMEOUT", provider="hasty"),
    Case("stall-after-headers", faults.stall_after_headers, "BACKEND_TIMEOUT", provider="hasty"),
    Case("408", answers(408), "BACKEND_TIMEOUT"),
    Case("500", answers(500), "BACKEND_ERROR"),
    Case("500-html", answers(500, b"<html><h1>Oops</h1></html>", content_type="text/html"), "BACKEND_ERROR"),
    Case("502", answers(502), "BACKEND_ERROR"),
    Case("503", answers(503), "BACKEND_ERROR"),
    Case("504", answers(504), "BACKEND_TIMEOUT"),
    Case("529", answers(529), "BACKEND_ERROR"),
    Case("503-retry-after", answers(503, retry_after="7"), "BACKEND_ERROR", again=False, retry_after=(7, 7)),
    Case("429", answers(429), "BACKEND_RATE_LIMITED"),
    limited("429-seconds", answers(429, retry_after="7"), 7, 7),
    limited("429-ms", answers(429, retry_after_ms="5500"), 5.5, 5.5),
    limited("429-date", lambda call: answers(429, retry_after=faults.http_date(9))(call), 7, 9),
    limited("429-short", answers(429, retry_after_ms="300"), 0.3, 0.3, again=True),
    Case("429-bad-retry-after", answers(429, retry_after="soon"), "BACKEND_RATE_LIMITED"),
    Case("429-quota", answers(429, QUOTA), "BACKEND_RATE_LIMITED", again=False),
    caller_fault("400", answers(400, BAD_PARAM), "top_p"),
    caller_fault("413", answers(413)),
    caller_fault("422", answers(422)),
    operator_fault("401", answers(401)),
    operator_fault("402", answers(402)),
    operator_fault("403", answers(403)),
    operator_fault("404", answers(404, NO_MODEL)),
    operator_fault("redirect", answers(302, location="http://127.0.0.1:9/v1/chat/completions")),
    Case("empty-200", answers(200, b""), "UPSTREAM_SHAPE_MISMATCH"),
    Case("text-200", answers(200, b"It works!", content_type="text/html"), "UPSTREAM_SHAPE_MISMATCH"),
]
WHOLE_ONLY = [
    Case("half-body-then-close", faults.half_the_body_then_close, "BACKEND_ERROR"),
    Case("half-body-then-stall", faults.half_the_body_then_stall, "BACKEND_TIMEOUT", provider="hasty"),
    Case("truncated-json", answers(200, b'{"id": "chatcmpl-1", "choices": [{"in'), "UPSTREAM_SHAPE_MISMATCH"),
    Case("json-without-choices", answers(200, {"id": "x", "object": "chat.completion"}), "UPSTREAM_SHAPE_MISMATCH"),
    Case("empty-choices", answers(200, completion(choices=[])), "UPSTREAM_SHAPE_MISMATCH"),
    Case("json-list", answers(200, [completion()]), "UPSTREAM_SHAPE_MISMATCH"),
    Case("error-in-200", answers(200, {"error": {"message": "no luck"}}), "UPSTREAM_SHAPE_MISMATCH"),
    Case("stream-where-none-was-asked", streams(*text_stream("hello")), "UPSTREAM_SHAPE_MISMATCH"),
]
STREAM_ONLY = [
    Case("heartbeats-only", faults.heartbeats_only, "BACKEND_TIMEOUT", provider="hasty"),
    Case("end-mark-only", streams(DONE), "UPSTREAM_SHAPE_MISMATCH"),
    Case("role-then-clean-end", streams(chunk({"role": "assistant", "content": ""})), "UPSTREAM_SHAPE_MISMATCH"),
    Case("role-then-end-mark", streams(chunk({"role": "assistant", "content": ""}), DONE), "UPSTREAM_SHAPE_MISMATCH"),
    Case("truncated-chunk", streams(chunk({"content": "hello"})[:40]), "UPSTREAM_SHAPE_MISMATCH"),
    Case("chunk-without-choices", streams(b'data: {"id": "x"}\n\n', DONE), "UPSTREAM_SHAPE_MISMATCH"),
    Case("whole-answer-to-a-stream", answers(200, completion()), "UPSTREAM_SHAPE_MISMATCH"),
    Case("error-event-first", streams(faults.error_event("overloaded", "server_error")), "BACKEND_ERROR"),
    Case(
        "error-event-after-role",
        streams(chunk({"role": "assistant"}), faults.error_event("x", "api_error")),
        "BACKEND_ERROR",
    ),
    Case(
        "error-event-429",
        streams(faults.error_event("slow down", "rate_limit_error", code=429)),
        "BACKEND_RATE_LIMITED",
    ),
    Case("named-error-event", streams(b'event: error\ndata: {"message": "broken"}\n\n'), "BACKEND_ERROR"),
]


def _combinations() -> Iterator[tuple[str, Case, str, str, int]]:
    """Model, case, shape, surface, number of targets."""
    for shape, cases in (("whole", [*BOTH, *WHOLE_ONLY]), ("stream", [*BOTH, *STREAM_ONLY])):
        for case in cases:
            yield f"{case.name}/{shape}-native-1", case, shape, "native", 1
            yield f"{case.name}/{shape}-native-2", case, shape, "native", 2
            if shape == "whole" or case in STREAM_ONLY:  # before the first content both shapes get the same error
                yield f"{case.name}/{shape}-compat-1", case, shape, "compat", 1


COMBINATIONS = list(_combinations())


# -- the appliance: one model per combination -------------------------------------------------------------------------


def _models() -> Iterator[str]:
    for model, case, _, _, targets in COMBINATIONS:
        listed = [f'{{backend: "{case.provider}:{model}", priority: 1}}']
        if targets == 2:
            listed.append(f'{{backend: "b:{model}", priority: 2}}')
        price = '{input: "1000", output: "2000"}'
        yield f"  {model}: {{price: {price}, route: {{retries: 1, targets: [{', '.join(listed)}]}}}}"


@pytest.fixture(scope="module")
def a() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.answer(
            faults.by_name({case.name: case.play for case in (*BOTH, *WHOLE_ONLY, *STREAM_ONLY) if case.play})
        )
        yield upstream


@pytest.fixture(scope="module")
def b() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.answer(faults.good)
        yield upstream


@pytest.fixture(scope="module")
def gateway(a: Upstream, b: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    models = "\n".join(_models())
    hasty = "{connect: 2s, first_byte: 250ms, idle: 250ms, total: 1500ms}"
    yaml_text = f"""
providers:
  a: {{type: custom, base_url: "{a.url}/v1"}}
  b: {{type: custom, base_url: "{b.url}/v1"}}
  hasty: {{type: custom, base_url: "{a.url}/v1", timeouts: {hasty}}}
  dead: {{type: custom, base_url: "http://127.0.0.1:{free_port()}/v1"}}
  tls: {{type: custom, base_url: "https://127.0.0.1:{a.port}/v1", timeouts: {{connect: 300ms}}}}
models:
{models}
"""
    with running(yaml_text, tmp_path_factory.mktemp("failover")) as gateway:
        yield gateway


# -- the tests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "case", "shape", "surface", "targets"), COMBINATIONS, ids=[name for name, *_ in COMBINATIONS]
)
def test_a_failure_before_the_first_content(
    gateway: Gateway, a: Upstream, b: Upstream, model: str, case: Case, shape: str, surface: str, targets: int
) -> None:
    seen = call(gateway, model, surface, stream=shape == "stream")
    taken_over = targets == 2 and case.next
    backends = [f"{case.provider}:{model}"] * (2 if case.again and targets == 1 else 1)
    backends += [f"b:{model}"] if taken_over else []

    assert seen.answer.headers["X-Scaigrid-Attempts"] == str(len(backends))
    assert seen.answer.headers["X-Scaigrid-Backend"] == backends[-1]
    assert [attempt["backend"] for attempt in seen.row["attempts"]] == backends
    failed = [attempt for attempt in seen.row["attempts"] if attempt["backend"].startswith(f"{case.provider}:")]
    assert {attempt["status"] for attempt in failed} == {"failed"}
    assert {attempt["error"]["code"] for attempt in failed} == {case.attempt_code or case.code}
    if case.play:
        assert len(a.calls_of(model)) == len(failed)
    assert len(b.calls_of(model)) == taken_over

    if taken_over:
        assert_answered_by_b(seen, shape)
    else:
        assert_refused(seen, case, surface)


def assert_answered_by_b(seen: Seen, shape: str) -> None:
    assert seen.answer.status == 200, seen.answer.body
    if shape == "stream":
        assert text_of(seen.answer.body) == "one two"
        assert failure_of(seen.answer.body) is None
        assert ended(seen.answer.body)
    else:
        assert seen.answer.json()["data"]["choices"][0]["message"]["content"] == "one two"
        assert seen.answer.json()["meta"]["attempts"] == 2
    assert seen.row["status"] == "completed"
    assert (seen.row["tokens_in"], seen.row["tokens_out"], seen.row["estimated"]) == (7, 3, False)
    assert seen.row["cost"] == "0.013"
    assert seen.row["attempts"][-1]["status"] == "completed"
    assert seen.row["attempts"][-1]["error"] is None


def assert_refused(seen: Seen, case: Case, surface: str) -> None:
    error = seen.error
    assert seen.answer.status == STATUS[case.code][surface == "compat"], seen.answer.body
    assert error["message"]
    if surface == "native":
        assert seen.answer.json()["status"] == "error"
        assert error["code"] == case.code
        assert [detail["field"] for detail in error.get("details", [])] == ([case.param] if case.param else [])
        assert_between(error.get("retry_after"), case.retry_after)
    else:
        assert set(error) == {"message", "type", "param", "code"}
        assert error["code"] == OPENAI_CODES.get(case.code, case.code.lower())
        assert error["param"] == case.param
    header = seen.answer.headers["Retry-After"]
    assert_between(float(header) if header else None, case.retry_after, slack=1)
    assert seen.row["status"] == "failed"
    assert seen.row["error"] == case.code
    assert (seen.row["tokens_in"], seen.row["tokens_out"], seen.row["cost"]) == (0, 0, "0"), "nothing was used"
    assert seen.row["estimated"] is False


def assert_between(value: float | None, bounds: tuple[float, float] | None, slack: float = 0) -> None:
    if bounds is None:
        assert value is None
    else:
        assert value is not None
        assert bounds[0] <= value <= bounds[1] + slack


def test_no_failure_leaves_a_traceback_or_a_call_in_flight(gateway: Gateway) -> None:
    """Runs last: everything above has passed through this appliance."""
    assert "Traceback" not in gateway.output()
    assert "INTERNAL_ERROR" not in gateway.output()
    assert gateway.in_flight() == 0
