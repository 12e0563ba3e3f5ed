"""Partitions by day of what happened: made ahead of time, dropped whole when all in them has had its time.

Nothing fails for lack of one: a row whose day has none lies in the table's partition `_rest`, and so do the few rows of
a dropped day that are still needed. Whoever waits for a lock here has all others queue behind, and gives up soon.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import asyncpg

from hookline.storage.postgres import buckets
from hookline.storage.postgres.database import Database, Transaction
from hookline.storage.rows import DAY_BITS, DAY_MS, DAYS_BEGIN_AT, first_id_of_day

AHEAD: Final = 7
"""Days that are made ahead: so long may every node be down, or a lock be busy, before rows lie in `_rest`. One day back
is made too, for a clock that is behind."""
CARRIED_MAX: Final = 10_000
"""Rows of a day that are carried over when it is dropped, with everybody waiting; with more of them it stays whole."""

IMPATIENT: Final = "SET LOCAL lock_timeout = 100; SET LOCAL statement_timeout = 200"
"""Milliseconds. What does not get its lock, or takes too long with it, is undone, and tried again later."""
LOOK_AGAIN_MS: Final = 3_600_000
_ONE_NODE: Final = 0x686F6F6B64617973
"""Of the nodes that see to the days at once, one does it. Any number would do: this one spells `hookdays`."""

KEYS: Final = {"attempts": "id", "ended_deliveries": "id", "recipients": "event_key", "events": "key"}
"""The tables that are split, by the column that says the day."""

_LOCK: Final = "SELECT pg_try_advisory_xact_lock($1)"
_PARTITIONS: Final = r"""
SELECT c.relname::text FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = $1::text::regclass AND c.relname ~ '_d\d{8}$' ORDER BY c.relname"""
_IN_REST: Final = """
SELECT EXISTS (SELECT FROM {table} WHERE bucket = any($1::smallint[]) AND {key} >= $2 AND {key} < $3)"""
_MAKE: Final = """
CREATE TABLE {name} (LIKE {table} INCLUDING ALL);
ALTER TABLE {name} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {name} FORCE ROW LEVEL SECURITY;
ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({after})"""

_RETENTION: Final = "SELECT max(retention_days) FROM companies WHERE deleted_at IS NULL"
_DETACH: Final = """
ALTER TABLE {table} DETACH PARTITION {name};
ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY"""
_CARRY: Final = "INSERT INTO {table} SELECT * FROM {name} WHERE {key} = any($1::bigint[])"
_ENDED_LATE: Final = """
SELECT id FROM ended_deliveries
WHERE bucket = any($1::smallint[]) AND id >= $2 AND id < $3 AND settled_at >= $4 LIMIT $5"""
_NEEDED: Final = """
SELECT DISTINCT event_key FROM (
  SELECT event_key FROM deliveries WHERE bucket = any($1::smallint[]) AND event_key >= $2 AND event_key < $3
  UNION ALL
  SELECT event_key FROM ended_deliveries WHERE bucket = any($1) AND event_key >= $2 AND event_key < $3
) AS d LIMIT $4"""
_IS_NEEDED: Final = """
EXISTS (SELECT FROM deliveries AS d WHERE d.bucket = any($1::smallint[]) AND d.event_key = {key})
  OR EXISTS (SELECT FROM ended_deliveries AS d WHERE d.bucket = any($1) AND d.event_key = {key})"""

_IDS: Final = f"""
SELECT e.key, CASE WHEN {_IS_NEEDED.format(key="e.key")} THEN NULL ELSE e.id END FROM events AS e
WHERE e.bucket = any($1) AND e.key >= $2 AND e.key < $3 ORDER BY e.key LIMIT $4"""
_FORGET_IDS: Final = "DELETE FROM event_keys WHERE bucket = any($1::smallint[]) AND id = any($2::text[])"

_OUTLIVED: Final = {
    "attempts": "n.id < $2 AND n.created_at < $3",
    "ended_deliveries": "n.id < $2 AND n.settled_at < $3",
    "recipients": f"n.event_key < $2 AND n.accepted_at < $3 AND NOT ({_IS_NEEDED.format(key='n.event_key')})",
    "events": f"n.key < $2 AND n.accepted_at < $3 AND NOT ({_IS_NEEDED.format(key='n.key')})",
}
_DELETE: Final = """
DELETE FROM {table} AS o WHERE o.bucket = any($1::smallint[]) AND o.{key} < $2 AND (o.{key}, o.bucket) IN (
  SELECT n.{key}, n.bucket FROM {table} AS n WHERE n.bucket = any($1) AND {outlived} LIMIT $4)
RETURNING {event_id}"""


class Day(NamedTuple):
    """One day of a table, and which ids are its own."""

    table: str
    name: str
    first: int
    after: int


def day_of(table: str, wall: int) -> Day:
    """Return the day of `table` that holds the ids of this instant."""
    date = datetime.fromtimestamp(wall / 1000, UTC)
    return Day(table, f"{table}_d{date:%Y%m%d}", first_id_of_day(wall), first_id_of_day(wall + DAY_MS))


class Days:
    """Sees to the partitions of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._prepared_until = 0
        self._forgotten_to = 0
        """The key of an event up to which the ids of days to be dropped are forgotten."""

    async def prepare(self) -> None:
        """Make the days to come, unless that was done within the hour; where something is busy, at the next call."""
        wall = (await self._database.moment()).wall
        if wall < self._prepared_until:
            return
        for table in KEYS:
            if not await self._prepare(table):
                return
        self._prepared_until = wall + LOOK_AGAIN_MS

    async def drop(self, retention_ms: int, limit: int) -> bool:
        """Do one step of forgetting what is older than the retention; True: there is more to do at once.

        A company that keeps its rows longer makes all stay so long. Ended deliveries count from their end. An event
        stays with its recipients as long as one of its deliveries does, and its id as long as the event.
        """
        before = await self._database.write(lambda transaction: _cutoff(transaction, retention_ms))
        for table in ("attempts", "ended_deliveries"):
            for day in await self._outlived(table, before):
                if await self._drop([day], before):
                    return True
        for day in await self._outlived("events", before):
            if await self._forget(day, limit):
                return True
            if await self._drop([day_of("recipients", _wall_of(day.first)), day], before):
                return True
        return await self._database.write(lambda transaction: _delete_from_rest(transaction, before, limit))

    async def _prepare(self, table: str) -> bool:
        return await self._database.write(lambda transaction: prepare(transaction, table))

    async def _drop(self, days: Sequence[Day], before: int) -> bool:
        return await self._database.write(lambda transaction: _drop(transaction, days, before))

    async def _forget(self, day: Day, limit: int) -> bool:
        return await self._database.write(lambda transaction: self._forget_some(transaction, day, limit))

    async def _outlived(self, table: str, before: int) -> Sequence[Day]:
        """Return the days of a table of which no id is younger."""
        names = [row[0] for row in await self._database.read(lambda connection: connection.fetch(_PARTITIONS, table))]
        days = [_named(table, name) for name in names]
        return [day for day in days if day.after <= first_id_of_day(before)]

    async def _forget_some(self, transaction: Transaction, day: Day, limit: int) -> bool:
        """Forget ids of events that no delivery needs, in the order of their keys; False: all of the day are done."""
        first = max(day.first, self._forgotten_to + 1)
        rows = await transaction.connection.fetch(_IDS, transaction.buckets, first, day.after, limit)
        if not rows:
            return False
        await _forget_ids(transaction.connection, [row[1] for row in rows if row[1] is not None])
        self._forgotten_to = rows[-1][0]
        return True


async def prepare(transaction: Transaction, table: str) -> bool:
    """Make the partitions of the coming days that a table lacks; False: somebody is at it, or a lock was busy."""
    connection = transaction.connection
    if not await connection.fetchval(_LOCK, _ONE_NODE):
        return False
    await connection.execute(IMPATIENT)
    there = {row[0] for row in await connection.fetch(_PARTITIONS, table)}
    for number in range(-1, AHEAD + 1):
        day = day_of(table, transaction.wall + number * DAY_MS)
        in_rest = _IN_REST.format(table=table, key=KEYS[table])
        # A day that has begun in `_rest` ends there.
        if day.name in there or await connection.fetchval(in_rest, buckets.EVERY, day.first, day.after):
            continue
        if not await _is_done(connection, _MAKE.format(**day._asdict())):
            return False
    return True


async def _cutoff(transaction: Transaction, retention_ms: int) -> int:
    days = await transaction.connection.fetchval(_RETENTION)
    return transaction.wall - max(retention_ms, (days or 0) * DAY_MS)


async def _drop(transaction: Transaction, days: Sequence[Day], before: int) -> bool:
    """Drop a day, of one table or of two that belong together, but for the few rows that are needed."""
    connection = transaction.connection
    if not await connection.fetchval(_LOCK, _ONE_NODE):
        return False
    await connection.execute(IMPATIENT)
    # From here on nobody adds a row to these days, so that what is found to be needed is all that is.
    if not await _is_done(connection, f"LOCK TABLE ONLY {', '.join([day.table for day in days])}"):
        return False
    first, after = days[0].first, days[0].after
    sql, limits = (_ENDED_LATE, (before,)) if days[0].table == "ended_deliveries" else (_NEEDED, ())
    needed = []
    if days[0].table != "attempts":
        rows = await connection.fetch(sql, transaction.buckets, first, after, *limits, CARRIED_MAX + 1)
        needed = [row[0] for row in rows]
    if len(needed) > CARRIED_MAX:
        return False
    for day in days:
        if not await _is_done(connection, _DETACH.format(**day._asdict())):
            return False
        if needed:
            await connection.execute(_CARRY.format(key=KEYS[day.table], **day._asdict()), needed)
        await connection.execute(f"DROP TABLE {day.name}")
    return True


async def _delete_from_rest(transaction: Transaction, before: int, limit: int) -> bool:
    """Delete what has had its time and lies in no partition of its day."""
    connection, is_full = transaction.connection, False
    for table, key in KEYS.items():
        names = [row[0] for row in await connection.fetch(_PARTITIONS, table)]
        oldest = min([_named(table, name).first for name in names], default=first_id_of_day(before))
        event_id = "id" if table == "events" else "NULL"
        sql = _DELETE.format(table=table, key=key, outlived=_OUTLIVED[table], event_id=event_id)
        id_before = min(oldest, first_id_of_day(before))
        gone = await connection.fetch(sql, transaction.buckets, id_before, before, limit)
        await _forget_ids(connection, [row[0] for row in gone if row[0] is not None])
        is_full |= len(gone) >= limit
    return is_full


async def _forget_ids(connection: Any, ids: Sequence[str]) -> None:
    if ids:
        await connection.execute(_FORGET_IDS, [buckets.of_text(event_id) for event_id in ids], ids)


async def _is_done(connection: Any, sql: str) -> bool:
    """Tell whether it could be done in time; if not, the transaction comes to nothing."""
    try:
        await connection.execute(sql)
    except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError, asyncpg.DeadlockDetectedError):
        return False
    return True


def _wall_of(first: int) -> int:
    """Return the beginning of the day of which this is the first id."""
    return DAYS_BEGIN_AT + (first >> DAY_BITS) * DAY_MS


def _named(table: str, name: str) -> Day:
    date = datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC)
    return day_of(table, int(date.timestamp() * 1000))
