"""`scaigrid reload`: the running appliance reads its configuration again. Prints what changed, or what is wrong.

It must import nothing heavy at the top: `scaigrid check` and `scaigrid version` load this file too.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from pathlib import Path
from typing import Any

import typer

from tui.locate import DEFAULT_CONFIG, ClientError, Place, find
from tui.options import ConfigFile, Json, KeyOption, Url
from tui.output import moment, print_json, visible


def reload(as_json: Json = False, url: Url = "", key: KeyOption = "", config_file: ConfigFile = DEFAULT_CONFIG) -> None:
    """Let the gateway read its configuration again. Exit 0, or 1 with every problem as FILE:LINE:COLUMN.

    ```
    scaigrid reload
    scaigrid check && scaigrid reload --json | jq -r '.changes[]'
    ```

    A configuration with problems changes nothing: the one before serves on.
    """
    try:
        place = find(url, key, config_file)
    except ClientError:
        _tell_of_broken(config_file, as_json)
        raise
    raise typer.Exit(asyncio.run(_reload(place, as_json=as_json)))


def _tell_of_broken(config_file: Path, as_json: bool) -> None:
    """A file that cannot be used does not say where the gateway is either, but it is all that there is to tell."""
    import config

    try:
        config.load(config_file)
    except config.ConfigError as error:
        _print_problems([dataclasses.asdict(problem) for problem in error.problems], as_json)
        sys.stderr.write("the gateway was not asked; if it runs, what it has loaded serves on\n")
        raise typer.Exit(1) from None


async def _reload(place: Place, *, as_json: bool) -> int:
    from tui.client import Client

    async with Client(place) as client:
        try:
            done = await client.post("/v1/config/reload", {})
        except ClientError as error:
            if error.status != 422:
                raise
            state = await client.get("/v1/config")
            _print_problems(state["problems"], as_json)
            sys.stderr.write(f"refused; generation {state['generation']} serves on\n")
            return 1
    if as_json:
        print_json(done)
    else:
        _print_changes(done)
    return 0


def _print_problems(problems: list[dict[str, Any]], as_json: bool) -> None:
    """As `scaigrid check` does."""
    if as_json:
        print_json(problems)
        return
    for problem in problems:
        hint = f" ({problem['hint']})" if problem["hint"] else ""
        line = f"{problem['file']}:{problem['line']}:{problem['column']}: {problem['message']}{hint}"
        sys.stderr.write(visible(line) + "\n")


def _print_changes(done: dict[str, Any]) -> None:
    """Files are watched, so what was written a moment ago is usually in force already."""
    for change in done["changes"]:
        sys.stdout.write(visible(change) + "\n")
    since = "" if done["changed"] else f" already, since {moment(done['loaded_at'])} UTC ({done['changed_by']})"
    sys.stdout.write(visible(f"generation {done['generation']} serves{since}") + "\n")
    for key in done["restart_needed"]:
        sys.stderr.write(f"{visible(key)} takes effect at the next start; until then the old value holds\n")
