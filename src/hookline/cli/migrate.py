"""`hookline migrate`: bring the database to this program's schema."""

from hookline.cli import options

EXAMPLE = options.example("hookline migrate --database sqlite:///hookline.db")


def migrate(database: options.Database = None, json: options.Json = False) -> None:
    """Bring the database to the schema of this version. `serve` does so by itself at start.

    An SQLite file that holds something is copied to FILE.before-N first.
    """
    import asyncio

    from hookline.cli.administration import settings_of
    from hookline.cli.console import note, write_json
    from hookline.wiring import migrate as migrate_database

    settings = settings_of(database)
    version = asyncio.run(migrate_database(settings))
    if json:
        write_json({"schema": version})
    else:
        note(f"The schema is version {version}.")
