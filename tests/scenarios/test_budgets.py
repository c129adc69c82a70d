"""Budgets from the YAML: every scope and every kind of limit holds on every way in, is told, and survives a restart."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from support.appliance import Answer, Gateway, running
from support.calling import SURFACES
from support.sse import ended, events
from support.upstream import Call, Upstream, chunk, completion, text_stream
from support.wire import Wire, request_bytes

NANO = 10**9
SCOPES = ("partner", "tenant", "group", "user", "key")
KINDS = {"cost": 'cost_limit: "3.5"', "tokens": "token_limit: 2900", "requests": "request_limit: 3"}
"""Each lets three calls through: a call costs 1 USD and uses 200 tokens, and one more must fit at its worst."""
PRICE = '{input: "0", output: "0", request: "1"}'
USAGE = {"prompt_tokens": 150, "completion_tokens": 50, "total_tokens": 200}
WAYS = [("native", False), ("native", True), ("compat", False), ("compat", True)]
OFF = "{requests_per_minute: unlimited}"
CLEAR = f"rate_limits: {OFF}, user_rate_limits: {OFF}, key_rate_limits: {OFF}"


def answer(call: Call) -> Any:
    """200 tokens for everybody; `long` goes as far as it may, `slow` never ends."""
    if call.model == "slow":
        return slow(call)
    cap = call.json.get("max_tokens") or call.json.get("max_completion_tokens") or 1000
    usage = {"prompt_tokens": 150, "completion_tokens": cap, "total_tokens": 150 + cap}
    used = usage if call.model == "long" else USAGE
    if call.json.get("stream"):
        return call.stream(text_stream("one ", "two", usage=used))
    return call.reply(200, completion("one two", usage=used))


async def slow(call: Call) -> None:
    await call.start_stream()
    await call.chunk(chunk({"content": "word"}))
    await call.until_hung_up()


# -- the appliance: one partner per case ------------------------------------------------------------------------------


def partner(name: str, budgets: dict[str, str], limits: str = CLEAR) -> str:
    """One partner with one tenant, one group, one user, one key, all of the name; `budgets` by scope."""
    listed = {scope: f"budgets: [{budgets[scope]}]" if scope in budgets else "" for scope in SCOPES}
    return f"""
  {name}:
    rate_limits: {OFF}
    {listed["partner"]}
    tenants:
      {name}:
        {limits.replace(", ", chr(10) + "        ")}
        {listed["tenant"]}
        groups: {{{name}: {{users: [{name}]{", " * bool(listed["group"])}{listed["group"]}}}}}
        users:
          {name}:
            roles: [tenant_admin]
            {listed["user"]}
            api_keys: [{{key: {key_of(name)}{", " * bool(listed["key"])}{listed["key"]}}}]
"""


def key_of(name: str) -> str:
    return f"sgk_key-of-{name}-0123456789abcdef"


def case_name(scope: str, kind: str, way: tuple[str, bool]) -> str:
    return f"{scope}-{kind}-{way[0]}-{'stream' if way[1] else 'whole'}"


MATRIX = [(scope, kind, way) for scope in SCOPES for kind in KINDS for way in WAYS]
TOTAL = "period: total"
THROTTLED = f"rate_limits: {OFF}, user_rate_limits: {{requests_per_minute: 30}}, key_rate_limits: {OFF}"


def partners() -> Iterator[str]:
    for scope, kind, way in MATRIX:
        yield partner(case_name(scope, kind, way), {scope: f"{{{TOTAL}, {KINDS[kind]}}}"})
    yield partner("notify", {"user": f'{{{TOTAL}, cost_limit: "3", soft_limit_pct: 0.5, hard_action: notify}}'})
    throttle = f'{{{TOTAL}, cost_limit: "2", hard_action: throttle}}'
    yield partner("throttle", {"tenant": f'{{{TOTAL}, cost_limit: "1000"}}', "user": throttle}, THROTTLED)
    yield partner("throttle-group", {"group": throttle}, THROTTLED)
    several = (
        f'{{{TOTAL}, cost_limit: "100"}}, {{period: daily, request_limit: 2}}, {{period: monthly, token_limit: 9000}}'
    )
    yield partner("several", {"user": several})
    yield partner("clamp", {"user": f'{{{TOTAL}, cost_limit: "3"}}'})
    yield partner("late", {})
    yield partner("periods", {scope: f'{{period: {name}, cost_limit: "1000"}}' for scope, name in PERIODS.items()})


PERIODS = {"partner": "monthly", "tenant": "weekly", "user": "daily", "key": "total"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Upstream() as upstream:
        upstream.answer(answer)
        yaml_text = f"""
providers:
  up: {{type: custom, base_url: "{upstream.url}/v1"}}
models:
  m: {{price: {PRICE}, max_output_tokens: 200, route: [{{backend: "up:m"}}]}}
  slow: {{price: {PRICE}, max_output_tokens: 200, route: [{{backend: "up:slow"}}]}}
  long: {{price: {{input: "0", output: "1000"}}, route: [{{backend: "up:long"}}]}}
partners:
{"".join(partners())}
"""
        with running(yaml_text, tmp_path_factory.mktemp("budgets")) as gateway:
            yield gateway


def ask(gateway: Gateway, name: str, way: tuple[str, bool] = WAYS[0], model: str = "m", **members: Any) -> Answer:
    body = {"model": model, "stream": way[1], "messages": [{"role": "user", "content": "hi"}]} | members
    return gateway.post(SURFACES[way[0]], body, key=key_of(name))


def budgets_of(gateway: Gateway, name: str) -> list[dict[str, Any]]:
    """The budgets of the partner's admin's whole scope, as the super administrator sees them."""
    found = gateway.get("/v1/accounting/budgets?limit=1000").json()["data"]["items"]
    return [budget for budget in found if name in budget["scope_id"].split(":") or budget["scope_id"] == name]


def events_of(gateway: Gateway, name: str) -> list[str]:
    """What was told about the budgets of this name, in order."""
    lines = [line["message"] for line in gateway.log_lines() if line.get("event") == "log"]
    return [line.partition(":")[0] for line in lines if line.startswith("budget.") and f":{name}:" in line]


def nano(amount: str) -> int:
    return int(Decimal(amount) * NANO)


# -- the matrix -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scope", "kind", "way"), MATRIX, ids=[case_name(*each) for each in MATRIX])
def test_a_budget_of_every_scope_and_kind_is_kept_on_every_way_in(
    gateway: Gateway, scope: str, kind: str, way: tuple[str, bool]
) -> None:
    name = case_name(scope, kind, way)
    for _ in range(3):
        assert ask(gateway, name, way, max_tokens=200).status == 200
    refused = ask(gateway, name, way, max_tokens=200)
    assert refused.status == 429
    error = refused.json()["error"]
    assert error["code"] == ("BUDGET_EXCEEDED" if way[0] == "native" else "insufficient_quota")
    assert f"{kind.removesuffix('s')} budget" in error["message"]
    assert "Retry-After" not in refused.headers, "a total never comes back"
    assert len(gateway.usage(tenant_id=name)) == 3
    if scope != "key":
        (budget,) = budgets_of(gateway, name)
        assert budget["used"] == {"cost": "3", "tokens": 600, "requests": 3}
        assert budget["pending"] == {"cost": "0", "tokens": 0, "requests": 0}


# -- what is done at the limit ----------------------------------------------------------------------------------------


def test_notify_refuses_nobody_and_tells_each_limit_once(gateway: Gateway) -> None:
    soft, hard = "budget.soft_limit_reached", "budget.hard_limit_reached"
    for told in ([], [soft], [soft, hard], [soft, hard], [soft, hard]):
        assert ask(gateway, "notify").status == 200
        time.sleep(0.3)  # the log is written beside the calls
        assert events_of(gateway, "notify") == told


@pytest.mark.parametrize("name", ["throttle", "throttle-group"])
def test_throttle_slows_down_and_refuses_no_money(gateway: Gateway, name: str) -> None:
    """30 requests a minute until 2 USD are used, 3 from then on."""
    statuses = [ask(gateway, name).status for _ in range(6)]
    assert statuses == [200, 200, 200, 429, 429, 429]
    refused = ask(gateway, name)
    assert refused.json()["error"]["code"] == "RATE_LIMITED"
    assert 0 < int(refused.headers["Retry-After"]) <= 61


def test_of_several_budgets_of_one_scope_all_must_have_room(gateway: Gateway) -> None:
    assert [ask(gateway, "several").status for _ in range(3)] == [200, 200, 429]
    refused = ask(gateway, "several")
    assert "the daily request budget" in refused.json()["error"]["message"]
    assert 0 < int(refused.headers["Retry-After"]) <= 24 * 3600 + 1
    assert [budget["used"]["requests"] for budget in budgets_of(gateway, "several")] == [2, 2, 2]


@pytest.mark.parametrize("way", WAYS, ids=[f"{surface}-{stream}" for surface, stream in WAYS])
def test_a_clamped_answer_says_so_on_every_way_in(gateway: Gateway, way: tuple[str, bool]) -> None:
    """0.001 USD a token: the budget of 3 USD covers 3000 tokens at first, and less each time."""
    before = nano(budgets_of(gateway, "clamp")[0]["used"]["cost"])
    reply = ask(gateway, "clamp", way, "long", **({"max_tokens": 500} if way == WAYS[0] else {}))
    if way == WAYS[0]:
        assert "X-Scaigrid-Budget-Clamped" not in reply.headers
        assert nano(budgets_of(gateway, "clamp")[0]["used"]["cost"]) - before == 500_000_000
        return
    if reply.status == 429:  # the first clamped answer took all that was left
        assert nano(budgets_of(gateway, "clamp")[0]["used"]["cost"]) == 3 * NANO
        return
    cap = int(reply.headers["X-Scaigrid-Budget-Clamped"])
    assert cap == (3 * NANO - before) // 1_000_000
    if way[1]:
        assert ended(reply.body)
        assert events(reply.body)
    assert nano(budgets_of(gateway, "clamp")[0]["used"]["cost"]) == 3 * NANO


# -- budgets that come later, and restarts ----------------------------------------------------------------------------


def test_a_budget_made_while_calls_run_counts_what_was_and_what_runs(gateway: Gateway) -> None:
    for _ in range(2):
        assert ask(gateway, "late").status == 200
    body = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100}
    with Wire(gateway.url) as wire:
        wire.send(request_bytes(SURFACES["compat"], body, key_of("late")))
        wire.wait_for(b"word")
        new = {"scope": "user", "scope_id": "late:late", "period": "monthly", "request_limit": 4}
        made = gateway.post("/v1/accounting/budgets", new).json()["data"]
        assert (made["used"]["requests"], made["pending"]["requests"]) == (2, 1)
        assert ask(gateway, "late").status == 200
        with ThreadPoolExecutor(
            1
        ) as threads:  # two rows, one that runs, one more: this one waits for the one that runs
            waiting = threads.submit(ask, gateway, "late")
            time.sleep(0.3)
            assert not waiting.done()
            wire.hang_up()
            assert waiting.result().status == 429
    end = time.monotonic() + 3
    while gateway.in_flight():
        assert time.monotonic() < end
        time.sleep(0.01)
    (budget,) = budgets_of(gateway, "late")
    assert (budget["used"]["requests"], budget["pending"]["requests"]) == (4, 0)
    assert nano(budget["used"]["cost"]) == sum(nano(row["cost"]) for row in gateway.usage(tenant_id="late"))


def test_every_period_counts_the_same_call(gateway: Gateway) -> None:
    assert ask(gateway, "periods").status == 200
    found = gateway.get("/v1/accounting/budgets?limit=1000").json()["data"]["items"]
    mine = [budget for budget in found if budget["cost_limit"] == "1000" and budget["used"]["cost"] == "1"]
    assert {budget["period"] for budget in mine} >= {"monthly", "weekly", "daily", "total"}


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_a_restart_changes_no_balance(gateway: Gateway, how: str) -> None:
    """Runs last: orderly and by kill -9, with everything that the tests above have used."""
    known = gateway.get("/v1/accounting/budgets?limit=1000").json()["data"]["items"]
    getattr(gateway, how)()
    gateway.start()
    assert gateway.get("/v1/accounting/budgets?limit=1000").json()["data"]["items"] == known
    assert ask(gateway, "user-cost-native-whole", max_tokens=200).status == 429
