"""Three upstreams that fail, stall and recover at random under a mixed crowd: what may never happen, did not.

SCAIGRID_CHAOS_S sets the length in seconds (`make soak` blows for 300, with 200 callers at once), SCAIGRID_CHAOS_SEED
draws the same weather again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from random import SystemRandom
from typing import Any

import pytest

from support.chaos import Storm, storm
from support.chaos_callers import MODELS
from support.chaos_plays import FORBIDDEN
from support.chaos_upstream import SeenCall
from support.chaos_weather import FAULTS
from support.chaos_yaml import BUDGETS, KEYS, PRICE_NANO, SECRETS, Size

SECONDS = float(os.environ.get("SCAIGRID_CHAOS_S", "10"))
LONG = SECONDS >= 60
CALLERS = 200 if LONG else 40
SEED = int(os.environ.get("SCAIGRID_CHAOS_SEED", "0")) or SystemRandom().randrange(1, 10**9)
OVERLAP_S = 0.25
"""A call's end and the next one's beginning travel over two connections: they may pass each other by so much."""
RECOVERY_S = 8.0
"""When a cooldown is over, a call has to come that draws the target: so long that may take in the light traffic."""
NANO = 10**9

pytestmark = pytest.mark.timeout(SECONDS * 3 + 180)

Row = dict[str, Any]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storm]:
    print(f"SCAIGRID_CHAOS_SEED={SEED}")
    known = storm(tmp_path_factory.mktemp("chaos"), SEED, Size(SECONDS, CALLERS))
    try:
        yield known
    finally:
        known.gateway.stop()


@pytest.fixture(scope="module")
def rows(known: Storm) -> dict[str, Row]:
    """Usage rows by request id; none stands twice."""
    found = known.gateway.usage()
    twice = [name for name, count in Counter(row["request_id"] for row in found).items() if count > 1]
    assert twice == [], f"booked twice; {known.told}"
    print(figures(known, found))
    return {row["request_id"]: row for row in found}


def figures(known: Storm, rows: list[Row]) -> str:
    """What the storm was, for whoever reads the output."""
    assert known.watch
    outcomes = Counter(asked.outcome for asked in known.asked.values())
    statuses = Counter(row["status"] for row in rows)
    attempts = sum(len(row["attempts"]) for row in rows)
    hedges = sum(bool(attempt.get("hedge")) for row in rows for attempt in row["attempts"])
    opened = {backend: len(openings) for backend, openings in sorted(known.watch.openings.items())}
    return "\n".join(
        (
            f"{known.told}: {len(known.asked)} calls {dict(outcomes)}",
            f"{len(rows)} rows {dict(statuses)}, {attempts} attempts, {sum(map(len, known.seen.values()))} upstream "
            f"calls, {hedges} hedges",
            f"met {dict(known.faults)}",
            f"openings {opened}, {known.judged_openings} compared with the calls, {known.watch.samples} samples",
            f"recovered after {known.recovered_s:.1f} s, {known.open_s:.1f} s announced; lag {known.watch.lag_s:.2f} s",
        )
    )


def test_every_client_got_one_whole_answer_or_one_typed_error(known: Storm, rows: dict[str, Row]) -> None:
    """And no circuit was in a state that its rule forbids. What is wrong was noted as it went."""
    assert known.wrongs == [], "\n".join((known.told, *known.wrongs))
    assert {asked.outcome for asked in known.asked.values()} <= {"whole", "refused", "broken", "left"}


def test_the_storm_was_one(known: Storm, rows: dict[str, Row]) -> None:
    outcomes = Counter(asked.outcome for asked in known.asked.values())
    assert len(known.asked) > 20 * SECONDS, known.told
    assert min(outcomes[name] for name in ("whole", "refused", "left")) > SECONDS / 2, f"{outcomes} {known.told}"
    met = known.faults.keys() & set(FAULTS)
    assert len(met) >= (len(FAULTS) if LONG else 5), f"{met} {known.told}"
    assert {asked.model for asked in known.asked.values()} == MODELS.keys()
    assert any(len(row["attempts"]) > 1 for row in rows.values())
    if LONG:
        assert any(attempt.get("hedge") for row in rows.values() for attempt in row["attempts"])
        assert outcomes["broken"] > SECONDS / 2


def test_no_call_went_beyond_its_deadline(known: Storm, rows: dict[str, Row]) -> None:
    """By the gateway's clock and by the client's. A stream that has begun is held by the provider's limits alone."""
    for nonce, asked in known.asked.items():
        streamed = asked.stream and asked.outcome != "refused"
        most_s = known.size.deadline_s + (known.size.total_s if streamed else 0) + late_s(known, 0.5)
        assert asked.seconds < most_s + late_s(known, 0.5), f"{asked} {rows.get(nonce)} {known.told}"
        if nonce in rows:
            assert rows[nonce]["latency_ms"] < most_s * 1000, f"{asked} {rows[nonce]} {known.told}"


def late_s(known: Storm, usual_s: float) -> float:
    """What takes a few steps of a loop takes a few times as long as the loop is late."""
    assert known.watch
    return usual_s + 4 * known.watch.lag_s


def test_no_call_went_beyond_its_attempt_budget(known: Storm, rows: dict[str, Row]) -> None:
    for nonce, calls in known.seen.items():
        most = MODELS[known.asked[nonce].model].attempts
        assert len(calls) <= most, f"{nonce}: {len(calls)} upstream calls; {known.told}"
    for nonce, row in rows.items():
        assert len(row["attempts"]) <= MODELS[known.asked[nonce].model].attempts, f"{row} {known.told}"


def test_attempts_follow_each_other_but_for_hedges(known: Storm) -> None:
    slack_s = late_s(known, OVERLAP_S)
    for nonce, calls in known.seen.items():
        most = MODELS[known.asked[nonce].model].at_once
        for call in calls:
            under_way = [each for each in calls if each.at <= call.at < each.ended_at - slack_s]
            assert len(under_way) <= most, f"{nonce}: {under_way} at once; {known.told}"


def test_nobody_is_asked_again_after_an_answer_began_or_a_key_was_refused(known: Storm) -> None:
    slack_s = late_s(known, OVERLAP_S)
    for nonce, calls in known.seen.items():
        answer = known.asked[nonce].answer
        for place, call in enumerate(calls):
            later = calls[place + 1 :]
            if answer and call.answer == answer:
                late = [each for each in later if each.at > call.told_at + slack_s]
                assert late == [], f"{nonce}: {late} after {call}; {known.told}"
            if call.fault == "401":
                assert call.backend not in {each.backend for each in later}, f"{nonce}: {call}; {known.told}"


def test_rows_are_the_calls_that_reached_an_upstream(known: Storm, rows: dict[str, Row]) -> None:
    assert known.seen.keys() - rows.keys() == set(), f"an upstream worked, and nothing is booked; {known.told}"
    assert rows.keys() - known.asked.keys() == set(), known.told
    for nonce, asked in known.asked.items():
        if asked.outcome != "left":
            row = rows.get(nonce)
            assert asked.attempts == (len(row["attempts"]) if row else 0), f"{asked} {row} {known.told}"


def test_the_attempts_of_a_row_are_the_calls_that_upstreams_saw(known: Storm, rows: dict[str, Row]) -> None:
    """One that nobody saw found no connection, or was cut off on its way: by its caller, a hedge or the deadline."""
    for nonce, row in rows.items():
        seen = Counter(call.backend for call in known.seen.get(nonce, ()))
        booked = Counter(attempt["backend"] for attempt in row["attempts"])
        over = row["latency_ms"] > known.size.deadline_s * 1000 - 50
        may_be_unseen = Counter(attempt["backend"] for attempt in row["attempts"] if unseen(attempt, over))
        assert seen <= booked, f"{nonce}: {seen} seen, {row['attempts']}; {known.told}"
        assert booked - seen <= may_be_unseen, f"{nonce}: {seen} seen, {row['attempts']}; {known.told}"


def unseen(attempt: Row, is_over: bool) -> bool:
    kind = (attempt["error"] or {}).get("kind")
    return attempt["status"] == "cancelled" or kind == "connect" or (is_over and kind == "timeout")


def test_each_row_tells_what_became_of_the_call_and_what_it_cost(known: Storm, rows: dict[str, Row]) -> None:
    calls = {call.answer: call for each in known.seen.values() for call in each}
    for nonce, row in rows.items():
        asked, where = known.asked[nonce], f"{known.asked[nonce]} {row} {known.told}"
        if asked.outcome == "whole":
            assert (row["status"], row["error"], row["estimated"]) == ("completed", None, False), where
            call = calls[asked.answer] if asked.answer else withheld(known.seen[nonce])
            assert row["backend_id"] == call.backend == asked.backend, where
            assert nano(row["cost"]) == price(call), where
            assert Counter(attempt["status"] for attempt in row["attempts"])["completed"] == 1, where
        elif asked.outcome == "refused":
            assert (row["status"], row["cost"]) == ("failed", "0"), where
            assert row["error"], where
        elif asked.outcome == "broken":
            assert (row["status"], row["estimated"]) == ("failed", True), where
            assert nano(row["cost"]) > 0, where
            assert row["backend_id"] == asked.backend, where
        else:
            assert row["status"] in ("cancelled", "completed", "failed"), where
            assert row["status"] != "completed" or nano(row["cost"]) > 0, where
            assert row["status"] != "completed" or any(call.whole for call in known.seen[nonce]), where


def withheld(calls: list[SeenCall]) -> SeenCall:
    """The last one: those before it led to further attempts."""
    return next(call for call in reversed(calls) if call.fault == FORBIDDEN)


def price(call: SeenCall) -> int:
    spent = call.spent
    plain = spent.input - spent.cached
    return plain * PRICE_NANO["input"] + spent.cached * PRICE_NANO["cached"] + spent.output * PRICE_NANO["output"]


def nano(amount: str) -> int:
    return int(Decimal(amount) * NANO)


def test_budgets_are_the_rows(known: Storm, rows: dict[str, Row]) -> None:
    verified = known.gateway.get("/v1/accounting/verify").json()["data"]
    assert verified == {"budgets_checked": BUDGETS, "differences": []}, known.told
    budgets = known.gateway.get("/v1/accounting/budgets").json()["data"]["items"]
    assert len(budgets) == BUDGETS
    for budget in budgets:
        own = [row for row in rows.values() if row[f"{budget['scope']}_id"] == budget["scope_id"]]
        assert own, f"{budget} {known.told}"
        assert nano(budget["used"]["cost"]) == sum(nano(row["cost"]) for row in own), known.told
        assert budget["used"]["tokens"] == sum(row["total_tokens"] for row in own), known.told
        assert budget["pending"] == {"cost": "0", "tokens": 0, "requests": 0}, known.told


def test_nothing_is_under_way_or_held_afterwards(known: Storm) -> None:
    assert known.gateway.in_flight() == 0, known.told
    assert {backend["id"]: backend["in_flight"] for backend in known.backends if backend["in_flight"]} == {}, known.told
    for model in MODELS:
        explained = known.gateway.get(f"/v1/routing/explain?model={model}&tenant=acme").json()["data"]
        queues = [target["queue"] for target in explained["targets"]]
        assert {(queue["in_use"], queue["waiting"]) for queue in queues} == {(0, 0)}, f"{queues} {known.told}"


def test_circuits_open_and_close_and_calls_succeed_at_once_afterwards(known: Storm, rows: dict[str, Row]) -> None:
    assert known.watch
    states = {backend["circuit_breaker"] for backend in known.backends}
    assert states == {"closed"}, f"{known.backends} {known.told}"
    good = {"healthy"} if LONG else {"healthy", "degraded"}
    assert {backend["health_status"] for backend in known.backends} <= good, f"{known.backends} {known.told}"
    assert known.recovered_s < known.open_s + late_s(known, RECOVERY_S), known.told
    assert {asked.outcome for asked in known.calm} == {"whole"}, known.told
    assert {len(rows[asked.nonce]["attempts"]) for asked in known.calm} == {1}, known.told
    opened = {backend for backend, openings in known.watch.openings.items() if openings}
    wanted = {backend["id"] for backend in known.backends} if LONG else {"a:x", "b:x", "c:x"}
    assert opened >= wanted, known.told
    # On a machine that lags as long as a cooldown, no opening is long enough to be compared.
    assert known.judged_openings or known.watch.lag_s > 0.2, known.told


def test_the_log_has_no_traceback_and_no_secret(known: Storm) -> None:
    """Runs last."""
    said = known.gateway.output()
    assert "traceback" not in said.lower(), known.told
    found = [line for line in known.gateway.log_lines() if line.get("level") == "error"]
    assert found == [], known.told
    secrets = (*SECRETS.values(), *KEYS.values(), known.gateway.admin_key)
    assert [secret for secret in secrets if secret in said] == [], known.told
