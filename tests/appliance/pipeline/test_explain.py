"""The explanation of a call: what routing would know, in which order and with which chances, and that nothing moves."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from appliance.errors import GatewayError
from appliance.exchange import Principal
from appliance.grid.conditions import Facts
from appliance.grid.grid import Grid, Policy
from appliance.grid.strategies import decide
from appliance.pipeline.admit import admit
from appliance.pipeline.explain import Question, call_of, explain, facts_of_question, shares_of
from appliance.pipeline.facts import Measured, facts_of
from appliance.pipeline.route import Route, rule_of
from appliance.state import State
from appliance.state.fair_queue import FairQueue
from appliance.state.health import Permit
from support.build import RECEIVED_UNIX, make_exchange, make_grid, make_principal, make_state

NOW = 1000.0
GRID = make_grid(
    """
providers:
  one: {type: custom, base_url: "http://one.test/v1", max_connections: 3, queue: {size: 7}}
  two: {type: custom, base_url: "http://two.test/v1"}
  off: {type: openai, api_key: "${env:NOT_SET_ANYWHERE:-}"}
models:
  weighted:
    price: {input: "1", output: "2"}
    route:
      strategy: weighted
      targets:
        - {backend: "one:a", weight: 60}
        - {backend: "two:b", weight: 40}
        - {backend: "two:c", priority: 2}
        - {backend: "two:off", enabled: false, weight: 900}
  conditions:
    price: free
    route:
      - {backend: "one:images", when: {needs: [images]}}
      - {backend: "one:long", when: {input_tokens: {min: 5000}}}
      - {backend: "one:secret", when: {metadata: {data: secret}}}
      - {backend: "one:admins", when: {roles: [tenant_admin]}}
      - {backend: "one:sales", when: {groups: [sales]}}
      - {backend: "one:blind", capabilities: {images: false}}
      - {backend: "two:rest"}
  by-conversation:
    price: free
    route: {strategy: weighted, sticky: conversation, targets: [{backend: "one:a"}, {backend: "two:b"}]}
  by-user:
    price: free
    route: {strategy: weighted, sticky: user, targets: [{backend: "one:a"}, {backend: "two:b"}]}
  cheap:
    price: {input: "9", output: "9"}
    route:
      strategy: cost
      targets:
        - {backend: "one:dear", cost: {input: "2", output: "4"}}
        - {backend: "two:cheap", cost: {input: "1", output: "2"}}
  small:
    price: {input: "1", output: "1"}
    context_window: 1000
    fallback: {context_window: large}
    route: {targets: [{backend: "one:small"}], retries: 4, deadline: 9s}
  large:
    price: {input: "5", output: "5"}
    context_window: 100000
    max_output_tokens: 100
    route: {targets: [{backend: "two:large"}], retries: 1, deadline: 50s, circuit_breaker: off}
  stopped: {price: free, status: disabled, route: [{backend: "one:a"}]}
  hidden: {price: free, route: [{backend: "one:a"}]}
  vectors: {price: {input: "1"}, modality: embedding, route: [{backend: "one:v"}]}
  pictures: {price: {image: "0.04"}, modality: image, route: [{backend: "one:p"}]}
  sounds: {price: {audio_minute: "0.006", characters: "15"}, modality: audio, route: [{backend: "one:s"}]}
  ranks: {price: {search: "0.002"}, modality: rerank, route: [{backend: "one:r"}]}
partners:
  reseller:
    tenants:
      acme:
        models: ["[!h]*"]
        users: {alice: {}}
"""
)


def ask(model: str = "weighted", caller: Principal | None = None, **changes: Any) -> Question:
    return Question(GRID.models[model], caller or make_principal(), **({"input_tokens": 1000} | changes))


def explained(question: Question, state: State | None = None, grid: Grid = GRID, **options: Any) -> dict[str, Any]:
    return explain(question, grid, state or state_of(), NOW, RECEIVED_UNIX, **options)


def state_of(seed: int = 0, **queues: FairQueue) -> State:
    state = make_state(seed=seed)
    state.pools = cast(Any, SimpleNamespace(queues=lambda: queues))
    return state


def backends(found: dict[str, Any]) -> list[str]:
    return [target["backend"] for target in found["targets"] if target["taken"]]


def reasons(found: dict[str, Any]) -> dict[str, str]:
    return {target["backend"]: target["reason"] for target in found["targets"]}


# -- what routing would know ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["weighted", "by-conversation", "by-user"])
@pytest.mark.parametrize(
    ("members", "question"),
    [
        ({}, {}),
        ({"max_tokens": 70}, {"max_tokens": 70}),
        ({"n": 3}, {"n": 3}),
        ({"stream": True}, {"stream": True}),
        (
            {"metadata": {"data": "secret", "conversation_id": "7"}},
            {"metadata": {"data": "secret", "conversation_id": "7"}},
        ),
        ({"seed": 1, "stop": ["x"]}, {"needs": frozenset({"seed", "stop"})}),
    ],
)
def test_the_facts_are_those_of_a_real_call(model: str, members: dict[str, Any], question: dict[str, Any]) -> None:
    caller = make_principal("tenant_user", "tenant_admin", groups=("sales",))
    text = "words " * 500
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": text}]} | members).encode()
    body += b" " * (-len(body) % 4)
    real = make_exchange(GRID, body, principal=caller)
    admit(real, make_state())
    asked = ask(model, caller, **question, input_tokens=len(body) // 4)
    called = call_of(asked, GRID, NOW, RECEIVED_UNIX)
    called.model = asked.model
    called.operation.measure(called)
    ours, theirs = facts_of_question(asked, called), facts_of(real)
    if model == "by-conversation" and "metadata" not in members:
        assert theirs.sticky_key
        theirs = dataclasses.replace(theirs, sticky_key="")  # the question does not say how the conversation begins
    assert ours == theirs
    assert (called.input_bound, called.n, called.asked_cap) == (real.input_bound, real.n, real.asked_cap)


def test_a_user_who_is_not_named_stays_with_nobody() -> None:
    anybody = Principal("", "", "", "acme", "reseller", (), frozenset({"models:use"}))
    assert explained(ask("by-user", anybody))["call"]["sticks"] is False
    assert explained(ask("by-user"))["call"]["sticks"] is True


@pytest.mark.parametrize(
    ("model", "operation", "units", "needs"),
    [
        ("vectors", "embed", {}, ["embeddings"]),
        ("pictures", "image", {"images": 2}, ["images_out"]),
        ("sounds", "transcribe", {"audio_ms": 60_000}, ["transcription"]),
        ("sounds", "translate", {"audio_ms": 60_000}, ["transcription"]),
        ("sounds", "speak", {"characters": 4000}, ["speech"]),
        ("ranks", "rerank", {"searches": 1}, ["rerank"]),
    ],
)
def test_calls_that_are_no_chats_are_measured_by_a_request_of_that_size(
    model: str, operation: str, units: dict[str, int], needs: list[str]
) -> None:
    found = explained(ask(model, operation=operation, n=2))
    assert found["worst_case"]["units"] == units
    assert found["call"]["needs"] == needs
    assert found["worst_case"]["cost"] == found["targets"][0]["worst_cost"] != "0"


def test_a_model_without_the_price_of_such_a_call_is_refused_as_in_a_call() -> None:
    grid = make_grid(
        'providers: {one: {type: custom, base_url: "http://one.test/v1"}}\n'
        'models: {s: {price: {characters: "1"}, modality: audio, route: [{backend: "one:s"}]}}\n'
        "partners: {reseller: {tenants: {acme: {}}}}\n"
    )
    question = Question(grid.models["s"], make_principal(), operation="transcribe")
    with pytest.raises(GatewayError, match="has no price for this kind of call"):
        explained(question, grid=grid)


# -- the order --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("model", ["weighted", "conditions", "by-user", "cheap"])
def test_the_order_is_that_of_the_next_call(model: str, seed: int) -> None:
    state = state_of(seed)
    question = ask(model)
    told = explained(question, state)
    call = call_of(question, GRID, NOW, RECEIVED_UNIX)
    call.model = question.model
    call.operation.measure(call)
    Route(call, state)
    assert [(target["backend"], target["taken"], target["reason"]) for target in told["targets"]] == [
        (decision.target.backend, decision.taken, decision.reason) for decision in call.decisions
    ]
    assert [target["place"] for target in told["targets"] if target["taken"]] == list(range(1, len(backends(told)) + 1))


def test_conditions_and_needs_decide_who_is_there_and_say_why() -> None:
    plain = explained(ask("conditions"))
    assert backends(plain) == ["one:blind", "two:rest"]
    assert reasons(plain)["one:secret"] == "it is not for this call: metadata.data is not secret"
    assert reasons(plain)["one:long"] == "it is not for this call: the input is shorter than 5000 tokens"
    caller = make_principal("tenant_admin", groups=("sales",))
    everything = ask("conditions", caller, needs=frozenset({"images"}), metadata={"data": "secret"}, input_tokens=5000)
    found = explained(everything)
    assert backends(found) == ["one:images", "one:long", "one:secret", "one:admins", "one:sales", "two:rest"]
    assert reasons(found)["one:blind"] == "it cannot do what the call needs: images"


def test_the_cheapest_first_by_what_we_pay_for_this_call() -> None:
    found = explained(ask("cheap", max_tokens=100))
    assert [(target["backend"], target["expected_cost"]) for target in found["targets"]] == [
        ("two:cheap", "0.0012"),
        ("one:dear", "0.0024"),
    ]
    worst = found["worst_case"]
    assert (worst["input_tokens"], worst["output_tokens"], worst["cost"]) == (6048, 100, "0.055332")
    assert [target["worst_cost"] for target in found["targets"]] == ["0.006248", "0.012496"], "at our own cost"


def test_explaining_moves_nothing() -> None:
    state = state_of()
    before = (state.rng.getstate(), repr(vars(state.limiter)), state.ledger.open_reservations, state.in_flight)
    for model in GRID.models:
        if GRID.models[model].modality == "chat":
            explained(ask(model), state)
    assert (state.rng.getstate(), repr(vars(state.limiter)), state.ledger.open_reservations, state.in_flight) == before
    assert state.health._backends == {}
    assert cast(Any, state.journal).begun == []


# -- shares -----------------------------------------------------------------------------------------------------------


def share_of(model: str, **changes: Any) -> dict[str, float]:
    return {target["backend"]: target["share"] for target in explained(ask(model, **changes))["targets"]}


def test_a_share_is_the_chance_to_be_asked_first() -> None:
    assert share_of("weighted") == {"one:a": 0.6, "two:b": 0.4, "two:c": 0.0, "two:off": 0.0}
    assert share_of("cheap") == {"two:cheap": 1.0, "one:dear": 0.0}
    assert share_of("conditions")["one:blind"] == 1.0
    assert set(share_of("by-user").values()) == {0.0, 1.0}
    assert set(share_of("by-conversation").values()) == {0.5}
    named = {"metadata": {"conversation_id": "7"}}
    assert set(share_of("by-conversation", **named).values()) == {0.0, 1.0}


POLICIES = {
    "weights": ("strategy: weighted", "a*7 b*3 c*0"),
    "only zeros are left": ("strategy: weighted", "a*0 b*0 skipped*9"),
    "priority": ("strategy: priority", "a*1 b*4 c@2"),
    "equal costs": ("strategy: cost", "a*3 b c*0"),
    "costs": ("strategy: cost", "dear b c"),
    "only cheap zeros are left": ("strategy: cost", "dear*0 a*0 b*0 skipped*9"),
    "fast": ("strategy: latency, explore: 0.3", "a fast*3 slow*4 fast2 slower"),
    "fresh": ("strategy: latency", "fast new*2 new2"),
    "even": ("strategy: latency", "fast*3 fast2"),
    "measuring": ("strategy: latency", "busy*3 busy2"),
    "last": ("strategy: latency", "fast*0 slow*0 skipped*9"),
    "sticky": ("strategy: weighted, sticky: user", "a b"),
    "sticky cost": ("strategy: cost, sticky: user", "a b"),
    "sticky latency": ("strategy: latency, sticky: user", "fast slow"),
}
"""What is written, and the targets: name, weight, priority."""
TIMES = {"fast": 0.1, "fast2": 0.105, "slow": 0.4, "slower": 0.9, "a": 0.1}


class Times:
    def ttft_s(self, backend: str, percentile: int, now: float) -> float | None:
        return TIMES.get(backend.partition(":")[2])

    def in_flight(self, backend: str) -> int:
        return "busy" in backend


def policy_of(settings: str, written: str) -> Policy:
    targets = []
    for name, weight, priority in re.findall(r"(\w+)(?:\*(\d))?(?:@(\d))?", written):
        more = "".join(f", {key}: {value}" for key, value in (("weight", weight), ("priority", priority)) if value)
        more += ", when: {needs: [images]}" if name == "skipped" else ""
        more += ', cost: {input: "9", output: "9"}' if name == "dear" else ""
        targets.append(f'{{backend: "one:{name}"{more}}}')
    route = f"{{{settings}, targets: [{', '.join(targets)}]}}"
    price = '{input: "1", output: "1"}'
    return (
        make_grid(
            'providers: {one: {type: custom, base_url: "http://one.test/v1"}}\n'
            f"models: {{m: {{price: {price}, route: {route}}}}}\n"
        )
        .models["m"]
        .policy
    )


@pytest.mark.parametrize("name", POLICIES)
def test_shares_are_what_many_draws_come_to(name: str) -> None:
    policy, rng, draws = policy_of(*POLICIES[name]), Random(7), 6000
    facts = Facts(input_tokens=1000, sticky_key="acme\0user\0alice")
    first = Counter(decide(policy, rng, facts, Times(), NOW)[0].target.backend for _ in range(draws))
    for _ in range(5):
        decisions = decide(policy, rng, facts, Times(), NOW)
        shares = shares_of(policy, decisions, facts)
        assert sum(shares) == pytest.approx(1)
        for decision, share in zip(decisions, shares, strict=True):
            assert first[decision.target.backend] / draws == pytest.approx(share, abs=0.03), decision.target.backend


def test_nobody_has_a_share_where_nobody_can_serve() -> None:
    policy = GRID.models["conditions"].policy
    none = Facts(needs=frozenset({"images"}))
    skipped = [decision for decision in decide(policy, Random(0), none) if not decision.taken]
    assert set(shares_of(policy, skipped, none)) == {0.0}


# -- health -----------------------------------------------------------------------------------------------------------


def target_of(found: dict[str, Any], backend: str) -> dict[str, Any]:
    return next(target for target in found["targets"] if target["backend"] == backend)


def fail(state: State, backend: str, times: int, now: float = NOW) -> None:
    rule = rule_of(GRID.models["weighted"].policy)
    for _ in range(times):
        permit = state.health.permit(backend, rule, now)
        assert isinstance(permit, Permit)
        state.health.started(permit, now)
        state.health.finished(permit, "server_error", now)


def test_an_open_circuit_holds_a_target_back_for_so_long() -> None:
    state = state_of()
    fail(state, "one:a", 5, NOW - 5)
    target = target_of(explained(ask(), state), "one:a")
    assert (target["health_status"], target["circuit_breaker"]) == ("unhealthy", "open")
    assert target["held_back"] == {"reason": "open", "wait_s": 10.0}
    assert target["taken"] is True, "the policy takes it; its health is another matter"


def test_the_probe_is_left_to_a_real_call() -> None:
    state = state_of()
    fail(state, "one:a", 5, NOW - 20)
    for _ in range(2):
        target = target_of(explained(ask(), state), "one:a")
        assert (target["circuit_breaker"], target["held_back"]) == ("half_open", None)
    probe = state.health.permit("one:a", rule_of(GRID.models["weighted"].policy), NOW)
    assert isinstance(probe, Permit)
    assert probe.lease
    assert target_of(explained(ask(), state), "one:a")["held_back"]["reason"] == "probing"


def test_a_policy_without_a_breaker_holds_nothing_back() -> None:
    state = state_of()
    fail(state, "two:large", 5)
    target = explained(ask("large"), state)["targets"][0]
    assert (target["circuit_breaker"], target["held_back"]) == ("open", None)


def test_a_retry_after_is_told_with_what_is_left_of_it() -> None:
    state = state_of()
    state.health.spare("one:a", NOW - 10, 40)
    target = target_of(explained(ask(), state), "one:a")
    assert target["held_back"] == {"reason": "spared", "wait_s": 30.0}
    assert (target["spared_for_s"], target["health_status"]) == (30.0, "degraded")


def test_what_was_measured_and_what_runs_is_told() -> None:
    state = state_of()
    rule = rule_of(GRID.models["weighted"].policy)
    for time_s in (0.2, 0.4):
        permit = state.health.permit("one:a", rule, NOW - 1)
        assert isinstance(permit, Permit)
        state.health.started(permit, NOW - 1)
        state.health.answered(permit, NOW, time_s)
    target = target_of(explained(ask(), state), "one:a")
    assert (target["first_token_ms_p50"], target["first_token_ms_p95"], target["in_flight"]) == (200, 400, 2)
    assert target_of(explained(ask(), state), "two:b")["first_token_ms_p50"] is None
    assert Measured(state.health).in_flight("one:a") == 2


async def test_the_providers_places_are_told() -> None:
    queue = FairQueue(3, 7)
    await queue.acquire("acme")
    found = explained(ask(), state_of(one=queue))
    assert target_of(found, "one:a")["queue"] == {"in_use": 1, "limit": 3, "waiting": 0, "size": 7}
    assert target_of(found, "two:b")["queue"] == {"in_use": 0, "limit": 256, "waiting": 0, "size": 100}
    queue.release()


def test_a_target_that_cannot_serve_is_unavailable() -> None:
    assert target_of(explained(ask()), "two:off")["health_status"] == "unavailable"


# -- the model --------------------------------------------------------------------------------------------------------


def test_the_policy_is_told_with_all_its_rules() -> None:
    policy = explained(ask("small"))["policy"]
    assert policy == {
        "name": "small",
        "strategy": "priority",
        "sticky": "none",
        "explore": None,
        "retries": 4,
        "retry_on": ["connect", "rate_limited", "server_error", "timeout"],
        "deadline_s": 9.0,
        "circuit_breaker": {"failures": 5, "window_s": 30.0, "cooldown_s": 15.0},
        "hedge": None,
    }


def test_an_input_that_is_too_long_is_passed_on_with_the_attempts_and_deadline_of_the_first_model() -> None:
    fits = explained(ask("small", input_tokens=1000))
    assert (fits["model"]["name"], fits["passed_on_by"]) == ("small", [])
    assert fits["model"]["fallback"] == {"context_window": "large", "content_filter": None}
    found = explained(ask("small", input_tokens=1001))
    assert (found["model"]["name"], found["passed_on_by"], found["call"]["model"]) == ("large", ["small"], "small")
    assert backends(found) == ["two:large"]
    assert (found["policy"]["retries"], found["policy"]["deadline_s"]) == (4, 9.0)
    assert found["worst_case"]["output_tokens"] == 100, "caps and prices are those of the model that takes over"


def test_a_model_that_the_tenant_may_not_use_takes_nothing_over() -> None:
    acme = dataclasses.replace(GRID.tenants["acme"], models=frozenset({"small"}))
    grid = dataclasses.replace(GRID, tenants={"acme": acme})
    found = explained(ask("small", input_tokens=5000), grid=grid)
    assert (found["model"]["name"], found["passed_on_by"]) == ("small", [])


# -- access -----------------------------------------------------------------------------------------------------------


def refused(question: Question) -> tuple[str, str]:
    access = explained(question)["access"]
    assert access["allowed"] is False
    return access["refused"]["code"], access["refused"]["message"]


def test_who_may_call_is_told_in_the_words_of_a_refusal() -> None:
    assert explained(ask())["access"] == {"allowed": True, "refused": None}
    assert refused(ask("stopped"))[0] == "MODEL_NOT_FOUND"
    assert refused(ask("hidden")) == ("MODEL_ACCESS_DENIED", "the model 'hidden' is not enabled for the tenant acme")
    code, message = refused(ask(caller=make_principal("tenant_viewer")))
    assert (code, "models:use" in message) == ("AUTHZ_PERMISSION_DENIED", True)
    suspended = make_principal()
    suspended.inactive = ("AUTHZ_PERMISSION_DENIED", "the user is suspended")
    assert refused(ask(caller=suspended))[1].endswith("the user is suspended")


@pytest.mark.parametrize("model", ["stopped", "hidden"])
def test_targets_are_told_although_the_call_would_be_refused(model: str) -> None:
    assert backends(explained(ask(model))) == ["one:a"]
