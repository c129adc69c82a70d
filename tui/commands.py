"""The commands that talk to a running appliance, as Typer sees them: names, options, help. The work is done elsewhere.

It must import nothing heavy at the top: `scaigrid check` and `scaigrid version` load this file too.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Literal

import typer

from tui.locate import DEFAULT_CONFIG, ClientError, find, parse_url

PANEL = "Talk to a running gateway"
_CONNECTION = "Connection"
_FILTERS = "Which calls"


def _good_url(url: str) -> str:
    try:
        if url:
            parse_url(url, "URL")
    except ClientError as error:
        raise typer.BadParameter(str(error).removeprefix("URL: ")) from None
    return url


def _complete_models(ctx: typer.Context, incomplete: str) -> list[str]:
    from tui.completion import models

    return models(ctx.params.get("url") or "", ctx.params.get("key") or "", ctx.params.get("config_file"), incomplete)


Url = Annotated[
    str,
    typer.Option(
        "--url",
        metavar="URL",
        callback=_good_url,
        show_default=False,
        rich_help_panel=_CONNECTION,
        help="Where the gateway is. Otherwise SCAIGRID_URL, then `server.listen` of FILE.",
    ),
]
KeyOption = Annotated[
    str,
    typer.Option(
        "--key",
        metavar="KEY",
        show_default=False,
        rich_help_panel=_CONNECTION,
        help="The API key to use. Otherwise SCAIGRID_API_KEY, then admin.key in the data directory of FILE.",
    ),
]
ConfigFile = Annotated[
    Path,
    typer.Option("--config", "-c", metavar="FILE", rich_help_panel=_CONNECTION, help="The gateway's configuration."),
]
Json = Annotated[bool, typer.Option("--json", metavar="", help="Print JSON.")]
Period = Literal["hour", "day", "week", "month"]
Group = Literal["model", "user", "tenant", "backend", "key", "day"]

keys = typer.Typer(
    name="keys", help="API keys: create, list, revoke.", no_args_is_help=True, rich_markup_mode="markdown"
)


def mount(app: typer.Typer) -> None:
    app.command(rich_help_panel=PANEL)(chat)
    app.add_typer(keys, rich_help_panel=PANEL)
    app.command(rich_help_panel=PANEL)(usage)


def chat(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            show_default=False,
            autocompletion=_complete_models,
            help="Whom to talk to. Otherwise the first model that can answer.",
        ),
    ] = "",
    message: Annotated[
        str | None,
        typer.Option("--message", "-m", metavar="TEXT", help="Ask this once, then end. `-` reads standard input."),
    ] = None,
    system: Annotated[str, typer.Option("--system", metavar="TEXT", show_default=False, help="A system prompt.")] = "",
    as_json: Json = False,
    url: Url = "",
    key: KeyOption = "",
    config_file: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Talk to a model. Without `-m` it is a conversation; /help in it lists what it knows.

    ```
    scaigrid chat
    scaigrid chat claude -m "What is a gateway?"
    git diff | scaigrid chat gpt --system "Review this." -m -
    ```

    In a pipe it prints the bare answer; without `-m` each line read is one message. Ctrl-C stops an answer.
    """
    from tui import chat as chats
    from tui.conversation import converse

    if message == "-":
        message = chats.read_all()
    if message is not None and not message.strip():
        raise typer.BadParameter("there is nothing to ask: the message is empty", param_hint="'-m'")
    place = find(url, key, config_file)
    if message is None:
        converse(place, model, system, as_json=as_json)
    else:
        asyncio.run(chats.one_shot(place, model, message, system, as_json=as_json))


@keys.command("create")
def create_key(
    tenant: Annotated[str, typer.Option("--tenant", metavar="TENANT", help="The user's tenant.")],
    user: Annotated[str, typer.Option("--user", metavar="USER", help="Who calls with this key.")],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What people call the key.")] = "key",
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="WHEN", help="A date, a time with its zone, or from now: 90d, 12h, 2w."),
    ] = None,
    as_json: Json = False,
    url: Url = "",
    key: KeyOption = "",
    config_file: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Make a key for a user. Its secret is printed once; in a pipe nothing but the secret is.

    ```
    scaigrid keys create --tenant acme --user alice --name laptop --expires 90d
    ALICE_KEY=$(scaigrid keys create --tenant acme --user alice)
    ```
    """
    from datetime import UTC, datetime

    from tui import keys as work

    try:
        expires_at = work.expiry(expires, datetime.now(UTC)) if expires is not None else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--expires'") from None
    asyncio.run(work.create(find(url, key, config_file), f"{tenant}:{user}", name, expires_at, as_json=as_json))


@keys.command("list")
def list_keys(
    as_json: Json = False, url: Url = "", key: KeyOption = "", config_file: ConfigFile = DEFAULT_CONFIG
) -> None:
    """List the keys that the caller may see: an administrator those of his whole scope, revoked ones too.

    ```
    scaigrid keys list
    scaigrid keys list --json | jq -r '.[] | select(.expires_at == null) | .id'
    ```
    """
    from tui import keys as work

    asyncio.run(work.list_keys(find(url, key, config_file), as_json=as_json))


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `scaigrid keys list` shows it.")],
    as_json: Json = False,
    url: Url = "",
    key: KeyOption = "",
    config_file: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Revoke a key at once, also for answers that are running.

    ```
    scaigrid keys revoke apikey_4f3c2b1a09e8d7c6
    ```
    """
    from tui import keys as work

    asyncio.run(work.revoke(find(url, key, config_file), key_id, as_json=as_json))


def usage(
    view: Annotated[
        Literal["rows", "summary"] | None,
        typer.Argument(
            metavar="rows|summary", show_default=False, help="Each call, the newest first, or sums. Otherwise rows."
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
    model: Annotated[
        str, typer.Option("--model", metavar="MODEL", show_default=False, rich_help_panel=_FILTERS, help="Of a model.")
    ] = "",
    user: Annotated[
        str,
        typer.Option(
            "--user",
            metavar="USER",
            show_default=False,
            rich_help_panel=_FILTERS,
            help="Of a user: a name with --tenant, or TENANT:USER.",
        ),
    ] = "",
    tenant: Annotated[
        str,
        typer.Option("--tenant", metavar="TENANT", show_default=False, rich_help_panel=_FILTERS, help="Of a tenant."),
    ] = "",
    period: Annotated[
        Period | None,
        typer.Option(
            "--period",
            metavar="PERIOD",
            show_default=False,
            rich_help_panel=_FILTERS,
            help="Of the last `hour`, `day`, `week` (7 days) or `month` (30 days). Otherwise all.",
        ),
    ] = None,
    as_json: Json = False,
    url: Url = "",
    key: KeyOption = "",
    config_file: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """What was called, by whom, and what it cost.

    ```
    scaigrid usage --model claude --period day
    scaigrid usage summary --by tenant --period month
    scaigrid usage summary --by day --json
    ```
    """
    from tui import usage as work

    summed = view == "summary" or (view is None and by is not None)
    if by and not summed:
        raise typer.BadParameter("rows are not summed; leave it away, or write `usage summary`", param_hint="'--by'")
    if limit and summed:
        raise typer.BadParameter("a summary is not cut; leave it away", param_hint="'--limit'")
    wanted = {"model": model, "user_id": user, "tenant_id": tenant, "period": period}
    query = {name: value for name, value in wanted.items() if value}
    place = find(url, key, config_file)
    if summed:
        asyncio.run(work.summary(place, query, by or "model", as_json=as_json))
    else:
        asyncio.run(work.rows(place, query, limit, as_json=as_json))
