"""The `scaigrid` command: what runs here (serve, check, version), and what talks to a running appliance (tui/).

Every failure ends here: one line on standard error, and 0 done, 1 refused or failed, 2 wrong usage, 130 Ctrl-C.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tui import commands
from tui.locate import ClientError

RUN_PANEL = "Run the gateway"

app = typer.Typer(
    name="scaigrid",
    help="The AI gateway: one endpoint for every model provider, with budgets that hold.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["--help", "-h"]},
)

ConfigFile = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The configuration.")]
Json = Annotated[bool, typer.Option("--json", metavar="", help="Print JSON.")]
DEFAULT_CONFIG = Path("scaigrid.yaml")


@app.command(rich_help_panel=RUN_PANEL)
def serve(config_file: ConfigFile = DEFAULT_CONFIG) -> None:
    """Run the gateway. SIGTERM or Ctrl-C drains it: calls in flight finish, then it stops.

    The configuration is read again when one of its files changes, at SIGHUP, and by `scaigrid reload`.

    ```
    scaigrid serve -c /etc/scaigrid.yaml
    ```
    """
    import config
    from appliance import server

    try:
        server.serve(config.load(config_file), config_file)
    except config.ConfigError as error:
        sys.stderr.writelines(f"{problem}\n" for problem in error.problems)
        raise typer.Exit(1) from None
    except server.CannotStart as error:
        sys.stderr.write(f"scaigrid: {error}\n")
        raise typer.Exit(1) from None


@app.command(rich_help_panel=RUN_PANEL)
def check(config_file: ConfigFile = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Validate the configuration without starting. Exit 0, or 1 with every problem as FILE:LINE:COLUMN.

    Problems are printed on standard error; with `--json`, as a list of objects on standard output.

    ```
    scaigrid check -c scaigrid.yaml && systemctl restart scaigrid
    ```
    """
    import config

    try:
        loaded = config.load(config_file)
    except config.ConfigError as error:
        if as_json:
            _print_json([dataclasses.asdict(problem) for problem in error.problems])
        else:
            sys.stderr.writelines(f"{problem}\n" for problem in error.problems)
        raise typer.Exit(1) from None
    sys.stderr.writelines(f"{warning}\n" for warning in loaded.warnings)
    if as_json:
        _print_json([])
        return
    document = loaded.document
    tenants = sum(len(partner.tenants) for partner in document.partners.values())
    sys.stdout.write(
        f"{config_file}: good ({len(document.providers)} providers, {len(document.models)} models, {tenants} tenants)\n"
    )


@app.command(rich_help_panel=RUN_PANEL)
def version(as_json: Json = False) -> None:
    """Print version, commit, Python and database."""
    from appliance.version import version as facts

    known = facts()
    if as_json:
        _print_json(known)
        return
    names = {"version": "ScaiGrid", "commit": "commit", "python": "Python", "database": "database"}
    sys.stdout.writelines(f"{name:<9} {known[fact]}\n" for fact, name in names.items())


commands.mount(app)


def main() -> None:
    _mend_streams()
    status = _run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains once more
        if not isinstance(error, BrokenPipeError):  # the reader has left, as in `scaigrid usage | head`: no error
            sys.stderr.write(f"scaigrid: standard output: {error.strerror}\n")
        status = status or 1
    sys.exit(status)


def _mend_streams() -> None:
    """A stream that was closed (`<&-`) becomes /dev/null; letters that a terminal cannot show become `?`."""
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115 - for the life of the process
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _run(arguments: list[str]) -> int:
    try:
        return int(app(args=arguments, prog_name="scaigrid", standalone_mode=False) or 0)
    except ClientError as error:
        line, status = str(error), 1
    except typer.TyperException as error:
        line, status = _usage_line(error), getattr(error, "exit_code", 2)
    except KeyboardInterrupt:
        return 130
    except typer.Abort:
        return 1
    except OSError as error:
        line, status = f"{error.filename or 'input or output'}: {error.strerror or error}", 1
    except Exception as fault:  # the last net: a person at a prompt gets a line, not a traceback
        if os.environ.get("SCAIGRID_TRACEBACK"):
            raise
        line, status = f"a fault of ours: {fault!r}; SCAIGRID_TRACEBACK=1 shows where, please report it", 1
    if line:
        sys.stderr.write("scaigrid: " + " ".join(line.split()) + "\n")
    return status


def _usage_line(error: typer.TyperException) -> str:
    """What was wrong with the command line, and where its help is. Empty when the help itself was printed."""
    message = getattr(error, "format_message", lambda: str(error))().replace("Value error, ", "").rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{message}; see `{context.command_path if context else 'scaigrid'} --help`" if message else ""


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
