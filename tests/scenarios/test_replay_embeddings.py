"""Every recorded embedding through the running gateway, on both surfaces: the same numbers, in both encodings."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from support.appliance import Gateway, running
from support.fixtures import PROVIDERS, needs_fixtures, recorded
from support.upstream import Call, Upstream

pytestmark = needs_fixtures

YAML = """
providers:
  openai: {{type: openai, base_url: "{url}/v1", api_key: sk-test-12345678}}
  mistral: {{type: mistral, base_url: "{url}/v1", api_key: ms-test-12345678}}
  google: {{type: google, base_url: "{url}", api_key: gg-test-12345678}}
models:
  openai-base64: {{modality: embedding, price: free, route: [{{backend: "openai:text-embedding-3-small"}}]}}
  openai-dimensions: {{modality: embedding, price: free, route: [{{backend: "openai:text-embedding-3-small"}}]}}
  openai-error-404: {{modality: embedding, price: free, route: [{{backend: "openai:nonexistent"}}]}}
  mistral: {{modality: embedding, price: free, route: [{{backend: "mistral:mistral-embed"}}]}}
  gemini-batch: {{modality: embedding, price: free, route: [{{backend: "google:gemini-embedding-001"}}]}}
"""
PATHS = {"native": "/v1/inference/embed", "compat": "/oai/v1/embeddings"}
TEXTS = {"openai-base64": 2, "openai-dimensions": 1, "mistral": 1, "gemini-batch": 2}
TOKENS = {"openai-base64": 2, "openai-dimensions": 4, "mistral": 7}
"""As the recordings tell; Gemini's tells none."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as made:
        yield made


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(YAML.format(url=upstream.url), tmp_path_factory.mktemp("replay")) as made:
        yield made


def answer_with(upstream: Upstream, name: str, status: int = 200) -> None:
    body = recorded(f"embeddings/{name}.response.json")

    async def script(call: Call) -> None:
        await call.reply(status, body)

    upstream.answer(script)


def numbers(embedding: Any) -> list[float]:
    """Of either encoding, as 32-bit floats."""
    if isinstance(embedding, str):
        data = base64.b64decode(embedding)
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    return list(struct.unpack(f"<{len(embedding)}f", struct.pack(f"<{len(embedding)}f", *embedding)))


def recorded_numbers(name: str) -> list[list[float]]:
    body = json.loads(recorded(f"embeddings/{name}.response.json"))
    listed = body.get("data") or body["embeddings"]
    return [numbers(entry.get("embedding") or entry["values"]) for entry in listed]


@pytest.mark.parametrize("encoding", ["float", "base64", None])
@pytest.mark.parametrize("surface", PATHS)
@pytest.mark.parametrize("name", TEXTS)
def test_the_recorded_numbers_arrive(
    gateway: Gateway, upstream: Upstream, name: str, surface: str, encoding: str | None
) -> None:
    answer_with(upstream, name)
    body: dict[str, Any] = {"model": name, "input": [f"text {n}" for n in range(TEXTS[name])]}
    body |= {"encoding_format": encoding} if encoding else {}
    body |= {"dimensions": 128} if name == "openai-dimensions" else {}
    answer = gateway.post(PATHS[surface], body)
    assert answer.status == 200, answer.body
    told = answer.json()["data"] if surface == "native" else answer.json()
    assert [entry["index"] for entry in told["data"]] == list(range(TEXTS[name]))
    assert {type(entry["embedding"]) for entry in told["data"]} == {str if encoding == "base64" else list}
    assert [numbers(entry["embedding"]) for entry in told["data"]] == recorded_numbers(name)
    row = gateway.usage(model=name)[0]
    shown = told["usage"]["input_tokens" if surface == "native" else "prompt_tokens"]
    assert row["tokens_in"] == shown == TOKENS.get(name, shown) > 0
    assert row["estimated"] is (name not in TOKENS)


@pytest.mark.parametrize("surface", PATHS)
def test_an_unknown_upstream_model_is_the_operator_s_fault(gateway: Gateway, upstream: Upstream, surface: str) -> None:
    answer_with(upstream, "openai-error-404", 404)
    answer = gateway.post(PATHS[surface], {"model": "openai-error-404", "input": "x"})
    assert answer.status == 503
    code = answer.json()["error"]["code"]
    assert code == ("MODEL_UNAVAILABLE" if surface == "native" else "model_unavailable")


def test_every_recording_is_here() -> None:
    found = {path.name.partition(".")[0] for path in (PROVIDERS / "embeddings").glob("*.response.json")}
    assert found == {*TEXTS, "openai-error-404"}
