"""The order in which a policy's targets are tried: one function per strategy, pure but for `rng`."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from appliance.grid.grid import Policy, Target


def order(policy: Policy, rng: Random) -> list[Target]:
    """Usable targets, best first: tiers in priority order, drawn by weight inside a tier (contract section 2)."""
    ordered: list[Target] = []
    for tier in policy.tiers:
        usable = [target for target in tier if target.usable]
        ordered += usable if len(usable) < 2 else draw_by_weight(usable, rng)
    return ordered


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
