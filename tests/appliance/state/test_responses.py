"""Kept answers of the Responses API: whose they are, how a conversation is followed back, when they are gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.state import responses as responses_module
from appliance.state.responses import ConversationTooLarge, Responses, StoredResponse
from appliance.state.store import Store

LIMIT = 100_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "scaigrid.db")
    yield made
    made.close()


@pytest.fixture
def kept(store: Store) -> Responses:
    return Responses(store, 3600)


def item(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": text}


def answer(
    number: int, previous: int = 0, tenant: str = "acme", created: float | None = None, **changes: Any
) -> StoredResponse:
    """Answer `resp_<number>` to the question `ask <number>`."""
    fields: dict[str, Any] = {
        "id": f"resp_{number}",
        "tenant_id": tenant,
        "user_id": f"{tenant}:alice",
        "previous_id": f"resp_{previous}" if previous else "",
        "created_unix": time.time() if created is None else created,
        "items": [item(f"ask {number}")],
        "response": {"id": f"resp_{number}", "output": [item(f"say {number}")]},
    }
    return StoredResponse(**(fields | changes))


async def texts(kept: Responses, number: int, tenant: str = "acme") -> list[str] | None:
    found = await kept.history(tenant, f"resp_{number}", LIMIT)
    return None if found is None else [entry["content"] for entry in found]


# -- in and out -------------------------------------------------------------------------------------------------------


async def test_an_answer_comes_back_as_it_went_in(kept: Responses) -> None:
    one = answer(1, items=[item("é€😀"), {"nested": [None, 1.5, {"a": []}]}], response={"id": "resp_1", "x": None})
    await kept.keep(one)
    assert await kept.get("acme", "resp_1") == one


async def test_it_is_there_after_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path / "scaigrid.db")
    await Responses(store, 3600).keep(answer(1))
    store.close()
    store = Store(tmp_path / "scaigrid.db")
    assert await Responses(store, 3600).get("acme", "resp_1")
    store.close()


async def test_an_id_is_kept_once(kept: Responses) -> None:
    await kept.keep(answer(1))
    with pytest.raises(Exception, match="UNIQUE"):
        await kept.keep(answer(1, tenant="other"))
    found = await kept.get("acme", "resp_1")
    assert found
    assert found.tenant_id == "acme"


@pytest.mark.parametrize("response_id", ["", "resp_2", "RESP_1", "resp_", "resp_%", "' OR 1=1 --", "x" * 10_000])
async def test_what_was_never_kept_is_not_there(kept: Responses, response_id: str) -> None:
    await kept.keep(answer(1))
    assert await kept.get("acme", response_id) is None
    assert not await kept.delete("acme", response_id)


# -- a tenant's own ---------------------------------------------------------------------------------------------------


async def test_another_tenant_s_answer_does_not_exist(kept: Responses) -> None:
    await kept.keep(answer(1))
    assert await kept.get("other", "resp_1") is None
    assert await kept.history("other", "resp_1", LIMIT) is None
    assert not await kept.delete("other", "resp_1")
    assert await kept.get("acme", "resp_1")


async def test_a_chain_does_not_lead_into_another_tenant(kept: Responses) -> None:
    await kept.keep(answer(1, tenant="other"))
    await kept.keep(answer(2, 1))
    assert await texts(kept, 2) is None


async def test_users_of_a_tenant_share_them(kept: Responses) -> None:
    await kept.keep(answer(1))
    await kept.keep(answer(2, 1, user_id="acme:bob"))
    assert await texts(kept, 2) == ["ask 1", "say 1", "ask 2", "say 2"]


# -- the conversation -------------------------------------------------------------------------------------------------


async def test_a_conversation_is_told_from_its_beginning(kept: Responses) -> None:
    for number in (1, 2, 3):
        await kept.keep(answer(number, number - 1))
    assert await texts(kept, 3) == ["ask 1", "say 1", "ask 2", "say 2", "ask 3", "say 3"]
    assert await texts(kept, 1) == ["ask 1", "say 1"]


async def test_one_answer_may_be_gone_on_from_twice(kept: Responses) -> None:
    await kept.keep(answer(1))
    await kept.keep(answer(2, 1))
    await kept.keep(answer(3, 1))
    assert await texts(kept, 2) == ["ask 1", "say 1", "ask 2", "say 2"]
    assert await texts(kept, 3) == ["ask 1", "say 1", "ask 3", "say 3"]


async def test_a_conversation_that_lacks_a_part_is_none(kept: Responses) -> None:
    for number in (1, 2, 3):
        await kept.keep(answer(number, number - 1))
    assert await kept.delete("acme", "resp_2")
    assert await texts(kept, 3) is None
    assert await texts(kept, 1) == ["ask 1", "say 1"]


async def test_no_answer_leads_to_no_items(kept: Responses) -> None:
    await kept.keep(answer(1, items=[], response={"id": "resp_1"}))
    assert await texts(kept, 1) == []


async def test_a_chain_ends_at_its_most_and_a_circle_too(kept: Responses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses_module, "MAX_CHAIN", 5)
    for number in range(1, 7):
        await kept.keep(answer(number, number - 1))
    assert len(await texts(kept, 5) or []) == 10
    assert await texts(kept, 6) is None
    await kept.keep(answer(7, 7))
    assert await texts(kept, 7) is None


# -- the end ----------------------------------------------------------------------------------------------------------


async def test_after_its_time_it_is_not_there_even_before_it_is_deleted(kept: Responses) -> None:
    await kept.keep(answer(1, created=time.time() - 3601))
    await kept.keep(answer(2, 1, created=time.time() - 3590))
    assert await kept.get("acme", "resp_1") is None
    assert await kept.get("acme", "resp_2")
    assert await texts(kept, 2) is None


async def test_pruning_deletes_what_is_too_old_and_nothing_else(kept: Responses, store: Store) -> None:
    await kept.keep(answer(1, created=time.time() - 3601))
    await kept.keep(answer(2, created=time.time() - 3500))
    await kept.keep(answer(3, tenant="other", created=time.time() - 10_000))
    assert await kept.prune() == 2
    assert await kept.prune() == 0
    assert await kept.get("acme", "resp_2")
    longer = Responses(store, 10**9)
    assert await longer.get("acme", "resp_1") is None


async def test_a_longer_retention_does_not_bring_back_what_was_kept_for_less(kept: Responses, store: Store) -> None:
    await kept.keep(answer(1, created=time.time() - 3601))
    assert await Responses(store, 10**9).get("acme", "resp_1") is None


async def test_what_is_deleted_is_gone(kept: Responses) -> None:
    await kept.keep(answer(1))
    assert await kept.delete("acme", "resp_1")
    assert not await kept.delete("acme", "resp_1")
    assert await kept.get("acme", "resp_1") is None


async def test_a_caller_who_leaves_does_not_stop_the_writing(kept: Responses, store: Store) -> None:
    await kept.keep(answer(1))
    task = asyncio.ensure_future(kept.keep(answer(2, 1)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await kept.keep(answer(3))
    await store.ping()
    assert await kept.get("acme", "resp_3"), "the writer lives on"


async def test_a_conversation_is_read_up_to_a_size(kept: Responses) -> None:
    for number in (1, 2, 3):
        await kept.keep(answer(number, number - 1))
    size = 3 * len('[{"type":"message","role":"user","content":"ask 1"}]')
    size += 3 * len('{"id":"resp_1","output":[{"type":"message","role":"user","content":"say 1"}]}')
    assert await kept.history("acme", "resp_3", size)
    with pytest.raises(ConversationTooLarge):
        await kept.history("acme", "resp_3", size - 1)
