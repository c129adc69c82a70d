"""`scaigrid usage` as Typer sees it: names, options, help. The work is done in usage.py.

It must import nothing heavy at the top: `scaigrid check` and `scaigrid version` load this file too.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Literal

import typer

from tui.locate import DEFAULT_CONFIG, find
from tui.options import ConfigFile, Json, KeyOption, Url

View = Literal["rows", "summary", "export", "verify", "prune"]
Period = Literal["hour", "day", "week", "month"]
Group = Literal["model", "user", "tenant", "backend", "key", "day"]
Format = Literal["csv", "json", "ndjson"]

_FILTERS = "Which calls"
_EXPORT = "Export and prune"


def _filter(option: str, metavar: str, text: str) -> typer.models.OptionInfo:
    found: typer.models.OptionInfo = typer.Option(
        option, metavar=metavar, show_default=False, rich_help_panel=_FILTERS, help=text
    )
    return found


def usage(
    view: Annotated[
        View | None,
        typer.Argument(
            metavar="VIEW",
            show_default=False,
            help="`rows`: each call, the newest first. `summary`: sums. `export`: all calls as a file. `verify`: do "
            "all balances and sums agree with the rows? `prune`: delete old rows. Otherwise rows.",
        ),
    ] = None,
    by: Annotated[
        Group | None,
        typer.Option(
            "--by",
            metavar="WHAT",
            show_default=False,
            help="Sum by `model`, `user`, `tenant`, `backend`, `key` or `day`. Otherwise by model.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", metavar="N", min=1, show_default=False, help="Rows: 20 on a terminal, 100 otherwise."
        ),
    ] = None,
    model: Annotated[str, _filter("--model", "MODEL", "Of a model.")] = "",
    user: Annotated[str, _filter("--user", "USER", "Of a user: a name with --tenant, or TENANT:USER.")] = "",
    tenant: Annotated[str, _filter("--tenant", "TENANT", "Of a tenant.")] = "",
    period: Annotated[
        Period | None,
        _filter(
            "--period", "PERIOD", "Of the last `hour`, `day`, `week` (7 days) or `month` (30 days). Otherwise all."
        ),
    ] = None,
    start: Annotated[str, _filter("--start", "WHEN", "Made then or later: a date, or a time (UTC without zone).")] = "",
    end: Annotated[str, _filter("--end", "WHEN", "Made earlier than that.")] = "",
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            show_default=False,
            rich_help_panel=_EXPORT,
            help="Of the export: `csv`, `json` or `ndjson`. Otherwise csv.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            show_default=False,
            rich_help_panel=_EXPORT,
            help="Where the export goes. Otherwise standard output.",
        ),
    ] = None,
    before: Annotated[
        str,
        typer.Option(
            "--before",
            metavar="WHEN",
            show_default=False,
            rich_help_panel=_EXPORT,
            help="Prune: delete the rows of calls made before that, for ever. Sums stay.",
        ),
    ] = "",
    as_json: Json = False,
    url: Url = "",
    key: KeyOption = "",
    config_file: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """What was called, by whom, and what it cost.

    ```
    scaigrid usage --model claude --period day
    scaigrid usage summary --by tenant --period month
    scaigrid usage export --format csv --start 2026-11-01 -o november.csv
    scaigrid usage verify
    ```
    """
    from tui import usage as work

    chosen = view or ("summary" if by else "rows")
    wanted = {"model": model, "user_id": user, "tenant_id": tenant, "period": period, "start": start, "end": end}
    query = {name: value for name, value in wanted.items() if value}
    _refuse(by, "--by", chosen, "summary")
    _refuse(limit, "--limit", chosen, "rows")
    _refuse(form, "--format", chosen, "export")
    _refuse(output, "--output", chosen, "export")
    _refuse(before, "--before", chosen, "prune")
    if query and chosen in ("verify", "prune"):
        raise typer.BadParameter(f"`usage {chosen}` takes no filters; leave them away")
    if chosen == "prune" and not before:
        raise typer.BadParameter("say up to when, like 2026-01-01", param_hint="'--before'")
    place = find(url, key, config_file)
    if chosen == "rows":
        asyncio.run(work.rows(place, query, limit, as_json=as_json))
    elif chosen == "summary":
        asyncio.run(work.summary(place, query, by or "model", as_json=as_json))
    elif chosen == "export":
        asyncio.run(work.export(place, query, form or ("json" if as_json else "csv"), output))
    elif chosen == "verify":
        asyncio.run(work.verify(place, as_json=as_json))
    else:
        asyncio.run(work.prune(place, before, as_json=as_json))


def _refuse(value: object, option: str, chosen: str, meant: str) -> None:
    if value and chosen != meant:
        raise typer.BadParameter(f"that is for `usage {meant}`; leave it away", param_hint=f"'{option}'")
