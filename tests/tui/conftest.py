"""One appliance for each file of tests, with models of the demo provider that are scripted by their names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.appliance import Gateway, running

YAML = """
providers:
  demo: {type: demo}
models:
  alpha: {price: {input: "1.00", output: "2.00"}, route: [{backend: "demo:demo"}]}
  cut: {price: free, route: [{backend: "demo:cut,fail=cut,tokens=20"}]}
  down: {price: free, route: {targets: [{backend: "demo:down,fail=503"}], retries: 0}}
  slow: {price: free, route: [{backend: "demo:slow,first=600ms,pace=100ms,tokens=200"}]}
  team/steady: {price: free, route: [{backend: "demo:demo"}]}
  think: {price: free, route: [{backend: "demo:think,first=300ms,reasoning=5,tokens=4"}]}
partners:
  reseller:
    tenants:
      acme:
        users:
          alice: {}
          bob: {roles: [tenant_viewer]}
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(YAML, tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway
