"""What goes wrong at an upstream, and when: slots drawn from a seed, so that the same seed is the same weather."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

SOUND = "sound"
FAULTS = (
    "500",
    "503",
    "429",
    "401",
    "reset",
    "garbage",
    "slow",
    "stall",
    "cut",
    "error-inside-200",
    "refused",
)
"""slow: no first byte within the limit; stall and cut: after content; refused: nobody listens."""
OUTAGES = ("500", "503", "reset", "refused")
"""Faults that take no time, so that every call of the slot fails in it."""

SHARES = (0.15, 0.3, 0.6, 1.0)
"""Of the calls that meet a slot's fault. A circuit opens soon where all do, so most faults are met where few do."""


@dataclass(frozen=True)
class Slot:
    """From `at` (seconds since the beginning) on, `share` of the calls meet the fault."""

    at: float
    fault: str
    share: float


def all_faults(rng: Random) -> Iterator[str]:
    """For ever; each comes once before any comes again."""
    while True:
        yield from rng.sample(FAULTS, len(FAULTS))


def draw(rng: Random, faults: Iterator[str], seconds: float, longest_s: float, outage_s: float) -> list[Slot]:
    """Slots of up to 2 s; bad ones in a row last `longest_s` at most. Each upstream has one sure outage in the middle,
    with a sound time behind it, whatever else is drawn."""
    outage_at = rng.uniform(0.3, 0.6) * seconds
    slots: list[Slot] = []
    at, bad_since = 0.0, 0.0
    pending_outage = True
    while at < seconds:
        if pending_outage and at >= outage_at:
            slots.append(Slot(at, rng.choice(OUTAGES), 1.0))
            slots.append(Slot(at + outage_s, SOUND, 0.0))
            at, pending_outage = at + 2 * outage_s, False
            bad_since = at
            continue
        length = rng.uniform(0.3, 2.0)
        is_sound = at + length - bad_since > longest_s or rng.random() < 0.55
        slots.append(Slot(at, SOUND, 0.0) if is_sound else Slot(at, next(faults), rng.choice(SHARES)))
        at += length
        if is_sound:
            bad_since = at
    return slots


class Weather:
    """What the slots say for a moment; once `calm` is set, everything is sound."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        assert all(one.at < next_.at for one, next_ in itertools.pairwise(slots)), "slots in their order"
        self.slots = slots
        self.calm = False
        self._starts = [slot.at for slot in slots]

    def slot(self, at: float) -> Slot:
        place = bisect_right(self._starts, at) - 1
        return Slot(at, SOUND, 0.0) if self.calm or place < 0 else self.slots[place]

    def fault(self, at: float, rng: Random) -> str:
        """For one call."""
        slot = self.slot(at)
        return slot.fault if rng.random() < slot.share else SOUND

    def refuses(self, at: float) -> bool:
        return self.slot(at).fault == "refused"
