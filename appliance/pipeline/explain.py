"""What would become of a call: who may make it, every target in its order, what limits it, what it costs at worst.

Nobody is called, and nothing is counted, held or drawn: the line's own functions are asked what they would say of an
Exchange that never goes down the line.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from appliance.errors import GatewayError
from appliance.exchange import Client, Exchange, Principal, Upload
from appliance.formats.embedding import EmbeddingRequest
from appliance.formats.image import ImageRequest
from appliance.formats.rerank import RerankRequest
from appliance.formats.speech import SpeechRequest
from appliance.formats.transcription import TranscriptionRequest
from appliance.grid.conditions import Facts, expected_output
from appliance.grid.grid import FrontendModel, Grid, Policy, Target
from appliance.grid.prices import usd
from appliance.grid.sticky import sticky_key
from appliance.grid.strategies import Decision, decide
from appliance.permissions import require
from appliance.pipeline.admit import find_model
from appliance.pipeline.estimate import BYTES_PER_TOKEN
from appliance.pipeline.explain_limits import Plan, budgets_shown, plan, rates_shown, worst_case_shown
from appliance.pipeline.facts import Measured
from appliance.pipeline.operations import OPERATIONS
from appliance.pipeline.operations.base import Documents
from appliance.pipeline.pass_on import pass_on_long_input
from appliance.pipeline.route import rule_of
from appliance.state import State

SPEECH_S = 60
"""How long a recording is taken to be."""
_WAV_RATE = 32_000
_WAV_HEAD = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\0\0\0\0"
"""16,000 samples a second of two bytes: the one kind of file whose length follows from its size."""


@dataclass(frozen=True, slots=True)
class Question:
    """A call that nobody makes. `caller` has no user where anybody of the tenant is meant, and no key where it could be
    any of the user's. `input_tokens` is the fair estimate; `max_tokens` None leaves the length of the answer open."""

    model: FrontendModel
    caller: Principal
    operation: str = "chat"
    metadata: Mapping[str, str] = field(default_factory=dict)
    needs: frozenset[str] = frozenset()
    input_tokens: int = 0
    max_tokens: int | None = None
    n: int = 1
    stream: bool = False


def explain(
    question: Question, grid: Grid, state: State, now: float, now_unix: float, *, sees_partner: bool = True
) -> dict[str, Any]:
    """`sees_partner`: may the numbers of partner budgets and limits be told? They show what other tenants use."""
    exchange = call_of(question, grid, now, now_unix)
    refused = _refused(exchange, state)
    exchange.model = question.model
    exchange.operation.measure(exchange)
    pass_on_long_input(exchange)
    model, facts = exchange.model, facts_of_question(question, exchange)
    rng = copy.copy(state.rng)  # what is drawn here must not change what the next call draws
    decisions = decide(model.policy, rng, facts, Measured(state.health), now)
    planned = plan(exchange, state)
    return {
        "model": _model(model),
        "passed_on_by": list(exchange.passed_on),
        "policy": _policy(model.policy, question.model.policy),
        "call": _call(question, exchange, facts),
        "access": {"allowed": refused is None, "refused": refused.body() if refused else None},
        "targets": _targets(decisions, exchange, facts, planned, state),
        "rate_limits": rates_shown(exchange, state, sees_partner),
        "budgets": budgets_shown(planned, sees_partner),
        "worst_case": worst_case_shown(planned),
    }


# -- the call ---------------------------------------------------------------------------------------------------------


def call_of(question: Question, grid: Grid, now: float, now_unix: float) -> Exchange:
    """The call as the line would have it after reading it."""
    operation = OPERATIONS[question.operation]
    exchange = Exchange(
        request_id="",
        surface="native",
        operation=operation,
        grid=grid,
        client=cast(Client, None),
        credential=None,
        body=b" " * (question.input_tokens * BYTES_PER_TOKEN),
        received_at=now,
        received_unix=now_unix,
        clock=lambda: now,
        principal=question.caller,
        model_name=question.model.name,
        metadata=dict(question.metadata),
        needs=needs_of_question(question),
        stream=question.stream,
        n=question.n,
        asked_cap=question.max_tokens,
    )
    if question.operation in _ASKED:
        exchange.asked = _ASKED[question.operation](question, exchange.body.decode())
    if operation.modality == "audio":
        exchange.upload = Upload(Path(), "", "", size=SPEECH_S * _WAV_RATE, head=_WAV_HEAD)
    return exchange


_ASKED: dict[str, Callable[[Question, str], Any]] = {
    "embed": lambda question, text: EmbeddingRequest(question.model.name, [text]),
    "image": lambda question, text: ImageRequest(question.model.name, text, n=question.n),
    "speak": lambda question, text: SpeechRequest(question.model.name, text, ""),
    "transcribe": lambda question, text: TranscriptionRequest(question.model.name),
    "translate": lambda question, text: TranscriptionRequest(question.model.name, translate=True),
    "rerank": lambda question, text: RerankRequest(question.model.name, "", [text]),
}
"""A request of the size that was asked about, for the kinds of calls that are measured by their request."""


def needs_of_question(question: Question) -> frozenset[str]:
    """With what the kind of call brings along."""
    operation = OPERATIONS[question.operation]
    if isinstance(operation, Documents):
        return question.needs | {operation.feature}
    streamed = {"streaming"} if question.stream else frozenset[str]()
    return question.needs | streamed | ({"n"} if question.n > 1 else frozenset())


def facts_of_question(question: Question, exchange: Exchange) -> Facts:
    """What routing would know of the call. A conversation or user that is not named stays with nobody."""
    assert exchange.model
    caller, sticky = question.caller, exchange.model.policy.sticky
    named = bool(caller.user_id) or sticky != "user"
    return Facts(
        partner=caller.partner_id,
        tenant=caller.tenant_id,
        user=caller.user,
        roles=(*caller.roles, *caller.custom_roles),
        groups=caller.groups,
        metadata=question.metadata,
        input_tokens=exchange.input_estimate,
        output_tokens=expected_output(question.max_tokens, question.n),
        usage=exchange.bound,
        needs=exchange.needs,
        sticky_key=sticky_key(sticky, caller.tenant_id, caller.user_id, question.metadata, {}) if named else "",
    )


def _refused(exchange: Exchange, state: State) -> GatewayError | None:
    """What authentication and admission would refuse the call with."""
    assert exchange.principal
    try:
        state.directory.check(exchange.principal)
        require(exchange.principal, "models:use")
        find_model(exchange)
    except GatewayError as refused:
        return refused
    return None


# -- model, policy, call ----------------------------------------------------------------------------------------------


def _model(model: FrontendModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "modality": model.modality,
        "status": model.status,
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens,
        "fallback": {
            "context_window": model.fallback.context_window or None,
            "content_filter": model.fallback.content_filter or None,
        },
    }


def _policy(policy: Policy, asked: Policy) -> dict[str, Any]:
    """A call that is passed on keeps the attempts and the deadline of the model that it asked for."""
    breaker, hedge = policy.breaker, policy.hedge
    return {
        "name": policy.name,
        "strategy": policy.strategy,
        "sticky": policy.sticky,
        "explore": policy.explore if policy.strategy == "latency" else None,
        "retries": asked.retries,
        "retry_on": sorted(policy.retry_on),
        "deadline_s": asked.deadline_s,
        "circuit_breaker": breaker
        and {"failures": breaker.failures, "window_s": breaker.window_s, "cooldown_s": breaker.cooldown_s},
        "hedge": hedge
        and {"percentile": hedge.percentile, "min_delay_s": hedge.min_delay_s, "max_share": hedge.max_share},
    }


def _call(question: Question, exchange: Exchange, facts: Facts) -> dict[str, Any]:
    caller = question.caller
    return {
        "model": question.model.name,
        "operation": question.operation,
        "partner_id": caller.partner_id,
        "tenant_id": caller.tenant_id,
        "user_id": caller.user_id or None,
        "key_id": caller.key_id or None,
        "roles": [*caller.roles, *caller.custom_roles],
        "groups": list(caller.groups),
        "metadata": dict(question.metadata),
        "needs": sorted(exchange.needs),
        "stream": question.stream,
        "sticks": bool(facts.sticky_key),
        "input_tokens": exchange.input_estimate,
        "expected_output_tokens": None if exchange.bound else facts.output_tokens,
        "max_tokens": question.max_tokens,
        "n": question.n,
    }


# -- targets ----------------------------------------------------------------------------------------------------------


def _targets(
    decisions: Sequence[Decision], exchange: Exchange, facts: Facts, planned: Plan, state: State
) -> list[dict[str, Any]]:
    assert exchange.model
    policy = exchange.model.policy
    shares = shares_of(policy, decisions, facts)
    return [
        {
            "backend": decision.target.backend,
            "place": place if decision.taken else None,
            "taken": decision.taken,
            "reason": decision.reason,
            "share": round(share, 4),
            "priority": decision.target.priority,
            "weight": decision.target.weight,
            "expected_cost": usd(decision.target.cost.cost(facts.expected)),
            "worst_cost": usd(planned.worst(decision.target.cost)),
            **_health(decision.target, policy, exchange.received_at, state),
            "queue": _queue(decision.target, exchange.grid, state),
        }
        for place, (decision, share) in enumerate(zip(decisions, shares, strict=True), 1)
    ]


def _health(target: Target, policy: Policy, now: float, state: State) -> dict[str, Any]:
    """`held_back`: the call would pass the target over as things are, or ask it after all others (`spared`)."""
    known = state.health.diagnostics(target.backend, now)
    refused = state.health.look(target.backend, rule_of(policy), now)
    names = ("spared_for_s", "in_flight", "first_token_ms_p50", "first_token_ms_p95", "total_ms_p50", "total_ms_p95")
    return {
        "health_status": state.health.status(target.backend, now, usable=target.usable),
        "circuit_breaker": known["breaker"],
        "held_back": refused and {"reason": refused.reason, "wait_s": round(refused.wait_s, 3)},
        **{name: known[name] for name in names},
    }


def _queue(target: Target, grid: Grid, state: State) -> dict[str, int]:
    name = target.endpoint.name
    limits, queue = grid.queues[name], state.pools.queues().get(name)
    return {
        "in_use": queue.in_use if queue else 0,
        "limit": limits.at_once,
        "waiting": queue.waiting if queue else 0,
        "size": limits.size,
    }


def shares_of(policy: Policy, decisions: Sequence[Decision], facts: Facts) -> list[float]:
    """For each decision the chance that its target is the first choice: the order tells one draw of many."""
    taken = [decision for decision in decisions if decision.taken]
    tier = [decision for decision in taken if decision.target.priority == taken[0].target.priority]
    shares: dict[int, float] = {}
    for part, drawn in _draws(policy, tier, facts) if tier else ():
        total = sum(decision.target.weight for decision in drawn)
        for decision in drawn:
            shares[id(decision)] = part * decision.target.weight / total if total else part * (decision is drawn[0])
    return [shares.get(id(decision), 0.0) for decision in decisions]


def _draws(policy: Policy, tier: list[Decision], facts: Facts) -> list[tuple[float, list[Decision]]]:
    """Among whom the weights draw the first of a tier, and in which share of all calls."""
    first = tier[0]
    by_key = policy.sticky != "none" and bool(facts.sticky_key)
    if by_key or len(tier) == 1:
        return [(1.0, [first])]
    if policy.strategy == "cost":
        return [(1.0, [each for each in tier if each.detail == first.detail and each.target.weight] or tier)]
    if policy.strategy != "latency":
        return [(1.0, [each for each in tier if each.target.weight] or tier)]
    slow = [each for each in tier if each.why in ("slower", "explored")]
    if slow and not any(each.why == "unmeasured" for each in tier):
        return [(1 - policy.explore, [each for each in tier if each.why == "fastest"]), (policy.explore, slow)]
    return [(1.0, [each for each in tier if each.why == first.why])]
