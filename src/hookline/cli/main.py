"""The command line's one entry: which commands there are, and how each failure ends.

Nothing heavy is imported before a command runs, so that `hookline --help` and a typo answer at once.
"""

import sys
from typing import Annotated

import typer

from hookline import __version__
from hookline.cli import (
    backup,
    bench,
    company,
    deliveries,
    demo,
    distribute,
    doctor,
    events,
    keys,
    listen,
    migrate,
    publish,
    replay,
    serve,
    tail,
    token,
    top,
    verify,
)
from hookline.cli.failure import EXIT_REFUSED, Failure
from hookline.errors import HooklineError

app = typer.Typer(
    name="hookline",
    help="Sends webhooks: keeps each event on disk, delivers it signed, retries, and logs every attempt.",
    epilog="First time here? `hookline demo` shows it all; `hookline serve --dev` starts one to play with.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help is quick, and examples stay as typed
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hookline {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command("serve", epilog=serve.EXAMPLE)(serve.serve)
app.command("demo", epilog=demo.EXAMPLE)(demo.demo)
app.command("listen", epilog=listen.EXAMPLE)(listen.listen)
app.command("publish", epilog=publish.EXAMPLE)(publish.publish)
app.command("deliveries", epilog=deliveries.EXAMPLE)(deliveries.deliveries)
app.command("events", epilog=events.EXAMPLE)(events.events)
app.command("tail", epilog=tail.EXAMPLE)(tail.tail)
app.command("replay", epilog=replay.EXAMPLE)(replay.replay)
app.command("top", epilog=top.EXAMPLE)(top.top)
app.command("bench", epilog=bench.EXAMPLE)(bench.bench)
app.command("verify", epilog=verify.EXAMPLE)(verify.verify)
app.command("migrate", epilog=migrate.EXAMPLE)(migrate.migrate)
app.command("doctor", epilog=doctor.EXAMPLE)(doctor.doctor)
app.command("backup", epilog=backup.EXAMPLE)(backup.backup)
app.command("distribute", epilog=distribute.EXAMPLE)(distribute.distribute)
app.add_typer(company.app, name="company")
app.add_typer(token.app, name="token")
app.add_typer(keys.app, name="keys")


def main() -> None:
    """Run one command and exit: 0 done, 1 refused, 2 wrong usage, 3 no server reached, 130 interrupted."""
    try:
        app()
    except Failure as failure:
        _end(str(failure), failure.next_step, failure.exit_code)
    except HooklineError as error:
        _end(str(error), None, EXIT_REFUSED)


def _end(message: str, next_step: str | None, exit_code: int) -> None:
    sys.stderr.write(f"hookline: {message}\n")
    if next_step:
        sys.stderr.write(f"  {next_step}\n")
    sys.exit(exit_code)
