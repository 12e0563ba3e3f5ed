"""Look at a database file as a reader, beside a server or without one. Takes no lock and writes nothing."""

import shutil
import stat
from pathlib import Path

import apsw

from hookline.clock import Clock
from hookline.errors import StartRefused
from hookline.model import PayloadVersion
from hookline.storage.inspection import SUBSCRIPTIONS_MAX, Guarantee, Inspection
from hookline.storage.migrate import migrations
from hookline.storage.sqlite import schema, subscriptions, upkeep
from hookline.storage.sqlite.connection import connect_reader
from hookline.storage.sqlite.copying import damage
from hookline.storage.views import SubscriptionQuery

_NEWEST = "SELECT accepted_at FROM events ORDER BY key DESC LIMIT 1"


def inspect(path: str, clock: Clock) -> Inspection:
    """Read everything that can be told; raise `StartRefused` where the file cannot be opened."""
    connection = connect_reader(path)
    try:
        connection.execute("BEGIN")
        wanted = len(migrations("sqlite"))
        version = schema.version_of(connection)
        plain = Inspection(
            server=f"SQLite {apsw.sqlite_lib_version()}",
            schema=version,
            schema_wanted=wanted,
            guarantees=_guarantees(connection, path, is_used=version > 0),
            damage=tuple(damage(connection)),
            free_bytes=shutil.disk_usage(Path(path).absolute().parent).free,
        )
        return plain if version != wanted or plain.damage else _with_rows(plain, connection, clock)
    except apsw.Error as error:
        raise StartRefused(f"{path} cannot be read: {error}. It must be a SQLite file of Hookline.") from error
    finally:
        connection.close()


def _guarantees(connection: apsw.Connection, path: str, *, is_used: bool) -> tuple[Guarantee, ...]:
    mode = stat.S_IMODE(Path(path).stat().st_mode)
    access = "private" if mode & (stat.S_IRWXG | stat.S_IRWXO) == 0 else f"open to others (mode {mode:o}; chmod 600)"
    journal = str(connection.execute("PRAGMA journal_mode").get)
    return (
        *((Guarantee(name="journal_mode", found=journal, wanted="wal"),) if is_used else ()),
        Guarantee(name="file", found=access, wanted="private"),
    )


def _with_rows(plain: Inspection, connection: apsw.Connection, clock: Clock) -> Inspection:
    query = SubscriptionQuery(company_id=None, versions=tuple(PayloadVersion), limit=SUBSCRIPTIONS_MAX)
    found = subscriptions.page(connection, query)
    return Inspection(
        server=plain.server,
        schema=plain.schema,
        schema_wanted=plain.schema_wanted,
        guarantees=plain.guarantees,
        free_bytes=plain.free_bytes,
        newest_at=connection.execute(_NEWEST).get,
        backlog=upkeep.backlog(connection, clock.schedule_ms()),
        subscriptions=found.items,
        unreadable=found.unreadable,
    )
