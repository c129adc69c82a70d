"""SIGTERM while calls of every kind are under way: they end well, new ones are refused in their dialect."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.appliance import Answer, Gateway, running
from support.inference_urls import NEW, URLS, models
from support.refusals import assert_refused
from support.upstream import Call, Upstream, completion

ANSWERS: dict[str, Any] = {
    "/v1/chat/completions": completion(),
    "/v1/embeddings": {"object": "list", "model": "x", "data": [{"index": 0, "embedding": [0.5]}]},
    "/v1/images/generations": {"created": 1, "data": [{"b64_json": "aGVsbG8="}]},
    "/v1/audio/transcriptions": {"text": "hello"},
    "/v1/audio/translations": {"text": "hello"},
    "/v1/rerank": {"results": [{"index": 0, "relevance_score": 0.5}, {"index": 1, "relevance_score": 0.25}]},
}  # fmt: skip
CALLED = [name for name, url in URLS.items() if url.operation != "count"]


class Held:
    """An upstream that answers when it is let: all calls are under way when the signal comes."""

    def __init__(self) -> None:
        self.open = threading.Event()

    async def __call__(self, call: Call) -> None:
        while not self.open.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        if call.path == "/v1/audio/speech":
            await call.reply(200, b"sound" * 1000, {"Content-Type": "audio/mpeg"})
        else:
            await call.reply(200, ANSWERS[call.path])


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def gateway(held: Held, tmp_path: Path) -> Iterator[Gateway]:
    with Upstream() as upstream:
        upstream.answer(held)
        yaml_text = f"""
server:
  drain_timeout: 20s
providers:
  up: {{type: custom, base_url: "{upstream.url}/v1"}}
models:
{models("free", "up:x")}
"""
        with running(yaml_text, tmp_path) as gateway:
            yield gateway


def eventually(condition: Callable[[], bool], seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_calls_of_every_kind_finish_and_new_ones_are_refused(gateway: Gateway, held: Held) -> None:
    found: dict[str, Answer] = {}

    def ask(name: str) -> None:
        found[name] = URLS[name].post(gateway, URLS[name].modality, request_id=f"drained-{name}")

    threads = [threading.Thread(target=ask, args=(name,)) for name in CALLED]
    for thread in threads:
        thread.start()
    assert eventually(lambda: gateway.in_flight() == len(CALLED))
    gateway.process.send_signal(signal.SIGTERM)
    assert eventually(lambda: gateway.get("/health/ready").status == 503)

    for url in NEW.values():
        refused = url.post(gateway, url.modality)
        assert_refused(refused, url.surface, 503, "SHUTTING_DOWN", "shutting down")
        assert int(refused.headers["Retry-After"]) >= 1

    held.open.set()
    for thread in threads:
        thread.join()
    assert {name: answer.status for name, answer in found.items()} == dict.fromkeys(CALLED, 200)
    assert found["synthesize"].body == found["oai-speech"].body == b"sound" * 1000
    assert json.loads(found["anthropic-messages"].body)["stop_reason"] == "end_turn"
    assert gateway.process.wait(10) == 0
    assert "traceback" not in gateway.output().lower()
    assert list(gateway.data_dir.rglob("upload-*")) == []

    gateway.start()
    rows = {row["request_id"]: row["status"] for row in gateway.usage()}
    assert rows == {f"drained-{name}": "completed" for name in CALLED}
    kept = found["oai-responses"].json()["id"]
    assert gateway.get(f"/oai/v1/responses/{kept}").json()["id"] == kept, "an answer outlives its process"
