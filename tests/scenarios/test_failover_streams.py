"""Streams that break after their first content, which the caller is told, and odd ones that are whole all the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from support import faults
from support.appliance import Gateway, running
from support.calling import SURFACES, call
from support.faults import Play, begins, streams
from support.sse import ended, events, failure_of, text_of
from support.upstream import DONE, Upstream, text_stream


@dataclass(frozen=True)
class Break:
    name: str
    then: Play
    code: str
    provider: str = "a"


BREAKS = [
    Break("reset", faults.resets, "BACKEND_ERROR"),
    Break("closed-inside-http-chunking", faults.closes_without_last_chunk, "BACKEND_ERROR"),
    Break("clean-close-without-finish", faults.closes_cleanly, "BACKEND_ERROR"),
    Break("stall", faults.stalls, "BACKEND_TIMEOUT", provider="hasty"),
    Break("error-event", faults.says_error, "BACKEND_ERROR"),
    Break("error-event-and-end-mark", faults.says_error_and_done, "BACKEND_ERROR"),
    Break("garbage", faults.says_garbage, "UPSTREAM_SHAPE_MISMATCH"),
]

WHOLE = text_stream("one ", "two")
NO_USAGE = [piece for piece in WHOLE if b'"usage"' not in piece]
ENDS: dict[str, Play] = {
    "in-order": streams(*WHOLE),
    "finish-without-end-mark": streams(*WHOLE[:-1]),
    "finish-without-usage-or-end-mark": streams(*NO_USAGE[:-1]),
    "without-usage": streams(*NO_USAGE),
    "one-http-chunk": streams(b"".join(WHOLE)),
    "byte-by-byte": streams(*(bytes([byte]) for byte in b"".join(WHOLE))),
    "crlf": streams(*(piece.replace(b"\n", b"\r\n") for piece in WHOLE)),
    "comments-between": streams(*(b": ping\n\n" + piece for piece in WHOLE)),
    "last-empty-line-missing": streams(*WHOLE[:-1], b"data: [DONE]"),
    "connection-left-open": faults.left_open_after(*WHOLE),
}


def _model(provider: str, backend: str) -> str:
    """A model with a second target that would answer well, if it were asked."""
    price = '{input: "1000", output: "2000"}'
    targets = f'{{backend: "{provider}:{backend}", priority: 1}}, {{backend: "b:{backend}", priority: 2}}'
    return f"  {backend}: {{price: {price}, route: [{targets}]}}"


@pytest.fixture(scope="module")
def a() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.answer(faults.by_name({each.name: begins(each.then) for each in BREAKS} | ENDS))
        yield upstream


@pytest.fixture(scope="module")
def b() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.answer(faults.good)
        yield upstream


@pytest.fixture(scope="module")
def gateway(a: Upstream, b: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    models = [_model(each.provider, f"{each.name}/{surface}") for each in BREAKS for surface in SURFACES]
    models += [_model("a", f"{name}/{surface}") for name in ENDS for surface in SURFACES]
    yaml_text = f"""
providers:
  a: {{type: custom, base_url: "{a.url}/v1"}}
  b: {{type: custom, base_url: "{b.url}/v1"}}
  hasty: {{type: custom, base_url: "{a.url}/v1", timeouts: {{idle: 250ms}}}}
models:
""" + "\n".join(models)
    with running(yaml_text, tmp_path_factory.mktemp("streams")) as gateway:
        yield gateway


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.name)
def test_a_break_after_the_first_content(
    gateway: Gateway, a: Upstream, b: Upstream, broken: Break, surface: str
) -> None:
    """There is a second target, and it is not asked: the caller has seen a part of the first one's answer."""
    model = f"{broken.name}/{surface}"
    seen = call(gateway, model, surface, stream=True)
    body = seen.answer.body
    assert seen.answer.status == 200
    assert seen.answer.headers["X-Scaigrid-Attempts"] == "1"
    assert text_of(body) == "one two"
    error = failure_of(body)
    assert error is not None, "the break was not told"
    assert error["code"] == (broken.code if surface == "native" else broken.code.lower())
    assert error["message"]
    assert ended(body), "an error is followed by [DONE]"
    assert finish_reasons(body) == [], "a finish reason was invented"
    assert (len(a.calls_of(model)), len(b.calls_of(model))) == (1, 0)
    row = seen.row
    assert (row["status"], row["error"], row["estimated"]) == ("failed", broken.code, True)
    assert row["tokens_out"] == 2, "`one two` is 7 bytes, so about 2 tokens"
    assert row["tokens_in"] > 0
    assert row["cost"] != "0"
    (attempt,) = row["attempts"]
    assert attempt["status"] == "failed"
    assert attempt["error"], "the attempt says why it failed"
    assert attempt["error"]["code"] == broken.code


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("name", ENDS)
def test_an_odd_but_whole_stream_is_an_answer(gateway: Gateway, name: str, surface: str) -> None:
    seen = call(gateway, f"{name}/{surface}", surface, stream=True)
    body = seen.answer.body
    assert seen.answer.status == 200
    assert text_of(body) == "one two"
    assert failure_of(body) is None
    assert body.endswith(DONE)
    assert body.count(b"[DONE]") == 1
    assert finish_reasons(body) == ["stop"]
    estimated = name in ("without-usage", "finish-without-usage-or-end-mark")
    row = seen.row
    assert (row["status"], row["estimated"], row["finish_reason"]) == ("completed", estimated, "stop")
    assert row["tokens_out"] == (2 if estimated else 3)
    assert [(each["status"], each["error"]) for each in row["attempts"]] == [("completed", None)]
    assert seen.seconds < 2, "an upstream that leaves the connection open after its end mark is not waited for"


def finish_reasons(body: bytes) -> list[str]:
    choices = [choice for _, data in events(body) if isinstance(data, dict) for choice in data.get("choices", [])]
    return [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]


def test_no_break_leaves_a_traceback_or_a_call_in_flight(gateway: Gateway) -> None:
    """Runs last: everything above has passed through this appliance."""
    assert "Traceback" not in gateway.output()
    assert "INTERNAL_ERROR" not in gateway.output()
    assert gateway.in_flight() == 0
