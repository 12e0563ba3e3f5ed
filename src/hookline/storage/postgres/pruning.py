"""Forget what only explained or steered what is gone: revisions that no event is matched under, replays that are over.

Part of the walk of `forgetting`. A revision is what holds from it on until the next, so the last one that is as old as
the oldest event stays.
"""

from typing import Final

from hookline.storage.postgres.database import Transaction
from hookline.storage.rows import DAY_MS, first_id_of_day

OLDEST_LOOKED_AT: Final = 100
"""Events that are published at once by several nodes are not quite in the order of the revisions they name."""

_FORGET_REPLAYS: Final = """
DELETE FROM replays AS r
USING (
  SELECT id, subscription_id, bucket FROM replays AS old
  WHERE old.bucket = any($1::smallint[]) AND old.id < $2 AND old.created_at < $3 AND NOT EXISTS (
    SELECT FROM replays AS n WHERE n.bucket = any($1) AND n.id = old.id AND n.state = 'running')
  LIMIT $4
) AS gone
WHERE r.bucket = any($1) AND r.bucket = gone.bucket AND r.id = gone.id AND r.subscription_id = gone.subscription_id"""

_OLDEST_CATALOGUE: Final = f"""
SELECT coalesce((
  SELECT min(first.catalogue_revision) FROM (
    SELECT catalogue_revision FROM events WHERE bucket = any($1::smallint[]) ORDER BY key LIMIT {OLDEST_LOOKED_AT}
  ) AS first
), catalogue_revision) FROM installation"""
_FORGET_TYPES: Final = """
DELETE FROM event_type_revisions AS r
WHERE r.revision <= $1 AND (r.kind IS NULL OR EXISTS (
  SELECT FROM event_type_revisions AS n WHERE n.name = r.name AND n.revision > r.revision AND n.revision <= $1))"""

_FORGET_ROUTES: Final = f"""
WITH seen AS MATERIALIZED (
  SELECT s.id, s.company_id, s.bucket FROM subscriptions AS s
  WHERE s.bucket = any($1::smallint[]) AND s.id > $2 ORDER BY s.id LIMIT $3
), asked AS MATERIALIZED (
  SELECT c.id, coalesce((
    SELECT min(first.company_revision) FROM (
      SELECT company_revision FROM recipients
      WHERE bucket = any($1) AND company_id = c.id ORDER BY event_key LIMIT {OLDEST_LOOKED_AT}
    ) AS first
  ), c.revision) AS oldest
  FROM companies AS c WHERE c.id IN (SELECT company_id FROM seen)
), gone AS (
  DELETE FROM subscription_revisions AS r USING seen, asked
  WHERE r.bucket = any($1) AND r.bucket = seen.bucket AND r.company_id = seen.company_id
    AND r.subscription_id = seen.id AND asked.id = seen.company_id AND r.revision <= asked.oldest
    AND (r.route IS NULL OR EXISTS (
      SELECT FROM subscription_revisions AS n
      WHERE n.bucket = any($1) AND n.company_id = r.company_id AND n.subscription_id = r.subscription_id
        AND n.revision > r.revision AND n.revision <= asked.oldest))
)
SELECT max(id) FROM seen"""


async def forget_replays(transaction: Transaction, retention_ms: int, limit: int) -> bool:
    """Forget replays that ended, and were asked for before the retention; True: there are more."""
    before = transaction.wall - retention_ms
    status: str = await transaction.connection.execute(
        _FORGET_REPLAYS, transaction.buckets, first_id_of_day(before + DAY_MS), before, limit
    )
    return int(status.rsplit(maxsplit=1)[-1]) >= limit


async def forget_types(transaction: Transaction) -> None:
    """Forget what the catalogue said before the oldest event."""
    oldest = await transaction.connection.fetchval(_OLDEST_CATALOGUE, transaction.buckets)
    await transaction.connection.execute(_FORGET_TYPES, oldest)


async def forget_routes(transaction: Transaction, after: int, limit: int) -> int | None:
    """Forget what subscriptions behind `after` were before the oldest event; return the last of them, None for none."""
    last: int | None = await transaction.connection.fetchval(_FORGET_ROUTES, transaction.buckets, after, limit)
    return last
