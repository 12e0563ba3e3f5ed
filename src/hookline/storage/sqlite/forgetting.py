"""The verbs of retention: end what was held too long, forget what has had its time, give its room on the disk back.

A walk goes over the events that are older than the shortest retention, some at a step, by key. An ended delivery goes
with its attempts when its company's retention has passed since its end; a recipient when none of its deliveries is
left, and an event, with it its id, after its last recipient. What is pending keeps all that it needs.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from hookline import lifecycle
from hookline.lifecycle import Move, Reason
from hookline.storage.auditing import KEPT_MS
from hookline.storage.rows import DAY_BITS, DAY_MS, DAYS_BEGIN_AT, first_id_of_day
from hookline.storage.sqlite import notices
from hookline.storage.sqlite.pruning import Pruning
from hookline.storage.sqlite.transaction import Transaction, json_ids

PAGES_GIVEN_BACK: Final = 250
"""Of one step: 1 MiB, each page of which may have to be moved and is written twice."""
FREE_SHARE_KEPT: Final = 4
"""A free page in so many is kept for what comes next: it would be asked back at once."""

_CUTOFF: Final = f"?1 - coalesce(c.retention_days * {DAY_MS}, ?2)"
"""The instant before which a company's rows have had their time; ?1 is the wall clock, ?2 the installation's span."""
_SHORTEST: Final = f"""
SELECT min(coalesce((SELECT min(retention_days) * {DAY_MS} FROM companies WHERE retention_days IS NOT NULL), ?1), ?1)"""

_HELD: Final = f"""
SELECT d.id
FROM subscriptions AS s CROSS JOIN companies AS c ON c.id = s.company_id
  CROSS JOIN deliveries AS d ON d.subscription_id = s.id AND d.state = 'pending' AND d.settled_at IS NULL
    AND d.id < (({_CUTOFF}) - {DAYS_BEGIN_AT}) / {DAY_MS} << {DAY_BITS}
WHERE s.inactive_at IS NOT NULL AND s.deleted_at IS NULL AND s.inactive_at < {_CUTOFF}
LIMIT ?3"""
"""Since when a delivery is held is the later of its acceptance, whose day its id tells, and the deactivation."""
_EXPIRE: Final = """
UPDATE deliveries SET state = ?1, due_at = NULL, reason = ?2, settled_at = ?3
WHERE id IN (SELECT value FROM json_each(?4))"""

_NEXT: Final = (
    "SELECT json_group_array(key) FROM (SELECT key FROM events WHERE key > ? AND key < ? ORDER BY key LIMIT ?)"
)
_ENDED: Final = f"""
SELECT json_group_array(id) FROM (
  SELECT d.id FROM deliveries AS d CROSS JOIN companies AS c ON c.id = d.company_id
  WHERE d.event_key BETWEEN ?3 AND ?4 AND d.settled_at < {_CUTOFF} LIMIT ?5)"""
_KEYS: Final = msgspec.json.Decoder(list[int])

_FORGET: Final = (
    "DELETE FROM attempts WHERE delivery_id IN (SELECT value FROM json_each(?))",
    "DELETE FROM deliveries WHERE id IN (SELECT value FROM json_each(?))",
)
_FORGET_RECIPIENTS: Final = f"""
DELETE FROM recipients WHERE event_key BETWEEN ?3 AND ?4
  AND (SELECT accepted_at FROM events WHERE key = event_key) < (
    SELECT {_CUTOFF} FROM companies AS c WHERE c.id = company_id)
  AND NOT EXISTS (
    SELECT 1 FROM deliveries AS d WHERE d.event_key = recipients.event_key AND d.company_id = recipients.company_id)"""
_FORGET_EVENTS: Final = """
DELETE FROM events WHERE key BETWEEN ?1 AND ?2
  AND NOT EXISTS (SELECT 1 FROM recipients AS r WHERE r.event_key = key)
  AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.event_key = key)"""
_FORGET_AUDIT: Final = "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ?1 ORDER BY id LIMIT ?2)"


def expire_held(transaction: Transaction, retention_ms: int, limit: int) -> int:
    """End deliveries that were held longer than the retention."""
    held = [row[0] for row in transaction.connection.execute(_HELD, (transaction.wall, retention_ms, limit))]
    if held:
        state = lifecycle.after(lifecycle.PENDING, Move.EXPIRE)
        transaction.run(_EXPIRE, (state, Reason.EXPIRED, transaction.wall, json_ids(held)))
        notices.note_dead(transaction, held)
    return len(held)


class Walk:
    """Where forgetting has come to. Kept in memory alone: one that is lost, or goes too far, begins again."""

    def __init__(self) -> None:
        self._after = 0
        self._pruning = Pruning()

    def step(self, transaction: Transaction, retention_ms: int, limit: int) -> bool:
        """Go on by one step; True: there is more to do at once."""
        horizon = first_id_of_day(transaction.wall - transaction.one(_SHORTEST, (retention_ms,)))
        keys = _KEYS.decode(transaction.one(_NEXT, (self._after, horizon, limit)))
        if keys:
            if _forget(transaction, keys, retention_ms, limit):
                self._after = keys[-1]
            return True
        outlived = transaction.run(_FORGET_AUDIT, (transaction.wall - KEPT_MS, limit))
        is_more = bool(outlived) or self._pruning.step(transaction, retention_ms, limit) or _give_back(transaction)
        self._after = horizon if is_more else 0
        return is_more


def _forget(transaction: Transaction, keys: Sequence[int], retention_ms: int, limit: int) -> bool:
    """Forget what has had its time of these events; False: there was more of it than a step takes."""
    span: tuple[Any, ...] = (transaction.wall, retention_ms, keys[0], keys[-1])
    ended: str = transaction.one(_ENDED, (*span, limit))
    count = ended.count(",") + 1 if ended != "[]" else 0
    if count:
        for sql in _FORGET:
            transaction.run(sql, (ended,))
    if count == limit:
        return False
    transaction.run(_FORGET_RECIPIENTS, span)
    transaction.run(_FORGET_EVENTS, (keys[0], keys[-1]))
    return True


def _give_back(transaction: Transaction) -> bool:
    """Shorten the file by some of its free pages, where they are many; True: they still are."""
    connection = transaction.connection
    free, pages = (connection.execute(f"PRAGMA {name}").get for name in ("freelist_count", "page_count"))
    if free < PAGES_GIVEN_BACK or free * FREE_SHARE_KEPT < pages:
        return False
    connection.execute(f"PRAGMA incremental_vacuum({PAGES_GIVEN_BACK})").fetchall()
    return True
