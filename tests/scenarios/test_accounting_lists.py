"""Many calls: pages that stay right while rows arrive, filters, and sums by each group."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from support.appliance import Gateway, running

PEOPLE = {name: f"sgk_{name}-{'k' * 32}" for name in ("ann", "bob", "cid")}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    keys = {name: f'{{api_keys: [{{name: k, key: "{key}"}}]}}' for name, key in PEOPLE.items()}
    yaml_text = f"""
providers:
  demo: {{type: demo}}
models:
  demo-a: {{price: {{input: "1", output: "2"}}, route: [{{backend: "demo:a"}}]}}
  demo-b: {{price: {{input: "3", output: "4"}}, route: [{{backend: "demo:b"}}]}}
  broken: {{price: free, route: {{retries: 0, targets: [{{backend: "demo:c,fail=500"}}]}}}}
partners:
  p:
    tenants:
      t1: {{users: {{ann: {keys["ann"]}, bob: {keys["bob"]}}}}}
      t2: {{users: {{cid: {keys["cid"]}}}}}
"""
    with running(yaml_text, tmp_path_factory.mktemp("lists")) as gateway:
        yield gateway


def page(gateway: Gateway, query: str) -> dict[str, Any]:
    answer = gateway.get(f"/v1/accounting/usage?{query}")
    assert answer.status == 200, answer.body
    body: dict[str, Any] = answer.json()
    return body


def ask_as(gateway: Gateway, name: str, model: str, request_id: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"X-Request-ID": request_id}
    assert gateway.post("/v1/inference/chat", body, key=PEOPLE[name], headers=headers).status == 200


CALLS = [
    *[("ann", "demo-a"), ("ann", "demo-b"), ("bob", "demo-a")],
    *[("cid", "demo-a"), ("cid", "demo-b"), ("cid", "demo-b")],
]


@pytest.fixture(scope="module")
def called(gateway: Gateway) -> list[dict[str, Any]]:
    """Six calls by three people of two tenants, after one that failed; the rows of the six, oldest first."""
    broken = {"model": "broken", "messages": [{"role": "user", "content": "hi"}]}
    assert gateway.post("/v1/inference/chat", broken, key=PEOPLE["ann"]).status == 502
    for number, (name, model) in enumerate(CALLS):
        ask_as(gateway, name, model, f"accounting-{number:02}")
    return [gateway.usage_of(f"accounting-{number:02}") for number in range(len(CALLS))]


def test_pages_follow_one_another_without_gap_or_repeat(gateway: Gateway, called: list[dict[str, Any]]) -> None:
    everything = [row["id"] for row in gateway.usage()]
    seen: list[str] = []
    cursor = ""
    while True:
        body = page(gateway, f"limit=2&cursor={cursor}")
        items = body["data"]["items"]
        assert 1 <= len(items) <= 2
        seen += [row["id"] for row in items]
        cursor = body["pagination"]["next_cursor"]
        assert body["pagination"]["has_more"] is bool(cursor)
        if not cursor:
            break
    assert seen == everything
    assert set(seen) >= {row["id"] for row in called}


def test_a_last_page_that_is_just_full_has_nothing_behind_it(gateway: Gateway, called: list[dict[str, Any]]) -> None:
    body = page(gateway, "user_id=cid&tenant_id=t2&limit=3")
    assert len(body["data"]["items"]) == 3
    assert body["pagination"] == {"has_more": False, "next_cursor": None}


@pytest.mark.usefixtures("called")
def test_pages_stay_right_while_rows_arrive(gateway: Gateway) -> None:
    """What was there at the first page is seen once, whatever is booked meanwhile."""
    before = [row["id"] for row in gateway.usage()]
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            ask_as(gateway, "bob", "demo-b", f"accounting-meanwhile-{number:05}")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen: list[str] = []
        cursor = ""
        while True:
            body = page(gateway, f"limit=7&cursor={cursor}")
            seen += [row["id"] for row in body["data"]["items"]]
            cursor = body["pagination"]["next_cursor"]
            if not cursor:
                break
    finally:
        stop.set()
        writer.join()
    assert len(seen) == len(set(seen))
    assert [row_id for row_id in seen if row_id in set(before)] == before


FILTERS: dict[str, set[int]] = {  # query: the calls it finds
    "user_id=t1:ann": {0, 1},
    "tenant_id=t1&user_id=bob": {2},
    "tenant_id=t1": {0, 1, 2},
    "tenant_id=t2": {3, 4, 5},
    "model=demo-b": {1, 4, 5},
    "backend_id=demo:a": {0, 2, 3},
    "tenant_id=t2&model=demo-b": {4, 5},
    "request_id=accounting-03": {3},
    "status=completed&tenant_id=t1": {0, 1, 2},
    "status=failed&tenant_id=t1": set(),
    "status=cancelled": set(),
    "tenant_id=nowhere": set(),
    "period=hour&tenant_id=t1": {0, 1, 2},
    "period=month&tenant_id=t1": {0, 1, 2},
    "start=2099-01-01": set(),
    "end=2020-01-01": set(),
    "start=2020-01-01&end=2099-01-01T00:00:00Z&tenant_id=t2": {3, 4, 5},
}


@pytest.mark.parametrize("query", FILTERS)
def test_a_filter_finds_what_it_names(gateway: Gateway, called: list[dict[str, Any]], query: str) -> None:
    ours = {row["request_id"]: number for number, row in enumerate(called)}
    items = page(gateway, f"limit=1000&{query}")["data"]["items"]
    found = {ours[row["request_id"]] for row in items if row["request_id"] in ours}
    assert found == FILTERS[query]


def test_start_is_inclusive_and_end_exclusive(gateway: Gateway, called: list[dict[str, Any]]) -> None:
    moment = called[3]["created_at"]
    from_it = {row["request_id"] for row in page(gateway, f"limit=1000&start={moment}")["data"]["items"]}
    until_it = {row["request_id"] for row in page(gateway, f"limit=1000&end={moment}")["data"]["items"]}
    assert "accounting-03" in from_it
    assert "accounting-03" not in until_it
    assert "accounting-00" in until_it


GROUPS = {  # group_by: the member of the rows it stands for
    "model": "model",
    "user": "user_id",
    "backend": "backend_id",
    "tenant": "tenant_id",
    "key": "key_id",
    "day": None,
}


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("query", ["", "tenant_id=t1", "model=demo-b", "status=failed"])
@pytest.mark.usefixtures("called")
def test_a_summary_is_the_sum_of_its_rows(gateway: Gateway, group: str, query: str) -> None:
    member = GROUPS[group]
    expected: dict[str, dict[str, Any]] = {}
    for row in gateway.usage(**dict([query.split("=")] if query else [])):
        name = row[member] if member else row["created_at"][:10]
        into = expected.setdefault(name, {"request_count": 0, "input": 0, "output": 0, "cost": Decimal(0)})
        into["request_count"] += 1
        into["input"] += row["tokens_in"]
        into["output"] += row["tokens_out"]
        into["cost"] += Decimal(row["cost"])
    answer = gateway.get(f"/v1/accounting/usage/summary?group_by={group}&{query}").json()
    found = {
        each["group_key"]: {
            "request_count": each["request_count"],
            "input": each["input_tokens"],
            "output": each["output_tokens"],
            "cost": Decimal(each["total_cost"]),
        }
        for each in answer["data"]
    }
    assert found == expected
    assert len(answer["data"]) == len(found)


@pytest.mark.usefixtures("called")
def test_the_summary_of_nothing_is_an_empty_list(gateway: Gateway) -> None:
    assert gateway.get("/v1/accounting/usage/summary?start=2099-01-01").json()["data"] == []


@pytest.mark.usefixtures("called")
def test_the_metrics_count_what_the_rows_say(gateway: Gateway) -> None:
    text = gateway.get("/metrics").body.decode()
    rows = gateway.usage(tenant_id="t2", model="demo-b")
    tokens = sum(row["tokens_out"] for row in rows)
    assert f'scaigrid_tokens_total{{model="demo-b",direction="output",tenant_id="t2"}} {tokens}' in text
