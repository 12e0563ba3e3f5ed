"""Verbs that open ended deliveries again: one that somebody asks for.

Locks go in the order of everybody: the delivery, then its lane.
"""

from typing import Final

from hookline import lifecycle
from hookline.model import DeliveryState
from hookline.storage.postgres import lanes
from hookline.storage.postgres.database import Transaction
from hookline.storage.protocol import Redelivery

_FIND: Final = """
SELECT d.event_key, d.event_bucket, CASE WHEN d.state = 'pending' AND NOT s.active THEN 'held' ELSE d.state END,
  CASE WHEN d.due_at IS NULL THEN d.reason ELSE s.inactive_reason END
FROM deliveries AS d JOIN subscriptions AS s ON s.id = d.subscription_id AND s.bucket = d.bucket
WHERE d.bucket = any($1::smallint[]) AND s.bucket = any($1) AND d.id = $2 AND d.subscription_id = $3
  AND s.deleted_at IS NULL
FOR NO KEY UPDATE OF d"""

_EVENT: Final = "SELECT id, data IS NULL FROM events WHERE bucket = $1::smallint AND key = $2"

_REOPEN: Final = """
UPDATE deliveries SET state = 'pending', due_at = $2, failures = 0, losses = 0, reason = NULL, settled_at = NULL
WHERE bucket = any($1::smallint[]) AND id = $3"""


async def redeliver(transaction: Transaction, subscription_id: int, delivery_id: int) -> Redelivery | None:
    """Open one delivery again where it has ended."""
    connection, its_buckets = transaction.connection, transaction.buckets
    row = await connection.fetchrow(_FIND, its_buckets, delivery_id, subscription_id)
    if row is None:
        return None
    event_key, event_bucket, state, reason = row
    event_id, is_erased = await connection.fetchrow(_EVENT, event_bucket, event_key)
    found = Redelivery(event_id=event_id, state=DeliveryState(state), reason=reason, is_erased=is_erased)
    if found.state in lifecycle.REOPENABLE and not found.is_erased:
        await connection.execute(_REOPEN, its_buckets, transaction.now, delivery_id)
        await lanes.write(transaction, await lanes.lock(transaction, [subscription_id]))
    return found
