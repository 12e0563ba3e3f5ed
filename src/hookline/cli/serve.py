"""`hookline serve`: run the service until it is told to stop."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from hookline.cli import options

if TYPE_CHECKING:
    from hookline.wiring import Started

EXAMPLE = options.example("hookline serve --dev")


def serve(
    dev: Annotated[
        bool, typer.Option("--dev", help="Development mode: http and loopback callbacks, keys made by itself.")
    ] = False,
    host: Annotated[
        str | None, typer.Option(metavar="HOST", help="Address to listen on. [HOOKLINE_HOST, 127.0.0.1]")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, metavar="PORT", help="Port; 0 takes a free one. [HOOKLINE_PORT, 8080]"),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="sqlite:///FILE or postgresql://… [HOOKLINE_DATABASE_URL, sqlite:///hookline.db]"
        ),
    ] = None,
    roles: Annotated[
        str | None, typer.Option(metavar="ROLES", help="api, engine or both with a comma. [HOOKLINE_ROLES, api,engine]")
    ] = None,
) -> None:
    """Serve the API and deliver events until SIGTERM or Ctrl-C.

    In brackets: the variable that an option overrules, and what holds without either.
    """
    from hookline import wiring
    from hookline.cli.console import note
    from hookline.config import from_environment, misspelt

    for name, meant in misspelt(os.environ):
        note(f"{name} is no setting and is ignored. Is {meant} meant?")
    said = {
        "HOOKLINE_MODE": "development" if dev else None,
        "HOOKLINE_HOST": host,
        "HOOKLINE_PORT": None if port is None else str(port),
        "HOOKLINE_DATABASE_URL": database,
        "HOOKLINE_ROLES": roles,
    }
    settings = from_environment({**os.environ, **{name: value for name, value in said.items() if value is not None}})
    raise typer.Exit(wiring.serve(settings, _announce))


def _announce(started: "Started") -> None:
    """Say that requests are accepted; to a developer also what to do with that."""
    from hookline.cli.first_steps import RECEIVER_PORT, first_steps, free_port, program_name

    lines = [f"hookline ready on {started.url}"]
    if started.operator_token is not None:
        lines += [
            "",
            "Development mode: http and loopback callbacks are allowed. Not for the internet.",
            f"Operator token: {started.operator_token}",
            *([f"Dashboard, signed in, once: {started.sign_in_link}"] if started.sign_in_link else []),
            f"Database: {started.database}",
            "",
            first_steps(started.url, started.operator_token, program_name(), free_port(RECEIVER_PORT)),
        ]
    print("\n".join(lines), flush=True)
