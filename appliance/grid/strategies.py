"""The order in which a policy's targets are tried, and why: one function per strategy, pure but for `rng`.

Knows nothing of who is ill or asked to be spared: that changes while a call is under way, and the pipeline looks at it
before each attempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, Protocol

from appliance.grid.conditions import Facts
from appliance.grid.grid import Policy, Target
from appliance.grid.prices import usd
from appliance.grid.sticky import rendezvous

LATENCY_PERCENTILE = 50
"""By which of a target's times to first token `latency` compares: the median, which a few slow answers do not move."""
AS_FAST = 1.1
"""Targets whose time is within so much of the fastest one's share the calls by weight: measured times always differ a
little, and following each difference would send everything to one target and back."""


class Stats(Protocol):
    """What was measured of backends, by their names."""

    def ttft_s(self, backend: str, percentile: int, now: float) -> float | None:
        """A percentile of the recent times to first token, failed attempts counted as slow ones; None: not measured."""
        ...

    def in_flight(self, backend: str) -> int:
        """Calls that are under way."""
        ...


class Unmeasured:
    """Stats of backends that nobody has called."""

    def ttft_s(self, backend: str, percentile: int, now: float) -> float | None:
        return None

    def in_flight(self, backend: str) -> int:
        return 0


Why = Literal[
    "listed",
    "weight",
    "last",
    "sticky",
    "fastest",
    "explored",
    "slower",
    "unmeasured",
    "measuring",
    "cost",
    "disabled",
    "unconfigured",
    "condition",
    "lacks",
]
"""The last four: skipped."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One target, taken or skipped for a call. The words of `reason` are made only where somebody reads them."""

    target: Target
    taken: bool
    why: Why
    detail: str | float | int = ""
    """Words, seconds, or nano-USD."""

    @property
    def reason(self) -> str:
        match self.detail:
            case float(seconds):
                told = f"{seconds:.3f} s"
            case int(nano):
                told = f"{usd(nano)} USD"
            case words:
                told = words
        return f"{_WORDS[self.why]}: {told}" if told else _WORDS[self.why]


_WORDS: dict[Why, str] = {
    "listed": "the only one of its priority that can serve the call",
    "weight": "drawn by weight among those of its priority",
    "last": "weight 0: last of its priority",
    "sticky": "the conversation or user stays with it",
    "fastest": "as fast as the fastest of its priority, by its median time to first token",
    "explored": "tried to measure it anew, though it was not the fastest",
    "slower": "slower, by its median time to first token",
    "unmeasured": "not measured yet, so tried first",
    "measuring": "not measured yet, and a call that measures it is under way",
    "cost": "cheapest first, by what the call is expected to cost",
    "disabled": "switched off",
    "unconfigured": "its provider is not configured",
    "condition": "it is not for this call",
    "lacks": "it cannot do what the call needs",
}

NOBODY = Facts()
UNMEASURED = Unmeasured()


def order(
    policy: Policy, rng: Random, facts: Facts = NOBODY, stats: Stats = UNMEASURED, now: float = 0.0
) -> list[Target]:
    """The targets that may serve the call, best first: tiers in priority order, the strategy inside each tier."""
    return [decision.target for decision in decide(policy, rng, facts, stats, now) if decision.taken]


def decide(
    policy: Policy, rng: Random, facts: Facts = NOBODY, stats: Stats = UNMEASURED, now: float = 0.0
) -> list[Decision]:
    """Every target of the policy, once: those that are taken in their order, then those that are skipped."""
    taken: list[Decision] = []
    skipped: list[Decision] = []
    for tier in policy.tiers:
        usable: list[Target] = []
        for target in tier:
            refused = _skip(target, facts)
            if refused:
                skipped.append(refused)
            else:
                usable.append(target)
        taken += _rank(policy, usable, rng, facts, stats, now)
    return taken + skipped


def _skip(target: Target, facts: Facts) -> Decision | None:
    if not target.enabled:
        return Decision(target, False, "disabled")
    if target.endpoint.unconfigured is not None:
        return Decision(target, False, "unconfigured", target.endpoint.unconfigured)
    if target.when and not target.when.holds(facts):
        return Decision(target, False, "condition", target.when.unmet(facts))
    if lacking := facts.needs & target.lacks:
        return Decision(target, False, "lacks", ", ".join(sorted(lacking)))
    return None


def _rank(policy: Policy, targets: list[Target], rng: Random, facts: Facts, stats: Stats, now: float) -> list[Decision]:
    """The order inside one tier."""
    if len(targets) < 2:
        return [Decision(target, True, "listed") for target in targets]
    key = facts.sticky_key if policy.sticky != "none" else ""
    if policy.strategy == "cost":
        return _by_cost(targets, rng, facts, key)
    if key:
        first, *rest = rendezvous(targets, key)
        others = [_drawn(target) for target in rest]
        if policy.strategy == "latency":
            others = _by_latency(rest, rng, stats, now, explore=0.0)
        return [Decision(first, True, "sticky"), *others]
    if policy.strategy == "latency":
        return _by_latency(targets, rng, stats, now, policy.explore)
    return [_drawn(target) for target in draw_by_weight(targets, rng)]


def _drawn(target: Target) -> Decision:
    return Decision(target, True, "weight" if target.weight else "last")


def draw_by_weight(targets: Sequence[Target], rng: Random) -> list[Target]:
    """A random order in which each next place goes to a target with the chance of its weight; weight 0 comes last."""
    rest = list(targets)
    drawn: list[Target] = []
    while rest:
        total = sum(target.weight for target in rest)
        if not total:
            return drawn + rest
        ticket = rng.randrange(total)
        for place, target in enumerate(rest):
            ticket -= target.weight
            if ticket < 0:
                drawn.append(rest.pop(place))
                break
    return drawn


# -- cost -------------------------------------------------------------------------------------------------------------


def _by_cost(targets: list[Target], rng: Random, facts: Facts, key: str) -> list[Decision]:
    """Cheapest first; among equally cheap ones the weight draws, or the key holds."""
    drawn = rendezvous(targets, key) if key else draw_by_weight(targets, rng)
    expected = facts.expected
    priced = [(target.cost.cost(expected), target) for target in drawn]
    # Weight 0 says «last», also where it is cheap; the sort is stable, so that equal costs stay in drawn order.
    priced.sort(key=lambda entry: (not entry[1].weight, entry[0]))
    return [Decision(target, True, "cost", cost) for cost, target in priced]


# -- latency ----------------------------------------------------------------------------------------------------------


def _by_latency(targets: list[Target], rng: Random, stats: Stats, now: float, explore: float) -> list[Decision]:
    """Unmeasured ones first, one call at a time; then by time; now and then another than the fastest leads."""
    fresh, measuring, measured, last = _sorted_out(targets, stats, now)
    bound = min((time_s for time_s, _ in measured), default=0.0) * AS_FAST
    times = {id(target): time_s for time_s, target in measured}
    fast = draw_by_weight([target for time_s, target in measured if time_s <= bound], rng)
    slow = [target for time_s, target in sorted(measured, key=lambda entry: entry[0]) if time_s > bound]
    ranked = [
        *(Decision(target, True, "unmeasured") for target in draw_by_weight(fresh, rng)),
        *(Decision(target, True, "fastest", times[id(target)]) for target in fast),
        *(Decision(target, True, "slower", times[id(target)]) for target in slow),
        *(Decision(target, True, "measuring") for target in draw_by_weight(measuring, rng)),
        *(Decision(target, True, "last") for target in last),
    ]
    if fresh or not slow or rng.random() >= explore:
        return ranked
    chosen = draw_by_weight(slow, rng)[0]
    rest = [decision for decision in ranked if decision.target is not chosen]
    return [Decision(chosen, True, "explored", times[id(chosen)]), *rest]


def _sorted_out(
    targets: list[Target], stats: Stats, now: float
) -> tuple[list[Target], list[Target], list[tuple[float, Target]], list[Target]]:
    """Those without a measurement that nobody is asking now; those that are being measured; the measured; weight 0."""
    fresh: list[Target] = []
    measuring: list[Target] = []
    measured: list[tuple[float, Target]] = []
    last: list[Target] = []
    for target in targets:
        if not target.weight:
            last.append(target)
        elif (time_s := stats.ttft_s(target.backend, LATENCY_PERCENTILE, now)) is not None:
            measured.append((time_s, target))
        elif stats.in_flight(target.backend):
            measuring.append(target)
        else:
            fresh.append(target)
    return fresh, measuring, measured, last
