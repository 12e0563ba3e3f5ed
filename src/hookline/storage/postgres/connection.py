"""How connections are made, how long anything on them may take, and what durability rests on."""

from typing import Any, Final

import asyncpg
from msgspec import Struct

from hookline.errors import HooklineError, Invalid, StartRefused, Unavailable

VERSION_MIN: Final = 15
"""The oldest release that is still maintained and that we test the schema's needs against."""

_SESSION: Final = {
    "application_name": "hookline",
    "jit": "off",  # compiling costs more than any statement of ours takes
    # Every statement of ours goes by an index and in its order, whatever the tables hold, analysed or not.
    # Left alone, the planner makes a plan for the values at hand each time (0.7 ms where all buckets are named), takes
    # each bucket for a descent of its own into a primary key and reads the whole table instead (a claim over 300,000
    # rows: 88 ms of PostgreSQL 18), sorts a whole lane to find its first row while the table is new (200 ms), and keeps
    # a plan that reads all pending rows for each row that it takes from when there were few (16,000 pending: 2 s).
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_sort": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_material": "off",
    # Pages cost nothing, for what is asked about is in memory; counted, a look at every row of a small table seems
    # cheaper than a few at the right ones, and the plan is kept when the table is not small any more.
    "random_page_cost": "0.001",
    "seq_page_cost": "0.001",
    "timezone": "UTC",
    # asyncpg asks the catalogue for array types on each new connection: seconds on a Citus node without this, which
    # any other PostgreSQL takes for a setting of an extension that it does not have.
    "citus.override_table_visibility": "off",
}

NO_DATABASE: Final = "3D000"
CONNECTION_ERRORS: Final = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""Raised by the driver itself where the server cannot be reached, is too slow, or went away."""

_UNAVAILABLE_CLASSES: Final = frozenset({"08", "25", "28", "3D", "40", "53", "55", "57", "58", "F0", "XX"})
"""SQLSTATE classes that speak of the server, not of a row: connection, read-only after a failover, credentials, rivals
again and again, resources, locks, shutdown, disk, configuration, corruption."""

_RIVALRY: Final = frozenset({"23505", "40001", "40P01"})
"""Unique violation, serialization failure, deadlock: a rival was faster, and a second look will see what it did."""

_ENDING: Final = frozenset({"57P01", "57P02", "57P03"})
"""The server is shut down, or has crashed, or is not up again yet."""

_NO_SUCH_CHARACTER: Final = "22021"


class Silent(Unavailable):
    """The server did not answer in time. Whoever asks next would wait as long."""


class Contended(Unavailable):
    """Rivals were faster, each time. Nothing is stored."""


class Patience(Struct, frozen=True):
    """How long the client waits, whatever the server says."""

    connect_seconds: float = 5
    statement_seconds: float = 10
    commit_seconds: float = 1.7
    """A commit may wait for a synchronous standby, and no setting of the server bounds that. So much may also take, in
    all, a publish, what is read for it, and the readiness probe: within two seconds a publisher is told that nothing is
    certain, and repeats."""
    search_seconds: float = 5
    """Between looks at all hosts, where there are several."""


async def dial(address: str, patience: Patience, seconds: float | None = None) -> Any:
    """Make one connection for verbs, to a server that accepts writes; else raise what the driver raises."""
    statement_ms = str(int(patience.statement_seconds * 1000))
    return await asyncpg.connect(
        address,
        timeout=patience.connect_seconds if seconds is None else seconds,
        # Later than the server's own limit: where it is this one that is met, nobody is there.
        command_timeout=patience.statement_seconds * 1.1,
        target_session_attrs="read-write",
        server_settings=_SESSION
        | {"statement_timeout": statement_ms, "idle_in_transaction_session_timeout": statement_ms},
    )


async def dial_at_leisure(address: str, seconds: float | None = None) -> Any:
    """Make one connection for what may take its time: a migration."""
    return await asyncpg.connect(
        address,
        timeout=Patience().connect_seconds if seconds is None else seconds,
        target_session_attrs="read-write",
        server_settings=_SESSION,
    )


async def dial_for_hints(address: str, seconds: float | None = None) -> Any:
    """Make one connection for notifications, which may be lost: sending one need not wait for the disk."""
    return await asyncpg.connect(
        address,
        timeout=Patience().connect_seconds if seconds is None else seconds,
        target_session_attrs="read-write",
        server_settings=_SESSION | {"synchronous_commit": "off"},
    )


async def verify(connection: Any) -> None:
    """Raise `StartRefused`, with what to do, where what this server acknowledges could be lost."""
    version: int = connection.get_server_version().major
    if version < VERSION_MIN:
        raise StartRefused(
            f"The database is PostgreSQL {version}; Hookline needs {VERSION_MIN} or newer. Upgrade the server."
        )
    commit, fsync = await connection.fetchrow("SELECT current_setting('synchronous_commit'), current_setting('fsync')")
    if commit not in {"on", "remote_apply"}:
        raise StartRefused(
            f"The database has synchronous_commit = {commit}: what it acknowledges could be lost. "
            "Set it to on, for the server or for this user (ALTER ROLE … SET synchronous_commit = on)."
        )
    if fsync != "on":
        raise StartRefused("The database has fsync = off: what it acknowledges could be lost. Set it to on.")


def is_rivalry(error: asyncpg.PostgresError) -> bool:
    """Tell whether running the same transaction again is the remedy."""
    return error.sqlstate in _RIVALRY


def casts_doubt(error: Exception) -> bool:
    """Tell whether a failure may be the server's, not the statement's: then nothing else of it can be relied upon."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in {"08", "25"} or error.sqlstate in _ENDING
    return isinstance(error, CONNECTION_ERRORS) and not isinstance(error, ValueError)


def translated(error: Exception) -> HooklineError | None:
    """Say in our words what went wrong below; None where it is a bug of ours."""
    if isinstance(error, asyncpg.PostgresError):
        return _translated_state(error.sqlstate or "")
    if isinstance(error, StartRefused):  # found on a connection made later than at the start
        return Unavailable(str(error))
    if isinstance(error, TimeoutError):
        return Silent("The database did not answer in time: the outcome is unknown.")
    # A value that does not fit its parameter is an InterfaceError too, and nobody's fault but ours.
    if isinstance(error, CONNECTION_ERRORS) and not isinstance(error, ValueError):
        return Unavailable("The database is not there, or the connection to it was lost: the outcome is unknown.")
    return None


def _translated_state(state: str) -> HooklineError | None:
    if state == _NO_SUCH_CHARACTER:
        return Invalid("Text must not contain the character U+0000: PostgreSQL cannot store it.")
    if state[:2] in _UNAVAILABLE_CLASSES:
        return Unavailable(f"The database did not confirm (SQLSTATE {state}).")
    return None


def is_storable(text: str) -> bool:
    """Tell whether a column of text can hold this; what it cannot hold is not there."""
    return "\0" not in text


def refused(error: Exception) -> StartRefused:
    """Say why there is no connection, without naming the address: it may hold a password."""
    if isinstance(error, asyncpg.PostgresError):
        reason = f"{error.sqlstate}: {error}" if error.sqlstate != NO_DATABASE else f"{error}; create it first"
    else:
        reason = str(error) or type(error).__name__
    return StartRefused(
        f"Cannot use the PostgreSQL database ({reason}). HOOKLINE_DATABASE_URL must name a server that accepts writes: "
        "postgresql://USER:PASSWORD@HOST:PORT/NAME."
    )
