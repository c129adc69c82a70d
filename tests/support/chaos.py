"""A storm: the real appliance between three upstreams in bad weather and a crowd of callers, and what everybody knows
afterwards.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import uvloop

from support.appliance import Gateway
from support.chaos_callers import MODELS, Caller, Habits
from support.chaos_judge import Asked
from support.chaos_upstream import ChaosUpstream, Manners, SeenCall
from support.chaos_watch import Watch
from support.chaos_weather import Weather, all_faults, draw
from support.chaos_yaml import COOLDOWN_S, DIALECTS, KEYS, Size, written

CALM_CALLS = 40
MOST_WRONGS = 20
MOST_RECOVERY_S = 15.0


@dataclass
class Storm:
    """What is known of it at the end."""

    seed: int
    size: Size
    gateway: Gateway
    wrongs: list[str] = field(default_factory=list)
    asked: dict[str, Asked] = field(default_factory=dict)
    seen: dict[str, list[SeenCall]] = field(default_factory=dict)
    """By nonce, in the order in which they came."""
    calm: list[Asked] = field(default_factory=list)
    backends: list[dict[str, Any]] = field(default_factory=list)
    """As /v1/backends told them at the end."""
    recovered_s: float = 0.0
    """From the calm to the last closed circuit; `open_s` of it the gateway had announced."""
    open_s: float = 0.0
    watch: Watch | None = None
    judged_openings: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    def wrong(self, what: str) -> None:
        self.wrongs.append(what)

    @property
    def told(self) -> str:
        """For every assertion's message."""
        return f"SCAIGRID_CHAOS_SEED={self.seed} SCAIGRID_CHAOS_S={self.size.seconds:g}"


def storm(folder: Path, seed: int, size: Size) -> Storm:
    """The appliance runs on when it is over; whoever asked for it stops it."""
    gateway = Gateway(folder, {})
    known = Storm(seed, size, gateway)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_blow(known))
        except BaseException:
            gateway.stop()
            raise
    return known


async def _blow(known: Storm) -> None:
    rng, size = Random(known.seed), known.size
    longest_s, outage_s = (4.0, 2.5) if size.seconds < 60 else (10.0, 6.0)
    faults = all_faults(rng)
    weathers = [Weather(draw(rng, faults, size.seconds, longest_s, outage_s)) for _ in DIALECTS]
    manners = Manners(slow_s=size.first_byte_s * 1.3, pace_s=0.15 * size.pace**2)
    served: dict[str, SeenCall] = {}
    upstreams = [
        ChaosUpstream(name, dialect, weather, manners, Random(rng.random()), served, known.wrong)
        for (name, dialect), weather in zip(DIALECTS.items(), weathers, strict=True)
    ]
    try:
        for upstream in upstreams:
            await upstream.start()
        known.gateway.write(written([upstream.url for upstream in upstreams], size))
        await asyncio.to_thread(known.gateway.start)
        await _play(known, upstreams, served, rng)
    finally:
        for upstream in upstreams:
            await upstream.stop()
    calls = sorted(itertools.chain(*(upstream.calls for upstream in upstreams)), key=lambda call: call.at)
    for call in calls:
        known.seen.setdefault(call.nonce, []).append(call)
    known.faults = Counter(call.fault for call in calls)
    _compare_openings(known, calls)


async def _play(known: Storm, upstreams: list[ChaosUpstream], served: dict[str, SeenCall], rng: Random) -> None:
    loop, size = asyncio.get_running_loop(), known.size
    split = urlsplit(known.gateway.url)
    address = (str(split.hostname), int(split.port or 0))
    watch = known.watch = Watch(address, known.gateway.admin_key, COOLDOWN_S, known.wrong)
    over = asyncio.Event()

    def note(asked: Asked, wrong: str) -> None:
        known.asked[asked.nonce] = asked
        if wrong:
            known.wrong(f"{asked.nonce} ({asked.model}, {asked.surface}, stream {asked.stream}): {wrong}")
            if len(known.wrongs) > MOST_WRONGS:
                over.set()

    habits = Habits(size.deadline_s + size.total_s + 10.0, 0.05 * size.pace)
    keys = list(KEYS.values())
    callers = [
        Caller(address, keys[place % 2], habits, Random(rng.random()), served, note) for place in range(size.callers)
    ]
    watching = loop.create_task(watch.run())
    watching.add_done_callback(lambda _: over.set())
    try:
        await watch.fresh(watching)
        for upstream in upstreams:
            upstream.begin()
        crowd = [loop.create_task(caller.until(over)) for caller in callers]
        loop.call_later(size.seconds, over.set)
        await asyncio.gather(*crowd)
        for upstream in upstreams:
            upstream.weather.calm = True
        await _recover(known, watch, watching, callers[:8])
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _recover(known: Storm, watch: Watch, watching: asyncio.Task[None], callers: list[Caller]) -> None:
    """Light traffic until nothing is held back any more; then calls that have to succeed at once."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    try:
        known.open_s = max((await watch.fresh(watching)).values())
        while any(backend["circuit_breaker"] != "closed" for backend in watch.backends):
            known.recovered_s = loop.time() - began_at
            if known.recovered_s > known.open_s + MOST_RECOVERY_S:
                break
            models = ("steady", "steady", "small", "strict") * 2
            asking = (caller.ask(model, hang_ups=False) for caller, model in zip(callers, models, strict=True))
            await asyncio.gather(*asking)
            await watch.fresh(watching)
        await asyncio.sleep(1.2)  # the longest Retry-After is over
        for _ in range(CALM_CALLS // len(callers)):
            known.calm += await asyncio.gather(*(caller.ask("steady", hang_ups=False) for caller in callers))
        await _until_healthy(known, watch, watching, callers[0])
    finally:
        for caller in callers:
            await caller.close()
    known.backends = watch.backends


async def _until_healthy(known: Storm, watch: Watch, watching: asyncio.Task[None], caller: Caller) -> None:
    """`degraded` looks a minute back; only the long run has that time."""
    end = asyncio.get_running_loop().time() + (90 if known.size.seconds >= 60 else 0)
    while True:
        await watch.fresh(watching)
        is_healthy = all(backend["health_status"] == "healthy" for backend in watch.backends)
        if is_healthy or asyncio.get_running_loop().time() >= end:
            return
        known.calm.append(await caller.ask("steady", hang_ups=False))


def _compare_openings(known: Storm, calls: list[SeenCall]) -> None:
    assert known.watch
    held = [call for call in calls if MODELS[known.asked[call.nonce].model].has_breaker]
    by_backend: dict[str, list[SeenCall]] = {}
    for call in held:
        by_backend.setdefault(call.backend, []).append(call)
    for backend, its_calls in by_backend.items():
        known.judged_openings += known.watch.compare(backend, its_calls, known.size.lease_s)
