"""The whole line for calls that are no chat: models of every modality, scripted answers, a form that arrives."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.errors import GatewayError
from appliance.exchange import Exchange, Upload
from appliance.grid.grid import Grid
from appliance.pipeline.run import run
from appliance.state import State
from support.build import (
    FakeClient,
    FakePools,
    FakeUpstream,
    client_of,
    journal_of,
    make_exchange,
    make_grid,
    make_state,
)

FOR_EVER = 60.0
GRID = make_grid(
    """
providers:
  one:
    type: custom
    base_url: http://one.test/v1
    api_key: secret-of-one
    timeouts: {first_byte: 100ms, idle: 80ms, total: 2s}
  two: {type: custom, base_url: "http://two.test/v1", api_key: secret-of-two}
  ten: {type: qwen, base_url: "http://ten.test/v1", api_key: secret-of-ten, timeouts: {first_byte: 5s, idle: 5s}}
  gem: {type: google, api_key: secret-of-gem}
  co: {type: cohere, api_key: secret-of-co}
  claude: {type: anthropic, api_key: secret-of-claude}
models:
  m: {price: {input: "1", output: "2"}, route: [{backend: "one:a"}, {backend: "two:b"}]}
  claude: {price: {input: "3", output: "15", request: "0.01"}, route: [{backend: "claude:claude-x"}]}
  gemini: {price: {input: "1", output: "2"}, route: [{backend: "gem:gemini-2.5-flash"}]}
  vectors: {modality: embedding, price: {input: "1"}, route: [{backend: "one:e1"}, {backend: "two:e2"}]}
  batched:
    modality: embedding
    price: {input: "1"}
    route: {retries: 1, targets: [{backend: "ten:v4"}, {backend: "one:e2", priority: 2}]}
  googled: {modality: embedding, price: {input: "1"}, route: [{backend: "gem:gemini-embedding-001"}]}
  preset:
    modality: embedding
    price: {input: "1"}
    default_params: {dimensions: 64}
    route: [{backend: "one:e1", capabilities: {dimensions: false}}, {backend: "two:e2"}]
  pictures: {modality: image, price: {image: "0.04"}, route: [{backend: "one:p1"}, {backend: "two:p2"}]}
  drawn:
    modality: image
    price: {input: "5", output: "40"}
    default_params: {size: 512x512, quality: low}
    route: [{backend: "one:p1"}]
  imagen: {modality: image, price: {image: "0.04"}, route: [{backend: "gem:imagen-4"}]}
  voices: {modality: audio, price: {characters: "15"}, route: [{backend: "one:s1"}, {backend: "two:s2"}]}
  tokened: {modality: audio, price: {input: "1", output: "12"}, route: [{backend: "one:s1"}, {backend: "two:s2"}]}
  spoken:
    modality: audio
    price: {characters: "15"}
    default_params: {voice: nova, response_format: wav}
    route: [{backend: "one:s1"}]
  scribe: {modality: audio, price: {audio_minute: "0.006"}, route: [{backend: "one:w1"}, {backend: "two:w2"}]}
  dutch:
    modality: audio
    price: {audio_minute: "0.006"}
    default_params: {language: nl, response_format: verbose_json}
    route: [{backend: "one:w1"}]
  gratis: {modality: audio, price: free, route: [{backend: "one:w1"}]}
  ranks: {modality: rerank, price: {search: "0.002"}, route: [{backend: "one:r1"}, {backend: "two:r2"}]}
  cohere: {modality: rerank, price: {search: "0.002"}, route: [{backend: "co:rerank-v3.5"}]}
  read: {modality: rerank, price: {input: "1"}, route: [{backend: "one:r1"}]}
partners: {reseller: {tenants: {acme: {users: {alice: {roles: [tenant_user]}}}}}}
"""
)


@dataclass
class Ran:
    """A call that is over."""

    client: FakeClient
    exchange: Exchange
    state: State

    @property
    def pools(self) -> FakePools:
        pools: Any = self.state.pools
        assert isinstance(pools, FakePools)
        return pools

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """What each upstream was sent."""
        return [json.loads(body) for _, _, _, body in self.pools.opened]

    @property
    def row(self) -> dict[str, Any]:
        (row,) = journal_of(self.state).ended
        return row

    @property
    def error(self) -> GatewayError:
        assert self.exchange.error
        return self.exchange.error


def ready(
    operation: str, body: Any, *script: Any, surface: str = "openai", grid: Grid = GRID, **changes: Any
) -> tuple[Exchange, State]:
    """`changes`: `incoming`, and what make_state takes."""
    incoming = changes.pop("incoming", None)
    state = make_state(pools=FakePools(*script), **changes)
    clock = asyncio.get_running_loop().time
    data = b"" if incoming else json.dumps(body).encode()
    exchange = make_exchange(grid, data, surface=surface, operation=operation, clock=clock)
    exchange.incoming = incoming
    return exchange, state


async def ran(operation: str, body: Any, *script: Any, **changes: Any) -> Ran:
    exchange, state = ready(operation, body, *script, **changes)
    async with asyncio.timeout(5):
        await run(exchange, state)
    return Ran(client_of(exchange), exchange, state)


def answer(body: Any, status: int = 200) -> FakeUpstream:
    return FakeUpstream(body if isinstance(body, bytes) else json.dumps(body).encode(), status=status)


class FakeIncoming:
    """A form that has arrived: its fields, and a file of so many bytes."""

    def __init__(self, size: int = 80_000, head: bytes = b"ID3", **fields: str | list[str]) -> None:
        self.fields = {name: [value] if isinstance(value, str) else value for name, value in fields.items()}
        self.upload = Upload(Path("/spool/a.mp3"), "a.mp3", "audio/mpeg", size=size, head=head)
        self.received = 0

    async def receive(self) -> tuple[dict[str, list[str]], Upload]:
        self.received += 1
        return self.fields, self.upload

    def discard(self) -> None:
        raise AssertionError("who made it removes it")


# -- what upstreams answer, in OpenAI's form --------------------------------------------------------------------------


def vectors(count: int, tokens: int | None = 5, first: int = 0) -> FakeUpstream:
    """So many vectors; the numbers in them count on from `first`."""
    data = [{"object": "embedding", "index": i, "embedding": [first + i, 0.5]} for i in range(count)]
    usage = {} if tokens is None else {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
    return answer({"object": "list", "data": data, "model": "up", **usage})


def pictures(count: int = 1, **more: Any) -> FakeUpstream:
    return answer({"created": 7, "data": [{"b64_json": "AAAA"}] * count, **more})


def ranking(*indexes: int, **more: Any) -> FakeUpstream:
    results = [{"index": index, "relevance_score": 0.9 - place / 10} for place, index in enumerate(indexes)]
    return answer({"results": results, **more})


def transcript(text: str = "hello", **more: Any) -> FakeUpstream:
    return answer({"text": text, **more})


def sound(*pieces: bytes | float | Exception, content_type: str = "audio/mpeg") -> FakeUpstream:
    return FakeUpstream(*pieces, headers={"Content-Type": content_type})


CALLS: dict[str, dict[str, Any]] = {
    "embed": {"model": "vectors", "input": "hello"},
    "image": {"model": "pictures", "prompt": "a red kite"},
    "speak": {"model": "voices", "input": "Hello there", "voice": "alloy"},
    "rerank": {"model": "ranks", "query": "kites", "documents": ["red", "blue"]},
}
"""Operation → the smallest call of it."""


def good(operation: str) -> FakeUpstream:
    """An answer in order to the call of CALLS."""
    made = {
        "embed": lambda: vectors(1),
        "image": lambda: pictures(),
        "speak": lambda: sound(b"so", b"und"),
        "rerank": lambda: ranking(1, 0),
    }
    return made[operation]()
