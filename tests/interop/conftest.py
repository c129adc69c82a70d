"""A real inference server over a tiny random-weight model, and a gateway in front of it; only for `make interop`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from support.appliance import Gateway, running
from support.server_process import running_server

TOOLBOX = Path(__file__).resolve().parents[2] / ".toolbox"
MODELS = TOOLBOX / "interop"
MODEL = "tiny-chat"
START_SECONDS = 100.0

SCAIGRID_YAML = """
providers:
  local: {{type: custom, base_url: "{base_url}"}}
models:
  tiny: {{context_window: 4096, price: free, route: [{{backend: "local:{model}"}}]}}
"""


@pytest.fixture(scope="session")
def model_server() -> Iterator[str]:
    """The server's URL, without a path."""
    serve = TOOLBOX / "interop-venv" / "bin" / "transformers"
    if not (MODELS / MODEL / "complete").is_file():
        pytest.fail("there is no model to serve: run `sh tests/interop/prepare.sh`", pytrace=False)
    options = f"serve {MODEL} --device cpu --host 127.0.0.1 --port 0"
    env = {"PATH": os.defpath, "HF_HUB_OFFLINE": "1", "HF_HOME": str(MODELS / "cache"), "OMP_NUM_THREADS": "1"}
    with running_server([serve, *options.split()], env=env, cwd=MODELS, start_seconds=START_SECONDS) as url:
        yield url


@pytest.fixture(scope="session")
def gateway(model_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    yaml_text = SCAIGRID_YAML.format(base_url=f"{model_server}/v1", model=MODEL)
    with running(yaml_text, tmp_path_factory.mktemp("interop")) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def sdk(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{gateway.url}/oai/v1", api_key=gateway.admin_key, _strict_response_validation=True, max_retries=0
    ) as client:
        yield client
