"""What a write is refused with: the reach of the caller, the server's own no, another generation, the file itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import config
from appliance.api.accept import Call
from appliance.api.config_writes import edit_refused, has_platform_reach, refuse_unless_allowed, write
from appliance.errors import GatewayError
from appliance.reload import Outcome
from config.problems import Place
from support.build import load_yaml, make_principal

LOADED = load_yaml("providers: {demo: {type: demo}}\n")
LOCKED = load_yaml("providers: {demo: {type: demo}}\nserver: {config_writable: false}\n")
CHANGE = config.Change(("providers", "demo", "timeouts"), {"idle": "3s"})


class FakeConfiguration:
    """Generation 7, last changed by eve; `edit` asks for the changes, then does what the test says."""

    generation = 7
    changes = ("model m added",)
    changed_by = "acme:eve"

    def __init__(self, loaded: config.Loaded = LOADED, fault: Exception | None = None, changed: bool = True) -> None:
        self.loaded, self.fault, self.changed = loaded, fault, changed
        self.edited: list[tuple[list[config.Change], str]] = []

    async def edit(self, make: Callable[[config.Loaded], Iterable[config.Change]], by: str) -> Outcome:
        changes = list(await asyncio.to_thread(make, self.loaded))
        if self.fault:
            raise self.fault
        self.edited.append((changes, by))
        return Outcome(8 if self.changed else 7, self.changed, ["provider demo changed: timeouts"], [])


def call_of(configuration: FakeConfiguration, *roles: str, **headers: str) -> Call:
    lines: list[dict[str, Any]] = []
    appliance = SimpleNamespace(
        configuration=configuration, holder=SimpleNamespace(current=SimpleNamespace(grid="the new grid"))
    )
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return cast(
        Call,
        SimpleNamespace(
            appliance=appliance,
            principal=make_principal(*(roles or ("super_admin",))),
            grid="the old grid",
            request_id="req_12345678",
            sanic=SimpleNamespace(headers=names, ip="192.0.2.1", method="PUT", path="/v1/providers/demo"),
            state=SimpleNamespace(log=SimpleNamespace(write=lines.append, lines=lines)),
        ),
    )


def served(call: Call) -> Any:
    return call.grid


async def refusal(configuration: FakeConfiguration, **headers: str) -> GatewayError:
    call = call_of(configuration, **headers)
    with pytest.raises(GatewayError) as caught:
        await write(call, lambda loaded: [CHANGE])
    assert configuration.edited == []
    assert served(call) == "the old grid"
    assert cast(Any, call.state.log).lines == [], "nothing happened, and nothing is told to have happened"
    return caught.value


async def test_a_write_is_made_in_the_callers_name_and_logged_without_values() -> None:
    configuration = FakeConfiguration()
    call = call_of(configuration)
    done = await write(call, lambda loaded: [CHANGE])
    assert done == {"generation": 8, "changes": ["provider demo changed: timeouts"]}
    assert configuration.edited == [([CHANGE], "acme:alice")]
    assert served(call) == "the new grid", "the answer is of what serves now"
    (line,) = cast(Any, call.state.log).lines
    assert (line["event"], line["user_id"], line["entries"]) == (
        "config_changed",
        "acme:alice",
        ["providers.demo.timeouts"],
    )
    assert "3s" not in str(line)


async def test_a_write_that_changes_nothing_leaves_no_line() -> None:
    call = call_of(FakeConfiguration(changed=False))
    assert (await write(call, lambda loaded: []))["generation"] == 7
    assert cast(Any, call.state.log).lines == []


@pytest.mark.parametrize("header", ["7", '"7"', " 7 ", "*"])
async def test_the_generation_that_serves_may_be_named(header: str) -> None:
    assert await write(call_of(FakeConfiguration(), if_match=header), lambda loaded: [])


async def test_another_generation_is_a_conflict_that_tells_of_the_last_change() -> None:
    error = await refusal(FakeConfiguration(), if_match="6")
    assert error.code == "CONFIG_CONFLICT"
    assert "generation 7 serves, not 6" in error.message
    assert "acme:eve: model m added" in str(error.details)


@pytest.mark.parametrize("header", ["", "seven", "-7", "7,8", 'W/"7"', "9" * 30])
async def test_what_is_no_generation_is_refused(header: str) -> None:
    assert (await refusal(FakeConfiguration(), if_match=header)).code == "VALIDATION_ERROR"


async def test_each_refusal_of_the_file_has_its_code() -> None:
    problem = config.Problem("f.yaml", 3, 5, "this is wrong", "do better")
    place = Place("f.yaml", 3, 5)
    shown = {"file": "f.yaml", "line": 3, "column": 5, "message": "this is wrong", "hint": "do better"}
    refused = await refusal(FakeConfiguration(fault=config.ConfigError([problem])))
    assert (refused.code, refused.details) == ("VALIDATION_ERROR", [shown])
    edit = await refusal(FakeConfiguration(fault=config.EditRefused("this is wrong", "do better", place)))
    assert (edit.code, edit.details) == ("EDIT_REFUSED", [shown])
    assert edit_refused(config.EditRefused("the disk is full")).details is None


async def test_a_conflict_shows_what_somebody_else_wrote(tmp_path: Path) -> None:
    path = tmp_path / "scaigrid.yaml"
    path.write_text("version: 1\nproviders: {demo: {type: demo}}\n")
    loaded = config.load(path, {})
    path.write_text("version: 1\nproviders: {other: {type: demo}}\n")
    error = await refusal(FakeConfiguration(loaded, config.EditConflict("changed by somebody else")))
    assert error.code == "CONFIG_CONFLICT"
    (told,) = error.details or []
    assert told["file"] == str(path)
    assert "+providers: {other: {type: demo}}" in str(told["diff"])


@pytest.mark.parametrize(
    "role", ["tenant_viewer", "tenant_user", "tenant_admin", "partner_viewer", "partner_admin", "super_admin"]
)
def test_only_a_super_admin_reaches_what_all_tenants_share(role: str) -> None:
    call = call_of(FakeConfiguration(), role)
    assert has_platform_reach(call.principal) is (role == "super_admin")
    if role == "super_admin":
        refuse_unless_allowed(call)
    else:
        with pytest.raises(GatewayError, match="super_admin") as caught:
            refuse_unless_allowed(call)
        assert caught.value.code == "AUTHZ_PERMISSION_DENIED"


def test_a_server_may_say_no_to_all() -> None:
    with pytest.raises(GatewayError, match=r"server\.config_writable") as caught:
        refuse_unless_allowed(call_of(FakeConfiguration(LOCKED)))
    assert caught.value.code == "CONFIG_NOT_WRITABLE"
