"""The queues of subscriptions: locked before anything about them is counted, written when their rows have moved.

Whoever locks several takes them in the order of their ids, after every other lock it needs; a claim waits for none.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from msgspec import Struct

from hookline.storage.postgres.database import Transaction

_IN_FLIGHT: Final = """
SELECT subscription_id, count(*) FROM deliveries
WHERE bucket = any($1::smallint[]) AND state = 'sending' AND subscription_id = any($2::integer[])
GROUP BY subscription_id"""

_LOCK: Final = """
SELECT subscription_id, slots, slots_max, hold_until, bucket FROM lanes
WHERE bucket = any($1::smallint[]) AND subscription_id = any($2::integer[])
ORDER BY subscription_id FOR NO KEY UPDATE"""

_NEXT_DUE: Final = """
CASE WHEN (
  SELECT count(*) FROM deliveries AS d
  WHERE d.bucket = any($1::smallint[]) AND d.state = 'sending' AND d.subscription_id = lane.subscription_id
) < lane.slots THEN (
  SELECT greatest(d.due_at, lane.hold_until) FROM deliveries AS d
  WHERE d.bucket = any($1::smallint[]) AND d.state = 'pending' AND d.subscription_id = lane.subscription_id
  ORDER BY d.due_at, d.id LIMIT 1
) END"""
"""Null without a pending row, and with all slots taken: the end of an attempt asks again."""

_WRITE: Final = f"""
UPDATE lanes SET slots = found.slots, hold_until = found.hold_until, next_due = found.next_due
FROM (
  SELECT subscription_id, slots, hold_until, bucket, {_NEXT_DUE} AS next_due
  FROM unnest($2::integer[], $3::integer[], $4::bigint[], $5::smallint[])
    AS lane (subscription_id, slots, hold_until, bucket)
) AS found
WHERE lanes.bucket = any($1::smallint[]) AND lanes.subscription_id = any($2)
  AND lanes.subscription_id = found.subscription_id AND lanes.bucket = found.bucket
  AND (lanes.slots, lanes.hold_until, lanes.next_due)
    IS DISTINCT FROM (found.slots, found.hold_until, found.next_due)"""

_NEVER: Final = 2**63 - 1

_REPAIR: Final = f"""
UPDATE lanes SET next_due = found.next_due
FROM (
  SELECT subscription_id, bucket, {_NEXT_DUE} AS next_due FROM lanes AS lane
  WHERE bucket = any($1::smallint[]) AND is_open AND coalesce(next_due, {_NEVER}) > $2::bigint
    AND {_NEXT_DUE} < coalesce(next_due, {_NEVER})
  FOR NO KEY UPDATE SKIP LOCKED
) AS found
WHERE lanes.bucket = any($1::smallint[])
  AND lanes.subscription_id = found.subscription_id AND lanes.bucket = found.bucket"""
"""Only ever earlier: a look too early costs little, and a row that is not committed yet must not be forgotten. Lanes
that are due are looked at anyway, and those that somebody holds are being written."""


class LockedLane(Struct, frozen=True):
    """A lane that nobody else can claim from or write while this transaction lasts."""

    subscription_id: int
    slots: int
    slots_max: int
    hold_until: int | None
    bucket: int


async def lock(transaction: Transaction, subscription_ids: Collection[int]) -> Sequence[LockedLane]:
    """Lock lanes, waiting for whoever holds them."""
    rows = await transaction.connection.fetch(_LOCK, transaction.buckets, list(subscription_ids))
    return [LockedLane(*row) for row in rows]


async def in_flight(transaction: Transaction, subscription_ids: Collection[int]) -> Mapping[int, int]:
    """Count attempts in flight over all nodes; exact while their lanes are locked."""
    rows = await transaction.connection.fetch(_IN_FLIGHT, transaction.buckets, list(subscription_ids))
    return dict(map(tuple, rows))


async def write(transaction: Transaction, lanes: Collection[LockedLane]) -> None:
    """Store slots and holds of locked lanes, and set their next due times from their rows."""
    if lanes:
        await transaction.connection.execute(
            _WRITE,
            transaction.buckets,
            [lane.subscription_id for lane in lanes],
            [lane.slots for lane in lanes],
            [lane.hold_until for lane in lanes],
            [lane.bucket for lane in lanes],
        )


async def repair(transaction: Transaction) -> None:
    """Wake open lanes whose hint is missing or late."""
    await transaction.connection.execute(_REPAIR, transaction.buckets, transaction.now)
