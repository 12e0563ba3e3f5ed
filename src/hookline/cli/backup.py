"""`hookline backup`: a copy of the database while it is in use."""

from pathlib import Path
from typing import Annotated

import typer

from hookline.cli import options

EXAMPLE = options.example("hookline backup /backups/hookline-2026-11-24.db")


def backup(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="A new file; it appears once it is whole.")],
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """Copy the SQLite database to a file, beside a running server or without one, and check the copy.

    The copy is the database of one moment, complete with all that was acknowledged before. For PostgreSQL this says
    which of its own tools to use.
    """
    import sys

    from hookline import wiring
    from hookline.cli.administration import settings_of
    from hookline.cli.console import note, write_json
    from hookline.cli.failure import Failure
    from hookline.cli.target import database_file

    settings = settings_of(database)
    file = database_file(settings.database_url)
    if file is None:
        raise Failure(
            "PostgreSQL is backed up by its own tools, online and consistent.",
            "As a superuser, or a role with BYPASSRLS, as policies keep the rows of companies apart:\n"
            "  One database: pg_dump --format=custom --file=hookline.dump DATABASE"
            " (into an empty one: pg_restore --dbname=DATABASE hookline.dump)\n"
            "  The whole server, and any moment since, with its archived WAL: pg_basebackup --wal-method=stream"
            " --pgdata=DIRECTORY",
        )
    if not file.exists():
        raise Failure(f"there is no database at {file.absolute()}.", "Go to its directory, or say --database.")
    is_watched = sys.stderr.isatty()

    def progress(done: int, pages: int) -> None:
        if is_watched:
            sys.stderr.write(f"\r{100 * done // max(1, pages)} %")

    size = wiring.backup(settings, str(target), progress)
    if is_watched:
        sys.stderr.write("\r")
    if json:
        write_json({"file": str(target.absolute()), "bytes": size})
        return
    note(f"{target} is made and checked: {size:,} bytes, readable by you alone.")
    note("HOOKLINE_SECRET_KEY (in development FILE.key) is not in it. Keep both, apart: neither is of use alone.")
