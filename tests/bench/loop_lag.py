"""How long the event loop is held up while 1 MB prompts come in, measured inside the appliance.

`python tests/bench/loop_lag.py`, with the bench folder's mock upstream on port 9100: eight callers, each body shape on
both surfaces; prints the percentiles of the loop's lag in ms, counted only while calls are in flight.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import sys
import tempfile
import threading
from multiprocessing import Process
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import config
from appliance import server
from appliance.state import State

PORT = 8222
KEY = "sgk_key-of-the-loop-lag-0123456789abcdef"
CALLERS, CALLS_EACH = 8, 12
OFF = "{requests_per_minute: unlimited}"
YAML = f"""
version: 1
server: {{listen: "127.0.0.1:{PORT}"}}
providers: {{up: {{type: custom, base_url: "http://127.0.0.1:9100/v1"}}}}
models: {{m: {{price: {{input: "1", output: "2"}}, max_output_tokens: 50, route: [{{backend: "up:m"}}]}}}}
partners:
  p:
    rate_limits: {OFF}
    tenants:
      t:
        rate_limits: {OFF}
        user_rate_limits: {OFF}
        key_rate_limits: {OFF}
        budgets: [{{period: monthly, cost_limit: "100000"}}]
        users: {{u: {{api_keys: [{{name: k, key: {KEY}}}]}}}}
"""


def messages(shape: str) -> list[dict[str, Any]]:
    words = random.Random(1).choices(["alpha", "bravo", "charlie", "delta"], k=170_000)
    if shape == "one long text":
        return [{"role": "user", "content": " ".join(words)}]
    if shape == "4,000 messages":
        roles = ("user", "assistant")
        return [{"role": roles[i % 2], "content": " ".join(words[i * 38 : (i + 1) * 38])} for i in range(4_000)]
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "QUFB" * 62_000}}
    return [{"role": "user", "content": [{"type": "text", "text": "look"}, *[picture] * 4]}]


def load(shape: str, path: str) -> None:
    body = json.dumps({"model": "m", "max_tokens": 10, "messages": messages(shape)}).encode()

    def caller() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", PORT)
        for _ in range(CALLS_EACH):
            connection.request("POST", path, body, {"Authorization": f"Bearer {KEY}"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status

    threads = [threading.Thread(target=caller) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def serve(folder: str, shape: str, path: str) -> None:
    lags: list[float] = []

    async def watch(state: State) -> None:
        loop = asyncio.get_running_loop()
        while True:
            start = loop.time()
            await asyncio.sleep(0.001)
            if state.in_flight:
                lags.append((loop.time() - start - 0.001) * 1000)

    server._keep = watch  # the appliance's own housekeeping is not needed for so short a time
    file = Path(folder) / "scaigrid.yaml"
    file.write_text(YAML)
    try:
        server.serve(config.load(file), file)
    finally:
        lags.sort()
        shown = "  ".join(f"p{share:g} {lags[int(len(lags) * share / 100)]:.0f}" for share in (50, 99, 99.9))
        sys.stderr.write(f"{shape:15} {path:26} {shown}\n")


if __name__ == "__main__":
    for path in ("/v1/inference/chat", "/oai/v1/chat/completions"):
        for shape in ("4,000 messages", "one long text", "four pictures"):
            with tempfile.TemporaryDirectory() as folder:
                appliance = Process(target=serve, args=(folder, shape, path))
                appliance.start()
                threading.Event().wait(2.5)
                load(shape, path)
                appliance.terminate()
                appliance.join()
