"""`scaigrid explain` as Typer sees it: names, options, help. The work is done in explain.py.

It must import nothing heavy at the top: `scaigrid check` and `scaigrid version` load this file too.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

import typer

from tui.locate import DEFAULT_CONFIG, find
from tui.options import ConfigFile, Json, KeyOption, Url

Operation = Literal["chat", "embed", "image", "transcribe", "translate", "speak", "rerank"]

_WHO = "Who calls"
_WHAT = "What is asked for"


def _option(panel: str, option: str, metavar: str, text: str, **more: int) -> typer.models.OptionInfo:
    found: typer.models.OptionInfo = typer.Option(
        option,
        metavar=metavar,
        show_default=False,
        rich_help_panel=panel,
        help=text,
        min=more.get("min"),
    )
    return found


def explain(
    model: Annotated[
        str, typer.Option("--model", metavar="MODEL", show_default=False, help="The frontend model to ask for.")
    ],
    tenant: Annotated[str, _option(_WHO, "--tenant", "TENANT", "Whose call. Otherwise that of the key.")] = "",
    user: Annotated[
        str, _option(_WHO, "--user", "USER", "A name, or TENANT:USER. Otherwise anybody of the tenant.")
    ] = "",
    role: Annotated[
        list[str] | None, _option(_WHO, "--role", "ROLE", "As if the caller had it too. May be repeated.")
    ] = None,
    metadata: Annotated[
        list[str] | None, _option(_WHAT, "--metadata", "KEY=VALUE", "Of the request. May be repeated.")
    ] = None,
    needs: Annotated[
        list[str] | None, _option(_WHAT, "--needs", "FEATURES", "Such as `images,tools`: what the call needs.")
    ] = None,
    input_tokens: Annotated[
        int | None, _option(_WHAT, "--input-tokens", "N", "About how long the input is. Otherwise 1000.", min=0)
    ] = None,
    max_tokens: Annotated[
        int | None, _option(_WHAT, "--max-tokens", "N", "The caller's cap. Otherwise he leaves it open.", min=1)
    ] = None,
    choices: Annotated[int | None, _option(_WHAT, "--n", "N", "So many answers at once.", min=1)] = None,
    operation: Annotated[
        Operation | None,
        _option(
            _WHAT,
            "--operation",
            "CALL",
            "`chat`, `embed`, `image`, `transcribe`, `translate`, `speak` or `rerank`. Otherwise what the model is "
            "for.",
        ),
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", rich_help_panel=_WHAT, help="A streamed answer.")] = False,
    as_json: Json = False,
    url: Url = "",
    key: KeyOption = "",
    config_file: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """What would become of a call: its targets in order and why, limits, budgets, worst case. Nobody is called.

    ```
    scaigrid explain --model gpt --tenant acme
    scaigrid explain --model gpt --user acme:alice --needs images,tools --input-tokens 20000
    scaigrid explain --model gpt --metadata data=secret --json
    ```
    """
    from tui import explain as work

    query = {
        "model": model,
        "tenant": tenant,
        "user": user,
        "role": ",".join(role or ()),
        "needs": ",".join(needs or ()),
        "input_tokens": "" if input_tokens is None else str(input_tokens),
        "max_tokens": "" if max_tokens is None else str(max_tokens),
        "n": "" if choices is None else str(choices),
        "operation": operation or "",
        "stream": "true" if stream else "",
        **dict(_pair(text) for text in metadata or ()),
    }
    wanted = {name: value for name, value in query.items() if value or name.startswith("metadata.")}
    asyncio.run(work.explain(find(url, key, config_file), wanted, as_json=as_json))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{text!r} is no KEY=VALUE, like data=secret", param_hint="'--metadata'")
    return f"metadata.{name}", value
