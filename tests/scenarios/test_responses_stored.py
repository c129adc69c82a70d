"""Answers of the Responses API that are kept: conversations over several dialects, tenants, deletion, restarts."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from support import conversation
from support.appliance import Answer, Gateway, running
from support.conversation import SPENT, TOOL, turns_of
from support.modal_rules import budget_of, people
from support.tenancy import key_of
from support.upstream import Upstream

URL = "/oai/v1/responses"
DIALECTS = ["openai", "responses", "anthropic", "google"]
YAML = """
{server}
providers:
  openai: {{type: openai, base_url: "{url}/v1", api_key: sk-test-12345678}}
  responses: {{type: openai, base_url: "{url}/v1", api_key: sk-test-12345678, api: responses}}
  anthropic: {{type: anthropic, base_url: "{url}", api_key: an-test-12345678}}
  google: {{type: google, base_url: "{url}", api_key: gg-test-12345678}}
models:
  openai: &chat
    price: {{input: "1", output: "2"}}
    max_output_tokens: 1000
    route: [{{backend: "openai:says"}}]
  responses: {{<<: *chat, route: [{{backend: "responses:says"}}]}}
  anthropic: {{<<: *chat, route: [{{backend: "anthropic:says"}}]}}
  google: {{<<: *chat, route: [{{backend: "google:says"}}]}}
  openai-calls: {{<<: *chat, route: [{{backend: "openai:calls"}}]}}
  responses-calls: {{<<: *chat, route: [{{backend: "responses:calls"}}]}}
  anthropic-calls: {{<<: *chat, route: [{{backend: "anthropic:calls"}}]}}
  google-calls: {{<<: *chat, route: [{{backend: "google:calls"}}]}}
{people}
"""
TOOLS = [
    {
        "type": "function",
        "name": TOOL,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.answer(conversation.play)
        yield upstream


def yaml_for(upstream: Upstream, server: str = "", /, **budgets: Any) -> str:
    return YAML.format(url=upstream.url, people=people(**budgets), server=server)


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    budgets: dict[str, dict[str, Any]] = {"two": {"request_limit": 2}, "poor": {"cost_limit": "0.00001"}}
    with running(yaml_for(upstream, **budgets), tmp_path_factory.mktemp("responses")) as gateway:
        yield gateway


def ask(gateway: Gateway, model: str, text: Any, previous: str | None = None, *, key: str = "", **more: Any) -> Answer:
    body = {"model": model, "input": text} | more
    if previous is not None:
        body["previous_response_id"] = previous
    return gateway.post(URL, body, key=key)


def answered(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    return dict(answer.json())


def text_of(response: dict[str, Any]) -> str:
    parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
    return "".join(part["text"] for part in parts)


def last_event(answer: Answer) -> dict[str, Any]:
    """The whole response of a stream's last event."""
    datas = [line[6:] for line in answer.body.decode().splitlines() if line.startswith("data: {")]
    event = json.loads(datas[-1])
    assert event["type"] == "response.completed", event
    return dict(event["response"])


# -- conversations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("models", list(itertools.permutations(["openai", "anthropic", "google"])), ids="-".join)
def test_three_turns_over_three_dialects(
    gateway: Gateway, upstream: Upstream, models: tuple[str, ...], stream: bool
) -> None:
    previous, ids = None, []
    for turn, model in enumerate(models):
        answer = ask(gateway, model, f"question {turn}", previous, stream=stream)
        response = last_event(answer) if stream else answered(answer)
        assert response["previous_response_id"] == previous
        assert text_of(response) == f"{model} heard {2 * turn + 1}"
        previous = response["id"]
        ids.append(previous)
        row = gateway.usage_of(answer.headers["X-Request-ID"])
        assert (row["operation"], row["input_tokens"], row["output_tokens"]) == ("respond", *SPENT[model])
        assert Decimal(row["cost"]) == Decimal(SPENT[model][0] + 2 * SPENT[model][1]) / 10**6
    assert len(set(ids)) == 3
    assert turns_of(upstream.calls[-1]) == [
        ("user", "question 0"),
        ("assistant", f"{models[0]} heard 1"),
        ("user", "question 1"),
        ("assistant", f"{models[1]} heard 3"),
        ("user", "question 2"),
    ]


@pytest.mark.parametrize("second", DIALECTS)
@pytest.mark.parametrize("first", DIALECTS)
def test_a_call_of_one_is_answered_to_another(gateway: Gateway, upstream: Upstream, first: str, second: str) -> None:
    begun = answered(ask(gateway, f"{first}-calls", "the weather?", tools=TOOLS))
    (made,) = [item for item in begun["output"] if item["type"] == "function_call"]
    output = {"type": "function_call_output", "call_id": made["call_id"], "output": "21 degrees"}
    response = answered(ask(gateway, second, [output], begun["id"], tools=TOOLS))
    assert text_of(response) == f"{second} heard 3"
    assert turns_of(upstream.calls[-1]) == [("user", "the weather?"), ("call", TOOL), ("result", "21 degrees")]


def test_an_upstreams_own_ids_are_not_the_callers(gateway: Gateway, upstream: Upstream) -> None:
    """Two answers of an upstream of this dialect, which says the same id each time."""
    first = answered(ask(gateway, "responses", "one"))
    second = answered(ask(gateway, "responses", "two"))
    assert first["id"] != second["id"]
    third = answered(ask(gateway, "responses", "three", first["id"]))
    assert text_of(third) == "responses heard 3"
    sent = upstream.calls[-1].json
    assert "previous_response_id" not in sent
    assert sent["store"] is False, "what is kept is kept here"


def test_instructions_do_not_come_back(gateway: Gateway, upstream: Upstream) -> None:
    first = answered(ask(gateway, "openai", "hi", instructions="be brief"))
    assert turns_of(upstream.calls[-1])[0] == ("system", "be brief")
    answered(ask(gateway, "openai", "again", first["id"]))
    assert [role for role, _ in turns_of(upstream.calls[-1])] == ["user", "assistant", "user"]


def test_one_answer_can_be_gone_on_from_twice(gateway: Gateway) -> None:
    first = answered(ask(gateway, "openai", "root"))
    for _ in range(2):
        assert text_of(answered(ask(gateway, "google", "branch", first["id"]))) == "google heard 3"


# -- get, delete, list ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", DIALECTS)
def test_what_is_kept_is_what_was_answered(gateway: Gateway, model: str) -> None:
    response = answered(ask(gateway, model, "keep me", metadata={"a": "b"}))
    kept = gateway.get(f"{URL}/{response['id']}")
    assert (kept.status, kept.json()) == (200, response)
    assert kept.headers["X-Request-ID"]


def test_what_was_streamed_is_kept_too(gateway: Gateway) -> None:
    response = last_event(ask(gateway, "anthropic", "keep me", stream=True))
    assert gateway.get(f"{URL}/{response['id']}").json() == response


def test_input_items_are_listed_page_by_page(gateway: Gateway) -> None:
    parts = [{"type": "input_text", "text": "two"}]
    items = [{"role": "user", "content": "one"}, {"role": "user", "content": parts}, {"role": "user", "content": "3"}]
    response = answered(ask(gateway, "openai", items))

    def listed(query: str) -> dict[str, Any]:
        return dict(gateway.get(f"{URL}/{response['id']}/input_items{query}").json())

    def texts(page: dict[str, Any]) -> list[str]:
        return [conversation.text_in(entry["content"]) for entry in page["data"]]

    whole = listed("")
    assert (texts(whole), whole["object"], whole["has_more"]) == (["3", "two", "one"], "list", False)
    assert texts(listed("?order=asc")) == ["one", "two", "3"]
    first = listed("?order=asc&limit=2")
    assert (texts(first), first["has_more"], first["last_id"]) == (["one", "two"], True, first["data"][1]["id"])
    rest = listed(f"?order=asc&limit=2&after={first['last_id']}")
    assert (texts(rest), rest["has_more"]) == (["3"], False)
    for query in ("?order=up", "?limit=0", "?after=nothing"):
        assert gateway.get(f"{URL}/{response['id']}/input_items{query}").status == 400


def test_what_is_deleted_is_gone(gateway: Gateway) -> None:
    response = answered(ask(gateway, "openai", "forget me"))
    follower = answered(ask(gateway, "openai", "and me?", response["id"]))
    gone = gateway.request("DELETE", f"{URL}/{response['id']}")
    assert gone.json() == {"id": response["id"], "object": "response", "deleted": True}
    for method, path in (("GET", ""), ("GET", "/input_items"), ("DELETE", "")):
        assert gateway.request(method, f"{URL}/{response['id']}{path}").status == 404
    for previous in (response["id"], follower["id"]):
        assert ask(gateway, "openai", "go on", previous).status == 404, "half a conversation is none"


# -- who may, and what is not kept ------------------------------------------------------------------------------------


def test_another_tenants_answer_does_not_exist(gateway: Gateway, upstream: Upstream) -> None:
    response = answered(ask(gateway, "openai", "secret", key=key_of("default", "plain")))
    before, stranger = len(upstream.calls), key_of("other", "plain")
    for method, path in (("GET", ""), ("GET", "/input_items"), ("DELETE", "")):
        answer = gateway.request(method, f"{URL}/{response['id']}{path}", key=stranger)
        assert answer.status == 404
        nowhere = gateway.request(method, f"{URL}/resp_nowhere{path}", key=stranger)
        assert (
            answer.json()["error"]["message"].replace(response["id"], "resp_nowhere")
            == (nowhere.json()["error"]["message"])
        ), "it cannot be told from one that never was"
    refused = ask(gateway, "openai", "tell me", response["id"], key=stranger)
    assert (refused.status, refused.json()["error"]["param"]) == (404, "previous_response_id")
    assert len(upstream.calls) == before
    assert gateway.get(f"{URL}/{response['id']}", key=key_of("default", "plain")).status == 200


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_store_false_keeps_nothing(gateway: Gateway, stream: bool) -> None:
    answer = ask(gateway, "google", "do not keep me", store=False, stream=stream)
    response = last_event(answer) if stream else answered(answer)
    assert response["store"] is False
    assert gateway.get(f"{URL}/{response['id']}").status == 404
    assert ask(gateway, "google", "go on", response["id"]).status == 404


def test_a_failed_call_keeps_nothing_and_names_the_field(gateway: Gateway, upstream: Upstream) -> None:
    before = len(upstream.calls)
    for wrong in ("resp_none", "", 7):
        answer = ask(gateway, "openai", "hi", wrong)  # type: ignore[arg-type]
        assert 400 <= answer.status < 500
        assert answer.json()["error"]["param"] == "previous_response_id", answer.body
    assert len(upstream.calls) == before


def test_nothing_is_kept_with_a_retention_of_zero(upstream: Upstream, tmp_path: Path) -> None:
    with running(yaml_for(upstream, "server:\n  responses_retention: 0s"), tmp_path) as own:
        response = answered(ask(own, "openai", "hi"))
        assert own.get(f"{URL}/{response['id']}").status == 404
        assert ask(own, "openai", "go on", response["id"]).status == 404


def test_a_short_retention_ends(upstream: Upstream, tmp_path: Path) -> None:
    with running(yaml_for(upstream, "server:\n  responses_retention: 1s"), tmp_path) as own:
        response = answered(ask(own, "openai", "hi"))
        assert own.get(f"{URL}/{response['id']}").status == 200
        time.sleep(1.1)
        assert own.get(f"{URL}/{response['id']}").status == 404
        assert ask(own, "openai", "go on", response["id"]).status == 404


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_a_conversation_survives_a_restart(upstream: Upstream, tmp_path: Path, end: str) -> None:
    with running(yaml_for(upstream), tmp_path) as own:
        first = answered(ask(own, "openai", "before"))
        second = last_event(ask(own, "anthropic", "before", first["id"], stream=True))
        getattr(own, end)()
        own.start()
        assert own.get(f"{URL}/{second['id']}").json() == second
        assert text_of(answered(ask(own, "google", "after", second["id"]))) == "google heard 5"


# -- money ------------------------------------------------------------------------------------------------------------


def test_budgets(gateway: Gateway, upstream: Upstream) -> None:
    key = key_of("default", "two")
    first = answered(ask(gateway, "openai", "one", key=key))
    second = answered(ask(gateway, "google", "two", first["id"], key=key))
    before = len(upstream.calls)
    third = ask(gateway, "anthropic", "three", second["id"], key=key)
    assert (third.status, len(upstream.calls)) == (429, before)
    assert budget_of(gateway, "two")["used"]["requests"] == 2
    poor = ask(gateway, "openai", "one", key=key_of("default", "poor"))
    assert (poor.status, len(upstream.calls)) == (429, before)


def test_earlier_turns_count_for_the_reservation(gateway: Gateway) -> None:
    first = ask(gateway, "openai", "x" * 20_000)
    second = ask(gateway, "openai", "y", answered(first)["id"])
    held = [Decimal(gateway.usage_of(answer.headers["X-Request-ID"])["reserved"]) for answer in (first, second)]
    assert held[1] >= held[0], "what is sent again is paid for again"
