"""`scaigrid switch` as Typer sees it: names, options, help. The work is done in switch.py.

It must import nothing heavy at the top: `scaigrid check` and `scaigrid version` load this file too.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from tui.locate import DEFAULT_CONFIG, find
from tui.options import ConfigFile, Json, KeyOption, Url

_TARGET = "PROVIDER:MODEL"


def _option(option: str, text: str) -> typer.models.OptionInfo:
    found: typer.models.OptionInfo = typer.Option(option, metavar=_TARGET, show_default=False, help=text)
    return found


def switch(
    model: Annotated[str, typer.Argument(metavar="MODEL", show_default=False, help="The frontend model.")],
    to: Annotated[str | None, _option("--to", "Turn this target on and all others off.")] = None,
    on: Annotated[str | None, _option("--on", "Turn this target on.")] = None,
    off: Annotated[str | None, _option("--off", "Turn this target off.")] = None,
    as_json: Json = False,
    url: Url = "",
    key: KeyOption = "",
    config_file: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Say which target serves a model. Without an option it lists the targets, on or off, and their health.

    ```
    scaigrid switch gpt
    scaigrid switch gpt --to anthropic:claude-sonnet-4-5
    scaigrid switch gpt --off openai:gpt-4.1
    ```

    It takes effect at once and stands in the YAML, comments kept. Calls under way finish on the targets they have.
    """
    from tui import switch as work

    asked = {name: target for name, target in (("to", to), ("on", on), ("off", off)) if target is not None}
    if len(asked) > 1:
        raise typer.BadParameter("give one of them", param_hint=" / ".join(f"'--{name}'" for name in asked))
    place = find(url, key, config_file)
    if asked:
        asyncio.run(work.switch(place, model, asked, as_json=as_json))
    else:
        asyncio.run(work.show(place, model, as_json=as_json))
