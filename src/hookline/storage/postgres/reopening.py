"""How ended deliveries come back among the open ones: the same rows, with a fresh schedule, due now."""

from collections.abc import Collection
from typing import Final

from hookline.storage.postgres.database import Transaction

_REOPEN: Final = """
WITH reopened AS (
  DELETE FROM ended_deliveries AS d
  USING unnest($2::bigint[]) AS asked (id)
  WHERE d.bucket = any($1::smallint[]) AND d.id = asked.id AND d.state IN ('succeeded', 'dead')
  RETURNING d.*
)
INSERT INTO deliveries (
  id, event_key, due_at, subscription_id, company_id, attempt, data_bytes, state, payload_version, type_name, source,
  event_bucket, bucket)
SELECT id, event_key, $3, subscription_id, company_id, attempt, data_bytes, 'pending', payload_version, type_name,
  source, event_bucket, bucket
FROM reopened
RETURNING id"""


async def reopen(transaction: Transaction, delivery_ids: Collection[int]) -> Collection[int]:
    """Move those of the deliveries that succeeded or are dead back among the open ones; return their ids.

    Their attempts go on counting. Repeating it changes nothing: what is open is not among the ended ones. Of two that
    ask at once the second waits, and opens nothing. Who asks wakes their lanes.
    """
    rows = await transaction.connection.fetch(_REOPEN, transaction.buckets, list(delivery_ids), transaction.now)
    return {row[0] for row in rows}
