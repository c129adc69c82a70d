"""One aimock, one gateway before it and one SDK client for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from support.aimock import Aimock, running_aimock
from support.aimock_gateway import aimock_yaml
from support.appliance import Gateway, running


@pytest.fixture(scope="package")
def upstream() -> Iterator[Aimock]:
    with running_aimock() as aimock:
        yield aimock


@pytest.fixture(scope="package")
def gateway(upstream: Aimock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(aimock_yaml(upstream), tmp_path_factory.mktemp("aimock")) as gateway:
        yield gateway


@pytest.fixture(scope="package")
def sdk(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{gateway.url}/oai/v1", api_key=gateway.admin_key, _strict_response_validation=True, max_retries=0
    ) as client:
        yield client
