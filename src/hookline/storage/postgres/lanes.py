"""The queues of subscriptions: locked before anything about them is counted, written when their rows have moved.

Whoever locks several takes them in the order of their ids, after every other lock it needs; a claim waits for none.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec import Struct, structs

from hookline.circuit import WAITED_MS_MAX, Health
from hookline.fairness import Restraint
from hookline.storage.postgres.database import Transaction

_IN_FLIGHT: Final = """
SELECT subscription_id, count(*) FROM deliveries
WHERE bucket = any($1::smallint[]) AND state = 'sending' AND subscription_id = any($2::integer[])
GROUP BY subscription_id"""

COLUMNS: Final = (
    "subscription_id, slots, slots_max, hold_until, is_ordered, rate_per_second, next_start_us, failed_in_a_row,"
    " failing_since, probe_at, next_due"
)
"""Those of a `LockedLane`, in its order."""

_LOCK: Final = f"""
SELECT {COLUMNS} FROM lanes
WHERE bucket = any($1::smallint[]) AND subscription_id = any($2::integer[])
ORDER BY subscription_id FOR NO KEY UPDATE"""
_LOCK_FREE: Final = f"{_LOCK} SKIP LOCKED"

_LOCK_COUNTED: Final = f"""
SELECT {COLUMNS}, (
  SELECT count(*) FROM deliveries AS d
  WHERE d.bucket = any($1) AND d.state = 'sending' AND d.subscription_id = lanes.subscription_id) AS in_flight
FROM lanes
WHERE bucket = any($1::smallint[]) AND subscription_id = any($2::integer[])
ORDER BY subscription_id FOR NO KEY UPDATE"""

NOT_BEFORE: Final = "greatest(hold_until, (next_start_us + 999) / 1000)"
"""When the next attempt of a lane may start at the earliest, whatever is due; null: at any time."""

_FIRST: Final = """
SELECT d.due_at FROM deliveries AS d
WHERE d.bucket = any($1::smallint[]) AND d.subscription_id = lane.subscription_id AND {order} LIMIT 1"""

_NEXT_DUE: Final = f"""
CASE WHEN (
  SELECT count(*) FROM deliveries AS d
  WHERE d.bucket = any($1::smallint[]) AND d.state = 'sending' AND d.subscription_id = lane.subscription_id
) < CASE WHEN lane.is_ordered THEN 1 ELSE lane.slots END THEN (
  SELECT greatest({NOT_BEFORE}, CASE
    WHEN lane.probe_at IS NULL THEN due_at ELSE least(greatest(due_at, lane.probe_at), due_at + {WAITED_MS_MAX}) END)
  FROM (SELECT CASE
      WHEN lane.is_ordered THEN ({_FIRST.format(order="d.due_at IS NOT NULL ORDER BY d.id")})
      ELSE ({_FIRST.format(order="d.state = 'pending' ORDER BY d.due_at, d.id")})
    END AS due_at OFFSET 0) AS first
  WHERE due_at IS NOT NULL
) END"""
"""Null without a pending row, and with all slots taken: the end of an attempt asks again. OFFSET keeps the planner from
writing the look at the rows in place of each mention of what it found."""

_WRITE: Final = f"""
WITH changed AS MATERIALIZED (
  SELECT * FROM (
    SELECT lane.*, {_NEXT_DUE} AS next_due
    FROM unnest($2::integer[], $3::integer[], $4::bigint[], $5::boolean[], $6::bigint[], $7::integer[], $8::bigint[],
        $9::bigint[], $10::bigint[], $11::boolean[])
      AS lane (subscription_id, slots, hold_until, is_ordered, next_start_us, failed_in_a_row, failing_since, probe_at,
        next_due_before, is_changed)
    OFFSET 0
  ) AS found WHERE is_changed OR next_due IS DISTINCT FROM next_due_before
)
UPDATE lanes SET
  slots = ($3::integer[])[array_position($2, subscription_id)],
  hold_until = ($4::bigint[])[array_position($2, subscription_id)],
  next_start_us = ($6::bigint[])[array_position($2, subscription_id)],
  failed_in_a_row = ($7::integer[])[array_position($2, subscription_id)],
  failing_since = ($8::bigint[])[array_position($2, subscription_id)],
  probe_at = ($9::bigint[])[array_position($2, subscription_id)],
  next_due = (ARRAY(SELECT next_due FROM changed))[
    array_position(ARRAY(SELECT subscription_id FROM changed), subscription_id)]
WHERE bucket = any($1) AND subscription_id = any(ARRAY(SELECT subscription_id FROM changed))"""
"""Looks once for each lane, and writes those that differ. Each is found by its id, and its values by their place:
joined with `changed`, all of that is read again for every lane (100 lanes: 2 ms)."""

_REFRESH: Final = f"""
WITH refreshed AS (
  UPDATE lanes AS lane SET next_due = {_NEXT_DUE}
  WHERE lane.bucket = any($1) AND lane.subscription_id = any($2::integer[])
  RETURNING lane.next_due
)
SELECT
  least(
    (SELECT min(next_due) FROM refreshed WHERE next_due > $3::bigint),
    (SELECT min(next_due) FROM lanes
    WHERE bucket = any($1) AND is_open AND next_due > $3 AND subscription_id <> all($2))),
  (SELECT min(due_at) FROM deliveries WHERE bucket = any($1) AND claimed_at IS NOT NULL)"""
"""What other lanes wait for is read beside what these are left with: a statement does not see what it writes."""

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
    is_ordered: bool
    rate_per_second: float | None
    next_start_us: int | None
    failed_in_a_row: int
    failing_since: int | None
    probe_at: int | None
    next_due: int | None
    """As it was when the lane was locked; it is set anew as the lane is written."""
    is_changed: bool = False
    """Whether anything else differs from what is stored."""

    @property
    def health(self) -> Health:
        """How its receiver has done lately."""
        return Health(self.failed_in_a_row, self.failing_since, self.probe_at)

    @property
    def restraint(self) -> Restraint | None:
        """What holds it back beside its slots."""
        if self.is_ordered or self.rate_per_second is not None or self.probe_at is not None:
            return Restraint(self.is_ordered, self.rate_per_second, self.next_start_us, self.probe_at)
        return None

    def changed(self, **fields: int | None) -> "LockedLane":
        """Return it with other values, itself where they are the same."""
        if all(getattr(self, name) == value for name, value in fields.items()):
            return self
        return structs.replace(self, is_changed=True, **fields)

    def with_health(self, health: Health) -> "LockedLane":
        """Return it with another health."""
        return self.changed(
            failed_in_a_row=health.failures, failing_since=health.failing_since, probe_at=health.probe_at
        )

    def restrained(self, restraint: Restraint) -> "LockedLane":
        """Return it with what attempts that start now have used up."""
        return self.changed(next_start_us=restraint.next_start_us, probe_at=restraint.probe_at)


async def lock(transaction: Transaction, subscription_ids: Collection[int]) -> Sequence[LockedLane]:
    """Lock lanes, waiting for whoever holds them."""
    rows = await transaction.connection.fetch(_LOCK, transaction.buckets, list(subscription_ids))
    return [LockedLane(*row) for row in rows]


async def lock_free(transaction: Transaction, subscription_ids: Collection[int]) -> Sequence[LockedLane]:
    """Lock those lanes that nobody holds, waiting for none: for who has pending rows in hand, which a claim may want.

    Of the others a hint may be left that is too late; `repair` finds it.
    """
    rows = await transaction.connection.fetch(_LOCK_FREE, transaction.buckets, list(subscription_ids))
    return [LockedLane(*row) for row in rows]


async def lock_counted(transaction: Transaction, subscription_ids: Collection[int]) -> Sequence[tuple[LockedLane, int]]:
    """Lock lanes, with how many attempts each had in flight as it was asked for: good enough to grow its slots by."""
    rows = await transaction.connection.fetch(_LOCK_COUNTED, transaction.buckets, list(subscription_ids))
    return [(LockedLane(*row[:-1]), row[-1]) for row in rows]


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
            [lane.is_ordered for lane in lanes],
            [lane.next_start_us for lane in lanes],
            [lane.failed_in_a_row for lane in lanes],
            [lane.failing_since for lane in lanes],
            [lane.probe_at for lane in lanes],
            [lane.next_due for lane in lanes],
            [lane.is_changed for lane in lanes],
        )


class Ahead(NamedTuple):
    """What a node waits for."""

    next_due: int | None
    """When the next lane falls due that is not yet."""
    first_lease_end: int | None
    """When the first of all leases ends."""


async def refresh(transaction: Transaction, subscription_ids: Collection[int]) -> Ahead:
    """Set the next due times of locked lanes from their rows, nothing else of them being changed, and look ahead."""
    row = await transaction.connection.fetchrow(_REFRESH, transaction.buckets, list(subscription_ids), transaction.now)
    return Ahead(*row)


async def repair(transaction: Transaction) -> None:
    """Wake open lanes whose hint is missing or late."""
    await transaction.connection.execute(_REPAIR, transaction.buckets, transaction.now)
