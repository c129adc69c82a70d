"""Active probes: asks providers for their lists of models, beside the calls, and tells Health what came of it.

What it finds is about the provider, so it counts for each of its backends. It never ends by a failure, and it takes
nothing from calls: no place in a queue, no budget, no share in the measured times.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from random import Random
from typing import TypeAlias

from appliance.exchange import Failure
from appliance.grid.grid import Grid
from appliance.grid.holder import Holder
from appliance.pipeline.route import rule_of
from appliance.providers.base import Endpoint
from appliance.state import State
from appliance.state.breaker import Rule
from appliance.state.health import Outcome
from appliance.state.log import Log
from appliance.upstream_list import Answer, NoAnswer, ask_for_models

TICK_S = 1.0
"""So soon it sees a new Grid, and a change of health that came with time alone."""
JITTER = 0.1
MOST_BYTES = 256 * 1024
"""How much of a list is read: that it comes is all there is to know."""
MESSAGE_SHOWN = 500

_log = logging.getLogger("scaigrid")

Finding: TypeAlias = tuple[Outcome, str]
"""`canceled`: the answer says nothing of the backends."""


async def run(holder: Holder, state: State) -> None:
    """Until it is canceled, or the appliance drains."""
    clock = asyncio.get_running_loop().time
    timetable = Timetable(state.rng)
    reports = Reports(state.log)
    under_way: set[str] = set()
    async with asyncio.TaskGroup() as tasks:
        while not state.draining:
            for name in timetable.due(probed(holder.current.grid), clock()):
                if name not in under_way:
                    under_way.add(name)
                    tasks.create_task(_probe_and_report(name, holder, state, reports, under_way))
            state.health.refresh(clock())
            await asyncio.sleep(min(TICK_S, max(0.0, timetable.next_at - clock())))


def probed(grid: Grid) -> dict[str, float]:
    """Provider → seconds between two probes, of those that can be asked."""
    found = {}
    for name, interval_s in grid.probes.items():
        endpoint = grid.endpoints[name]
        if endpoint.unconfigured is None and not endpoint.provider.in_process:
            found[name] = interval_s
    return found


class Timetable:
    """When each provider is asked next. Those that are new share out one interval, so that they are asked in turn."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._next: dict[str, tuple[float, float]] = {}
        """Provider → (its interval, the time of its next probe)."""

    @property
    def next_at(self) -> float:
        return min((at for _, at in self._next.values()), default=float("inf"))

    def due(self, intervals: Mapping[str, float], now: float) -> list[str]:
        known = {name: entry for name, entry in self._next.items() if intervals.get(name) == entry[0]}
        new = [name for name in intervals if name not in known]
        for place, name in enumerate(new):
            wait_s = intervals[name] * (place + self._rng.random()) / len(new)
            known[name] = intervals[name], now + wait_s
        due = [name for name, (_, at) in known.items() if at <= now]
        for name in due:
            wait_s = intervals[name] * self._rng.uniform(1 - JITTER, 1 + JITTER)
            known[name] = intervals[name], now + wait_s
        self._next = known
        return due


class Reports:
    """A log line when what a provider's probes find has changed, and not one for each probe."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._last: dict[str, str] = {}

    def tell(self, provider: str, finding: Finding) -> None:
        outcome, message = finding
        outcome_shown = "unknown" if outcome == "canceled" else outcome
        if self._last.get(provider, "ok") != outcome_shown:
            self._log.write(
                {
                    "unix": time.time(),
                    "event": "probe",
                    "level": "info" if outcome == "ok" else "warning",
                    "provider": provider,
                    "outcome": outcome_shown,
                    "message": message[:MESSAGE_SHOWN],
                }
            )
        self._last[provider] = outcome_shown

    def fault(self, provider: str, fault: Exception) -> None:
        kind = f"fault: {type(fault).__name__}"
        if self._last.get(provider) != kind:
            _log.error("the probe of provider %s failed on a fault of ours", provider, exc_info=fault)
        self._last[provider] = kind


async def _probe_and_report(name: str, holder: Holder, state: State, reports: Reports, under_way: set[str]) -> None:
    generation = holder.enter()
    try:
        reports.tell(name, await probe(name, generation.grid, state))
    except Exception as fault:  # the other providers are probed on, and this one again
        reports.fault(name, fault)
    finally:
        generation.leave()
        under_way.discard(name)


async def probe(name: str, grid: Grid, state: State) -> Finding:
    """One question, and its outcome told for every backend of the provider."""
    endpoint = grid.endpoints[name]
    clock = asyncio.get_running_loop().time
    # The next one must not begin before this one has ended.
    limit_s = min(grid.probes[name] * (1 - JITTER), endpoint.connect_s + endpoint.first_byte_s)
    begin = clock()
    permits = [
        state.health.permit_probe(backend, rules, begin, limit_s) for backend, rules in backends(name, grid).items()
    ]
    outcome: Outcome = "canceled"
    try:
        outcome, message = await _ask(endpoint, state, limit_s)
    finally:
        for permit in permits:
            state.health.finished(permit, outcome, clock())
    return outcome, message


def backends(provider: str, grid: Grid) -> dict[str, list[Rule]]:
    """The provider's backends that any policy names, each with the breakers' rules of those policies."""
    found: dict[str, list[Rule]] = {}
    for model in grid.models.values():
        rule = rule_of(model.policy)
        for target in model.policy.targets:
            if target.endpoint.name == provider:
                rules = found.setdefault(target.backend, [])
                if rule and rule not in rules:
                    rules.append(rule)
    return found


async def _ask(endpoint: Endpoint, state: State, limit_s: float) -> Finding:
    try:
        return judge(await ask_for_models(endpoint, state, limit_s, MOST_BYTES))
    except NoAnswer as error:
        return error.kind, error.message


def judge(answer: Answer) -> Finding:
    """What the answer says of the provider's calls. A list that is not there, or not for this key, says nothing."""
    endpoint, status = answer.endpoint, answer.status
    if status == 200:
        if answer.body[:64].lstrip()[:1] in (b"{", b"["):
            return "ok", f"provider {endpoint.name} answers"
        return "canceled", f"provider {endpoint.name} answered with what is no list of models; probes say nothing of it"
    failure = endpoint.provider.classify(endpoint, status, answer.headers, answer.body)
    message = failure.detail or failure.message
    if _of_the_list_alone(failure, status):
        return "canceled", f"{message}; probes say nothing of it"
    return failure.kind, message


def _of_the_list_alone(failure: Failure, status: int) -> bool:
    """No such list (404, 405, 501), elsewhere (3xx), or a key that may call but not list (403)."""
    if failure.kind == "operator":
        return status not in (400, 401, 402)  # a bad key, or an unpaid bill, would meet calls too
    return failure.kind == "caller" or status == 501
