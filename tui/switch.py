"""`scaigrid switch`: which targets of a model are on, and what a switch changed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tui.client import Client, segment
from tui.locate import Place
from tui.output import Column, print_json, print_table, visible

COLUMNS = (Column("target", keep=True), Column("switch"), Column("health"), Column("running", "right"))


async def show(place: Place, model: str, *, as_json: bool) -> None:
    async with Client(place) as client:
        found = await client.get(_path(model))
    if as_json:
        print_json(found)
        return
    targets = found["targets"]
    print_table(COLUMNS, [_row(target) for target in targets], [not target["enabled"] for target in targets])
    _warn(found)


async def switch(place: Place, model: str, asked: Mapping[str, str], *, as_json: bool) -> None:
    async with Client(place) as client:
        done = await client.post(_path(model), asked)
    if as_json:
        print_json(done)
        return
    for line in report(done):
        sys.stdout.write(visible(line) + "\n")
    _warn(done)


def report(done: Mapping[str, Any]) -> list[str]:
    """What was, what is, who else is concerned."""
    before, after = _listed(done["before"]), _listed(done["after"])
    if before == after:
        return [f"{done['model']}: {after} already; generation {done['generation']} serves on"]
    lines = [f"{done['model']}: {before} → {after}"]
    if done["also"]:
        lines.append(f"the policy {done['policy']} also routes {', '.join(done['also'])}")
    return [*lines, f"generation {done['generation']} serves; calls under way finish on the targets that they have"]


def _row(target: Mapping[str, Any]) -> tuple[str, ...]:
    health = target["health_status"] if target["configured"] else "not configured"
    return target["backend"], "on" if target["enabled"] else "off", health, str(target["in_flight"])


def _warn(found: Mapping[str, Any]) -> None:
    """What callers would notice."""
    if found["status"] == "disabled":
        _aside(f"the model {found['model']} is disabled: whatever is on, callers get MODEL_NOT_FOUND")
    elif not any(target["enabled"] and target["configured"] for target in found["targets"]):
        _aside(f"no target of {found['model']} can serve: callers get MODEL_UNAVAILABLE")


def _aside(text: str) -> None:
    sys.stderr.write(visible(text) + "\n")


def _listed(backends: Sequence[str]) -> str:
    return ", ".join(backends) or "nothing"


def _path(model: str) -> str:
    return f"/v1/models/{segment(model)}/switch"
