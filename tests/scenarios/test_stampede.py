"""200 calls at once against a small budget: never a cent too much, as many as the money allows, nobody refused in vain.

The upstream answers as many tokens as it is allowed to, reports its input honestly, and its own count is the judge.
"""

from __future__ import annotations

import asyncio
import base64
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from support.appliance import Answer, Gateway, running
from support.calling import SURFACES
from support.sse import ended, failure_of
from support.upstream import DONE, Call, Upstream, chunk, completion
from support.wire import Wire, request_bytes

CROWD = 200
INPUT_NANO, OUTPUT_NANO = 100, 2000
"""Price of a token: 0.10 and 2 USD per million."""
PRICE = '{input: "0.1", output: "2"}'
NANO = 10**9
MESSAGES = [{"role": "user", "content": "Tell me as much as you are allowed to."}]
CAP = 1000
LARGEST = 16_384
"""The output cap of a model of which the operator says nothing."""
HIDDEN_TOKENS = 2048
"""The reservation's bound of what providers add by themselves (docs/accounting.md)."""


# -- the judge --------------------------------------------------------------------------------------------------------


@dataclass
class Count:
    """What the upstream did for one model, by its own count."""

    calls: int = 0
    answered: int = 0
    spent_nano: int = 0
    caps: list[int | None] = field(default_factory=list)


class Judge:
    """An upstream that uses what it is allowed to; `tokens` of the model's name lower that: `NAME/tokens=50`."""

    def __init__(self) -> None:
        self.counts: dict[str, Count] = defaultdict(Count)
        self.limits: dict[str, int] = {}
        self._rng = random.Random(1)

    async def play(self, call: Call) -> None:
        body, model = call.json, call.model
        count = self.counts[model]
        cap = body.get("max_tokens", body.get("max_completion_tokens"))
        count.calls += 1
        count.caps.append(cap)
        wanted = int(model.partition("tokens=")[2] or 10**9)
        used = {"prompt_tokens": len(call.body) // 4, "completion_tokens": min(cap or 300, wanted) * body.get("n", 1)}
        usage = used | {"total_tokens": sum(used.values())}
        await asyncio.sleep(self._rng.uniform(0.001, 0.03))
        if body.get("stream"):
            await self._stream(call, usage)
        else:
            self._charge(model, usage)
            await call.reply(200, completion("x", usage=usage))

    async def _stream(self, call: Call, usage: dict[str, int]) -> None:
        await call.start_stream()
        await call.chunk(chunk({"role": "assistant", "content": "word"}))
        await asyncio.sleep(0.02)
        if call.hung_up:
            return
        self._charge(call.model, usage)
        for piece in (chunk({"content": "word"}), chunk({}, "stop"), chunk(None, usage=usage), DONE):
            await call.chunk(piece)
        await call.end_stream()

    def _charge(self, model: str, usage: dict[str, int]) -> None:
        count = self.counts[model]
        count.answered += 1
        count.spent_nano += usage["prompt_tokens"] * INPUT_NANO + usage["completion_tokens"] * OUTPUT_NANO
        assert count.spent_nano <= self.limits[model], f"{model}: spent {count.spent_nano} of {self.limits[model]}"


# -- the cases --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One model, one partner with one tenant with one user, all of the same name; limits in nano-USD."""

    name: str
    user: int
    tenant: int = 10**9
    partner: int = 10**9
    tokens: int = 0
    """What the upstream stops at by itself; 0: it always goes as far as it may."""

    @property
    def limit(self) -> int:
        return min(self.user, self.tenant, self.partner)

    @property
    def upstream_model(self) -> str:
        return f"{self.name}/tokens={self.tokens}" if self.tokens else self.name

    @property
    def key(self) -> str:
        return f"sgk_key-of-the-case-{self.name}-0123456789"


def body_of(case: Case, **members: Any) -> dict[str, Any]:
    return {"model": case.name, "messages": MESSAGES} | members


def actual(input_tokens: int, output_tokens: int) -> int:
    return input_tokens * INPUT_NANO + output_tokens * OUTPUT_NANO


ONE = actual(40, CAP)
"""About what one call with the cap costs."""
WORST = actual(HIDDEN_TOKENS + 400, CAP)
"""A little more than what is held for it."""

CASES = {
    case.name: case
    for case in (
        Case("on-user", user=40 * ONE),
        Case("on-tenant", user=90 * ONE, tenant=40 * ONE),
        Case("on-partner", user=90 * ONE, tenant=80 * ONE, partner=40 * ONE),
        Case("all-three", user=40 * ONE, tenant=40 * ONE, partner=40 * ONE),
        Case("streams", user=30 * ONE, tenant=30 * ONE, partner=30 * ONE),
        Case("compat-streams", user=30 * ONE, tenant=31 * ONE, partner=32 * ONE),
        Case("enough-at-once", user=CROWD * WORST, tenant=CROWD * WORST, partner=CROWD * WORST),
        Case("enough-in-turn", user=(CROWD - 1) * ONE + WORST + ONE * CROWD // 20),
        Case("open", user=20 * ONE),
        Case("open-short", user=20 * ONE, tokens=200),
        Case("open-streams", user=20 * ONE, tokens=200),
        Case("too-large", user=20 * ONE),
        Case("n", user=30 * ONE),
        Case("tools", user=30 * ONE),
        Case("images", user=40 * WORST),
        Case("leavers", user=30 * ONE),
        Case("one-left", user=WORST),
    )
}


def yaml(upstream: str) -> str:
    models = "".join(
        f'  {case.name}: {{price: {PRICE}, route: [{{backend: "up:{case.upstream_model}"}}]}}\n'
        for case in CASES.values()
    )
    return f"""
providers:
  up: {{type: custom, base_url: "{upstream}/v1", max_connections: 300}}
models:
{models}
partners:
{"".join(map(partner, CASES.values()))}
"""


def partner(case: Case) -> str:
    off = "{requests_per_minute: unlimited}"
    return f"""
  {case.name}:
    rate_limits: {off}
    budgets: [{{period: monthly, cost_limit: "{usd(case.partner)}"}}]
    tenants:
      {case.name}-t:
        rate_limits: {off}
        user_rate_limits: {off}
        key_rate_limits: {off}
        budgets: [{{period: weekly, cost_limit: "{usd(case.tenant)}", timezone: Asia/Kathmandu}}]
        users:
          u:
            roles: [tenant_admin]
            budgets: [{{period: total, cost_limit: "{usd(case.user)}"}}]
            api_keys: [{{key: "{case.key}"}}]
"""


def usd(nano: int) -> str:
    return f"{Decimal(nano) / NANO:.9f}"


@pytest.fixture(scope="module")
def judge() -> Judge:
    judge = Judge()
    judge.limits = {case.upstream_model: case.limit for case in CASES.values()}
    # Who hangs up is charged what was seen of his answer; this upstream counts all of it as soon as it is complete.
    judge.limits["leavers"] = CROWD * WORST
    return judge


@pytest.fixture(scope="module")
def gateway(judge: Judge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Upstream() as upstream:
        upstream.answer(judge.play)
        with running(yaml(upstream.url), tmp_path_factory.mktemp("stampede")) as gateway:
            yield gateway


# -- the crowd --------------------------------------------------------------------------------------------------------


@dataclass
class Seen:
    case: Case
    answers: list[Answer]
    rows: list[dict[str, Any]]
    count: Count
    seconds: float

    @property
    def admitted(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status == 200]

    @property
    def refused(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status == 429]

    @property
    def booked_nano(self) -> int:
        return sum(nano(row["cost"]) for row in self.rows)

    @property
    def left_nano(self) -> int:
        return self.case.limit - self.booked_nano


def nano(amount: str) -> int:
    return int(Decimal(amount) * NANO)


def crowd(work: Callable[[int], Answer], size: int = CROWD) -> list[Answer]:
    """All at the same moment, each on a connection of its own."""
    gate = threading.Barrier(size)

    def one(number: int) -> Answer:
        gate.wait()
        return work(number)

    with ThreadPoolExecutor(size) as threads:
        return list(threads.map(one, range(size)))


def rush(gateway: Gateway, judge: Judge, name: str, surface: str = "compat", **members: Any) -> Seen:
    """The crowd asks for the same thing; then what came of it, checked for what holds in every case."""
    case = CASES[name]
    begun = time.monotonic()
    answers = crowd(
        lambda number: gateway.post(SURFACES[surface], body_of(case, **members), key=case.key, timeout_s=60)
    )
    return judged(gateway, judge, case, answers, time.monotonic() - begun)


def judged(gateway: Gateway, judge: Judge, case: Case, answers: list[Answer], seconds: float) -> Seen:
    seen = Seen(case, answers, gateway.usage(model=case.name), judge.counts[case.upstream_model], seconds)
    assert {answer.status for answer in answers} <= {200, 429}, {answer.status: answer.body for answer in answers}
    for answer in seen.refused:
        assert b"budget" in answer.body.lower()
        assert b"rate" not in answer.body.lower().replace(b"rate_limit_exceeded", b"")
    assert seen.booked_nano <= case.limit, "settled spend is above the limit"
    assert all(row["tenant_id"] == f"{case.name}-t" for row in seen.rows)
    return seen


def assert_exact(seen: Seen) -> None:
    """Every answer is one call of the upstream, one row, and the upstream's own cost."""
    assert len(seen.admitted) == seen.count.calls == seen.count.answered == len(seen.rows)
    assert seen.booked_nano == seen.count.spent_nano
    assert not any(row["estimated"] for row in seen.rows)


def assert_used_up(seen: Seen, worst: int) -> None:
    """Whoever was refused was refused for want of money: what is left does not cover one more call."""
    assert seen.refused, "the budget was not small"
    assert seen.left_nano < worst, f"{seen.left_nano} nano-USD were left and {len(seen.refused)} calls refused"


# -- caps that the callers wrote --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["on-user", "on-tenant", "on-partner", "all-three"])
def test_as_many_are_served_as_the_tightest_budget_allows(gateway: Gateway, judge: Judge, name: str) -> None:
    seen = rush(gateway, judge, name, max_tokens=CAP)
    assert_exact(seen)
    assert_used_up(seen, WORST)
    each = seen.booked_nano // len(seen.rows)
    assert len(seen.admitted) >= (seen.case.limit - WORST) // each + 1
    assert set(seen.count.caps) == {CAP}, "a cap that the caller wrote is not cut"


@pytest.mark.parametrize(("name", "surface"), [("streams", "native"), ("compat-streams", "compat")])
def test_streams_are_held_to_it_as_well(gateway: Gateway, judge: Judge, name: str, surface: str) -> None:
    cap = {"max_tokens" if surface == "native" else "max_completion_tokens": CAP}
    seen = rush(gateway, judge, name, surface, stream=True, **cap)
    assert all(ended(answer.body) and failure_of(answer.body) is None for answer in seen.admitted)
    assert_exact(seen)
    assert_used_up(seen, WORST)


def test_nobody_is_refused_when_the_budget_covers_all_at_once(gateway: Gateway, judge: Judge) -> None:
    seen = rush(gateway, judge, "enough-at-once", max_tokens=CAP)
    assert len(seen.admitted) == CROWD
    assert_exact(seen)


def test_nobody_is_refused_when_the_budget_suffices_after_settlement(gateway: Gateway, judge: Judge) -> None:
    """What all of them hold at once is more than there is; each waits until the ones before it are settled."""
    seen = rush(gateway, judge, "enough-in-turn", max_tokens=CAP)
    assert len(seen.admitted) == CROWD, f"{len(seen.refused)} refused with {seen.left_nano} nano-USD left"
    assert_exact(seen)


def test_money_for_one_is_given_to_one(gateway: Gateway, judge: Judge) -> None:
    seen = rush(gateway, judge, "one-left", max_tokens=CAP)
    assert len(seen.admitted) == 1
    assert_exact(seen)


def test_a_cap_beyond_the_budget_is_refused_at_once_and_not_cut(gateway: Gateway, judge: Judge) -> None:
    seen = rush(gateway, judge, "too-large", max_tokens=100 * CAP)
    assert len(seen.refused) == CROWD
    assert seen.count.calls == 0
    assert seen.rows == []
    assert not any("X-Scaigrid-Budget-Clamped" in answer.headers for answer in seen.answers)
    assert {answer.json()["error"]["code"] for answer in seen.answers} == {"insufficient_quota"}
    assert seen.seconds < 8, "what can never fit does not wait"


# -- caps left open ---------------------------------------------------------------------------------------------------


def clamps(seen: Seen) -> list[int]:
    told = [answer.headers["X-Scaigrid-Budget-Clamped"] for answer in seen.admitted]
    return [int(cap) for cap in told if cap is not None]


def test_an_open_cap_is_lowered_to_what_is_left_and_said_so(gateway: Gateway, judge: Judge) -> None:
    """This upstream uses all it gets, so the first one takes nearly everything."""
    seen = rush(gateway, judge, "open")
    assert_exact(seen)
    assert sorted(clamps(seen)) == sorted(cap for cap in seen.count.caps if cap is not None and cap < LARGEST)
    assert clamps(seen), "the budget was not small"
    assert min(clamps(seen)) >= 16
    assert_used_up(seen, actual(HIDDEN_TOKENS + 400, 16))


@pytest.mark.parametrize(("name", "stream"), [("open-short", False), ("open-streams", True)])
def test_short_answers_to_open_caps_leave_room_for_the_next(
    gateway: Gateway, judge: Judge, name: str, stream: bool
) -> None:
    """The model stops at 200 tokens by itself. The last one served may have got fewer; nobody got fewer than 16."""
    seen = rush(gateway, judge, name, stream=stream)
    assert_exact(seen)
    assert_used_up(seen, actual(HIDDEN_TOKENS + 400, 16))
    assert min(cap for cap in seen.count.caps if cap is not None) >= 16
    assert len(seen.admitted) > 50, "200 tokens each: about a hundred fit"


# -- other shapes of calls --------------------------------------------------------------------------------------------


def test_each_choice_of_n_counts(gateway: Gateway, judge: Judge) -> None:
    seen = rush(gateway, judge, "n", max_tokens=CAP, n=3)
    assert_exact(seen)
    assert_used_up(seen, actual(HIDDEN_TOKENS + 400, 3 * CAP))
    assert {row["tokens_out"] for row in seen.rows} == {3 * CAP}


def test_tools_are_input_too(gateway: Gateway, judge: Judge) -> None:
    tool = {"name": "look", "description": "Look it up. " * 40, "parameters": {"type": "object", "properties": {}}}
    seen = rush(gateway, judge, "tools", max_tokens=CAP, tools=[{"type": "function", "function": tool}])
    assert_exact(seen)
    assert_used_up(seen, actual(HIDDEN_TOKENS + 1200, CAP))


def test_pictures_are_held_for_at_their_dearest(gateway: Gateway, judge: Judge) -> None:
    url = "data:image/png;base64," + base64.b64encode(bytes(3000)).decode()
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    seen = rush(gateway, judge, "images", max_tokens=CAP, messages=[{"role": "user", "content": content}])
    assert_exact(seen)
    assert_used_up(seen, actual(HIDDEN_TOKENS + 400 + 50_000, CAP))


def test_callers_who_leave_give_room_to_those_who_stay(gateway: Gateway, judge: Judge) -> None:
    """Every third one hangs up at the first word or before; what it used is booked, the rest goes to the others."""
    case = CASES["leavers"]

    def one(number: int) -> Answer:
        body = body_of(case, max_tokens=CAP, stream=True)
        if number % 3:
            return gateway.post(SURFACES["compat"], body, key=case.key, timeout_s=60)
        with Wire(gateway.url, 60) as wire:
            wire.send(request_bytes(SURFACES["compat"], body, case.key))
            if number % 2:
                time.sleep(random.uniform(0, 0.2))
            else:
                wire.closed_within(0.5)  # it is not: some words have come by then
        return Answer(200, None, b"")  # type: ignore[arg-type]

    begun = time.monotonic()
    answers = crowd(one)
    stayed = [answer for number, answer in enumerate(answers) if number % 3]
    wait_until_idle(gateway)
    seen = judged(gateway, judge, case, stayed, time.monotonic() - begun)
    cancelled = [row for row in seen.rows if row["status"] == "cancelled"]
    completed = [row for row in seen.rows if row["status"] == "completed"]
    assert len(completed) >= len(seen.admitted)
    assert all(ended(answer.body) and failure_of(answer.body) is None for answer in seen.admitted)
    # Some leave while their call is on its way: it has its row, and the upstream may not have read it any more.
    unheard = len(seen.rows) - seen.count.calls
    assert 0 <= unheard <= len(cancelled), "each call of the upstream is one row"
    # Who leaves before there is a connection is owed nothing, and that is exact (docs/accounting.md).
    exact = [row for row in cancelled if not row["estimated"]]
    assert [row["cost"] for row in exact] == ["0"] * len(exact)
    assert len(exact) <= unheard, "the upstream heard of a call that is booked as nothing"
    assert cancelled, "nobody left in time"
    assert_used_up(seen, WORST)


def wait_until_idle(gateway: Gateway) -> None:
    end = time.monotonic() + 20
    while gateway.in_flight():
        assert time.monotonic() < end
        time.sleep(0.05)
