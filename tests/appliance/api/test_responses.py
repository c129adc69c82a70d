"""Kept answers over the API: whole, forgotten, their input item by item; another tenant's does not exist."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sanic import Request

from appliance.api import responses
from appliance.api.accept import Appliance, Call
from appliance.api.envelope import Plain
from appliance.errors import GatewayError
from appliance.grid.holder import Generation, Holder
from appliance.state.responses import Responses, StoredResponse
from appliance.state.store import Store
from support.build import make_grid, make_principal, make_state

WHOLE = {"id": "resp_1", "object": "response", "output": [{"type": "message", "id": "msg_1"}], "metadata": {"a": "é"}}
HANDLERS = [responses.get_response, responses.delete_response, responses.list_input_items]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Responses]:
    store = Store(tmp_path / "scaigrid.db")
    yield Responses(store, 3600)
    store.close()


async def keep(kept: Responses, items: list[Any] | None = None, tenant: str = "acme", age_s: float = 0) -> None:
    items = [{"role": "user", "content": "hello"}] if items is None else items
    await kept.keep(StoredResponse("resp_1", tenant, f"{tenant}:bob", "", time.time() - age_s, items, WHOLE))


def call_of(
    kept: Responses | None, response_id: str = "resp_1", query: dict[str, str] | None = None, tenant: str = "acme"
) -> Call:
    state = make_state()
    state.responses = kept
    request = SimpleNamespace(args={name: [value] for name, value in (query or {}).items()}, body=b"")
    grid = make_grid()
    call = Call(Appliance(Holder(Generation(grid)), state), grid, cast(Request, request), "req_12345678")
    call.principal_or_none = make_principal(tenant=tenant)
    call.params = {"response_id": response_id}
    return call


def told(answer: Plain) -> dict[str, Any]:
    assert answer.status == 200
    body: dict[str, Any] = json.loads(answer.body)
    return body


async def test_an_answer_is_shown_as_it_was_given(kept: Responses) -> None:
    await keep(kept)
    assert told(await responses.get_response(call_of(kept))) == WHOLE
    assert told(await responses.get_response(call_of(kept, "resp%5F1"))) == WHOLE


async def test_a_deleted_answer_is_gone(kept: Responses) -> None:
    await keep(kept)
    gone = {"id": "resp_1", "object": "response", "deleted": True}
    assert told(await responses.delete_response(call_of(kept))) == gone
    for handler in HANDLERS:
        await not_found(handler, call_of(kept))


async def not_found(handler: Any, call: Call) -> None:
    with pytest.raises(GatewayError) as caught:
        await handler(call)
    assert caught.value.code == "NOT_FOUND"
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("handler", HANDLERS)
async def test_another_tenant_s_answer_does_not_exist(kept: Responses, handler: Any) -> None:
    await keep(kept)
    await not_found(handler, call_of(kept, tenant="other"))
    assert told(await responses.get_response(call_of(kept))) == WHOLE


@pytest.mark.parametrize("handler", HANDLERS)
async def test_neither_does_one_whose_time_is_over_nor_one_that_never_was(kept: Responses, handler: Any) -> None:
    await keep(kept, age_s=3601)
    for response_id in ("resp_1", "resp_2", "", "x" * 5000):
        await not_found(handler, call_of(kept, response_id))


@pytest.mark.parametrize("handler", HANDLERS)
async def test_an_appliance_that_keeps_nothing_has_none(handler: Any) -> None:
    await not_found(handler, call_of(None))


# -- the input --------------------------------------------------------------------------------------------------------

NUMBERED = [{"type": "message", "id": f"in_{number}", "role": "user", "content": []} for number in range(30)]


async def items(kept: Responses, **query: str) -> dict[str, Any]:
    body = told(await responses.list_input_items(call_of(kept, query=query)))
    assert body["object"] == "list"
    ids = [item["id"] for item in body["data"]]
    assert (body["first_id"], body["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
    return body


async def ids(kept: Responses, **query: str) -> list[str]:
    return [item["id"] for item in (await items(kept, **query))["data"]]


async def test_twenty_items_the_newest_first(kept: Responses) -> None:
    await keep(kept, NUMBERED)
    body = await items(kept)
    assert [item["id"] for item in body["data"]] == [f"in_{number}" for number in range(29, 9, -1)]
    assert body["has_more"] is True


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 7, 29, 30, 31])
async def test_pages_put_together_are_the_whole_input(kept: Responses, order: str, limit: int) -> None:
    await keep(kept, NUMBERED)
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        body = await items(kept, order=order, limit=str(limit), **after)
        found += [item["id"] for item in body["data"]]
        if not body["has_more"]:
            break
        assert len(body["data"]) == limit
        after = {"after": body["last_id"]}
    whole = [item["id"] for item in NUMBERED]
    assert found == (whole if order == "asc" else whole[::-1])


async def test_after_the_last_there_is_nothing(kept: Responses) -> None:
    await keep(kept, NUMBERED)
    assert await ids(kept, after="in_0") == []
    assert (await items(kept, after="in_0"))["has_more"] is False


async def test_an_item_without_an_id_gets_one_that_stays(kept: Responses) -> None:
    await keep(kept, [{"role": "user", "content": "hello"}, {"type": "function_call_output", "output": "7"}])
    first = await items(kept, order="asc")
    assert first == await items(kept, order="asc")
    assert len(set(await ids(kept))) == 2
    assert first["data"][0]["content"] == [{"type": "input_text", "text": "hello"}]
    assert await ids(kept, order="asc", after=first["data"][0]["id"]) == [first["data"][1]["id"]]


async def test_no_input_is_an_empty_list(kept: Responses) -> None:
    await keep(kept, [])
    assert (await items(kept))["data"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"order": "up"}, "order"),
        ({"order": ""}, "order"),
        ({"limit": "0"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"after": "in_99"}, "after"),
        ({"after": "x" * 5000}, "after"),
    ],
)
async def test_a_wrong_query_is_named(kept: Responses, query: dict[str, str], field: str) -> None:
    await keep(kept, NUMBERED)
    with pytest.raises(GatewayError) as caught:
        await responses.list_input_items(call_of(kept, query=query))
    assert caught.value.code == "VALIDATION_ERROR"
    assert field in (caught.value.param or caught.value.message)
    assert len(caught.value.message) < 400
