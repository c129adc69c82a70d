"""Questions about a call: whose they may be, what is read from them, and that a misspelt word names the one meant.

What the answers say is tested in tests/appliance/pipeline/test_explain.py, and over HTTP in tests/scenarios.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from sanic.request import RequestParameters

from appliance.api.accept import Appliance, Call
from appliance.api.routing import explain_call
from appliance.errors import GatewayError
from appliance.exchange import Key, Principal, User
from appliance.grid.holder import Generation, Holder
from appliance.people import CustomRole
from appliance.state import State
from appliance.state.directory import Directory
from support.build import RECEIVED_UNIX, make_budget, make_directory, make_grid, make_principal, make_state, make_user

GRID = make_grid(
    """
providers:
  one: {type: custom, base_url: "http://one.test/v1"}
  blind: {type: custom, base_url: "http://blind.test/v1"}
models:
  gpt: {price: {input: "1", output: "2"}, context_window: 100000, route: [{backend: "one:a"}]}
  claude: {price: {input: "1", output: "2"}, route: [{backend: "one:b", when: {roles: [tenant_admin]}}]}
  secret: {price: free, route: [{backend: "one:c"}]}
  vectors: {price: free, modality: embedding, route: [{backend: "one:v"}]}
  voice: {price: {characters: "1"}, modality: audio, route: [{backend: "one:s"}]}
  both:
    price: free
    modality: audio
    route: [{backend: "blind:s", capabilities: {transcription: false}}]
partners:
  reseller:
    tenants:
      acme: {models: [gpt, claude, vectors, voice, both], groups: {sales: {users: [alice]}}, users: {alice: {}}}
      beta: {status: suspended, users: {carl: {}}}
  south:
    tenants: {far: {users: {dora: {}}}}
"""
)
USERS = [
    make_user(groups=("sales",)),
    make_user("bob", roles=("tenant_viewer",)),
    User("acme:gone", "gone", "acme", "reseller", ("tenant_user",), status="suspended"),
    make_user("carl", "beta"),
    make_user("root", "beta", roles=("super_admin",)),
    User("far:dora", "dora", "far", "south", ("tenant_user",)),
]
ROOT = make_principal("super_admin", tenant="default", partner="default", user="admin")
ADMIN = make_principal("tenant_admin", user="chief")
PARTNER = make_principal("partner_admin", "tenant_admin", user="boss")
NARROW = make_principal("tenant_viewer")
"""With routing:view by a custom role, say."""


def directory(*keys: Key) -> Directory:
    return make_directory(USERS, keys or [Key("apikey_1", "d1", "acme:alice")])


def call_of(asker: Principal, state: State | None = None, **query: Any) -> Call:
    arguments = {name.replace("__", "."): [text] if isinstance(text, str) else text for name, text in query.items()}
    state = state or make_state(directory=directory())
    state.pools = cast(Any, SimpleNamespace(queues=dict))
    appliance = Appliance(Holder(Generation(GRID)), state)
    call = Call(appliance, GRID, cast(Any, SimpleNamespace(args=RequestParameters(arguments))), "req_12345678")
    call.principal_or_none = asker
    return call


async def ask(asker: Principal = ROOT, state: State | None = None, **query: Any) -> dict[str, Any]:
    return await explain_call(call_of(asker, state, **({"model": "gpt"} | query)))


async def refused(asker: Principal = ROOT, **query: Any) -> tuple[str, str]:
    with pytest.raises(GatewayError) as caught:
        await ask(asker, **query)
    return caught.value.code, caught.value.message


# -- who asks about whom ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asker", "query", "tenant", "user"),
    [
        (ADMIN, {}, "acme", None),
        (ADMIN, {"user": "alice"}, "acme", "acme:alice"),
        (ADMIN, {"tenant": "acme", "user": "acme:alice"}, "acme", "acme:alice"),
        (PARTNER, {"tenant": "beta"}, "beta", None),
        (PARTNER, {"user": "beta:carl"}, "beta", "beta:carl"),
        (ROOT, {"tenant": "far", "user": "dora"}, "far", "far:dora"),
        (NARROW, {}, "acme", "acme:alice"),
        (NARROW, {"user": "alice"}, "acme", "acme:alice"),
    ],
)
async def test_a_question_is_about_ones_own_scope(
    asker: Principal, query: dict[str, Any], tenant: str, user: str | None
) -> None:
    call = (await ask(asker, **query))["call"]
    assert (call["tenant_id"], call["user_id"]) == (tenant, user)


@pytest.mark.parametrize(
    ("asker", "query", "code"),
    [
        (ADMIN, {"tenant": "beta"}, "AUTHZ_PERMISSION_DENIED"),
        (ADMIN, {"tenant": "nobody"}, "AUTHZ_PERMISSION_DENIED"),
        (ADMIN, {"user": "beta:carl"}, "AUTHZ_PERMISSION_DENIED"),
        (ADMIN, {"tenant": "acme", "user": "beta:carl"}, "NOT_FOUND"),
        (PARTNER, {"tenant": "far"}, "NOT_FOUND"),
        (PARTNER, {"user": "far:dora"}, "NOT_FOUND"),
        (NARROW, {"user": "bob"}, "AUTHZ_PERMISSION_DENIED"),
        (NARROW, {"tenant": "beta"}, "AUTHZ_PERMISSION_DENIED"),
    ],
)
async def test_beyond_it_there_is_nothing_to_ask(asker: Principal, query: dict[str, Any], code: str) -> None:
    assert (await refused(asker, **query))[0] == code


async def test_what_a_tenant_may_not_use_is_explained_to_the_operator_only() -> None:
    found = await ask(ROOT, model="secret", tenant="acme")
    assert found["access"]["refused"]["code"] == "MODEL_ACCESS_DENIED"
    assert len(found["targets"]) == 1
    for asker in (ADMIN, PARTNER):
        assert (await refused(asker, model="secret"))[0] == "MODEL_ACCESS_DENIED"
    assert (await ask(PARTNER, model="secret", tenant="beta"))["call"]["model"] == "secret"


async def test_the_partners_numbers_are_told_to_those_only_who_see_the_partner() -> None:
    budget = make_budget(5, id="p", scope="partner", subject="partner:reseller")
    for asker, sees in ((ADMIN, False), (NARROW, False), (PARTNER, True), (ROOT, True)):
        found = await ask(asker, make_state(directory=directory(), budgets=[budget]), tenant="acme")
        assert bool(found["budgets"]["items"][0]["cost"]) is sees


# -- who would call ---------------------------------------------------------------------------------------------------


async def test_a_user_calls_with_his_roles_groups_budgets_and_his_only_key() -> None:
    budgets = [make_budget(5, id=each, subject=each) for each in ("group:acme:sales", "key:apikey_1", "user:acme:bob")]
    found = await ask(state=make_state(directory=directory(), budgets=budgets), user="acme:alice")
    assert (found["call"]["roles"], found["call"]["groups"]) == (["tenant_user"], ["sales"])
    assert found["call"]["key_id"] == "apikey_1"
    assert [item["id"] for item in found["budgets"]["items"]] == ["group:acme:sales", "key:apikey_1"]
    assert found["rate_limits"]["items"][0]["subject"] == "key:apikey_1"


@pytest.mark.parametrize("revoked", [True, False])
async def test_of_several_keys_it_could_be_any(revoked: bool) -> None:
    second = Key("apikey_2", "d2", "acme:alice", revoked_unix=RECEIVED_UNIX if revoked else None)
    expired = Key("apikey_3", "d3", "acme:alice", expires_unix=RECEIVED_UNIX)
    keys = directory(Key("apikey_1", "d1", "acme:alice"), second, expired)
    found = await ask(state=make_state(directory=keys), user="acme:alice")
    assert found["call"]["key_id"] == ("apikey_1" if revoked else None)
    assert found["rate_limits"]["items"][0]["subject"] == ("key:apikey_1" if revoked else "key:*")


async def test_roles_are_added_to_those_of_the_user() -> None:
    assert (await ask(model="claude", user="acme:alice"))["targets"][0]["taken"] is False
    for role in ("tenant_admin", "tenant_viewer,tenant_admin", ["tenant_viewer", "tenant_admin"]):
        found = await ask(model="claude", user="acme:alice", role=role)
        assert found["targets"][0]["taken"] is True
        assert found["call"]["roles"][0] == "tenant_user"
    assert (await ask(model="claude", role="tenant_admin"))["targets"][0]["taken"] is True


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("acme:bob", "models:use"),
        ("acme:gone", "the user is suspended"),
        ("beta:carl", "the tenant beta is suspended"),
        ("beta:root", ""),
        ("acme:alice", ""),
    ],
)
async def test_who_may_not_call_is_told_why(user: str, said: str) -> None:
    access = (await ask(user=user))["access"]
    assert access["allowed"] is (not said)
    assert said in (access["refused"] or {"message": ""})["message"]


async def test_a_suspended_tenant_calls_nothing_whoever_asks() -> None:
    assert (await ask(tenant="beta"))["access"]["refused"]["code"] == "AUTHZ_PERMISSION_DENIED"


async def test_permissions_of_custom_roles_count() -> None:
    users = [User("acme:bob", "bob", "acme", "reseller", ("tenant_viewer",), custom_role_ids=("role_1",))]
    known = Directory(lambda: RECEIVED_UNIX)
    known.declare(users, [], [], [CustomRole("role_1", "acme", "R", "r", core_permissions=("models:use",))])
    assert (await ask(state=make_state(directory=known), user="acme:bob"))["access"]["allowed"] is True


# -- what is asked for ------------------------------------------------------------------------------------------------


async def test_what_is_not_said_is_assumed() -> None:
    call = (await ask())["call"]
    assert (call["input_tokens"], call["n"], call["max_tokens"], call["stream"]) == (1000, 1, None, False)
    assert (call["operation"], call["needs"], call["metadata"], call["tenant_id"]) == ("chat", [], {}, "default")


async def test_everything_that_is_said_counts() -> None:
    found = await ask(
        needs="images, tools",
        metadata__data="secret",
        metadata__a__b="",
        input_tokens="77",
        max_tokens="30",
        n="2",
        stream="true",
    )
    call = found["call"]
    assert call["needs"] == ["images", "n", "streaming", "tools"]
    assert call["metadata"] == {"data": "secret", "a.b": ""}
    assert (call["input_tokens"], call["max_tokens"], call["n"], call["stream"]) == (77, 30, 2, True)
    assert found["worst_case"]["output_tokens"] == 60
    assert (await ask(input_tokens="0"))["call"]["input_tokens"] == 0


@pytest.mark.parametrize(
    ("model", "asked", "operation"),
    [
        ("gpt", {}, "chat"),
        ("vectors", {}, "embed"),
        ("voice", {}, "speak"),
        ("both", {}, "speak"),
        ("both", {"operation": "translate"}, "translate"),
    ],
)
async def test_the_kind_of_call_is_what_the_model_serves(model: str, asked: dict[str, Any], operation: str) -> None:
    assert (await ask(model=model, **asked))["call"]["operation"] == operation


@pytest.mark.parametrize(
    ("query", "code", "said"),
    [
        ({"model": ""}, "VALIDATION_ERROR", "model: is required"),
        ({"model": "gtp"}, "MODEL_NOT_FOUND", "did you mean 'gpt'?"),
        ({"model": "zzz"}, "MODEL_NOT_FOUND", "GET /v1/models"),
        ({"tenant": "acne"}, "NOT_FOUND", "did you mean 'acme'?"),
        ({"tenant": "zzz"}, "NOT_FOUND", "GET /v1/tenants"),
        ({"tenant": "acme", "user": "allice"}, "NOT_FOUND", "did you mean 'alice'?"),
        ({"tenant": "acme", "user": "zzz"}, "NOT_FOUND", "GET /v1/users"),
        ({"needs": "image"}, "VALIDATION_ERROR", "did you mean 'images'?"),
        ({"needs": "zzz"}, "VALIDATION_ERROR", "known are tools, "),
        ({"role": "tenant_admn"}, "VALIDATION_ERROR", "did you mean 'tenant_admin'?"),
        ({"operation": "embed"}, "VALIDATION_ERROR", "is called for chat, not 'embed'"),
        ({"tenat": "acme"}, "VALIDATION_ERROR", "did you mean 'tenant'?"),
        ({"zzz": "1"}, "VALIDATION_ERROR", "metadata.KEY"),
        ({"metadata.": "1"}, "VALIDATION_ERROR", "is no parameter"),
        ({"input_tokens": "many"}, "VALIDATION_ERROR", "a whole number from 0 to "),
        ({"input_tokens": "99999999"}, "VALIDATION_ERROR", "a whole number from 0 to "),
        ({"input_tokens": "-1"}, "VALIDATION_ERROR", "a whole number from 0 to "),
        ({"max_tokens": "0"}, "VALIDATION_ERROR", "a whole number from 1 to "),
        ({"n": "129"}, "VALIDATION_ERROR", "a whole number from 1 to 128"),
        ({"n": "٣"}, "VALIDATION_ERROR", "a whole number from 1 to 128"),
        ({"stream": "yes"}, "VALIDATION_ERROR", "takes true or false"),
    ],
)
async def test_what_cannot_be_meant_names_what_may_be(query: dict[str, Any], code: str, said: str) -> None:
    found, message = await refused(**query)
    assert found == code
    assert said in message


async def test_a_hint_names_nothing_that_the_asker_may_not_see() -> None:
    for query, asker in (({"model": "secrett"}, ADMIN), ({"tenant": "fart"}, PARTNER)):
        assert "did you mean" not in (await refused(asker, **query))[1]
        assert "did you mean" in (await refused(ROOT, **query))[1]
