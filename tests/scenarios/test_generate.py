"""Text completions, native and in OpenAI's older form, over three dialects; large prompts; providers and backends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from support import conversation, faults
from support.appliance import Gateway, running
from support.conversation import SPENT, turns_of
from support.modal_rules import (
    Kind,
    call,
    check_rate_limit,
    check_request_budget,
    check_small_budget,
    check_wrong_fields,
    check_wrong_modality,
    error_of,
    named_in,
    people,
    row_of,
    until,
)
from support.tenancy import key_of
from support.upstream import Call, Upstream
from support.wire import Wire, request_bytes

PATHS = {"native": "/v1/inference/generate", "compat": "/oai/v1/completions"}
SURFACES = {"native": "generate", "compat": "completions"}
"""As usage rows have it."""
DIALECTS = ["openai", "anthropic", "google"]
KIND = Kind(
    operation="generate",
    paths=PATHS,
    body={"prompt": "Once upon a time", "max_tokens": 100},
    good="openai",
    greedy="openai",
    crowd_limit="0",
    wrong={
        "prompt": {"prompt": None},
        "max_tokens": {"max_tokens": 0},
        "temperature": {"temperature": 3},
        "stop": {"stop": 7},
    },
)
YAML = """
providers:
  openai: {{type: openai, base_url: "{url}/v1", api_key: sk-test-12345678}}
  anthropic: {{type: anthropic, base_url: "{url}", api_key: an-test-12345678}}
  google: {{type: google, base_url: "{url}", api_key: gg-test-12345678}}
  broken: {{type: custom, base_url: "{url}/broken/v1", api_key: co-secret-12345678}}
  closed: {{type: custom, base_url: "http://127.0.0.1:1/v1"}}
  unset: {{type: mistral, api_key: "${{env:NOT_SET_ANYWHERE}}"}}
  demo: {{type: demo}}
models:
  openai: &chat
    price: {{input: "1", output: "2"}}
    max_output_tokens: 1000
    route: [{{backend: "openai:says"}}]
  anthropic: {{<<: *chat, route: [{{backend: "anthropic:says"}}]}}
  google: {{<<: *chat, route: [{{backend: "google:says"}}]}}
  second: {{<<: *chat, route: [{{backend: "closed:x"}}, {{backend: "openai:says"}}]}}
  stuck: {{<<: *chat, route: [{{backend: "openai:stuck"}}]}}
  cut: {{<<: *chat, route: [{{backend: "openai:cut"}}]}}
  pictures: {{modality: image, price: {{image: "1"}}, route: [{{backend: "openai:paints"}}]}}
{people}
"""
MODELS = {
    "openai": {"object": "list", "data": [{"id": "says", "object": "model", "owned_by": "us"}, {"id": "new"}]},
    "anthropic": {"data": [{"type": "model", "id": "says", "display_name": "Says"}], "has_more": False},
    "google": {"models": [{"name": "models/says", "displayName": "Says", "inputTokenLimit": 1000}]},
}


async def play(call: Call) -> None:
    if call.path.startswith("/broken"):
        await call.reply(401, {"error": {"message": "bad key co-secret-12345678", "type": "auth"}})
    elif "/models" in call.path and ":" not in call.path:
        dialect = "google" if "v1beta" in call.path else "anthropic" if "x-api-key" in call.headers else "openai"
        await call.reply(200, MODELS[dialect])
    elif call.path.startswith("/v1/chat") and call.model == "stuck":
        await call.until_hung_up()
    elif call.path.startswith("/v1/chat") and call.model == "cut":
        await faults.begins(faults.resets)(call)
    else:
        await conversation.play(call)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.answer(play)
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    everybody = people(two={"request_limit": 2}, poor={"cost_limit": "0.00001"})
    with running(YAML.format(url=upstream.url, people=everybody), tmp_path_factory.mktemp("generate")) as gateway:
        yield gateway


def chunks_of(body: bytes) -> list[dict[str, Any]]:
    lines = [line for line in body.decode().splitlines() if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


# -- whole and streamed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("surface", PATHS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_whole_completion(gateway: Gateway, upstream: Upstream, dialect: str, surface: str) -> None:
    answer = call(gateway, KIND, dialect, surface)
    assert answer.status == 200, answer.body
    data = answer.json()["data"] if surface == "native" else answer.json()
    (choice,) = data["choices"]
    assert (choice["text"], choice["index"], choice["finish_reason"]) == (f"{dialect} heard 1", 0, "stop")
    assert turns_of(upstream.calls[-1]) == [("user", KIND.body["prompt"])]
    row = row_of(gateway, answer)
    assert (row["surface"], row["operation"], row["stream"]) == (SURFACES[surface], "chat", False)
    assert (row["input_tokens"], row["output_tokens"]) == SPENT[dialect]
    assert Decimal(row["cost"]) == Decimal(SPENT[dialect][0] + 2 * SPENT[dialect][1]) / 10**6
    if surface == "compat":
        assert data["object"] == "text_completion"
        assert data["usage"]["total_tokens"] == sum(SPENT[dialect])
    else:
        assert data["usage"]["cost"] == row["cost"]


@pytest.mark.parametrize("surface", PATHS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_streamed_completion_costs_the_same(gateway: Gateway, dialect: str, surface: str) -> None:
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if surface == "compat" else {}
    answer = call(gateway, KIND, dialect, surface, stream=True, **options)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    chunks = chunks_of(answer.body)
    entries = [entry for chunk in chunks for entry in chunk["choices"]]
    assert "".join(entry["text"] for entry in entries) == f"{dialect} heard 1"
    assert [entry["finish_reason"] for entry in entries if entry["finish_reason"]] == ["stop"]
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["total_tokens"]) == ([], sum(SPENT[dialect]))
    row = row_of(gateway, answer)
    assert (row["stream"], row["surface"]) == (True, SURFACES[surface])
    assert Decimal(row["cost"]) == Decimal(SPENT[dialect][0] + 2 * SPENT[dialect][1]) / 10**6


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("surface", PATHS)
def test_a_second_target_takes_over(gateway: Gateway, surface: str, stream: bool) -> None:
    answer = call(gateway, KIND, "second", surface, stream=stream)
    assert answer.status == 200
    assert b"heard" in answer.body
    assert [attempt["status"] for attempt in row_of(gateway, answer)["attempts"]] == ["failed", "completed"]


@pytest.mark.parametrize("surface", PATHS)
def test_a_broken_stream_says_so(gateway: Gateway, surface: str) -> None:
    answer = call(gateway, KIND, "cut", surface, stream=True)
    events = answer.body.decode().strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    assert events[-2].startswith("event: error" if surface == "native" else 'data: {"error"')
    row = row_of(gateway, answer)
    assert (row["status"], row["estimated"]) == ("failed", True)


def test_the_parameters_go_upstream(gateway: Gateway, upstream: Upstream) -> None:
    call(gateway, KIND, "openai", "compat", temperature=0.5, stop=["END"], seed=3, n=2, presence_penalty=1)
    sent = upstream.calls[-1].json
    assert (sent["temperature"], sent["stop"], sent["seed"], sent["n"]) == (0.5, ["END"], 3, 2)
    assert (sent["presence_penalty"], sent.get("max_tokens", sent.get("max_completion_tokens"))) == (1, 100)


@pytest.mark.parametrize(
    ("name", "value"), [("suffix", "x"), ("echo", True), ("logprobs", 2), ("best_of", 3), ("prompt", ["a", "b"])]
)
def test_what_only_a_raw_model_can_is_refused_by_name(gateway: Gateway, name: str, value: Any) -> None:
    answer = call(gateway, KIND, "openai", "compat", **{name: value})
    assert answer.status == 400
    assert name in named_in(error_of(answer))


# -- large prompts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [70_000, 100_000, 1_000_000])
@pytest.mark.parametrize("path", ["/v1/inference/generate", "/oai/v1/completions", "/v1/inference/chat"])
def test_a_caller_with_a_large_prompt_may_leave_too(gateway: Gateway, upstream: Upstream, path: str, size: int) -> None:
    """A body that fills the server's buffer must not make it deaf to the connection's end."""
    before = len(upstream.calls)
    text = "x" * size
    said = {"messages": [{"role": "user", "content": text}]} if path.endswith("chat") else {"prompt": text}
    request_id = f"large-{path.rpartition('/')[2]}-{size}"
    with Wire(gateway.url) as wire:
        body = {"model": "stuck", "max_tokens": 10} | said
        wire.send(request_bytes(path, body, gateway.admin_key, {"X-Request-ID": request_id}))
        until("the upstream is called", lambda: len(upstream.calls) > before)
        left_at = wire.hang_up()
    seen = upstream.calls[before]
    until("the upstream sees the hang-up", lambda: seen.hung_up)
    assert seen.hung_up_at - left_at < 1
    until("nothing is in flight", lambda: gateway.in_flight() == 0)
    assert gateway.usage_of(request_id)["status"] == "cancelled"


# -- rules ------------------------------------------------------------------------------------------------------------


def test_rules(gateway: Gateway, upstream: Upstream) -> None:
    check_request_budget(KIND, gateway, upstream)
    check_small_budget(KIND, gateway, upstream)
    check_rate_limit(KIND, gateway, upstream)
    check_wrong_modality(KIND, gateway, upstream, "pictures", "image")
    check_wrong_fields(KIND, gateway, upstream)


# -- providers and backends -------------------------------------------------------------------------------------------


def test_providers_are_listed(gateway: Gateway) -> None:
    items = {item["id"]: item for item in gateway.get("/v1/providers").json()["data"]["items"]}
    assert set(items) == {"openai", "anthropic", "google", "broken", "closed", "unset", "demo"}
    assert (items["openai"]["provider_type"], items["openai"]["status"]) == ("openai", "active")
    assert items["openai"]["backend_count"] == 4
    assert (items["unset"]["status"], items["google"]["dialect"]) == ("unconfigured", "google")
    assert "NOT_SET_ANYWHERE" in items["unset"]["unconfigured"]
    assert gateway.get("/v1/providers/openai").json()["data"] == items["openai"]
    for secret in (b"sk-test", b"an-test", b"gg-test", b"co-secret"):
        assert secret not in gateway.get("/v1/providers").body


def test_backends_are_listed(gateway: Gateway) -> None:
    pages, cursor = [], ""
    while True:
        page = gateway.get(f"/v1/backends?limit=2&cursor={cursor}").json()
        pages += page["data"]["items"]
        cursor = page["pagination"]["next_cursor"]
        if not cursor:
            break
    items = {item["id"]: item for item in pages}
    assert len(pages) == len(items) == 7
    assert items["openai:says"]["models"] == ["openai", "second"]
    assert (items["openai:says"]["provider_id"], items["openai:says"]["enabled"]) == ("openai", True)
    assert gateway.get("/v1/backends/openai:says").json()["data"] == items["openai:says"]


@pytest.mark.parametrize("path", ["/v1/providers/nobody", "/v1/backends/nobody:x"])
def test_what_is_not_there_is_404(gateway: Gateway, path: str) -> None:
    assert gateway.get(path).status == 404


@pytest.mark.parametrize(
    ("provider", "found"), [("openai", ["new", "says"]), ("anthropic", ["says"]), ("google", ["says"])]
)
def test_discover(gateway: Gateway, provider: str, found: list[str]) -> None:
    data = gateway.post(f"/v1/providers/{provider}/discover", None).json()["data"]
    assert [item["id"] for item in data["items"]] == found
    assert [item["configured"] for item in data["items"]] == [name == "says" for name in found]


@pytest.mark.parametrize("provider", ["broken", "closed", "unset", "demo"])
def test_discover_says_why_it_cannot(gateway: Gateway, provider: str) -> None:
    answer = gateway.post(f"/v1/providers/{provider}/discover", None)
    assert (answer.status, error_of(answer)["code"]) == (502, "PROVIDER_DISCOVERY_ERROR")
    assert provider in error_of(answer)["message"]
    assert b"co-secret" not in answer.body


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/providers"), ("GET", "/v1/backends"), ("POST", "/v1/providers/openai/discover")],
)
def test_plain_users_see_none_of_it(gateway: Gateway, method: str, path: str) -> None:
    assert gateway.request(method, path, key=key_of("default", "plain")).status == 403
    assert gateway.request(method, path, key=None).status == 401
