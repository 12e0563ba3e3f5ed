"""Verbs that keep house: the readiness probe, bounded cleaning, and what the engine asks about the backlog."""

from typing import Any, Final

from hookline.circuit import WAITED_MS_MAX
from hookline.clock import Clock
from hookline.storage.claims import Backlog
from hookline.storage.postgres import buckets, moment
from hookline.storage.postgres.connection import verify
from hookline.storage.postgres.database import Transaction
from hookline.storage.postgres.settling import ENDED_COLUMNS

OPEN_COUNTED_MAX: Final = 100_000
"""Counting on would cost more than the number is worth."""

_PROBE: Final = "UPDATE installation SET probed_at = $1"

_CLOSE_DELETED: Final = f"""
WITH left_over AS MATERIALIZED (
  SELECT p.id, p.bucket
  FROM subscriptions AS s JOIN deliveries AS p ON p.subscription_id = s.id AND p.bucket = s.bucket
  WHERE s.bucket = any($1::smallint[]) AND p.bucket = any($1) AND s.deleted_at IS NOT NULL AND p.state = 'pending'
  LIMIT $3 FOR NO KEY UPDATE OF p SKIP LOCKED
), closed AS (
  DELETE FROM deliveries AS d USING left_over
  WHERE d.bucket = any($1) AND d.id = left_over.id AND d.bucket = left_over.bucket
  RETURNING d.*, $2::bigint AS settled_at, 'cancelled' AS ended, 'deleted' AS reason
), moved AS (
  INSERT INTO ended_deliveries ({ENDED_COLUMNS})
  SELECT id, event_key, settled_at, subscription_id, company_id, attempt, failures, data_bytes, ended,
    payload_version, type_name, source, reason, event_bucket, bucket
  FROM closed
)
SELECT count(*) FROM closed"""
"""Materialised, for a plan that runs the part with the limit once for each row would close more than the limit."""

_FORGET_KEYS: Final = """
WITH forgotten AS (
  DELETE FROM idempotency_keys WHERE bucket = any($1::smallint[]) AND key = any(ARRAY(
    SELECT key FROM idempotency_keys WHERE bucket = any($1) AND expires_at <= $2
    ORDER BY expires_at LIMIT $3 FOR UPDATE SKIP LOCKED))
  RETURNING key
)
SELECT count(*) FROM forgotten"""

_FORGET_TOKENS: Final = """
DELETE FROM tokens WHERE id = any(ARRAY(
  SELECT id FROM tokens WHERE is_pass AND expires_at <= $1
  ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))
RETURNING id"""

_FORGET_LINKS: Final = """
DELETE FROM links WHERE hash = any(ARRAY(
  SELECT hash FROM links WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))
RETURNING hash"""

_BACKLOG: Final = f"""
SELECT
  (SELECT count(*) FROM (SELECT FROM deliveries LIMIT {OPEN_COUNTED_MAX}) AS open),
  (SELECT min(greatest(first.due_at, l.hold_until, (l.next_start_us + 999) / 1000,
      CASE WHEN l.probe_at IS NOT NULL THEN least(l.probe_at, first.due_at + {WAITED_MS_MAX}) END))
   FROM lanes AS l CROSS JOIN LATERAL (
     SELECT d.due_at FROM deliveries AS d
     WHERE d.bucket = l.bucket AND d.state = 'pending' AND d.subscription_id = l.subscription_id
     ORDER BY d.due_at, d.id LIMIT 1) AS first
   WHERE l.is_open)"""
"""By what the lane waits for too: what a receiver asked to wait, or only fails, is not late by our doing.
Over all buckets, of which it names none: a count over all nodes, in no transaction that writes."""

_FRESH: Final = """
SELECT EXISTS (
  SELECT FROM deliveries
  WHERE bucket = any($1::smallint[]) AND state = 'sending' AND subscription_id = $2::bigint AND claimed_at > $3)"""


async def probe(connection: Any, clock: Clock | None) -> None:
    """Write something tiny to a server that can be relied upon."""
    await verify(connection)
    await connection.execute(_PROBE, (await moment.read(connection, clock)).wall)


async def close_deleted(transaction: Transaction, limit: int) -> int:
    """Cancel pending deliveries of deleted subscriptions."""
    closed: int = await transaction.connection.fetchval(_CLOSE_DELETED, transaction.buckets, transaction.wall, limit)
    return closed


async def forget_keys(transaction: Transaction, limit: int) -> int:
    """Remove keys, passes and links that have outlived their span."""
    keys: int = await transaction.connection.fetchval(_FORGET_KEYS, transaction.buckets, transaction.wall, limit)
    others = [
        await transaction.connection.fetch(sql, transaction.wall, limit) for sql in (_FORGET_TOKENS, _FORGET_LINKS)
    ]
    return keys + sum(map(len, others))


async def backlog(connection: Any, now: int) -> Backlog:
    """Measure what waits at this instant."""
    count, oldest_due = await connection.fetchrow(_BACKLOG)
    return Backlog(open=count, oldest_due_ms=0 if oldest_due is None else max(0, now - oldest_due))


async def has_fresh_claims(connection: Any, subscription_id: int, since: int) -> bool:
    """Tell whether an attempt claimed after `since` is still in flight."""
    is_fresh: bool = await connection.fetchval(_FRESH, buckets.EVERY, subscription_id, since)
    return is_fresh
