"""`hookline doctor`: what is wrong here, and what to do."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from hookline.cli import options

if TYPE_CHECKING:
    from hookline.cli.diagnosis import Finding
    from hookline.config import Settings

EXAMPLE = options.example("hookline doctor --callback https://hooks.acme.example.com/in")


def doctor(
    callback: Annotated[
        str | None, typer.Option(metavar="URL", help="Also judge this callback URL, and look its name up.")
    ] = None,
    dev: Annotated[bool, typer.Option("--dev", help="As for `serve --dev`.")] = False,
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """Look at settings, server, database, durability, key, clock and egress, and say what to do.

    Run it where the server runs, with the same variables. It changes nothing. Exit code 1 if there is an error.
    """
    import asyncio

    from hookline.cli import diagnosis
    from hookline.cli.console import console, write_json
    from hookline.cli.diagnosis import State

    said = {"HOOKLINE_DATABASE_URL": database, "HOOKLINE_MODE": "development" if dev else None}
    environment = {**os.environ, **{name: value for name, value in said.items() if value is not None}}
    settings, findings = diagnosis.of_settings(environment)
    if settings is not None:
        findings += asyncio.run(_examine(settings, callback))
    if json:
        write_json(
            [{"subject": f.subject, "state": f.state, "text": f.text, "nextStep": f.next_step} for f in findings]
        )
    else:
        screen = console()
        for finding in findings:
            screen.print(_shown(finding), soft_wrap=True)
    if any(finding.state is State.ERROR for finding in findings):
        raise typer.Exit(1)


async def _examine(settings: "Settings", callback: str | None) -> "list[Finding]":
    from hookline import machine, wiring
    from hookline.cli import diagnosis
    from hookline.cli.target import database_file
    from hookline.clock import SystemClock
    from hookline.errors import HooklineError

    file = database_file(settings.database_url)
    findings = _server(settings)
    inspection = None
    if file is not None and not file.exists():
        findings.append(
            diagnosis.error(
                "database",
                f"there is no database at {file.absolute()}.",
                "Go to its directory or set HOOKLINE_DATABASE_URL. For a new one: `hookline serve` makes it.",
            )
        )
    else:
        try:
            inspection = await wiring.inspect(settings)
            findings += diagnosis.of_database(settings, inspection)
        except HooklineError as refusal:
            findings.append(diagnosis.error("database", str(refusal)))
    findings += diagnosis.of_key(settings, inspection)
    findings += diagnosis.of_clock(inspection, SystemClock(), is_synchronised=machine.is_clock_synchronised())
    findings += diagnosis.of_egress(settings)
    if callback is not None:
        findings += await diagnosis.of_callback(settings, callback)
    return findings


def _server(settings: "Settings") -> "list[Finding]":
    """Ask the server that runs beside the database, if one does."""
    from hookline.cli import diagnosis
    from hookline.cli.client import Client
    from hookline.cli.failure import Failure
    from hookline.cli.target import local_server

    local = local_server(settings.database_url)
    if local is None:
        return []
    try:
        why_not = Client(local).why_not_ready()
    except Failure as failure:
        return [
            diagnosis.warning(
                "server",
                f"one left its note here and does not answer at {local.url} ({failure}).",
                "If it was killed, start it again: nothing that it acknowledged is lost.",
            )
        ]
    if why_not is not None:
        return [
            diagnosis.error(
                "server", f"{local.url} is not ready: {why_not}", "Its log says more; so do the findings here."
            )
        ]
    return [diagnosis.ok("server", f"{local.url} is ready.")]


def _shown(finding: "Finding") -> str:
    from rich.markup import escape

    colour, mark = {"ok": ("green", "✓"), "warning": ("yellow", "!"), "error": ("red", "✗")}[finding.state]
    line = f"[{colour}]{mark}[/] {finding.subject:11}{escape(finding.text)}"
    return line if finding.next_step is None else f"{line}\n             {escape(finding.next_step)}"
