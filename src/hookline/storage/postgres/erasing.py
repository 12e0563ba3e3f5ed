"""The verb `erase`: what an event said goes, that it was and what became of it stays.

An attempt under way may end, for its body is out of our hands. Its delivery is marked: `settling` then keeps no body of
the answer, and makes no further attempt.
"""

from typing import Final

from hookline import lifecycle
from hookline.lifecycle import Move, Reason
from hookline.storage.postgres import buckets, lanes
from hookline.storage.postgres.connection import is_storable
from hookline.storage.postgres.database import Transaction
from hookline.storage.postgres.settling import ENDED_COLUMNS

_FIND: Final = "SELECT key, event_bucket FROM event_keys WHERE bucket = $1::smallint AND id = $2"
_LOCK: Final = """
SELECT id FROM deliveries WHERE bucket = any($1::smallint[]) AND event_key = $2 ORDER BY id FOR NO KEY UPDATE"""
"""In the order of those who settle and release. A claim waits for them, with its lanes in hand: so `erase` waits for no
lane."""
_ERASE: Final = "UPDATE events SET data = NULL WHERE bucket = $1::smallint AND key = $2"
_ERASE_BODIES: Final = """
UPDATE attempts AS a SET response_body = NULL
FROM (
  SELECT id, bucket FROM deliveries WHERE bucket = any($1::smallint[]) AND event_key = $2
  UNION ALL
  SELECT id, bucket FROM ended_deliveries WHERE bucket = any($1) AND event_key = $2 AND id > $2
) AS its
WHERE a.bucket = any($1) AND a.bucket = its.bucket AND a.delivery_id = its.id AND a.id > $2
  AND a.response_body IS NOT NULL"""
_CANCEL: Final = f"""
WITH cancelled AS (
  DELETE FROM deliveries AS d WHERE d.bucket = any($1::smallint[]) AND d.event_key = $2 AND d.state = 'pending'
  RETURNING d.id, d.event_key, $3::bigint AS settled_at, d.subscription_id, d.company_id, d.attempt, d.failures,
    d.data_bytes, $4::text AS state, d.payload_version, d.type_name, d.source, $5::text AS reason, d.event_bucket,
    d.bucket
), moved AS (
  INSERT INTO ended_deliveries ({ENDED_COLUMNS}) SELECT {ENDED_COLUMNS} FROM cancelled
)
SELECT subscription_id FROM cancelled"""
_MARK: Final = "UPDATE deliveries SET is_erased = true WHERE bucket = any($1::smallint[]) AND event_key = $2"


async def erase(transaction: Transaction, event_id: str) -> bool:
    """Erase the event's data and the bodies that were answered to it, and cancel what waits to be sent."""
    connection, its_buckets = transaction.connection, transaction.buckets
    if not is_storable(event_id):
        return False
    place = await connection.fetchrow(_FIND, buckets.of_text(event_id), event_id)
    if place is None:
        return False
    key, bucket = place
    await connection.execute(_LOCK, its_buckets, key)
    await connection.execute(_ERASE, bucket, key)
    await connection.execute(_ERASE_BODIES, its_buckets, key)
    state = lifecycle.after(lifecycle.PENDING, Move.CANCEL)
    rows = await connection.fetch(_CANCEL, its_buckets, key, transaction.wall, state, Reason.ERASED)
    await connection.execute(_MARK, its_buckets, key)
    await lanes.write(transaction, await lanes.lock_free(transaction, {row[0] for row in rows}))
    return True
