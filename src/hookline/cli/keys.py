"""`hookline keys`: the keys that seal secrets at rest."""

import typer

from hookline.cli import options

app = typer.Typer(
    help="The keys that seal secrets at rest.",
    epilog=options.example("hookline keys rotate --database sqlite:///hookline.db"),
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("rotate", epilog=options.example("hookline keys rotate --database sqlite:///hookline.db"))
def rotate(database: options.Database = None, json: options.Json = False) -> None:
    """Seal every secret again with the first key of HOOKLINE_SECRET_KEY, so that the others can be dropped.

    Start every server with NEW,OLD before this, and with NEW alone after it. It may be interrupted and repeated. On
    SQLite no server may run meanwhile; on PostgreSQL they may.
    """
    import asyncio
    import os
    import sys

    from msgspec import structs

    from hookline import wiring
    from hookline.cli.console import note, write_json
    from hookline.cli.failure import Failure
    from hookline.cli.target import database_file
    from hookline.config import from_environment

    settings = from_environment(
        {**os.environ, **({} if database is None else {"HOOKLINE_DATABASE_URL": database})},
        needs_secret_key=False,
    )
    if not (settings.secret_keys or settings.is_development):
        raise Failure(
            "HOOKLINE_SECRET_KEY is not set: it names the new key, and after a comma the one in use.",
            "Make one with `openssl rand -base64 32`, keep it, start every server with HOOKLINE_SECRET_KEY=NEW,OLD, and"
            " then: HOOKLINE_SECRET_KEY=NEW,OLD hookline keys rotate",
        )
    file = database_file(settings.database_url)
    if file is not None and not file.exists():
        raise Failure(f"there is no database at {file.absolute()}.", "Go to its directory, or say --database.")
    is_watched = sys.stderr.isatty()

    def progress(seen: int) -> None:
        if is_watched:
            sys.stderr.write(f"\r{seen:,} subscriptions seen")

    done = asyncio.run(wiring.reseal(settings, progress))
    if is_watched:
        sys.stderr.write("\n")
    if json:
        write_json(structs.asdict(done))
    else:
        note(f"Sealed again: {done.sealed}. Sealed with the first key before: {done.current}.")
    if done.closed:
        raise Failure(
            f"no key of HOOKLINE_SECRET_KEY opens {len(done.closed)} subscription(s): {_some(done.closed)}.",
            "Add the key that sealed them to the list and repeat this. Drop no key before.",
        )
    if done.damaged:
        raise Failure(
            f"{len(done.damaged)} subscription(s) are damaged and were left as they are: {_some(done.damaged)}.",
            "Restore their rows from a backup, or delete them, and repeat this. Drop no key before.",
        )
    if not json:
        note("Every secret is under the first key: the others may be dropped from HOOKLINE_SECRET_KEY.")


def _some(ids: tuple[int, ...]) -> str:
    return ", ".join(map(str, ids[:10])) + (" …" if len(ids) > 10 else "")
