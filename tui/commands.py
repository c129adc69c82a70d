"""The commands that talk to a running appliance, as Typer sees them: names, options, help. The work is done elsewhere.

It must import nothing heavy at the top: `scaigrid check` and `scaigrid version` load this file too.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from tui.explain_command import explain
from tui.locate import DEFAULT_CONFIG, find
from tui.options import PANEL, ConfigFile, Json, KeyOption, Url
from tui.reload_command import reload
from tui.switch_command import switch
from tui.usage_command import usage

keys = typer.Typer(
    name="keys", help="API keys: create, list, revoke.", no_args_is_help=True, rich_markup_mode="markdown"
)


def mount(app: typer.Typer) -> None:
    app.command(rich_help_panel=PANEL)(chat)
    app.add_typer(keys, rich_help_panel=PANEL)
    app.command(rich_help_panel=PANEL)(usage)
    app.command(rich_help_panel=PANEL)(explain)
    app.command(rich_help_panel=PANEL)(switch)
    app.command(rich_help_panel=PANEL)(reload)


def _complete_models(ctx: typer.Context, incomplete: str) -> list[str]:
    from tui.completion import models

    return models(ctx.params.get("url") or "", ctx.params.get("key") or "", ctx.params.get("config_file"), incomplete)


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
