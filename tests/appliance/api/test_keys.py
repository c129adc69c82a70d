"""Keys made at run time when the database refuses: nobody gets a key that a restart forgets, no revoked one comes back.

Who may see and make what is tested over HTTP in tests/scenarios/test_access_keys.py.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import pytest

from appliance.api import keys
from appliance.api.accept import Appliance, Call
from appliance.errors import GatewayError
from appliance.exchange import Key, Principal
from appliance.grid.holder import Generation, Holder
from appliance.state import State
from appliance.state.directory import digest_of
from support.build import SECRET, make_grid, make_state


class FakeStore:
    """Keeps keys as they were when they were saved; `failing` makes it refuse."""

    def __init__(self) -> None:
        self.saved: dict[str, float | None] = {}
        self.digests: set[str] = set()
        self.failing = False

    def save_key(self, key: Key) -> Future[None]:
        future: Future[None] = Future()
        if self.failing:
            future.set_exception(OSError("the disk is full"))
        else:
            self.saved[key.id] = key.revoked_unix
            self.digests.add(key.digest)
            future.set_result(None)
        return future


class NobodyElse:
    """Stands in for PeopleAdmin: no other change is under way."""

    async def alone(self, principal: Principal, work: Callable[[], Awaitable[Any]]) -> Any:
        return await work()


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def state(store: FakeStore) -> State:
    state = make_state()
    state.store = cast(Any, store)
    return state


def call_of(state: State, body: dict[str, Any] | None = None, **params: str) -> Call:
    request = SimpleNamespace(args={}, body=b"" if body is None else json.dumps(body).encode())
    appliance = Appliance(Holder(Generation(make_grid())), state, cast(Any, NobodyElse()))
    call = Call(appliance, make_grid(), cast(Any, request), "req_12345678")
    call.params = params
    call.principal_or_none = state.directory.principal(SECRET)
    return call


async def test_a_new_key_is_shown_once_and_kept_as_a_digest(state: State, store: FakeStore) -> None:
    made = await keys.create_key(call_of(state, {"name": "laptop"}))
    secret = made["key"]
    assert state.directory.principal(secret).user_id == "acme:alice"
    assert store.digests == {digest_of(secret)}
    assert secret not in json.dumps((await keys.list_keys(call_of(state))).items)
    assert made["prefix"] == secret[:8]


async def test_a_key_that_could_not_be_saved_does_not_work(state: State, store: FakeStore) -> None:
    store.failing = True
    with pytest.raises(OSError, match="full"):
        await keys.create_key(call_of(state, {"name": "laptop"}))
    assert set(state.directory.keys) == {"apikey_1"}


async def test_a_revoked_key_is_out_even_when_that_could_not_be_saved(state: State, store: FakeStore) -> None:
    store.failing = True
    with pytest.raises(OSError, match="full"):
        await keys.revoke_key(call_of(state, key_id="apikey_1"))
    with pytest.raises(GatewayError, match="revoked"):
        state.directory.principal(SECRET)


async def test_revoking_again_saves_what_could_not_be_saved_before(state: State, store: FakeStore) -> None:
    """Whoever got an error tries again; when he is told «revoked», a restart must not bring the key back."""
    call, again = call_of(state, key_id="apikey_1"), call_of(state, key_id="apikey_1")
    store.failing = True
    with pytest.raises(OSError, match="full"):
        await keys.revoke_key(call)
    store.failing = False
    assert (await keys.revoke_key(again))["status"] == "revoked"
    assert store.saved["apikey_1"] is not None


async def test_revoking_twice_keeps_the_first_moment(state: State, store: FakeStore) -> None:
    call, again = call_of(state, key_id="apikey_1"), call_of(state, key_id="apikey_1")
    first = await keys.revoke_key(call)
    assert (await keys.revoke_key(again))["revoked_at"] == first["revoked_at"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "  "}, "name"),
        ({"name": 7}, "name"),
        ({"name": "x" * 129}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x", "expires_at": 7}, "expires_at"),
        ({"name": "x", "expires_at": "soon"}, "expires_at"),
        ({"name": "x", "expires_at": "2001-01-01"}, "expires_at"),
        ({"name": "x", "assigned_user_id": 7}, "assigned_user_id"),
        ({"name": "x", "assigned_user_id": "zeta:zoe"}, "assigned_user_id"),
    ],
)
async def test_a_wrong_request_names_the_member_and_makes_nothing(
    state: State, store: FakeStore, body: dict[str, Any], param: str
) -> None:
    with pytest.raises(GatewayError) as caught:
        await keys.create_key(call_of(state, body))
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", param)
    assert store.saved == {}
