"""Look at a PostgreSQL database beside the nodes that use it: settings, clock, schema. Writes nothing."""

from typing import Any

from hookline.storage.inspection import Guarantee, Inspection
from hookline.storage.migrate import migrations
from hookline.storage.postgres import schema
from hookline.storage.postgres.connection import VERSION_MIN
from hookline.storage.postgres.database import connect

_SETTINGS = ("fsync", "full_page_writes", "synchronous_commit")
_WANTED = {"synchronous_commit": "on or remote_apply"}
_CLOCK = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"


async def inspect(dsn: str) -> Inspection:
    """Read everything that can be told of the server; raise `StartRefused` where none accepts the connection."""
    connection = await connect(dsn)
    try:
        return Inspection(
            server=f"PostgreSQL {connection.get_server_version().major}",
            schema=await schema.version_of(connection),
            schema_wanted=len(migrations("postgres")),
            guarantees=(*[await _guarantee(connection, name) for name in _SETTINGS], _version(connection)),
            wall_ms=await connection.fetchval(_CLOCK),
        )
    finally:
        await connection.close()


async def _guarantee(connection: Any, name: str) -> Guarantee:
    found: str = await connection.fetchval("SELECT current_setting($1)", name)
    return Guarantee(name=name, found=found, wanted=_WANTED.get(name, "on"))


def _version(connection: Any) -> Guarantee:
    major: int = connection.get_server_version().major
    wanted = str(major) if major >= VERSION_MIN else f"{VERSION_MIN} and newer"
    return Guarantee(name="version", found=str(major), wanted=wanted)
