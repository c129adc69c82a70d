"""Budgets over the API: in force at once, in the scope of who makes them, kept over a restart."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from support.appliance import Answer, Gateway, running


def key_of(tenant: str, user: str) -> str:
    return f"sgk_{tenant}-{user}-{'k' * 32}"


def _user(tenant: str, name: str, role: str) -> str:
    return f'{name}: {{roles: [{role}], api_keys: [{{name: k, key: "{key_of(tenant, name)}"}}]}}'


YAML = f"""
providers:
  demo: {{type: demo}}
models:
  paid:
    price: {{input: "1.00", output: "1.00", request: "1.00"}}
    max_output_tokens: 100
    route: [{{backend: "demo:x"}}]
partners:
  north:
    budgets: [{{period: total, cost_limit: "1000", name: all north}}]
    tenants:
      acme:
        budgets: [{{period: monthly, cost_limit: "500"}}]
        groups: {{research: {{users: [alice]}}}}
        users:
          {_user("acme", "root", "super_admin")}
          {_user("acme", "boss", "partner_admin")}
          {_user("acme", "chief", "tenant_admin")}
          {_user("acme", "alice", "tenant_user")}
          {_user("acme", "bob", "tenant_user")}
          {_user("acme", "viewer", "tenant_viewer")}
      beta:
        users:
          {_user("beta", "chief", "tenant_admin")}
          {_user("beta", "carl", "tenant_user")}
  south:
    tenants:
      far:
        users:
          {_user("far", "dora", "tenant_user")}
"""
ALICE, BOB, CHIEF, BOSS = (key_of("acme", name) for name in ("alice", "bob", "chief", "boss"))
BETA_CHIEF, CARL = key_of("beta", "chief"), key_of("beta", "carl")
BUDGETS = "/v1/accounting/budgets"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(YAML, tmp_path_factory.mktemp("budgets")) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _no_budgets_left(gateway: Gateway) -> Iterator[None]:
    yield
    for budget in items(gateway):
        if not budget["declared_in"]:
            assert gateway.request("DELETE", f"{BUDGETS}/{budget['id']}").status == 200


def items(gateway: Gateway, key: str = "", query: str = "") -> list[dict[str, Any]]:
    answer = gateway.get(f"{BUDGETS}{query}", key=key)
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json()["data"]["items"]
    return found


def make(gateway: Gateway, key: str = "", **body: Any) -> dict[str, Any]:
    answer = gateway.post(BUDGETS, {"period": "total", "cost_limit": "10"} | body, key=key)
    assert answer.status == 200, answer.body
    made: dict[str, Any] = answer.json()["data"]
    return made


def call(gateway: Gateway, key: str) -> Answer:
    body = {"model": "paid", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100}
    return gateway.post("/v1/inference/chat", body, key=key)


def refused(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json()["error"]["code"]


# -- what they do -----------------------------------------------------------------------------------------------------


def test_a_budget_is_in_force_when_the_answer_is_there(gateway: Gateway) -> None:
    assert call(gateway, ALICE).status == 200
    made = make(gateway, scope="user", scope_id="acme:alice", request_limit=2, cost_limit=None, period="daily")
    assert made["used"]["requests"] == 1, "what was used before counts"
    assert call(gateway, ALICE).status == 200
    assert refused(call(gateway, ALICE)) == (429, "BUDGET_EXCEEDED")
    assert call(gateway, BOB).status == 200
    shown = gateway.get(f"{BUDGETS}/{made['id']}").json()["data"]
    assert (shown["state"], shown["hard_limit_reached"], shown["used"]["requests"]) == ("exceeded", True, 2)
    assert shown["remaining"] == {"cost": None, "tokens": None, "requests": 0}


def test_a_budget_shows_everything_about_itself(gateway: Gateway) -> None:
    made = make(
        gateway,
        scope="tenant",
        scope_id="beta",
        period="monthly",
        cost_limit="12.50",
        token_limit=1000,
        soft_limit_pct=0.5,
        hard_action="notify",
        timezone="Europe/Amsterdam",
        name="Marketing",
    )
    assert call(gateway, CARL).status == 200
    shown = gateway.get(f"{BUDGETS}/{made['id']}").json()["data"]
    start, end = shown.pop("period_start"), shown.pop("period_end")
    assert start < shown.pop("created_at") < end
    used = shown.pop("used")
    assert shown.pop("overrun") == "0"
    assert used["requests"] == 1
    assert 1 < float(used["cost"]) < 1.001
    assert float(shown.pop("remaining")["cost"]) == pytest.approx(12.5 - float(used["cost"]))
    assert shown == {
        "id": made["id"],
        "scope": "tenant",
        "scope_id": "beta",
        "name": "Marketing",
        "period": "monthly",
        "timezone": "Europe/Amsterdam",
        "cost_limit": "12.5",
        "token_limit": 1000,
        "request_limit": None,
        "soft_limit_pct": 0.5,
        "hard_action": "notify",
        "pending": {"cost": "0", "tokens": 0, "requests": 0},
        "soft_limit_reached": False,
        "hard_limit_reached": False,
        "state": "ok",
        "declared_in": None,
        "created_by": "default:admin",
    }


@pytest.mark.parametrize(
    ("scope", "scope_id"),
    [("partner", "north"), ("tenant", "acme"), ("group", "acme:research"), ("user", "acme:alice")],
)
def test_every_scope_limits(gateway: Gateway, scope: str, scope_id: str) -> None:
    make(gateway, scope=scope, scope_id=scope_id, cost_limit="0.50")
    assert refused(call(gateway, ALICE)) == (429, "BUDGET_EXCEEDED")
    assert call(gateway, key_of("far", "dora")).status == 200


def test_a_key_has_its_own_budget(gateway: Gateway) -> None:
    answer = gateway.post("/v1/api-keys", {"name": "second"}, key=BOB).json()["data"]
    made = make(gateway, CHIEF, scope="key", scope_id=answer["id"], cost_limit="0.50")
    assert refused(call(gateway, answer["key"])) == (429, "BUDGET_EXCEEDED")
    assert call(gateway, BOB).status == 200
    assert made["id"] in {budget["id"] for budget in items(gateway, BOB)}
    assert made["id"] not in {budget["id"] for budget in items(gateway, ALICE)}


def test_a_change_takes_effect_and_keeps_what_was_used(gateway: Gateway) -> None:
    made = make(gateway, scope="user", scope_id="acme:bob", period="daily")
    assert call(gateway, BOB).status == 200
    used = gateway.get(f"{BUDGETS}/{made['id']}").json()["data"]["used"]
    body = {"cost_limit": "1.5", "request_limit": 1000, "name": "tight"}
    changed = gateway.request("PUT", f"{BUDGETS}/{made['id']}", body).json()["data"]
    assert (changed["cost_limit"], changed["request_limit"], changed["name"]) == ("1.5", 1000, "tight")
    assert (changed["period"], changed["used"]) == ("daily", used)
    assert refused(call(gateway, BOB)) == (429, "BUDGET_EXCEEDED")
    body = {"cost_limit": None, "period": "weekly"}
    changed = gateway.request("PUT", f"{BUDGETS}/{made['id']}", body).json()["data"]
    assert (changed["cost_limit"], changed["request_limit"], changed["period"]) == (None, 1000, "weekly")
    assert call(gateway, BOB).status == 200
    assert gateway.request("DELETE", f"{BUDGETS}/{made['id']}").json()["data"] == {"id": made["id"], "deleted": True}
    assert gateway.get(f"{BUDGETS}/{made['id']}").status == 404


def test_many_calls_around_a_new_budget_count_once_each(gateway: Gateway) -> None:
    """Opened, changed and deleted while calls come and go; the rows and the balance agree at the end."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(call, gateway, CARL) for _ in range(40)]
        made = make(gateway, scope="user", scope_id="beta:carl", cost_limit="100000")
        for limit in ("90000", "80000"):
            gateway.request("PUT", f"{BUDGETS}/{made['id']}", {"cost_limit": limit})
        assert {each.result().status for each in calls} == {200}
    rows = gateway.usage(user_id="beta:carl")
    shown = gateway.get(f"{BUDGETS}/{made['id']}").json()["data"]
    assert shown["used"]["requests"] == len(rows)
    assert gateway.get("/v1/accounting/verify").json()["data"]["differences"] == []


# -- who may do what --------------------------------------------------------------------------------------------------


def test_one_sees_the_budgets_of_ones_scope_and_those_that_apply(gateway: Gateway) -> None:
    make(gateway, scope="user", scope_id="acme:alice")
    make(gateway, scope="user", scope_id="acme:bob")
    make(gateway, scope="tenant", scope_id="beta")
    make(gateway, scope="group", scope_id="acme:research")
    make(gateway, scope="partner", scope_id="south")

    def seen(key: str) -> set[str]:
        return {f"{budget['scope']} {budget['scope_id']}" for budget in items(gateway, key)}

    assert seen("") == {
        "partner north",
        "partner south",
        "tenant acme",
        "tenant beta",
        "group acme:research",
        "user acme:alice",
        "user acme:bob",
    }
    assert seen(BOSS) == seen("") - {"partner south"}
    assert seen(CHIEF) == {"tenant acme", "group acme:research", "user acme:alice", "user acme:bob"}
    assert seen(ALICE) == {"tenant acme", "group acme:research", "user acme:alice"}
    assert seen(key_of("acme", "viewer")) == {"tenant acme"}
    assert seen(BETA_CHIEF) == {"tenant beta"}


@pytest.mark.parametrize(
    ("key", "scope", "scope_id"),
    [
        (CHIEF, "partner", "north"),
        (CHIEF, "tenant", "beta"),
        (CHIEF, "user", "beta:carl"),
        (CHIEF, "group", "beta:research"),
        (CHIEF, "key", "apikey_admin"),
        (CHIEF, "user", "acme:nobody"),
        (BOSS, "tenant", "far"),
        (BOSS, "partner", "south"),
        (BOSS, "tenant", "nowhere"),
    ],
)
def test_nobody_makes_budgets_outside_his_scope(gateway: Gateway, key: str, scope: str, scope_id: str) -> None:
    body = {"scope": scope, "scope_id": scope_id, "period": "total", "cost_limit": "1"}
    answer = gateway.post(BUDGETS, body, key=key)
    assert refused(answer) == (422, "VALIDATION_ERROR")
    assert "does not exist, or is not yours to manage" in answer.json()["error"]["message"]


def test_a_tenant_admin_cannot_lift_what_was_put_on_his_tenant_from_above(gateway: Gateway) -> None:
    from_above = make(gateway, BOSS, scope="tenant", scope_id="acme")
    own = make(gateway, CHIEF, scope="tenant", scope_id="acme")
    for_a_user = make(gateway, BOSS, scope="user", scope_id="acme:alice")
    path = f"{BUDGETS}/{from_above['id']}"
    assert refused(gateway.request("PUT", path, {"cost_limit": "9999"}, key=CHIEF)) == (403, "AUTHZ_PERMISSION_DENIED")
    assert refused(gateway.request("DELETE", path, key=CHIEF)) == (403, "AUTHZ_PERMISSION_DENIED")
    for budget in (own, for_a_user):
        assert gateway.request("PUT", f"{BUDGETS}/{budget['id']}", {"cost_limit": "9"}, key=CHIEF).status == 200
        assert gateway.request("DELETE", f"{BUDGETS}/{budget['id']}", key=CHIEF).status == 200
    assert gateway.request("DELETE", path, key=BOSS).status == 200


def test_the_partner_s_budget_made_by_the_platform_stays(gateway: Gateway) -> None:
    made = make(gateway, scope="partner", scope_id="north")
    assert refused(gateway.request("DELETE", f"{BUDGETS}/{made['id']}", key=BOSS)) == (403, "AUTHZ_PERMISSION_DENIED")


def test_what_one_may_not_see_does_not_exist(gateway: Gateway) -> None:
    made = make(gateway, scope="tenant", scope_id="beta")
    for method, body in (("GET", None), ("PUT", {"cost_limit": "1"}), ("DELETE", None)):
        answer = gateway.request(method, f"{BUDGETS}/{made['id']}", body, key=CHIEF)
        assert refused(answer) == (404, "NOT_FOUND"), method


def test_who_may_not_manage_budgets_reads_only(gateway: Gateway) -> None:
    made = make(gateway, scope="user", scope_id="acme:alice")
    assert gateway.get(f"{BUDGETS}/{made['id']}", key=ALICE).status == 200
    assert refused(gateway.request("DELETE", f"{BUDGETS}/{made['id']}", key=ALICE)) == (403, "AUTHZ_PERMISSION_DENIED")


def test_a_declared_budget_is_changed_in_its_file(gateway: Gateway) -> None:
    declared = {budget["name"] or budget["scope"]: budget for budget in items(gateway)}
    budget = declared["all north"]
    file, _, line = budget["declared_in"].rpartition(":")
    entry = gateway.config.read_text().splitlines()[int(line) - 1 :][:3]
    assert (file, entry[0].strip()[:1]) == (str(gateway.config), "-")
    assert "all north" in "".join(entry)
    path = f"{BUDGETS}/{quote(budget['id'], safe='')}"
    assert gateway.get(path).json()["data"]["id"] == budget["id"]
    for method, body in (("PUT", {"cost_limit": "1"}), ("DELETE", None)):
        answer = gateway.request(method, path, body)
        assert refused(answer) == (409, "DECLARED_IN_CONFIG")
        assert budget["declared_in"] in answer.json()["error"]["message"]


# -- bodies and lists -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "scope"),
        ({"scope": "team", "scope_id": "acme", "period": "total", "cost_limit": "1"}, "scope"),
        ({"scope": ["user"], "scope_id": "acme", "period": "total", "cost_limit": "1"}, "scope"),
        ({"scope": "tenant", "period": "total", "cost_limit": "1"}, "scope_id"),
        ({"scope": "tenant", "scope_id": 7, "period": "total", "cost_limit": "1"}, "scope_id"),
        ({"scope": "tenant", "scope_id": "acme", "cost_limit": "1"}, "period"),
        ({"scope": "tenant", "scope_id": "acme", "period": "hourly", "cost_limit": "1"}, "period"),
        ({"scope": "tenant", "scope_id": "acme", "period": "total"}, "budget"),
        ({"scope": "tenant", "scope_id": "acme", "period": "total", "cost_limit": "-1"}, "cost_limit"),
        ({"scope": "tenant", "scope_id": "acme", "period": "total", "cost_limit": 5}, "cost_limit"),
        ({"scope": "tenant", "scope_id": "acme", "period": "total", "token_limit": 0}, "token_limit"),
        ({"scope": "tenant", "scope_id": "acme", "period": "total", "request_limit": "5"}, "request_limit"),
        (
            {"scope": "tenant", "scope_id": "acme", "period": "total", "token_limit": 5, "soft_limit_pct": 80},
            "soft_limit_pct",
        ),
        (
            {"scope": "tenant", "scope_id": "acme", "period": "total", "token_limit": 5, "timezone": "Mars/X"},
            "timezone",
        ),
        (
            {"scope": "tenant", "scope_id": "acme", "period": "total", "token_limit": 5, "hard_action": "stop"},
            "hard_action",
        ),
        ({"scope": "tenant", "scope_id": "acme", "period": "total", "token_limit": 5, "id": "x"}, "id"),
    ],
)
def test_a_bad_body_is_refused_with_the_field(gateway: Gateway, body: dict[str, Any], field: str) -> None:
    answer = gateway.post(BUDGETS, body)
    assert refused(answer) == (422, "VALIDATION_ERROR")
    assert field in {detail["field"] for detail in answer.json()["error"]["details"]}


@pytest.mark.parametrize(
    "body", [{"scope_id": "beta"}, {"scope": "partner"}, {"cost_limit": None}, {"period": None}, {"used": 0}]
)
def test_a_bad_change_leaves_the_budget_as_it_was(gateway: Gateway, body: dict[str, Any]) -> None:
    made = make(gateway, scope="tenant", scope_id="acme")
    assert refused(gateway.request("PUT", f"{BUDGETS}/{made['id']}", body)) == (422, "VALIDATION_ERROR")
    assert gateway.get(f"{BUDGETS}/{made['id']}").json()["data"] == made


def test_lists_have_pages_and_filters(gateway: Gateway) -> None:
    made = sorted(make(gateway, scope="user", scope_id=f"acme:{name}")["id"] for name in ("alice", "bob", "chief"))
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = gateway.get(f"{BUDGETS}?scope=user&limit=2&cursor={cursor}").json()
        seen += [budget["id"] for budget in answer["data"]["items"]]
        cursor = answer["pagination"]["next_cursor"]
    assert seen == made
    assert len(items(gateway, query="?scope=user&scope_id=acme:bob")) == 1
    assert gateway.get(f"{BUDGETS}?scope=team").status == 422


def test_a_made_budget_is_there_after_a_kill(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running(YAML, tmp_path_factory.mktemp("killed")) as gateway:
        made = make(gateway, scope="user", scope_id="acme:alice", request_limit=2)
        assert call(gateway, ALICE).status == 200
        gateway.kill()
        gateway.start()
        shown = gateway.get(f"{BUDGETS}/{made['id']}").json()["data"]
        assert shown["used"]["requests"] == 1
        assert (shown["created_by"], shown["created_at"]) == (made["created_by"], made["created_at"])
        assert call(gateway, ALICE).status == 200
        assert refused(call(gateway, ALICE)) == (429, "BUDGET_EXCEEDED")
