"""The verb `redeliver`: somebody wants one delivery again.

Locks go in the order of everybody: the delivery, then its lane.
"""

from typing import Final

from hookline import lifecycle
from hookline.model import DeliveryState
from hookline.storage.claims import Redelivery
from hookline.storage.postgres import lanes, reopening, replaying
from hookline.storage.postgres.database import Transaction

_FIND: Final = """
SELECT d.event_key, d.event_bucket, CASE WHEN d.state = 'pending' AND NOT s.active THEN 'held' ELSE d.state END,
  CASE WHEN d.is_open THEN s.inactive_reason ELSE d.reason END
FROM (
    SELECT event_key, event_bucket, state, NULL AS reason, true AS is_open, bucket FROM deliveries
    WHERE bucket = any($1::smallint[]) AND id = $2 AND subscription_id = $3
    UNION ALL
    SELECT event_key, event_bucket, state, reason, false, bucket FROM ended_deliveries
    WHERE bucket = any($1) AND id = $2 AND subscription_id = $3
  ) AS d JOIN subscriptions AS s ON s.id = $3 AND s.bucket = d.bucket
WHERE s.bucket = any($1) AND s.deleted_at IS NULL"""

_EVENT: Final = "SELECT id, data IS NULL FROM events WHERE bucket = $1::smallint AND key = $2 FOR SHARE"
"""Locked: whoever erases it at the same time comes before, and is seen, or after, and cancels what is opened here."""


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
        await replaying.end_first_attempts(transaction, [subscription_id])  # what a replay did with it is over
        await reopening.reopen(transaction, [delivery_id])
        await lanes.write(transaction, await lanes.lock(transaction, [subscription_id]))
    return found
