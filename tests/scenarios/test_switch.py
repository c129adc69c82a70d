"""The switch: one target's place is taken by another while calls are under way, by API and from the terminal.

Nobody sees an error, each answer is whole and from one upstream, and who begins after the switch goes the new way.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from support.appliance import Gateway, running
from support.cli import scaigrid
from support.people import chat, data, refusal
from support.tenancy import key_of
from support.upstream import DONE, Call, Upstream, chunk, completion

CALLERS, SWITCHES, WORDS = 100, 20, 8
LIMITS = "{requests_per_minute: unlimited}"
ADA, SUE = key_of("acme", "ada"), key_of("far", "sue")

YAML = f"""# The file of this test; no breaker (circuit_breaker) is in the way.
providers:
  a: {{type: custom, base_url: "UPSTREAM/v1"}}   # the old one
  b: {{type: custom, base_url: "UPSTREAM/v1"}}
  later: {{type: openai, api_key: "${{env:NO_SUCH_KEY}}"}}

models:
  gpt:            # what everybody asks for
    price: free
    route: main   # shared
  copy: {{price: free, route: main}}
  own/one:
    price: free
    route:
      # in this order
      - backend: a:alpha
        enabled: true       # the word to flip
      - {{backend: "b:beta", enabled: false}}   # waits
      - {{backend: "later:gamma", enabled: false}}

routing_policies:
  main:
    circuit_breaker: off
    targets:
      # alpha was first
      - backend: a:alpha    # here
      - backend: b:beta
        enabled: false      # not yet

partners:
  north:
    rate_limits: {LIMITS}
    tenants:
      acme:
        models: ["*"]
        rate_limits: {LIMITS}
        user_rate_limits: {LIMITS}
        key_rate_limits: {LIMITS}
        users:
          ada: {{roles: [tenant_admin], api_keys: [{{key: "{ADA}"}}]}}
      far:
        models: [copy]
        users:
          sue: {{roles: [tenant_admin], api_keys: [{{key: "{SUE}"}}]}}
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def shared(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(YAML.replace("UPSTREAM", upstream.url), tmp_path_factory.mktemp("switch")) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared: Gateway, upstream: Upstream) -> Gateway:
    """With the plain configuration in force."""
    shared.write(YAML.replace("UPSTREAM", upstream.url))
    assert shared.post("/v1/config/reload", None).status == 200
    upstream.answer(_slowly)
    return shared


async def _slowly(call: Call) -> None:
    """Its own name, word by word, for long enough that a switch falls into it."""
    if not call.json.get("stream"):
        await asyncio.sleep(0.3)
        await call.reply(200, completion(" ".join([call.model] * WORDS)))
        return
    words = [chunk({"content": f"{call.model} "}) for _ in range(WORDS)]
    await call.stream([chunk({"role": "assistant"}), *words, chunk({}, "stop"), DONE], pause_s=0.05)


def switch(gateway: Gateway, model: str, **body: str) -> Any:
    return data(gateway.post(f"/v1/models/{model.replace('/', '%2F')}/switch", body))


def lines_changed(before: str, after: str) -> list[tuple[str, str]]:
    old, new = before.splitlines(), after.splitlines()
    assert len(old) == len(new), "no line was added or taken away"
    return [(one.strip(), other.strip()) for one, other in zip(old, new, strict=True) if one != other]


# -- under load -------------------------------------------------------------------------------------------------------


@dataclass
class Seen:
    """One call of the run. `due` is the target it had to go to; empty: a switch was under way when it began."""

    due: str
    backend: str
    text: str
    error: str = ""


@dataclass
class Run:
    url: str
    session: aiohttp.ClientSession
    now: str = "a:alpha"
    ended: bool = False
    seen: list[Seen] = field(default_factory=list)

    async def caller(self, number: int) -> None:
        while not self.ended:
            due = self.now
            try:
                one = await (self._stream(due) if number % 2 else self._whole(due))
            except (aiohttp.ClientError, KeyError, ValueError, AssertionError) as fault:
                one = Seen(due, "", "", repr(fault))
            self.seen.append(one)

    async def _whole(self, due: str) -> Seen:
        async with self.session.post(f"{self.url}/v1/inference/chat", json=chat("gpt")) as answer:
            body = await answer.json()
            assert answer.status == 200, body
            said = body["data"]["choices"][0]
            assert said["finish_reason"] == "stop"
            return Seen(due, answer.headers["X-Scaigrid-Backend"], said["message"]["content"])

    async def _stream(self, due: str) -> Seen:
        async with self.session.post(f"{self.url}/v1/inference/chat", json=chat("gpt", stream=True)) as answer:
            raw = await answer.text()
            assert answer.status == 200, raw
            assert raw.rstrip().endswith("data: [DONE]"), raw
            assert "event: error" not in raw, raw
            chunks = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith("data: {")]
            text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
            return Seen(due, answer.headers["X-Scaigrid-Backend"], text)


@pytest.fixture
async def run(gateway: Gateway) -> AsyncIterator[Run]:
    headers = {"Authorization": f"Bearer {ADA}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        yield Run(gateway.url, session)


async def test_twenty_switches_under_a_hundred_callers_disturb_nobody(gateway: Gateway, run: Run) -> None:
    original = gateway.config.read_text()
    callers = [asyncio.ensure_future(run.caller(number)) for number in range(CALLERS)]
    admin = {"Authorization": f"Bearer {gateway.admin_key}"}
    slowest, loop = 0.0, asyncio.get_running_loop()
    for turn in range(SWITCHES):
        await asyncio.sleep(0.3)
        to = "b:beta" if turn % 2 == 0 else "a:alpha"
        run.now, began = "", loop.time()
        async with run.session.post(f"{gateway.url}/v1/models/gpt/switch", json={"to": to}, headers=admin) as answer:
            body = await answer.json()
        assert answer.status == 200, body
        slowest = max(slowest, loop.time() - began)
        assert body["data"]["after"] == [to]
        run.now = to
    await asyncio.sleep(0.3)
    run.ended = True
    await asyncio.gather(*callers)

    assert [one for one in run.seen if one.error] == []
    assert len(run.seen) > 3 * CALLERS
    for one in run.seen:
        model = one.backend.partition(":")[2]
        assert one.text.split() == [model] * WORDS, "whole, and from one upstream"
        assert one.due in ("", one.backend), "who began after the answer goes the new way"
    assert {one.backend for one in run.seen} == {"a:alpha", "b:beta"}
    crossed = [one for one in run.seen if one.due]
    assert len(crossed) > CALLERS, "most calls began between two switches"
    assert slowest < 1.0
    here = "      - backend: a:alpha    # here\n"
    assert gateway.config.read_text() == original.replace(here, f"{here}        enabled: true\n"), "no comment is lost"
    rows = gateway.usage(model="gpt")
    assert {row["status"] for row in rows} == {"completed"}
    assert {len(row["attempts"]) for row in rows} == {1}


# -- one act ----------------------------------------------------------------------------------------------------------


def test_a_switch_changes_two_words_and_outlives_a_restart(tmp_path: Path, upstream: Upstream) -> None:
    upstream.answer(_slowly)
    with running(YAML.replace("UPSTREAM", upstream.url), tmp_path) as gateway:
        before = gateway.config.read_text()
        done = switch(gateway, "own/one", to="b:beta")
        assert (done["before"], done["after"], done["also"]) == (["a:alpha"], ["b:beta"], [])
        assert done["changes"] == ["model own/one changed: route"]
        flipped = lines_changed(before, gateway.config.read_text())
        assert flipped == [
            ("enabled: true       # the word to flip", "enabled: false      # the word to flip"),
            ('- {backend: "b:beta", enabled: false}   # waits', '- {backend: "b:beta", enabled: true}   # waits'),
        ]
        assert gateway.terminate() == 0
        gateway.start()
        assert data(gateway.post("/v1/inference/chat", chat("own/one"), key=ADA))["model"] == "own/one"
        assert upstream.calls[-1].model == "beta"


def test_it_tells_who_shares_the_policy_and_how_the_targets_fare(gateway: Gateway) -> None:
    done = switch(gateway, "gpt", to="b:beta")
    assert done["policy"] == "main"
    assert done["also"] == ["copy"]
    on = [(target["backend"], target["enabled"], target["health_status"]) for target in done["targets"]]
    assert on == [("a:alpha", False, "unavailable"), ("b:beta", True, "healthy")]
    again = switch(gateway, "gpt", to="b:beta")
    assert (again["generation"], again["changes"]) == (done["generation"], [])
    flipped = switch(gateway, "copy", on="a:alpha")
    assert (flipped["before"], flipped["after"]) == (["b:beta"], ["a:alpha", "b:beta"])
    assert switch(gateway, "copy", off="b:beta")["after"] == ["a:alpha"]


@pytest.mark.parametrize(
    ("model", "body", "status", "code", "words"),
    [
        ("nope", {"to": "a:alpha"}, 404, "MODEL_NOT_FOUND", "does not exist"),
        ("gpt", {"to": "b:betta"}, 422, "VALIDATION_ERROR", "did you mean b:beta?"),
        ("gpt", {"to": "later:gamma"}, 422, "VALIDATION_ERROR", "POST /v1/backends"),
        (
            "own%2Fone",
            {"to": "later:gamma"},
            422,
            "VALIDATION_ERROR",
            "`NO_SUCH_KEY` is not set|NO_SUCH_KEY is not set",
        ),
        ("gpt", {}, 422, "VALIDATION_ERROR", "send one of"),
        ("gpt", {"to": "a:alpha", "off": "b:beta"}, 422, "VALIDATION_ERROR", "send one of"),
        ("gpt", {"too": "a:alpha"}, 422, "VALIDATION_ERROR", "known are to, on, off"),
        ("gpt", {"to": 7}, 422, "VALIDATION_ERROR", "takes a text"),
    ],
)
def test_what_cannot_be_switched_is_refused_in_words(
    gateway: Gateway, model: str, body: Any, status: int, code: str, words: str
) -> None:
    before = gateway.config.read_text()
    answer = gateway.post(f"/v1/models/{model}/switch", body)
    assert refusal(answer) == (status, code)
    assert re.search(words, answer.json()["error"]["message"])
    assert gateway.config.read_text() == before


def test_a_tenant_sees_the_switch_of_its_models_and_turns_none(gateway: Gateway) -> None:
    assert data(gateway.get("/v1/models/copy/switch", key=SUE))["also"] == [], "other tenants' models are not told"
    assert refusal(gateway.get("/v1/models/gpt/switch", key=SUE)) == (404, "MODEL_NOT_FOUND")
    assert data(gateway.get("/v1/models/own%2Fone/switch", key=ADA))["policy"] == "model:own/one"
    answer = gateway.post("/v1/models/gpt/switch", {"to": "b:beta"}, key=ADA)
    assert refusal(answer) == (403, "AUTHZ_PERMISSION_DENIED")


# -- from the terminal ------------------------------------------------------------------------------------------------


def test_the_command_switches_and_says_what_it_did(gateway: Gateway) -> None:
    done = scaigrid("switch", "gpt", "--to", "b:beta", cwd=gateway.folder)
    assert (done.returncode, done.stderr) == (0, "")
    first, second, last = done.stdout.splitlines()
    assert first == "gpt: a:alpha → b:beta"
    assert second == "the policy main also routes copy"
    assert re.fullmatch(r"generation \d+ serves; calls under way finish on the targets that they have", last)
    assert data(gateway.post("/v1/inference/chat", chat("gpt"), key=ADA))["choices"][0]["message"]["content"] == (
        " ".join(["beta"] * WORDS)
    )
