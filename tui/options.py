"""Options that every command has which talks to a running appliance.

It must import nothing heavy at the top: `scaigrid check` and `scaigrid version` load this file too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tui.locate import ClientError, parse_url

PANEL = "Talk to a running gateway"
_CONNECTION = "Connection"


def _good_url(url: str) -> str:
    try:
        if url:
            parse_url(url, "URL")
    except ClientError as error:
        raise typer.BadParameter(str(error).removeprefix("URL: ")) from None
    return url


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
