"""The settlement table of docs/accounting.md: one test per row, and after each the budgets are compared with the rows.

Every case has a user of its own in one tenant, with a budget of its own; the tenant's budget holds the sum.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from support import faults
from support.appliance import ROOT, Answer, Gateway, free_port, running
from support.calling import SURFACES
from support.faults import Play, answers, begins, streams
from support.sse import failure_of
from support.upstream import DONE, Call, Upstream, chunk, completion, text_stream
from support.wire import Wire, request_bytes

NANO = 10**9
PRICE = (1_000_000, 2_000_000)
"""What the caller pays for an input and an output token, in nano-USD."""
COST = (500_000, 600_000)
"""What the first target costs us."""
SECOND_COST = (300_000, 100_000)
REPORTED = (7, 3)
"""Input and output tokens that the scripted upstreams report."""
NO_USAGE = {"usage": None}
TEXT = "one two"
SEEN = 2
"""Tokens of that text, by the estimate of four bytes a token."""


async def role_only(call: Call) -> None:
    await call.start_stream()
    await call.chunk(chunk({"role": "assistant", "content": ""}))
    await call.until_hung_up()


def without_usage(call: Call) -> Any:
    if not call.json.get("stream"):
        return call.reply(200, completion(TEXT, **NO_USAGE))
    return call.stream([chunk({"content": "one "}), chunk({"content": "two"}), chunk({}, "stop"), DONE])


async def cut_after_usage(call: Call) -> None:
    """Everything but the end mark has come."""
    await call.start_stream()
    for piece in text_stream("one ", "two")[:-1]:
        await call.chunk(piece)
    await call.end_stream()


# -- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """One line of the table. `charged`: nothing, input, seen (input and what was seen of the output), reported."""

    name: str
    play: Play | None = None
    charged: str = "nothing"
    status: str = "failed"
    requests: int = 0
    stream: bool | None = None
    provider: str = "up"
    http: int = 502
    second: bool = False
    """Another target takes over, and answers."""


NOTHING_CAME = [
    Outcome("connect-failure", provider="dead"),
    Outcome("timeout-before-dispatch", provider="mute"),
    Outcome("upstream-400", answers(400), http=422),
    Outcome("upstream-401", answers(401), http=503),
    Outcome("upstream-429", answers(429), http=429),
    Outcome("upstream-500", answers(500)),
    Outcome("upstream-garbage", answers(200, b"It works!")),
    Outcome("timeout-after-dispatch", faults.never_answer, provider="hasty", http=504),
    Outcome("cut-before-the-first-byte", faults.reset_before_headers),
    Outcome("cut-before-the-first-content", faults.reset_after_headers),
    Outcome("whole-answer-cut-in-its-middle", faults.half_the_body_then_close, stream=False),
    Outcome("error-before-the-first-content", streams(faults.error_event("no", "server_error")), stream=True),
]
BROKEN_OFF = [
    Outcome(name, begins(play), "seen", requests=1, stream=True, provider="hasty", http=200)
    for name, play in {
        "cut-after-the-first-content": faults.resets,
        "end-without-end-mark": faults.closes_cleanly,
        "stalled-after-the-first-content": faults.stalls,
        "error-after-the-first-content": faults.says_error,
        "garbage-after-the-first-content": faults.says_garbage,
    }.items()
]
ANSWERED = [
    Outcome("usage-reported", faults.good, "reported", "completed", 1, http=200),
    Outcome("usage-not-reported", without_usage, "seen", "completed", 1, http=200),
    Outcome("only-the-end-mark-missing", cut_after_usage, "reported", "completed", 1, stream=True, http=200),
    Outcome("second-target-after-500", answers(500), "reported", "completed", 1, http=200, second=True),
    Outcome(
        "second-target-after-timeout",
        faults.never_answer,
        "reported",
        "completed",
        1,
        provider="hasty",
        http=200,
        second=True,
    ),
]
HANG_UPS = [
    Outcome("hang-up-waiting-for-headers", faults.never_answer, "input", "cancelled", 1),
    Outcome("hang-up-waiting-for-content", role_only, "input", "cancelled", 1, stream=True),
    Outcome("hang-up-in-mid-stream", begins(faults.stalls), "seen", "cancelled", 1, stream=True),
    Outcome("hang-up-in-a-whole-answer", faults.half_the_body_then_stall, "input", "cancelled", 1, stream=False),
]
SPECIAL = (
    "refused",
    "budget",
    "rate",
    "unconfigured",
    "untranslated",
    "connecting",
    "pool-1",
    "pool-2",
    "between",
    "revoked",
    "kill",
)


def _combinations(outcomes: list[Outcome]) -> list[tuple[Outcome, bool]]:
    return [(each, stream) for each in outcomes for stream in (False, True) if each.stream in (None, stream)]


SERVED = _combinations([*NOTHING_CAME, *BROKEN_OFF, *ANSWERED])
LEFT = _combinations(HANG_UPS)


def name_of(outcome: Outcome, stream: bool) -> str:
    return f"{outcome.name}-{'stream' if stream else 'whole'}"


def ids(combinations: list[tuple[Outcome, bool]]) -> list[str]:
    return [name_of(*each) for each in combinations]


def key_of(user: str) -> str:
    return f"sgk_key-of-the-user-{user}-0123456789"


# -- the appliance: one model and one user per line -------------------------------------------------------------------


def _model(name: str, provider: str, second: bool = False) -> str:
    cost = '{input: "500", output: "600"}'
    targets = f'{{backend: "{provider}:{name}", cost: {cost}, priority: 1}}'
    if second:
        targets += f', {{backend: "other:{name}", cost: {{input: "300", output: "100"}}, priority: 2}}'
    price = '{input: "1000", output: "2000"}'
    retries = 1 if second else 0
    return f"  {name}: {{price: {price}, route: {{retries: {retries}, targets: [{targets}]}}}}"


def _user(name: str) -> str:
    limits = "{requests_per_minute: 1}" if name == "rate" else "{requests_per_minute: unlimited}"
    cost = "0.5" if name == "budget" else "1000000"
    budget = f'{{period: total, cost_limit: "{cost}", token_limit: 1000000000, request_limit: 1000000}}'
    return f"          {name}: {{budgets: [{budget}], rate_limits: {limits}, api_keys: [{{key: {key_of(name)}}}]}}"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    plays = {each.name: each.play for each in (*NOTHING_CAME, *BROKEN_OFF, *ANSWERED, *HANG_UPS) if each.play}
    special: dict[str, Play] = {name: faults.never_answer for name in ("pool-1", "pool-2", "kill")}
    special |= {name: faults.good for name in ("rate", "budget", "refused")}
    special |= {"between": answers(500), "revoked": begins(dribbles)}
    with Upstream() as upstream:
        upstream.answer(faults.by_name(plays | special))
        yield upstream


async def dribbles(call: Call) -> None:
    while not call.hung_up:
        await call.chunk(chunk({"content": "word"}))
        await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with socket.socket() as mute, Upstream() as other:
        mute.bind(("127.0.0.1", 0))
        mute.listen(50)  # connections are made, but no TLS handshake is ever answered
        with running(_yaml(upstream, other, mute.getsockname()[1]), tmp_path_factory.mktemp("settle")) as gateway:
            other.answer(faults.good)
            yield gateway


def _yaml(upstream: Upstream, other: Upstream, mute: int) -> str:
    hasty = "{connect: 2s, first_byte: 300ms, idle: 300ms, total: 2s}"
    models = [_model(each.name, each.provider, each.second) for each in {each for each, _ in (*SERVED, *LEFT)}]
    models += [_model(name, "up") for name in ("refused", "budget", "rate", "between", "revoked", "kill")]
    models += [_model("unconfigured", "keyless"), _model("untranslated", "claude"), _model("connecting", "patient")]
    models += [_model(name, "tight") for name in ("pool-1", "pool-2")]
    models = [line.replace("retries: 0", "retries: 5") if line.startswith("  between:") else line for line in models]
    users = [_user(name) for name in (*ids(SERVED), *ids(LEFT), *SPECIAL)]
    off = "{requests_per_minute: unlimited}"
    lines = "\n".join
    return f"""
providers:
  up: {{type: custom, base_url: "{upstream.url}/v1"}}
  other: {{type: custom, base_url: "{other.url}/v1"}}
  hasty: {{type: custom, base_url: "{upstream.url}/v1", timeouts: {hasty}}}
  tight: {{type: custom, base_url: "{upstream.url}/v1", max_connections: 1}}
  dead: {{type: custom, base_url: "http://127.0.0.1:{free_port()}/v1"}}
  mute: {{type: custom, base_url: "https://127.0.0.1:{mute}/v1", timeouts: {{connect: 300ms}}}}
  patient: {{type: custom, base_url: "https://127.0.0.1:{mute}/v1", timeouts: {{connect: 5s}}}}
  keyless: {{type: openai, api_key: "${{env:NOBODY_SETS_THIS}}"}}
  claude: {{type: anthropic, api_key: secret-of-claude, base_url: "{upstream.url}"}}
models:
{lines(models)}
partners:
  p:
    rate_limits: {off}
    budgets: [{{period: monthly, cost_limit: "1000000"}}]
    tenants:
      t:
        rate_limits: {off}
        key_rate_limits: {off}
        budgets: [{{period: weekly, cost_limit: "1000000", timezone: Pacific/Apia}}]
        users:
{lines(users)}
"""


# -- what was booked --------------------------------------------------------------------------------------------------


def ask(gateway: Gateway, model: str, user: str = "", *, stream: bool = False, **members: Any) -> Answer:
    return gateway.post(SURFACES["compat"], body_of(model, stream, members), key=key_of(user or model))


def body_of(model: str, stream: bool, members: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}]} | (members or {})


def size_of(body: dict[str, Any]) -> int:
    """The input estimate of a text body: four bytes a token."""
    return -(-len(json.dumps(body)) // 4)


def rows_of(gateway: Gateway, user: str) -> list[dict[str, Any]]:
    return gateway.usage(user_id=f"t:{user}", tenant_id="t")


def nano(amount: str) -> int:
    return int(Decimal(amount) * NANO)


def used(gateway: Gateway, scope_id: str) -> dict[str, Any]:
    """What the one budget of this user, tenant or partner says."""
    answer = gateway.get(f"/v1/accounting/budgets?limit=1000&scope_id={scope_id}").json()
    (budget,) = answer["data"]["items"]
    assert budget["pending"] == {"cost": "0", "tokens": 0, "requests": 0}, "something is still held"
    shown: dict[str, Any] = budget["used"]
    return shown


def assert_balanced(gateway: Gateway, user: str, requests: int) -> None:
    """Budgets are what the rows say, on every level."""
    rows = rows_of(gateway, user)
    shown = used(gateway, f"t:{user}")
    assert nano(shown["cost"]) == sum(nano(row["cost"]) for row in rows)
    assert shown["tokens"] == sum(row["total_tokens"] for row in rows)
    assert shown["requests"] == requests
    everyone = sum(nano(row["cost"]) for row in gateway.usage(tenant_id="t"))
    assert nano(used(gateway, "t")["cost"]) == nano(used(gateway, "p")["cost"]) == everyone


def assert_row(row: dict[str, Any], outcome: Outcome, body: dict[str, Any]) -> None:
    """The row says what its line of the table says: status, tokens, exact or estimated, both amounts."""
    expected = {
        "nothing": (0, 0),
        "input": (size_of(body), 0),
        "seen": (size_of(body), SEEN),
        "reported": REPORTED,
    }[outcome.charged]
    assert (row["input_tokens"], row["output_tokens"]) == expected
    assert row["status"] == outcome.status
    assert row["estimated"] == (outcome.charged in ("input", "seen"))
    assert nano(row["cost"]) == expected[0] * PRICE[0] + expected[1] * PRICE[1]
    cost = SECOND_COST if outcome.second else COST
    assert nano(row["backend_cost"]) == expected[0] * cost[0] + expected[1] * cost[1]


def until_idle(gateway: Gateway, in_flight: int = 0) -> None:
    until(lambda: gateway.in_flight() == in_flight)


def until(condition: Callable[[], Any], seconds: float = 3) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.01)


# -- calls that were answered, or failed ------------------------------------------------------------------------------


@pytest.mark.parametrize(("outcome", "stream"), SERVED, ids=ids(SERVED))
def test_a_call_that_ended(gateway: Gateway, outcome: Outcome, stream: bool) -> None:
    user = name_of(outcome, stream)
    answer = ask(gateway, outcome.name, user, stream=stream)
    native_to_compat = {422: 400}
    assert answer.status == native_to_compat.get(outcome.http, outcome.http), answer.body
    assert (outcome.status == "completed") == (answer.status == 200 and failure_of_stream(answer, stream) is None)
    until_idle(gateway)
    (row,) = rows_of(gateway, user)
    assert_row(row, outcome, body_of(outcome.name, stream))
    assert len(row["attempts"]) == (2 if outcome.second else 1)
    assert_balanced(gateway, user, outcome.requests)


def failure_of_stream(answer: Answer, stream: bool) -> dict[str, Any] | None:
    return failure_of(answer.body) if stream and answer.status == 200 else None


@pytest.mark.parametrize("outcome", [each for each in ANSWERED if each.stream is None], ids=lambda each: each.name)
def test_a_streamed_call_costs_what_the_same_call_costs_unstreamed(gateway: Gateway, outcome: Outcome) -> None:
    """The bodies differ by the letters of true and false; what they were charged for the answer does not."""
    whole, streamed = (rows_of(gateway, name_of(outcome, stream))[0] for stream in (False, True))
    assert whole["output_tokens"] == streamed["output_tokens"]
    if not whole["estimated"]:
        assert whole["cost"] == streamed["cost"]


# -- callers who left -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("outcome", "stream"), LEFT, ids=ids(LEFT))
def test_a_caller_who_left(gateway: Gateway, upstream: Upstream, outcome: Outcome, stream: bool) -> None:
    user, body = name_of(outcome, stream), body_of(outcome.name, stream)
    calls = len(upstream.calls)
    with Wire(gateway.url) as wire:
        wire.send(request_bytes(SURFACES["compat"], body, key_of(user)))
        until(lambda: len(upstream.calls) > calls)
        if outcome.charged == "seen":
            wire.wait_for(b"two")
        else:
            time.sleep(0.05)
        wire.hang_up()
    until_idle(gateway)
    (row,) = rows_of(gateway, user)
    assert_row(row, outcome, body)
    assert_balanced(gateway, user, outcome.requests)


def test_a_caller_who_left_while_he_waited_for_a_connection_leaves_no_row(gateway: Gateway, upstream: Upstream) -> None:
    calls = len(upstream.calls)
    with Wire(gateway.url) as first, Wire(gateway.url) as second:
        first.send(request_bytes(SURFACES["compat"], body_of("pool-1", False), key_of("pool-1")))
        until(lambda: len(upstream.calls) > calls)
        second.send(request_bytes(SURFACES["compat"], body_of("pool-2", False), key_of("pool-2")))
        until_idle(gateway, 2)
        second.hang_up()
        until_idle(gateway, 1)
        first.hang_up()
    until_idle(gateway)
    assert len(upstream.calls) == calls + 1
    assert rows_of(gateway, "pool-2") == []
    assert_balanced(gateway, "pool-2", 0)


def test_a_caller_who_left_before_the_connection_stood_owes_nothing(gateway: Gateway) -> None:
    """The TCP connection is there, the TLS handshake is not: no byte of the request has left."""
    with Wire(gateway.url) as wire:
        wire.send(request_bytes(SURFACES["compat"], body_of("connecting", False), key_of("connecting")))
        until_idle(gateway, 1)
        time.sleep(0.2)
        wire.hang_up()
    until_idle(gateway)
    (row,) = rows_of(gateway, "connecting")
    assert_row(row, Outcome("", status="cancelled"), body_of("connecting", False))
    assert_balanced(gateway, "connecting", 0)


def test_a_caller_who_left_between_two_attempts_owes_nothing(gateway: Gateway, upstream: Upstream) -> None:
    """The first one failed, and the pause before the next is running."""
    calls = len(upstream.calls)
    with Wire(gateway.url) as wire:
        wire.send(request_bytes(SURFACES["compat"], body_of("between", False), key_of("between")))
        until(lambda: len(upstream.calls) >= calls + 3)
        time.sleep(0.05)
        wire.hang_up()
    until_idle(gateway)
    (row,) = rows_of(gateway, "between")
    assert_row(row, Outcome("", status="cancelled"), body_of("between", False))
    assert_balanced(gateway, "between", 0)


# -- calls that were refused ------------------------------------------------------------------------------------------


def test_a_call_refused_for_its_key_or_its_body_leaves_nothing(gateway: Gateway, upstream: Upstream) -> None:
    calls = len(upstream.calls)
    assert gateway.post(SURFACES["compat"], body_of("refused", False), key="sgk_" + "0" * 40).status == 401
    assert ask(gateway, "refused", temperature="warm").status == 400
    assert ask(gateway, "no-such-model", "refused").status == 404
    assert len(upstream.calls) == calls
    assert rows_of(gateway, "refused") == []
    assert_balanced(gateway, "refused", 0)


def test_a_call_refused_by_a_rate_limit_leaves_nothing(gateway: Gateway) -> None:
    assert [ask(gateway, "rate").status for _ in range(4)] == [200, 429, 429, 429]
    assert len(rows_of(gateway, "rate")) == 1
    assert_balanced(gateway, "rate", 1)


def test_a_call_refused_by_a_budget_leaves_nothing(gateway: Gateway, upstream: Upstream) -> None:
    calls = len(upstream.calls)
    assert ask(gateway, "budget", max_tokens=1000).status == 429
    assert len(upstream.calls) == calls
    assert rows_of(gateway, "budget") == []
    assert_balanced(gateway, "budget", 0)


def test_a_call_that_no_target_can_take_leaves_nothing(gateway: Gateway) -> None:
    """No key for the provider; a request that the target's dialect cannot carry."""
    assert ask(gateway, "unconfigured").status == 503
    assert ask(gateway, "untranslated", n=2).status == 400
    for user in ("unconfigured", "untranslated"):
        assert rows_of(gateway, user) == []
        assert_balanced(gateway, user, 0)


# -- cut off and killed -----------------------------------------------------------------------------------------------


def test_a_call_whose_key_was_revoked_in_mid_stream_is_owed_for_as_far_as_it_went(gateway: Gateway) -> None:
    made = gateway.post("/v1/api-keys", {"name": "short-lived", "assigned_user_id": "t:revoked"}).json()["data"]
    body = body_of("revoked", True)
    with Wire(gateway.url) as wire:
        wire.send(request_bytes(SURFACES["compat"], body, made["key"]))
        wire.wait_for(b"two")
        assert gateway.request("DELETE", f"/v1/api-keys/{made['id']}").status == 200
        wire.wait_for(b"[DONE]")
    until_idle(gateway)
    (row,) = rows_of(gateway, "revoked")
    assert (row["status"], row["estimated"], row["input_tokens"]) == ("cancelled", True, size_of(body))
    assert row["error"] == "AUTH_TOKEN_INVALID"
    assert row["output_tokens"] > 0
    assert_balanced(gateway, "revoked", 1)


def test_a_call_interrupted_by_a_kill_owes_its_input(gateway: Gateway, upstream: Upstream) -> None:
    """Runs last. All balances are made anew from the rows, and are what they were."""
    users = [*ids(SERVED), *ids(LEFT), *SPECIAL]
    before = {user: used(gateway, f"t:{user}") for user in users if user != "kill"}
    calls, body = len(upstream.calls), body_of("kill", True)
    with Wire(gateway.url) as wire:
        wire.send(request_bytes(SURFACES["compat"], body, key_of("kill")))
        until(lambda: len(upstream.calls) > calls)
        gateway.kill()
        gateway.start()
    (row,) = rows_of(gateway, "kill")
    assert_row(row, Outcome("", charged="input", status="interrupted"), body)
    assert_balanced(gateway, "kill", 1)
    assert {user: used(gateway, f"t:{user}") for user in before} == before


# -- the written table ------------------------------------------------------------------------------------------------


def test_every_outcome_stands_in_the_written_table() -> None:
    text = (ROOT / "docs" / "accounting.md").read_text()
    written = set(re.findall(r"^\| `([a-z0-9-]+)` \|", text, re.M))
    played = {each.name for each in (*NOTHING_CAME, *BROKEN_OFF, *ANSWERED, *HANG_UPS)}
    others = {
        *("refused-for-its-key", "refused-for-its-body", "refused-by-a-rate-limit", "refused-by-a-budget", "no-target"),
        *("hang-up-in-the-queue", "hang-up-before-a-connection", "hang-up-between-attempts", "revoked", "kill"),
    }
    assert written == played | others
    assert Path(__file__).name in text
