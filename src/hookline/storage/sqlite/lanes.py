"""When a claim should look at a lane: one rule, applied wherever rows of the lane have moved."""

from collections.abc import Iterable, Mapping
from typing import Final

from hookline.circuit import WAITED_MS_MAX
from hookline.fairness import Restraint
from hookline.storage.sqlite.transaction import Bulk, Transaction, json_ids

NOT_BEFORE: Final = "max(coalesce(hold_until, 0), coalesce((next_start_us + 999) / 1000, 0))"
"""When the next attempt of a lane may start at the earliest, whatever is due."""

_NEXT_DUE: Final = f"""
CASE WHEN (SELECT count(*) FROM deliveries WHERE state = 'sending' AND subscription_id = lane.subscription_id)
    < CASE WHEN is_ordered THEN 1 ELSE slots END
THEN (
  SELECT max({NOT_BEFORE}, CASE
    WHEN probe_at IS NULL THEN due_at ELSE min(max(due_at, probe_at), due_at + {WAITED_MS_MAX}) END)
  FROM (
    SELECT CASE
      WHEN is_ordered THEN (
        SELECT due_at FROM deliveries INDEXED BY deliveries_open
        WHERE subscription_id = lane.subscription_id AND settled_at IS NULL ORDER BY id LIMIT 1)
      ELSE (SELECT min(due_at) FROM deliveries WHERE state = 'pending' AND subscription_id = lane.subscription_id)
    END AS due_at)
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

_WAKE: Final = f"""
UPDATE lanes SET next_due = max(?1, {NOT_BEFORE}, coalesce(probe_at, 0))
WHERE subscription_id IN (SELECT value FROM json_each(?2))
  AND (next_due IS NULL OR next_due > max(?1, {NOT_BEFORE}, coalesce(probe_at, 0)))"""

_RESTRAIN: Final = Bulk(
    "UPDATE lanes SET next_start_us = g.column2, probe_at = g.column3"
    " FROM (VALUES {rows}) AS g WHERE g.column1 IS NOT NULL AND lanes.subscription_id = g.column1",
    columns=3,
)


def refresh(transaction: Transaction, subscription_ids: Iterable[int]) -> None:
    """Set the lanes' next due times from their rows; writes only those that differ."""
    transaction.run(_REFRESH_SOME, (json_ids(subscription_ids),))


def repair(transaction: Transaction) -> None:
    """Set every open lane's next due time from its rows."""
    transaction.run(_REFRESH_OPEN)


def wake(transaction: Transaction, subscription_ids: Iterable[int]) -> None:
    """Note that the lanes got rows that are due now."""
    transaction.run(_WAKE, (transaction.now, json_ids(subscription_ids)))


def restrain(transaction: Transaction, restraints: Mapping[int, Restraint]) -> None:
    """Note what attempts that start now use up of a rate, or of an open circuit."""
    rows = [(subscription_id, each.next_start_us, each.probe_at) for subscription_id, each in restraints.items()]
    _RESTRAIN.run(transaction, rows)
