"""Two partners with tenants in which every role has a user with a key: the world of the access tests."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appliance.permissions import ROLES
from support import faults
from support.appliance import Answer, Gateway, running
from support.faults import begins
from support.inference_urls import MODALITIES, models
from support.upstream import Call, Upstream


def key_of(tenant: str, user: str) -> str:
    return f"sgk_{tenant}-{user}-{'k' * 32}"


def _user(tenant: str, name: str, role: str, more: str = "") -> str:
    return f'        {name}: {{roles: [{role}], api_keys: [{{name: k, key: "{key_of(tenant, name)}"}}]{more}}}'


def _tenant(name: str, users: dict[str, str], settings: str = "") -> str:
    return f"      {name}:\n{settings}        users:\n" + "\n".join("  " + _user(name, *each) for each in users.items())


GLOBS = ["open", "acme-*", "flowing", "silent", "slow", *MODALITIES]
EVERYBODY = {role: role for role in ROLES}
YAML = f"""
providers:
  up: {{type: custom, base_url: "UPSTREAM/v1"}}
  demo: {{type: demo}}
models:
  open: {{price: free, route: [{{backend: "demo:x"}}]}}
  acme-own: {{price: free, route: [{{backend: "demo:x"}}]}}
  secret: {{price: free, route: [{{backend: "demo:x"}}]}}
  flowing: {{price: {{input: "1", output: "2"}}, route: [{{backend: "demo:x,pace=20ms,tokens=100000"}}]}}
  silent: {{price: {{input: "1", output: "2"}}, route: [{{backend: "up:x"}}]}}
  slow: {{price: {{input: "1", output: "2"}}, route: [{{backend: "demo:x,first=1500ms"}}]}}
{models("free", "demo:x")}
partners:
  north:
    tenants:
{_tenant("acme", EVERYBODY, "        models: " + json.dumps(GLOBS) + chr(10))}
          gone: {{status: suspended, api_keys: [{{name: k, key: "{key_of("acme", "gone")}"}}]}}
          late:
            api_keys:
              - {{name: old, key: "{key_of("acme", "late")}", expires_at: 2020-01-01}}
{_tenant("beta", EVERYBODY)}
{_tenant("frozen", {"tenant_user": "tenant_user", "super_admin": "super_admin"}, "        status: suspended" + chr(10))}
  south:
    tenants:
{_tenant("far", EVERYBODY)}
"""
TENANTS = {"acme": "north", "beta": "north", "frozen": "north", "far": "south", "default": "default"}


@contextlib.contextmanager
def running_tenancy(folder: Path) -> Iterator[Gateway]:
    """Model `silent` says two words and then nothing; `flowing` never stops; `slow` answers after 1.5 s."""
    with Upstream() as upstream:
        upstream.answer(_play)
        with running(YAML.replace("UPSTREAM", upstream.url), folder) as gateway:
            yield gateway


def _play(call: Call) -> Any:
    if call.path.endswith("/models"):
        return call.reply(200, {"object": "list", "data": [{"id": "x"}, {"id": "y"}]})
    return begins(faults.stalls)(call)


def chat(model: str = "open", **members: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}]} | members


def error_code(answer: Answer) -> str:
    """The code; in Anthropic's dialect, which has none, the type."""
    error = answer.json()["error"]
    return str(error["code"] if "code" in error else error["type"])
