"""When a claim should look at a lane: one rule, applied wherever rows of the lane have moved."""

from collections.abc import Iterable
from typing import Final

from hookline.storage.sqlite.transaction import Transaction, json_ids

_NEXT_DUE: Final = """
CASE WHEN (SELECT count(*) FROM deliveries WHERE state = 'sending' AND subscription_id = lane.subscription_id) < slots
THEN (
  SELECT max(min(due_at), coalesce(lane.hold_until, 0))
  FROM deliveries WHERE state = 'pending' AND subscription_id = lane.subscription_id
) END"""
"""Null without a pending row, and with all slots taken: the end of an attempt asks again."""

_REFRESH: Final = """
UPDATE lanes SET next_due = found.next_due
FROM (
  SELECT subscription_id, {next_due} AS next_due FROM lanes AS lane WHERE {which}
) AS found
WHERE lanes.subscription_id = found.subscription_id AND lanes.next_due IS NOT found.next_due"""

_REFRESH_SOME: Final = _REFRESH.format(next_due=_NEXT_DUE, which="subscription_id IN (SELECT value FROM json_each(?1))")
_REFRESH_OPEN: Final = _REFRESH.format(next_due=_NEXT_DUE, which="is_open = 1")

_WAKE: Final = """
UPDATE lanes SET next_due = max(?1, coalesce(hold_until, 0))
WHERE subscription_id IN (SELECT value FROM json_each(?2))
  AND (next_due IS NULL OR next_due > max(?1, coalesce(hold_until, 0)))"""


def refresh(transaction: Transaction, subscription_ids: Iterable[int]) -> None:
    """Set the lanes' next due times from their rows; writes only those that differ."""
    transaction.run(_REFRESH_SOME, (json_ids(subscription_ids),))


def repair(transaction: Transaction) -> None:
    """Set every open lane's next due time from its rows."""
    transaction.run(_REFRESH_OPEN)


def wake(transaction: Transaction, subscription_ids: Iterable[int]) -> None:
    """Note that the lanes got rows that are due now."""
    transaction.run(_WAKE, (transaction.now, json_ids(subscription_ids)))
