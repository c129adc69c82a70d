"""State: what has happened. Lives as long as the process, survives reloads, keyed by names that do not change."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import gettempdir

from appliance.state.directory import Directory
from appliance.state.health import Health
from appliance.state.hedging import Hedges
from appliance.state.journal import Journal
from appliance.state.ledger import Ledger
from appliance.state.limiter import Limiter
from appliance.state.log import Log
from appliance.state.metrics import Metrics
from appliance.state.pools import Pools
from appliance.state.responses import Responses
from appliance.state.store import Store
from appliance.state.tokens import Tokens
from appliance.state.usage import UsageStore


@dataclass(slots=True)
class State:
    """The bundle that `server.py` makes once and hands on."""

    directory: Directory
    store: Store
    usage: UsageStore
    ledger: Ledger
    limiter: Limiter
    journal: Journal
    pools: Pools
    metrics: Metrics
    log: Log
    health: Health
    hedges: Hedges = field(default_factory=Hedges)
    tokens: Tokens = field(default_factory=Tokens)
    responses: Responses | None = None
    """None: this appliance keeps no answers."""
    spool: Path = field(default_factory=lambda: Path(gettempdir()))
    """Where uploads lie while their call runs."""
    rng: Random = field(default_factory=Random)
    draining: bool = False
    in_flight: int = 0
    large: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a large body is read or translated: one at a time, so that their costs do not add up for others."""
