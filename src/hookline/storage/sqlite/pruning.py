"""Forget what only explained or steered what is gone: revisions that no event is matched under, replays that are over.

Part of the walk of `forgetting`, when it has come to the end of the events. A revision is what holds from it on until
the next, so the last one that is as old as the oldest event stays.
"""

from typing import Final

from hookline.storage.rows import DAY_MS, first_id_of_day
from hookline.storage.sqlite.transaction import Transaction

_FORGET_REPLAYS: Final = """
DELETE FROM replays WHERE (id, subscription_id) IN (
  SELECT r.id, r.subscription_id FROM replays AS r
  WHERE r.id < ?1 AND r.created_at < ?2
    AND NOT EXISTS (SELECT 1 FROM replays AS n WHERE n.id = r.id AND n.state = 'running')
  LIMIT ?3)"""

_OLDEST_CATALOGUE: Final = """
SELECT coalesce((SELECT catalogue_revision FROM events ORDER BY key LIMIT 1), catalogue_revision) FROM installation"""
_FORGET_TYPES: Final = """
DELETE FROM event_type_revisions WHERE (name, revision) IN (
  SELECT r.name, r.revision FROM event_type_revisions AS r
  WHERE r.revision <= ?1 AND (r.kind IS NULL OR EXISTS (
    SELECT 1 FROM event_type_revisions AS n WHERE n.name = r.name AND n.revision > r.revision AND n.revision <= ?1))
  LIMIT ?2)"""

_NEXT: Final = """
SELECT json_group_array(id) FROM (SELECT id FROM subscriptions WHERE id > ? ORDER BY id LIMIT ?)"""
_LAST: Final = "SELECT max(value) FROM json_each(?)"
_FORGET_ROUTES: Final = """
DELETE FROM subscription_revisions WHERE (company_id, subscription_id, revision) IN (
  SELECT r.company_id, r.subscription_id, r.revision
  FROM (
    SELECT s.id, s.company_id, coalesce(
      (SELECT company_revision FROM recipients WHERE company_id = s.company_id ORDER BY event_key LIMIT 1), c.revision
    ) AS oldest
    FROM subscriptions AS s CROSS JOIN companies AS c ON c.id = s.company_id
    WHERE s.id IN (SELECT value FROM json_each(?1))
  ) AS s CROSS JOIN subscription_revisions AS r ON r.company_id = s.company_id AND r.subscription_id = s.id
  WHERE r.revision <= s.oldest AND (r.route IS NULL OR EXISTS (
    SELECT 1 FROM subscription_revisions AS n
    WHERE n.company_id = r.company_id AND n.subscription_id = r.subscription_id
      AND n.revision > r.revision AND n.revision <= s.oldest))
  LIMIT ?2)"""
"""Events rise with their companies' revisions: so the first one of a company names the oldest that is asked for."""


class Pruning:
    """How far it has come. Kept in memory alone, as `forgetting.Walk`."""

    def __init__(self) -> None:
        self._after = 0

    def step(self, transaction: Transaction, retention_ms: int, limit: int) -> bool:
        """Go on by one step; True: there is more to do at once."""
        before = transaction.wall - retention_ms
        if self._after == 0:
            gone = transaction.run(_FORGET_REPLAYS, (first_id_of_day(before + DAY_MS), before, limit))
            gone += transaction.run(_FORGET_TYPES, (transaction.one(_OLDEST_CATALOGUE), limit))
            if gone:
                return True
        ids: str = transaction.one(_NEXT, (self._after, limit))
        if ids == "[]":
            self._after = 0
            return False
        if transaction.run(_FORGET_ROUTES, (ids, limit)) < limit:
            self._after = transaction.one(_LAST, (ids,))
        return True
