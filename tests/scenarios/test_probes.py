"""Active probes from outside: an outage and its end are noticed without a single call, in every place that shows them.

Two providers: `a` is probed once a second and does what the test says, `quiet` is never probed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.appliance import Gateway, running
from support.upstream import Call, Upstream, completion

YAML = """
providers:
  a: {type: custom, base_url: "@a/v1", api_key: key-of-provider-a, probe: {interval: 1s}}
  quiet: {type: custom, base_url: "@quiet/v1"}
models:
  m:
    price: free
    route:
      retries: 0
      circuit_breaker: {failures: 2, window: 30s, cooldown: 3s}
      targets: [{backend: "a:m"}]
  n: {price: free, route: [{backend: "quiet:n"}]}
"""


class Provider:
    """Its list and its calls answer with a status each."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.status = 200
        upstream.answer(self._play)

    async def _play(self, call: Call) -> None:
        body = {"data": [{"id": "m"}]} if self.is_probe(call) else completion("hello")
        await call.reply(self.status, body if self.status == 200 else {"error": {"message": "told to"}})

    @staticmethod
    def is_probe(call: Call) -> bool:
        return call.path == "/v1/models"

    @property
    def probes(self) -> int:
        return sum(map(self.is_probe, self.upstream.calls))

    @property
    def calls(self) -> int:
        return len(self.upstream.calls) - self.probes


@pytest.fixture
def providers() -> Iterator[tuple[Provider, Provider]]:
    with Upstream() as a, Upstream() as quiet:
        yield Provider(a), Provider(quiet)


@pytest.fixture
def gateway(providers: tuple[Provider, Provider]) -> Iterator[Gateway]:
    a, quiet = providers
    with running(YAML.replace("@a", a.upstream.url).replace("@quiet", quiet.upstream.url)) as gateway:
        yield gateway


def until(true: Callable[[], bool], timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def health(gateway: Gateway, backend: str = "a:m") -> dict[str, Any]:
    data: dict[str, Any] = gateway.get(f"/v1/backends/{backend}/health").json()["data"]
    return data


def breaker(gateway: Gateway) -> str:
    return str(health(gateway)["diagnostics"]["breaker"])


def events(gateway: Gateway, event: str) -> list[dict[str, Any]]:
    return [line for line in gateway.log_lines() if line["event"] == event]


def metric(gateway: Gateway, name: str, labels: str) -> str:
    text = gateway.get("/metrics").body.decode()
    return next(line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"{name}{{{labels}}} "))


def test_an_outage_and_its_end_are_noticed_without_a_call(
    gateway: Gateway, providers: tuple[Provider, Provider]
) -> None:
    a, quiet = providers
    until(lambda: a.probes >= 2)
    assert (health(gateway)["health_status"], breaker(gateway)) == ("healthy", "closed")

    a.status = 503
    until(lambda: breaker(gateway) == "open")
    assert health(gateway)["health_status"] == "unhealthy"
    assert metric(gateway, "scaigrid_backend_health", 'backend_id="a:m"') == "0"
    refused = gateway.post("/v1/inference/chat", {"model": "m", "messages": [{"role": "user", "content": "Hi"}]})
    assert refused.json()["error"]["code"] == "MODEL_UNAVAILABLE"
    assert a.calls == 0, "the caller did not have to find it out"

    a.status = 200
    until(lambda: breaker(gateway) == "closed")
    assert health(gateway)["health_status"] == "degraded", "what failed a moment ago is not forgotten"
    served = gateway.post("/v1/inference/chat", {"model": "m", "messages": [{"role": "user", "content": "Hi"}]})
    assert served.status == 200
    assert quiet.probes == quiet.calls == 0

    changes = [(line["backend"], line["old"], line["status"]) for line in events(gateway, "backend_health")]
    assert changes[0] == ("a:m", "healthy", "unhealthy")
    assert changes[-1] == ("a:m", "unhealthy", "degraded")
    name, labels = "scaigrid_backend_health_changes_total", 'backend_id="a:m",status="unhealthy"'
    assert metric(gateway, name, labels) == str(sum(change[2] == "unhealthy" for change in changes))
    assert [line["outcome"] for line in events(gateway, "probe")] == ["server_error", "ok"]
    assert "key-of-provider-a" not in gateway.output()


def test_probes_are_no_calls(gateway: Gateway, providers: tuple[Provider, Provider]) -> None:
    a, _ = providers
    until(lambda: a.probes >= 3)
    assert gateway.usage() == []
    told = health(gateway)["diagnostics"]
    assert (told["in_flight"], told["first_token_ms_p50"], told["total_ms_p50"]) == (0, None, None)
    assert told["calls_last_minute"] >= 2
    assert events(gateway, "probe") == [], "all is well, so there is nothing to tell"
    assert {call.headers["authorization"] for call in a.upstream.calls} == {"Bearer key-of-provider-a"}


def test_a_server_without_a_list_is_left_as_it_is(gateway: Gateway, providers: tuple[Provider, Provider]) -> None:
    a, _ = providers
    a.status = 404
    until(lambda: bool(events(gateway, "probe")))
    seen = a.probes
    until(lambda: a.probes >= seen + 3)
    assert (health(gateway)["health_status"], breaker(gateway)) == ("healthy", "closed")
    assert [line["outcome"] for line in events(gateway, "probe")] == ["unknown"]


def test_a_provider_that_does_not_answer_holds_up_no_end(
    gateway: Gateway, providers: tuple[Provider, Provider]
) -> None:
    a, _ = providers
    a.upstream.answer(lambda call: call.until_hung_up(20))
    until(lambda: a.probes >= 1)
    begin = time.monotonic()
    assert gateway.terminate() == 0
    assert time.monotonic() - begin < 5
    assert "Traceback" not in gateway.output()
