"""`hookline distribute`: what a Citus coordinator needs to know of the tables."""

from typing import Annotated

import typer

from hookline.cli import options

EXAMPLE = options.example("hookline distribute > distribute.sql")


def distribute(
    database: options.Database = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Run what has not been run yet, on the coordinator. No server may run.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Print the statements that spread the tables over the nodes of a Citus cluster, once `migrate` has made them.

    Only for an installation that has outgrown one PostgreSQL: see docs/scaling.md.
    """
    import asyncio

    from hookline.cli.administration import settings_of
    from hookline.cli.console import note, write_json
    from hookline.wiring import distribute as distribute_database
    from hookline.wiring import distribution

    if not apply:
        statements = distribution()
        if json:
            write_json({"statements": statements})
        else:
            typer.echo("\n".join(statements))
        return
    tables = asyncio.run(distribute_database(settings_of(database)))
    if json:
        write_json({"distributed": tables})
    else:
        note(f"Distributed {len(tables)} tables." if tables else "All tables are distributed already.")
