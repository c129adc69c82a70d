"""Counting tokens: asked of those who can count, else estimated; it costs nothing and leaves no row."""

from __future__ import annotations

import json
from typing import Any

import pytest

from appliance.formats.chat import Usage
from support.build import FakeJournal, FakeUpstream, journal_of, make_budget
from support.operations import Ran, answer, ran

CALL = {"model": "claude", "messages": [{"role": "user", "content": "Hello"}]}


async def counted(*script: Any, **changes: Any) -> Ran:
    body = CALL | changes.pop("body", {})
    return await ran("count", body, *script, surface="anthropic", **changes)


async def test_anthropic_is_asked() -> None:
    done = await counted(answer({"input_tokens": 42}))
    assert done.client.json() == {"input_tokens": 42}
    assert done.pools.opened[0][1].endswith("/v1/messages/count_tokens")
    assert done.bodies[0]["model"] == "claude-x"
    assert "max_tokens" not in done.bodies[0]


SEARCH = {"type": "web_search_20250305", "name": "web_search"}


async def test_what_only_anthropic_knows_is_counted_by_anthropic() -> None:
    """As the call itself would go: agent tools ask for counts with the provider's own tools among theirs."""
    done = await counted(answer({"input_tokens": 42}), body={"tools": [SEARCH]})
    assert done.client.json() == {"input_tokens": 42}
    assert done.bodies[0]["tools"] == [SEARCH]


@pytest.mark.parametrize("model", ["gemini", "m"])
async def test_what_the_call_could_not_carry_is_not_counted_either(model: str) -> None:
    done = await counted(body={"model": model, "tools": [SEARCH]})
    assert done.client.status == 400
    assert "tools.0.type" in done.client.json()["error"]["message"]
    assert done.pools.opened == []


async def test_google_is_asked_in_its_own_words() -> None:
    done = await counted(answer({"totalTokens": 43}), body={"model": "gemini"})
    assert done.client.json() == {"input_tokens": 43}
    assert done.pools.opened[0][1].endswith(":countTokens")


async def test_where_nobody_counts_it_is_estimated_without_a_call() -> None:
    done = await counted(body={"model": "m"})
    assert done.client.json() == {"input_tokens": done.exchange.input_estimate}
    assert done.exchange.input_estimate > 0
    assert done.pools.opened == []


@pytest.mark.parametrize("model", ["claude", "m"])
async def test_it_costs_nothing_and_leaves_no_row(model: str) -> None:
    done = await counted(answer({"input_tokens": 42}), body={"model": model}, budgets=[make_budget(10**9)])
    journal = journal_of(done.state)
    assert (journal.begun, journal.ended) == ([], [])
    assert done.exchange.reservation is None
    assert (done.exchange.usage, done.exchange.cost_nano, done.exchange.backend_cost_nano) == (Usage(), 0, 0)
    account = done.state.ledger.account("b", 0)
    assert account
    assert (account.balance.cost, account.balance.tokens, account.balance.requests) == (0, 0, 0)
    assert not any(done.state.metrics.tokens.values())


async def test_a_budget_that_is_used_up_and_a_full_disk_do_not_matter() -> None:
    journal = FakeJournal()
    journal.failing = True
    done = await counted(answer({"input_tokens": 42}), budgets=[make_budget(0)], journal=journal)
    assert done.client.json() == {"input_tokens": 42}


async def test_it_counts_as_a_request_in_the_rate_limits_and_gives_its_slot_back() -> None:
    done = await counted(answer({"input_tokens": 42}))
    assert done.exchange.rate_limit[:2] == (60, 59)
    assert done.state.limiter.concurrent("key:apikey_1") == 0


@pytest.mark.parametrize("body", [b"", b"{}", b'{"input_tokens":"many"}', b"[]"])
async def test_an_answer_that_counts_nothing_is_none(body: bytes) -> None:
    again = [FakeUpstream(body) for _ in range(3)]
    done = await counted(*again)
    assert done.error.code == "UPSTREAM_SHAPE_MISMATCH"
    assert journal_of(done.state).ended == []


async def test_a_failure_upstream_is_told_in_the_caller_s_dialect() -> None:
    done = await counted(answer({"type": "error", "error": {"type": "x", "message": "no"}}, 400))
    assert done.client.json()["type"] == "error"
    assert done.client.json()["error"]["type"] == "invalid_request_error"
    assert journal_of(done.state).ended == []


async def test_a_request_that_is_wrong_is_refused() -> None:
    done = await counted(body={"messages": []})
    assert (done.error.code, done.pools.opened) == ("VALIDATION_ERROR", [])
    assert json.loads(done.client.body)["error"]["type"] == "invalid_request_error"
