"""What days cannot do for retention: end what was held too long, and forget a company's rows before their day goes.

A day is dropped when the company that keeps its rows longest has no use for it any more. Those of companies that keep
theirs for a shorter time are looked for on a walk, some at a step, which goes over the same days again and again.
"""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from hookline import circuit, lifecycle
from hookline.lifecycle import Move, Reason
from hookline.storage.auditing import KEPT_MS
from hookline.storage.postgres import buckets, notices, pruning
from hookline.storage.postgres.database import Database, Transaction
from hookline.storage.postgres.notices import Note
from hookline.storage.postgres.settling import ENDED_COLUMNS
from hookline.storage.rows import DAY_BITS, DAY_MS, DAYS_BEGIN_AT, first_id_of_day

_ONE_NODE: Final = 0x686F6F6B77616C6B
"""Of the nodes that walk at once, one does it; any number would do: this one spells `hookwalk`."""
_LOCK: Final = "SELECT pg_try_advisory_xact_lock($1)"

_CUTOFF: Final = f"($2::bigint - coalesce(c.retention_days::bigint * {DAY_MS}, $3::bigint))"
"""The instant before which a company's rows have had their time; $2 is now, $3 the installation's span."""
_SPANS: Final = "SELECT min(retention_days), max(retention_days) FROM companies WHERE deleted_at IS NULL"

_EXPIRE: Final = f"""
WITH held AS MATERIALIZED (
  SELECT d.id, d.bucket
  FROM subscriptions AS s JOIN companies AS c ON c.id = s.company_id
    JOIN deliveries AS d ON d.bucket = s.bucket AND d.subscription_id = s.id
  WHERE s.bucket = any($1::smallint[]) AND d.bucket = any($1) AND s.inactive_at < {_CUTOFF} AND s.deleted_at IS NULL
    AND d.state = 'pending' AND d.id < ({_CUTOFF} - {DAYS_BEGIN_AT}) / {DAY_MS} << {DAY_BITS}
  LIMIT $4 FOR NO KEY UPDATE OF d SKIP LOCKED
), expired AS (
  DELETE FROM deliveries AS d USING held
  WHERE d.bucket = any($1) AND d.id = held.id AND d.bucket = held.bucket
  RETURNING d.id, d.event_key, $2 AS settled_at, d.subscription_id, d.company_id, d.attempt, d.failures, d.data_bytes,
    $5::text AS state, d.payload_version, d.type_name, d.source, $6::text AS reason, d.event_bucket, d.bucket
), moved AS (
  INSERT INTO ended_deliveries ({ENDED_COLUMNS}) SELECT {ENDED_COLUMNS} FROM expired
)
SELECT id, subscription_id, company_id, event_key, event_bucket, bucket FROM expired"""
"""Since when a delivery is held is the later of its acceptance, whose day its id tells, and the deactivation."""

_FORGET: Final = """
WITH seen AS MATERIALIZED (
  SELECT o.id, o.bucket, o.company_id, o.{ended_at} AS ended_at FROM {table} AS o
  WHERE o.bucket = any($1::smallint[]) AND o.id > $4 AND o.id < $5 ORDER BY o.id LIMIT $6
), gone AS (
  DELETE FROM {table} AS n USING seen JOIN companies AS c ON c.id = seen.company_id
  WHERE n.bucket = any($1) AND n.id = seen.id AND n.bucket = seen.bucket AND seen.ended_at < {cutoff}
)
SELECT max(id) FROM seen"""
_FORGET_ATTEMPTS: Final = _FORGET.format(table="attempts", ended_at="created_at", cutoff=_CUTOFF)
_FORGET_ENDED: Final = _FORGET.format(table="ended_deliveries", ended_at="settled_at", cutoff=_CUTOFF)

_EVENTS: Final = (
    "SELECT key FROM events WHERE bucket = any($1::smallint[]) AND key > $2 AND key < $3 ORDER BY key LIMIT $4"
)
_NO_DELIVERY: Final = """
NOT EXISTS (SELECT FROM deliveries AS d WHERE d.bucket = any($1) AND d.event_key = {key} {of_company})
AND NOT EXISTS (
  SELECT FROM ended_deliveries AS d
  WHERE d.bucket = any($1) AND d.event_key = {key} AND d.id > {key} {of_company})"""
_FORGET_RECIPIENTS: Final = f"""
DELETE FROM recipients AS r USING companies AS c
WHERE r.bucket = any($1::smallint[]) AND r.event_key = any($4::bigint[]) AND c.id = r.company_id
  AND r.accepted_at < {_CUTOFF}
  AND {_NO_DELIVERY.format(key="r.event_key", of_company="AND d.company_id = r.company_id")}"""
_FORGET_EVENTS: Final = f"""
DELETE FROM events AS e
WHERE e.bucket = any($1::smallint[]) AND e.key = any($2::bigint[])
  AND NOT EXISTS (SELECT FROM recipients AS r WHERE r.bucket = any($1) AND r.event_key = e.key)
  AND {_NO_DELIVERY.format(key="e.key", of_company="")}
RETURNING e.id"""
_FORGET_IDS: Final = "DELETE FROM event_keys WHERE bucket = any($1::smallint[]) AND id = any($2::text[])"
_FORGET_AUDIT: Final = """
WITH gone AS (
  DELETE FROM audit WHERE bucket = any($1::smallint[]) AND id = any(ARRAY(
    SELECT id FROM audit WHERE bucket = any($1) AND at < $2 AND id < $3 ORDER BY id LIMIT $4))
  RETURNING id
)
SELECT max(id) FROM gone"""


async def expire_held(transaction: Transaction, retention_ms: int, limit: int) -> int:
    """End deliveries that were held longer than the retention."""
    state = lifecycle.after(lifecycle.PENDING, Move.EXPIRE)
    rows = await transaction.connection.fetch(
        _EXPIRE, transaction.buckets, transaction.wall, retention_ms, limit, state, Reason.EXPIRED
    )
    deaths = [
        Note(
            event_type=circuit.DEAD,
            reason=Reason.EXPIRED,
            since=transaction.wall,
            delivery_id=row[0],
            subscription_id=row[1],
            company_id=row[2],
            event_key=row[3],
            event_bucket=row[4],
            bucket=row[5],
        )
        for row in rows
    ]
    await notices.note(transaction, deaths)
    return len(rows)


class Walk:
    """Where forgetting has come to. Kept in memory alone: one that is lost, or goes too far, begins again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._place = 0
        """Of the table that is walked over; past the last, the walk is over."""
        self._after = 0

    async def step(self, retention_ms: int, limit: int) -> bool:
        """Go on by one step; False: the walk is over, until `begin_again`."""
        if self._place >= len(_WALKED):
            return False
        last = await self._database.write(lambda transaction: self._step(transaction, retention_ms, limit))
        if last is None:
            self._place, self._after = self._place + 1, 0
        else:
            self._after = last
        return True

    def begin_again(self) -> None:
        """Look at everything once more: days have gone by."""
        self._place = self._after = 0

    async def _step(self, transaction: Transaction, retention_ms: int, limit: int) -> int | None:
        """Return how far this step came; None: to the end of the table, or somebody else walks."""
        connection = transaction.connection
        if not await connection.fetchval(_LOCK, _ONE_NODE):
            return None
        spans = await connection.fetchrow(_SPANS)
        shortest, longest = [retention_ms if days is None else days * DAY_MS for days in spans]
        if shortest >= retention_ms >= longest and self._place >= _NOT_BY_DAYS:
            return None  # all keep their rows for as long as days last
        before = first_id_of_day(transaction.wall - min(shortest, retention_ms))
        last: int | None = await _WALKED[self._place](transaction, _Part(retention_ms, self._after, before, limit))
        return last


class _Part(NamedTuple):
    """The ids that one step of a walk looks at, as far as `limit` reaches."""

    retention_ms: int
    after: int
    before: int
    limit: int


async def _forget_audit(transaction: Transaction, part: _Part) -> int | None:
    before = transaction.wall - KEPT_MS
    last: int | None = await transaction.connection.fetchval(
        _FORGET_AUDIT, transaction.buckets, before, first_id_of_day(before + DAY_MS), part.limit
    )
    return last


async def _forget_attempts(transaction: Transaction, part: _Part) -> int | None:
    return await _forget(transaction, _FORGET_ATTEMPTS, part)


async def _forget_ended(transaction: Transaction, part: _Part) -> int | None:
    return await _forget(transaction, _FORGET_ENDED, part)


async def _forget(transaction: Transaction, sql: str, part: _Part) -> int | None:
    last: int | None = await transaction.connection.fetchval(sql, transaction.buckets, transaction.wall, *part)
    return last


async def _forget_events(transaction: Transaction, part: _Part) -> int | None:
    """Forget recipients of whom no delivery is left, and events, with their ids, after their last recipient."""
    connection, its_buckets = transaction.connection, transaction.buckets
    keys: list[int] = [
        row[0] for row in await connection.fetch(_EVENTS, its_buckets, part.after, part.before, part.limit)
    ]
    if not keys:
        return None
    await connection.execute(_FORGET_RECIPIENTS, its_buckets, transaction.wall, part.retention_ms, keys)
    ids = [row[0] for row in await connection.fetch(_FORGET_EVENTS, its_buckets, keys)]
    if ids:
        await connection.execute(_FORGET_IDS, [buckets.of_text(event_id) for event_id in ids], ids)
    return keys[-1]


async def _forget_replays(transaction: Transaction, part: _Part) -> int | None:
    return part.after if await pruning.forget_replays(transaction, part.retention_ms, part.limit) else None


async def _forget_types(transaction: Transaction, _part: _Part) -> None:
    await pruning.forget_types(transaction)


async def _forget_routes(transaction: Transaction, part: _Part) -> int | None:
    return await pruning.forget_routes(transaction, part.after, part.limit)


_WALKED: Final[tuple[Callable[[Transaction, _Part], Awaitable[int | None]], ...]] = (
    _forget_audit,
    _forget_replays,
    _forget_types,
    _forget_routes,
    _forget_attempts,
    _forget_ended,
    _forget_events,
)
"""In this order: what is forgotten first keeps nothing of what comes after it, and what days alone would keep comes
first."""
_NOT_BY_DAYS: Final = 4
"""So many of them are walked over whatever the retention."""
