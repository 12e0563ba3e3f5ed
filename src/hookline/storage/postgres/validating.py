"""Verbs on handshakes with receivers: a lane whose receiver has not granted its callback URL stays closed.

All that a grant rests on stands in the lane's own row, so that a change which comes first is seen under its lock.
"""

from typing import Final

from hookline.model import Subscription
from hookline.storage.postgres import lanes, subscriptions
from hookline.storage.postgres.database import Transaction
from hookline.storage.postgres.lanes import LockedLane
from hookline.storage.views import VALIDATION_DOUBLINGS_MAX

_TAKE: Final = f"""
UPDATE lanes SET validate_at = $2::bigint + ($3::bigint << least(validate_tries, {VALIDATION_DOUBLINGS_MAX})),
  validate_tries = validate_tries + 1
WHERE bucket = any($1::smallint[]) AND subscription_id = any(ARRAY(
  SELECT subscription_id FROM lanes WHERE bucket = any($1) AND validate_at <= $2
  ORDER BY validate_at LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED))
RETURNING subscription_id"""
_GRANT: Final = f"""
UPDATE lanes SET is_granted = true, is_open = true, validate_at = NULL, allowed_per_second = $4::double precision,
  rate_per_second = least(rate_per_second, $4)
WHERE bucket = any($1::smallint[]) AND subscription_id = $2::integer AND validation_url = $3
  AND validate_at IS NOT NULL
RETURNING {lanes.COLUMNS}"""


async def take(transaction: Transaction, wait_ms: int, limit: int) -> tuple[Subscription, ...]:
    """Take those whose receivers are to be asked now, each for the time that it then waits."""
    rows = await transaction.connection.fetch(_TAKE, transaction.buckets, transaction.now, wait_ms, limit)
    found = await subscriptions.by_ids(transaction, [row[0] for row in rows]) if rows else {}
    return tuple([each for each in found.values() if isinstance(each, Subscription)])


async def grant(
    transaction: Transaction, subscription_id: int, callback_url: str, allowed_per_second: float | None
) -> bool:
    """Open the lane, unless another URL is wanted by now, or none."""
    row = await transaction.connection.fetchrow(
        _GRANT, transaction.buckets, subscription_id, callback_url, allowed_per_second
    )
    if row is None:
        return False
    await lanes.write(transaction, [LockedLane(*row)])
    return True
