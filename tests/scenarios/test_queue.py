"""A provider's places over real sockets: never more calls at once than allowed, none lost, tenants in turn, an honest
429, and a flood that a quiet tenant hardly feels.

Each provider has a path of its own at one scripted upstream, which counts what is under way there.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support import faults
from support.appliance import Answer, Gateway, running
from support.calling import SURFACES
from support.faults import Play, answers
from support.routing_flood import flood, quick_upstream
from support.upstream import Call, Upstream, text_stream
from support.wire import Wire, request_bytes

HANG_UP_S = 0.1
"""As long as it may take until the upstream has seen that a connection was closed."""


def key_of(tenant: str) -> str:
    return f"sgk_{tenant}-u-{'k' * 32}"


OPEN = "{requests_per_minute: unlimited}"


def tenants(**weights: int) -> str:
    """Tenants with one user each, whose key is `key_of`. None has a rate limit."""
    limits = f"rate_limits: {OPEN}, user_rate_limits: {OPEN}, key_rate_limits: {OPEN}"
    entries = "".join(
        f'      {name}: {{weight: {weight}, models: ["*"], {limits}, users: {{u: {{roles: [tenant_user], '
        f'api_keys: [{{name: k, key: "{key_of(name)}"}}]}}}}}}\n'
        for name, weight in weights.items()
    )
    return f"partners:\n  p:\n    rate_limits: {OPEN}\n    tenants:\n{entries}"


YAML = f"""
providers:
  storm: {{type: custom, base_url: "URL/storm/v1", max_connections: 4, queue: {{size: 500}}}}
  parts: {{type: qwen, base_url: "URL/parts/v1", api_key: some-key-for-tests, max_connections: 2}}
  narrow: {{type: custom, base_url: "URL/narrow/v1", max_connections: 1, queue: {{size: 2}}}}
  none: {{type: custom, base_url: "URL/none/v1", max_connections: 1, queue: {{size: 0}}}}
  short: {{type: custom, base_url: "URL/short/v1", max_connections: 1, queue: {{wait: 300ms}}}}
  late: {{type: custom, base_url: "URL/late/v1", max_connections: 1}}
  honest: {{type: custom, base_url: "URL/honest/v1", max_connections: 2, queue: {{size: 10}}}}
  turns: {{type: custom, base_url: "URL/turns/v1", max_connections: 1, queue: {{size: 200}}}}
  broken: {{type: custom, base_url: "URL/broken/v1", max_connections: 2, queue: {{size: 100}}}}
  wide: {{type: custom, base_url: "URL/wide/v1"}}
models:
  storm: {{price: {{input: "1", output: "2"}}, route: {{circuit_breaker: off, targets: [{{backend: "storm:x"}}]}}}}
  parts: {{modality: embedding, price: free, route: [{{backend: "parts:text-embedding-v4"}}]}}
  narrow: {{price: free, route: [{{backend: "narrow:x"}}, {{backend: "wide:x"}}]}}
  narrow-only: {{price: free, route: [{{backend: "narrow:x"}}]}}
  all-full: {{price: free, route: [{{backend: "none:x"}}, {{backend: "narrow:x"}}]}}
  none: {{price: free, route: [{{backend: "none:x"}}, {{backend: "wide:x"}}]}}
  none-only: {{price: free, route: [{{backend: "none:x"}}]}}
  short: {{price: free, route: [{{backend: "short:x"}}, {{backend: "wide:x"}}]}}
  late: {{price: free, route: {{deadline: 400ms, targets: [{{backend: "late:x"}}, {{backend: "wide:x"}}]}}}}
  late-only: {{price: free, route: [{{backend: "late:x"}}]}}
  honest: {{price: free, route: [{{backend: "honest:x"}}]}}
  turns: {{price: free, route: [{{backend: "turns:x"}}]}}
  broken:
    price: free
    route:
      retries: 0
      circuit_breaker: {{failures: 2, window: 30s, cooldown: 15s}}
      targets: [{{backend: "broken:x"}}]
{tenants(one=1, two=2)}
"""


@dataclass
class Stay:
    """One call at the upstream: when it came and when it was over there."""

    came: float
    left: float = math.inf
    hung_up: bool = False


@dataclass
class House:
    """What each provider does, and who was there when."""

    plays: dict[str, Play] = field(default_factory=dict)
    stays: dict[str, list[Stay]] = field(default_factory=dict)
    bodies: dict[str, list[Any]] = field(default_factory=dict)

    async def __call__(self, call: Call) -> None:
        provider = call.path.split("/")[1]
        stay = Stay(time.monotonic())
        self.stays.setdefault(provider, []).append(stay)
        self.bodies.setdefault(provider, []).append(call.json)
        try:
            done = self.plays.get(provider, faults.good)(call)
            if done is not None:
                await done
        finally:
            stay.left, stay.hung_up = time.monotonic(), call.hung_up

    def count(self, provider: str) -> int:
        return len(self.stays.get(provider, ()))

    def most_at_once(self, provider: str) -> int:
        """One that hung up gives its place away before the upstream sees that."""
        marks: list[tuple[float, int]] = []
        for stay in self.stays.get(provider, ()):
            left = max(stay.came, stay.left - HANG_UP_S) if stay.hung_up else stay.left
            marks += [(stay.came, 1), (left, -1)]
        most = now = 0
        for _, step in sorted(marks):
            now += step
            most = max(most, now)
        return most


@pytest.fixture(scope="module")
def house() -> House:
    return House()


@pytest.fixture(scope="module")
def gateway(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Upstream() as upstream:
        upstream.answer(house)
        yaml_text = YAML.replace("URL", upstream.url)
        with running(yaml_text, tmp_path_factory.mktemp("queue")) as gateway:
            yield gateway


def until(what: str, condition: Callable[[], Any], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.005)


def queue_of(gateway: Gateway, model: str, provider: str) -> dict[str, int]:
    """As /v1/routing/explain shows it: in_use, waiting and the limits."""
    answer = gateway.get(f"/v1/routing/explain?model={model}&tenant=default").json()
    for target in answer["data"]["targets"]:
        if target["backend"].startswith(f"{provider}:"):
            queue: dict[str, int] = target["queue"]
            return queue
    raise AssertionError(f"{provider} is no target of {model}")


def all_given_back(gateway: Gateway, model: str, provider: str) -> bool:
    queue = queue_of(gateway, model, provider)
    return (queue["in_use"], queue["waiting"]) == (0, 0)


def chat(model: str, **members: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}]} | members


def after(seconds: float, then: Play = faults.good) -> Play:
    async def play(call: Call) -> None:
        await asyncio.sleep(seconds)
        if not call.hung_up:
            await then(call)

    return play


def ask(gateway: Gateway, model: str, tenant: str = "one", **members: Any) -> Answer:
    return gateway.post(SURFACES["native"], chat(model, **members), key=key_of(tenant), timeout_s=60)


class Crowd:
    """Calls side by side, each on a thread of its own; `answers` are in the order in which they ended."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, Answer, float]] = []
        self._threads: list[threading.Thread] = []

    def add(self, gateway: Gateway, model: str, tenant: str = "one", name: str = "", **members: Any) -> None:
        def one() -> None:
            begun = time.monotonic()
            answer = ask(gateway, model, tenant, user=name, **members)
            self.answers.append((name, answer, time.monotonic() - begun))

        self._threads.append(threading.Thread(target=one))
        self._threads[-1].start()

    def join(self) -> Counter[int]:
        """How many answers of each status."""
        for thread in self._threads:
            thread.join()
        return Counter(answer.status for _, answer, _ in self.answers)


@contextlib.contextmanager
def taken(gateway: Gateway, house: House, model: str, provider: str, calls: int = 1) -> Iterator[None]:
    """The provider's places (or more) are held by calls that end with the block."""
    house.plays[provider] = faults.never_answer
    with contextlib.ExitStack() as stack:
        for _ in range(calls):
            wire = stack.enter_context(Wire(gateway.url))
            held = queue_of(gateway, model, provider)
            wire.send(request_bytes(SURFACES["native"], chat(model), key_of("one")))
            before = held["in_use"] + held["waiting"]
            until(
                "it is there",
                lambda before=before: (  # type: ignore[misc]
                    sum(queue_of(gateway, model, provider)[name] for name in ("in_use", "waiting")) > before
                ),
            )
        yield
    house.plays.pop(provider)
    until("all places are given back", lambda: all_given_back(gateway, model, provider))


# -- the limit --------------------------------------------------------------------------------------------------------


def test_a_storm_never_passes_the_limit_and_loses_no_place(gateway: Gateway, house: House) -> None:
    """Answers, streams and every kind of failure; a third of the callers hang up, waiting or served."""
    rng = random.Random(7)
    ends: list[Play] = [
        after(0.03),
        after(0.03),
        after(0.01, answers(500)),
        after(0.01, answers(400)),
        faults.resets,
        answers(200, b"It works!"),
        faults.half_the_body_then_close,
        faults.begins(faults.resets),
        faults.begins(faults.says_error),
        faults.reset_after_headers,
    ]

    async def at_random(call: Call) -> None:
        stream = call.json.get("stream")
        play = rng.choice(ends if stream else [end for end in ends if "begins" not in repr(end)])
        done = play(call)
        if done is not None:
            await done

    house.plays["storm"] = at_random
    begun = threading.Barrier(120)

    def one(number: int) -> None:
        body = chat("storm", stream=number % 2 == 0, user=f"n{number}")
        begun.wait()
        with Wire(gateway.url, 30) as wire:
            wire.send(request_bytes(SURFACES["native"], body, key_of("one" if number % 3 else "two")))
            if number % 3 == 1:
                time.sleep(0.01 * (number % 60))
                wire.hang_up()
            else:
                wire.wait_for(b"HTTP/1.1 ")
                wire.closed_within(0.2)

    crowd = [threading.Thread(target=one, args=(number,)) for number in range(120)]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join()
    until("nothing is in flight", lambda: gateway.in_flight() == 0, 15)
    assert house.most_at_once("storm") == 4, "all places are used, and no more"
    until("all places are given back", lambda: all_given_back(gateway, "storm", "storm"))

    house.plays["storm"] = after(0.2)
    house.stays["storm"].clear()
    calls = Crowd()
    for _ in range(8):
        calls.add(gateway, "storm")
    assert calls.join() == {200: 8}
    assert house.most_at_once("storm") == 4, "after the storm too"


def test_lists_of_several_parts_take_a_place_for_each_and_nobody_waits_for_himself(
    gateway: Gateway, house: House
) -> None:
    """Ten callers with four parts each, and two places."""

    async def embeds(call: Call) -> None:
        await asyncio.sleep(0.01)
        data = [{"index": place, "embedding": [1.0]} for place in range(len(call.json["input"]))]
        await call.reply(200, {"object": "list", "data": data, "usage": {"prompt_tokens": 5, "total_tokens": 5}})

    house.plays["parts"] = embeds
    answers_of: list[Answer] = []
    body = {"model": "parts", "input": [f"text {number}" for number in range(35)]}

    def one(number: int) -> None:
        key = key_of("one" if number % 2 else "two")
        answers_of.append(gateway.post("/v1/inference/embed", body, key=key, timeout_s=30))

    crowd = [threading.Thread(target=one, args=(number,)) for number in range(10)]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join()
    assert [answer.status for answer in answers_of] == [200] * 10
    assert all(len(answer.json()["data"]["data"]) == 35 for answer in answers_of)
    assert house.count("parts") == 40
    assert house.most_at_once("parts") == 2
    assert all_given_back(gateway, "parts", "parts")


def test_a_stream_holds_its_place_to_its_end(gateway: Gateway, house: House) -> None:
    async def speaks(call: Call) -> None:
        await call.stream(text_stream("one ", "two "), 0.05)

    house.plays["narrow"] = speaks
    house.stays.pop("narrow", None)
    calls = Crowd()
    for _ in range(3):
        calls.add(gateway, "narrow-only", stream=True)
    assert calls.join() == {200: 3}
    assert (house.count("narrow"), house.most_at_once("narrow")) == (3, 1)
    house.plays.pop("narrow")


def test_who_hangs_up_while_he_waits_reaches_nobody_and_owes_nothing(gateway: Gateway, house: House) -> None:
    with taken(gateway, house, "narrow-only", "narrow"):
        before = house.count("narrow")
        with Wire(gateway.url) as wire:
            wire.send(request_bytes(SURFACES["native"], chat("narrow-only"), key_of("two")))
            until("it waits", lambda: queue_of(gateway, "narrow-only", "narrow")["waiting"] == 1)
            left_at = wire.hang_up()
        until("it waits no more", lambda: queue_of(gateway, "narrow-only", "narrow")["waiting"] == 0)
        assert time.monotonic() - left_at < 1
        assert house.count("narrow") == before
    assert gateway.usage(tenant_id="two", model="narrow-only") == []


# -- a full queue -----------------------------------------------------------------------------------------------------


def test_a_full_queue_goes_to_the_next_target_and_costs_no_attempt(gateway: Gateway, house: House) -> None:
    with taken(gateway, house, "narrow-only", "narrow", 3):
        answer = ask(gateway, "narrow")
        assert (answer.status, answer.headers["X-Scaigrid-Backend"]) == (200, "wide:x")
        assert answer.headers["X-Scaigrid-Attempts"] == "1"


def test_a_full_queue_makes_room_for_a_tenant_who_has_nothing_waiting(gateway: Gateway, house: House) -> None:
    """The newest call of the tenant with most goes to the next target instead, or gets 429."""
    calls = Crowd()
    with taken(gateway, house, "narrow-only", "narrow"):
        for name in ("first", "second"):
            calls.add(gateway, "narrow-only", "one", name)
            until(
                f"{name} waits",
                lambda name=name: (  # type: ignore[misc]
                    queue_of(gateway, "narrow-only", "narrow")["waiting"] == 1 + (name == "second")
                ),
            )
        calls.add(gateway, "narrow-only", "two", "quiet")
        until("one was sent away", lambda: calls.answers)
        name, answer, _ = calls.answers[0]
        assert (name, answer.status) == ("second", 429)
        house.plays["narrow"] = faults.good
    assert calls.join() == {200: 2, 429: 1}


def test_nobody_waits_where_the_queue_is_of_size_0(gateway: Gateway, house: House) -> None:
    with taken(gateway, house, "none-only", "none"):
        begun = time.monotonic()
        assert ask(gateway, "none").headers["X-Scaigrid-Backend"] == "wide:x"
        answer = ask(gateway, "none-only")
        assert time.monotonic() - begun < 1
    assert (answer.status, answer.json()["error"]["code"]) == (429, "BACKEND_RATE_LIMITED")
    assert int(answer.headers["Retry-After"]) >= 1
    assert ask(gateway, "none-only").status == 200


def test_when_all_are_full_the_caller_is_told(gateway: Gateway, house: House) -> None:
    with taken(gateway, house, "none-only", "none"), taken(gateway, house, "narrow-only", "narrow", 3):
        answer = ask(gateway, "all-full")
    assert (answer.status, answer.json()["error"]["code"]) == (429, "BACKEND_RATE_LIMITED")
    assert "busy" in answer.json()["error"]["message"]
    assert "X-Scaigrid-Attempts" not in answer.headers
    assert gateway.usage(model="all-full") == []


def test_nobody_waits_longer_than_the_queue_lets_him(gateway: Gateway, house: House) -> None:
    with taken(gateway, house, "short", "short"):
        begun = time.monotonic()
        answer = ask(gateway, "short")
        seconds = time.monotonic() - begun
    assert answer.headers["X-Scaigrid-Backend"] == "wide:x"
    assert 0.28 < seconds < 0.8


def test_nobody_waits_beyond_the_deadline_and_nothing_is_begun_after_it(gateway: Gateway, house: House) -> None:
    with taken(gateway, house, "late-only", "late"):
        before = house.count("wide")
        begun = time.monotonic()
        answer = ask(gateway, "late")
        seconds = time.monotonic() - begun
        assert (answer.status, answer.json()["error"]["code"]) == (429, "BACKEND_RATE_LIMITED")
        assert 0.35 < seconds < 0.9
        assert house.count("wide") == before


def test_retry_after_is_when_a_call_is_served(gateway: Gateway, house: House) -> None:
    """Two places, half a second a call, ten who wait. A refused caller who tries until he is let in is served about
    when he was told; and who comes back when he was told finds a free place."""
    house.plays["honest"] = after(0.5)
    history = Crowd()
    for _ in range(6):
        history.add(gateway, "honest")
    assert history.join() == {200: 6}
    calls = Crowd()
    for _ in range(12):
        calls.add(gateway, "honest")
    until("the queue is full", lambda: queue_of(gateway, "honest", "honest")["waiting"] == 10)
    refused_at = time.monotonic()
    refused = ask(gateway, "honest")
    assert refused.status == 429
    told = refused.json()["error"]["retry_after"]
    assert int(refused.headers["Retry-After"]) == math.ceil(told)
    while (answer := ask(gateway, "honest", user="again")).status == 429:
        time.sleep(0.05)
    assert answer.status == 200
    served_at = next(
        stay.came
        for stay, body in zip(house.stays["honest"], house.bodies["honest"], strict=True)
        if body.get("user") == "again"
    )
    waited = served_at - refused_at
    assert told / 2 <= waited <= told * 2, f"told {told} s, served after {waited:.2f} s"
    assert calls.join() == {200: 12}
    # The same once more, with a caller who does as he is told.
    crowd = Crowd()
    for _ in range(12):
        crowd.add(gateway, "honest")
    until("the queue is full", lambda: queue_of(gateway, "honest", "honest")["waiting"] == 10)
    refused = ask(gateway, "honest")
    time.sleep(int(refused.headers["Retry-After"]))
    begun = time.monotonic()
    assert ask(gateway, "honest").status == 200
    assert time.monotonic() - begun < 1.2, "his own half second, and hardly a wait"
    crowd.join()


def test_a_queue_whose_backend_fails_does_not_run_into_it(gateway: Gateway, house: House) -> None:
    house.plays["broken"] = after(0.15, answers(500))
    calls = Crowd()
    for _ in range(40):
        calls.add(gateway, "broken")
    statuses = calls.join()
    assert house.count("broken") <= 4, "two open the breaker; two more may have left by then"
    assert statuses[502] == house.count("broken")
    assert statuses[502] + statuses[503] == 40
    refused = [answer for _, answer, _ in calls.answers if answer.status == 503]
    assert {answer.json()["error"]["code"] for answer in refused} == {"MODEL_UNAVAILABLE"}
    assert all(10 <= int(answer.headers["Retry-After"]) <= 15 for answer in refused)
    assert all_given_back(gateway, "broken", "broken")


# -- fairness ---------------------------------------------------------------------------------------------------------


def test_tenants_take_turns_by_their_weights(gateway: Gateway, house: House) -> None:
    """Both have thirty calls waiting; while both have some, `two` is served twice as often."""
    calls = Crowd()
    with taken(gateway, house, "turns", "turns"):
        for tenant in ("one", "two"):
            for _ in range(30):
                calls.add(gateway, "turns", tenant, tenant)
        until("all wait", lambda: queue_of(gateway, "turns", "turns")["waiting"] == 60)
        house.bodies["turns"].clear()
        house.plays["turns"] = after(0.005)
    assert calls.join() == {200: 60}
    served = [body["user"] for body in house.bodies["turns"]]
    for length in (6, 15, 30, 42):
        assert abs(served[:length].count("two") - length * 2 / 3) <= 1, served
    assert len(served) == 60


def test_one_call_of_a_quiet_tenant_passes_all_that_wait(gateway: Gateway, house: House) -> None:
    calls = Crowd()
    with taken(gateway, house, "turns", "turns"):
        for _ in range(50):
            calls.add(gateway, "turns", "two", "two")
        until("all wait", lambda: queue_of(gateway, "turns", "turns")["waiting"] == 50)
        calls.add(gateway, "turns", "one", "one")
        until("the quiet one too", lambda: queue_of(gateway, "turns", "turns")["waiting"] == 51)
        house.bodies["turns"].clear()
        house.plays["turns"] = after(0.005)
    assert calls.join() == {200: 51}
    assert "one" in [body["user"] for body in house.bodies["turns"]][:2]


# -- one tenant floods ------------------------------------------------------------------------------------------------

FLOOD = 200
"""Clients of the noisy tenant, each of which asks again as soon as it is answered."""
PLACES = 20
UPSTREAM_MS = (80, 120)
ALONE, BESIDE = 60, 80
"""Calls of the quiet tenant, one after the other, without and with the flood."""
ROUNDS = 3
"""Another program on the machine can only make it look worse: one good round shows what the gateway does."""


def p95_s(gateway: Gateway, calls: int) -> float:
    """Of one caller who asks on one connection, one call after the other. None of them is refused."""
    times: list[float] = []
    request = request_bytes(SURFACES["compat"], chat("flooded"), key_of("quiet"))
    with Wire(gateway.url, 30) as wire:
        for _ in range(calls):
            begun = time.monotonic()
            wire.send(request)
            status, body = wire.answer()
            assert status == 200, body
            times.append(time.monotonic() - begun)
    return sorted(times)[math.ceil(0.95 * calls) - 1]


@pytest.mark.parametrize("size", [100, 1000], ids=["a full queue", "all may wait"])
def test_a_quiet_tenant_hardly_feels_another_s_flood(size: int, tmp_path: Path) -> None:
    """p95 under a flood of 200 concurrent calls stays within 1.5 times of what it is without."""
    figures: list[str] = []
    with quick_upstream(*UPSTREAM_MS) as port:
        yaml_text = f"""
providers:
  up:
    type: custom
    base_url: "http://127.0.0.1:{port}/v1"
    max_connections: {PLACES}
    queue: {{size: {size}}}
models:
  flooded: {{price: {{input: "1", output: "2"}}, route: [{{backend: "up:x"}}]}}
{tenants(noisy=1, quiet=1)}
"""
        with running(yaml_text, tmp_path) as gateway:
            for _ in range(ROUNDS):
                alone_s = p95_s(gateway, ALONE)
                with flood(gateway.url, key_of("noisy"), "flooded", FLOOD) as answered:
                    time.sleep(1)
                    waiting = queue_of(gateway, "flooded", "up")["waiting"]
                    beside_s = p95_s(gateway, BESIDE)
                figures.append(
                    f"p95 {alone_s * 1000:.0f} ms alone, {beside_s * 1000:.0f} ms beside {waiting} who wait "
                    f"(ratio {beside_s / alone_s:.2f}; the flood was answered {dict(answered)})"
                )
                assert waiting > 70, "there is a flood"
                assert answered["200"] > 300
                if beside_s <= 1.5 * alone_s:
                    break
            else:
                raise AssertionError("\n".join(figures))
    print("\n".join(figures))


def test_no_wait_leaves_a_traceback(gateway: Gateway) -> None:
    """Runs last."""
    assert "traceback" not in gateway.output().lower()
    assert [line for line in gateway.log_lines() if line.get("level") == "error"] == []
