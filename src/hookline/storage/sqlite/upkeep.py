"""Verbs that keep house: the readiness probe, bounded cleaning, and what the engine asks about the backlog."""

from typing import Final

import apsw

from hookline.circuit import WAITED_MS_MAX
from hookline.storage.claims import Backlog
from hookline.storage.sqlite.lanes import NOT_BEFORE
from hookline.storage.sqlite.transaction import Transaction

OPEN_COUNTED_MAX: Final = 100_000
"""Counting on would cost more than the number is worth."""

_CLOSE_DELETED: Final = """
UPDATE deliveries SET state = 'cancelled', due_at = NULL, reason = 'deleted', settled_at = ?1
WHERE id IN (
  SELECT d.id FROM subscriptions AS s CROSS JOIN deliveries AS d ON d.subscription_id = s.id AND d.state = 'pending'
  WHERE s.deleted_at IS NOT NULL LIMIT ?2)"""

_FORGET_KEYS: Final = """
DELETE FROM idempotency_keys
WHERE key IN (SELECT key FROM idempotency_keys WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)"""

_FORGET_TOKENS: Final = """
DELETE FROM tokens WHERE id IN (
  SELECT id FROM tokens WHERE is_pass = 1 AND expires_at <= ?1 ORDER BY expires_at LIMIT ?2)"""

_FORGET_LINKS: Final = """
DELETE FROM links WHERE hash IN (SELECT hash FROM links WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)"""

_OPEN: Final = f"SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE settled_at IS NULL LIMIT {OPEN_COUNTED_MAX})"
_OLDEST_DUE: Final = f"""
SELECT min(max(due_at, {NOT_BEFORE}, CASE
  WHEN probe_at IS NULL THEN due_at ELSE min(probe_at, due_at + {WAITED_MS_MAX}) END))
FROM (
  SELECT hold_until, next_start_us, probe_at, (
    SELECT min(due_at) FROM deliveries AS d WHERE d.state = 'pending' AND d.subscription_id = l.subscription_id
  ) AS due_at
  FROM lanes AS l WHERE is_open = 1)
WHERE due_at IS NOT NULL"""
"""By what the lane waits for too: what a receiver asked to wait, or only fails, is not late by our doing."""

_FRESH: Final = "SELECT 1 FROM deliveries WHERE state = 'sending' AND subscription_id = ? AND claimed_at > ? LIMIT 1"


def probe(transaction: Transaction) -> None:
    """Write something tiny."""
    transaction.run("UPDATE installation SET probed_at = ?", (transaction.wall,))


def close_deleted(transaction: Transaction, limit: int) -> int:
    """Cancel pending deliveries of deleted subscriptions."""
    return transaction.run(_CLOSE_DELETED, (transaction.wall, limit))


def forget_keys(transaction: Transaction, limit: int) -> int:
    """Remove keys, passes and links that have outlived their span."""
    statements = (_FORGET_KEYS, _FORGET_TOKENS, _FORGET_LINKS)
    return sum([transaction.run(sql, (transaction.wall, limit)) for sql in statements])


def end_leases(transaction: Transaction) -> None:
    """Make every attempt in flight look lost: right only while no other worker can live."""
    transaction.run("UPDATE deliveries SET due_at = ? WHERE state = 'sending'", (transaction.now,))


def backlog(connection: apsw.Connection, now: int) -> Backlog:
    """Measure what waits at `now` of the schedule clock."""
    oldest_due = connection.execute(_OLDEST_DUE).get
    return Backlog(
        open=connection.execute(_OPEN).get, oldest_due_ms=0 if oldest_due is None else max(0, now - oldest_due)
    )


def has_fresh_claims(connection: apsw.Connection, subscription_id: int, since: int) -> bool:
    """Tell whether an attempt claimed after `since` is still in flight."""
    return connection.execute(_FRESH, (subscription_id, since)).get is not None
