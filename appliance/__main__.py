"""The `scaigrid` command: what runs here (serve, check, version), and what talks to a running appliance (tui/)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="scaigrid",
    help="The AI gateway: one endpoint for every model provider, with budgets that hold.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The configuration.")]
DEFAULT_CONFIG = Path("scaigrid.yaml")


@app.command()
def serve(config_file: ConfigFile = DEFAULT_CONFIG) -> None:
    """Run the gateway. SIGTERM or Ctrl-C drains it: calls in flight finish, then it stops."""
    import config
    from appliance import server

    try:
        server.serve(config.load(config_file))
    except config.ConfigError as error:
        _print_problems(error)
        raise typer.Exit(1) from None
    except server.CannotStart as error:
        sys.stderr.write(f"scaigrid: {error}\n")
        raise typer.Exit(1) from None


@app.command()
def check(config_file: ConfigFile = DEFAULT_CONFIG) -> None:
    """Validate the configuration without starting. Exit 0, or 1 with every problem as FILE:LINE:COLUMN."""
    import config

    try:
        loaded = config.load(config_file)
    except config.ConfigError as error:
        _print_problems(error)
        raise typer.Exit(1) from None
    for warning in loaded.warnings:
        sys.stderr.write(f"{warning}\n")
    document = loaded.document
    tenants = sum(len(partner.tenants) for partner in document.partners.values())
    sys.stdout.write(
        f"{config_file}: good ({len(document.providers)} providers, {len(document.models)} models, {tenants} tenants)\n"
    )


def _print_problems(error: Exception) -> None:
    problems = getattr(error, "problems", ())
    sys.stderr.writelines(f"{problem}\n" for problem in problems)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
