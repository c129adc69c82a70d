"""What a routing policy says about failures: the retry budget, the classes, the deadline, who is skipped or spared."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from support import faults
from support.appliance import Gateway, running
from support.calling import Seen, call
from support.faults import QUOTA, answers
from support.upstream import Upstream


def policy(model: str, *targets: str, settings: str = "") -> str:
    """A free model over the targets in this order; `!` before one switches it off."""
    listed = [
        f'{{backend: "{target.lstrip("!")}", priority: {place}, enabled: {str(target[0] != "!").lower()}}}'
        for place, target in enumerate(targets)
    ]
    return f"  {model}: {{price: free, route: {{{settings} targets: [{', '.join(listed)}]}}}}"


MODELS = [
    policy("retries-2", "up:500/a", "up:502/b", settings="retries: 2,"),
    policy("retries-0", "up:500/c", "up:good/c", settings="retries: 0,"),
    policy("only-connect", "up:500/d", "up:good/d", settings="retry_on: [connect],"),
    policy("only-connect-401", "up:401/e", "up:good/e", settings="retry_on: [connect],"),
    policy("deadline", "up:silent/f", "up:good/f", settings="deadline: 400ms,"),
    policy("switched-off", "!up:500/g", "up:good/g"),
    policy("unconfigured", "nokey:gpt", "up:good/h"),
    policy("nobody", "nokey:gpt", "!up:good/i"),
    policy("spared", "up:429/j", "up:good/j"),
    policy("spared-alone", "up:429/k"),
    policy("deaf", "deaf:l", "up:good/l"),
    policy("quota", "up:quota/m", "up:quota/n"),
    policy("heartbeats", "hasty:heartbeats/o", settings="retries: 0,"),
]
PLAYS = {
    "good": faults.good,
    "500": answers(500),
    "502": answers(502),
    "401": answers(401),
    "429": answers(429, retry_after="7"),
    "quota": answers(429, QUOTA),
    "silent": faults.never_answer,
    "heartbeats": faults.heartbeats_only,
}


class DeafPort:
    """A port that is open, but whose queue of waiting connections is full: connecting to it takes for ever."""

    def __enter__(self) -> int:
        self._sockets = [socket.socket()]
        self._sockets[0].bind(("127.0.0.1", 0))
        self._sockets[0].listen(0)
        port: int = self._sockets[0].getsockname()[1]
        for _ in range(3):
            knocking = socket.socket()
            knocking.setblocking(False)
            knocking.connect_ex(("127.0.0.1", port))
            self._sockets.append(knocking)
        return port

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            each.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Upstream() as upstream, DeafPort() as deaf:
        upstream.answer(faults.by_name(PLAYS))
        yaml_text = f"""
providers:
  up: {{type: custom, base_url: "{upstream.url}/v1"}}
  hasty: {{type: custom, base_url: "{upstream.url}/v1", timeouts: {{first_byte: 250ms, total: 1500ms}}}}
  deaf: {{type: custom, base_url: "http://127.0.0.1:{deaf}/v1", timeouts: {{connect: 300ms}}}}
  nokey: {{type: openai, api_key: "${{env:NOT_SET_ANYWHERE}}"}}
models:
""" + "\n".join(MODELS)
        with running(yaml_text, tmp_path_factory.mktemp("policy")) as gateway:
            yield gateway


def error_code(seen: Seen) -> str:
    return str(seen.error["code"])


def test_the_retry_budget_holds_over_all_targets(gateway: Gateway) -> None:
    seen = call(gateway, "retries-2")
    assert seen.backends == ["up:500/a", "up:502/b", "up:500/a"]
    assert seen.answer.status == 502


def test_no_retries_means_one_attempt(gateway: Gateway) -> None:
    assert call(gateway, "retries-0").backends == ["up:500/c"]


def test_a_failure_class_that_is_not_in_retry_on_is_final(gateway: Gateway) -> None:
    seen = call(gateway, "only-connect")
    assert seen.backends == ["up:500/d"]
    assert error_code(seen) == "BACKEND_ERROR"


def test_an_operator_fault_goes_to_the_next_target_whatever_retry_on_says(gateway: Gateway) -> None:
    seen = call(gateway, "only-connect-401")
    assert seen.backends == ["up:401/e", "up:good/e"]
    assert seen.answer.status == 200


def test_the_deadline_holds_over_all_attempts(gateway: Gateway) -> None:
    seen = call(gateway, "deadline")
    assert error_code(seen) == "BACKEND_TIMEOUT"
    assert seen.backends == ["up:silent/f"], "after the deadline nobody is asked any more"
    assert 0.35 < seen.seconds < 2


def test_heartbeats_do_not_stop_the_clock_of_the_first_content(gateway: Gateway) -> None:
    """`first_byte` lasts until the first content; it is 250 ms here, `total` 1.5 s."""
    seen = call(gateway, "heartbeats", stream=True)
    assert error_code(seen) == "BACKEND_TIMEOUT"
    assert seen.seconds < 1


@pytest.mark.parametrize("model", ["switched-off", "unconfigured"])
def test_a_target_that_cannot_serve_is_skipped(gateway: Gateway, model: str) -> None:
    seen = call(gateway, model)
    assert seen.answer.status == 200
    assert seen.answer.headers["X-Scaigrid-Attempts"] == "1"
    assert seen.answer.headers["X-Scaigrid-Backend"].startswith("up:good/")


def test_a_model_without_any_usable_target_is_unavailable_and_books_nothing(gateway: Gateway) -> None:
    answer = gateway.post("/v1/inference/chat", {"model": "nobody", "messages": [{"role": "user", "content": "hi"}]})
    assert (answer.status, answer.json()["error"]["code"]) == (503, "MODEL_UNAVAILABLE")
    assert "NOT_SET_ANYWHERE" in answer.json()["error"]["message"], "it says what the operator has to set"
    assert gateway.usage(model="nobody") == []


def test_a_target_that_asked_for_a_pause_is_spared_while_another_serves(gateway: Gateway) -> None:
    assert call(gateway, "spared").backends == ["up:429/j", "up:good/j"]
    assert call(gateway, "spared").backends == ["up:good/j"]


def test_a_target_that_asked_for_a_pause_is_asked_all_the_same_when_nobody_else_is_left(gateway: Gateway) -> None:
    assert call(gateway, "spared-alone").backends == ["up:429/k"]
    assert call(gateway, "spared-alone").backends == ["up:429/k"]


def test_a_connection_that_never_stands_goes_to_the_next_target(gateway: Gateway) -> None:
    seen = call(gateway, "deaf")
    assert seen.backends == ["deaf:l", "up:good/l"]
    assert seen.row["attempts"][0]["error"]["kind"] == "connect"
    assert 0.25 < seen.seconds < 2


def test_a_used_up_quota_is_never_waited_for(gateway: Gateway) -> None:
    seen = call(gateway, "quota")
    assert seen.backends == ["up:quota/m", "up:quota/n"], "each target once, none twice"
    assert (seen.answer.status, error_code(seen)) == (429, "BACKEND_RATE_LIMITED")
    assert "quota" in seen.error["message"]
