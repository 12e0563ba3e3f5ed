"""How receivers do, as their lanes keep it: for people, never for a claim."""

from collections.abc import Mapping, Sequence
from typing import Final

import apsw

from hookline.circuit import Health
from hookline.storage.sqlite.transaction import json_ids

_OF: Final = """
SELECT subscription_id, failed_in_a_row, failing_since, probe_at FROM lanes
WHERE subscription_id IN (SELECT value FROM json_each(?)) AND failed_in_a_row > 0"""

_TROUBLED: Final = """
SELECT l.subscription_id, l.failed_in_a_row, l.failing_since, l.probe_at
FROM lanes AS l JOIN subscriptions AS s ON s.id = l.subscription_id
WHERE s.deleted_at IS NULL AND (s.active = 0 OR l.failed_in_a_row > 0) AND (?1 IS NULL OR s.company_id = ?1)
ORDER BY coalesce(l.failing_since, s.inactive_at), s.id LIMIT ?2"""


def of(connection: apsw.Connection, subscription_ids: Sequence[int]) -> Mapping[int, Health]:
    """Read the health of those that failed last."""
    return {row[0]: Health(*row[1:]) for row in connection.execute(_OF, (json_ids(subscription_ids),))}


def troubled(connection: apsw.Connection, company_id: int | None, limit: int) -> Mapping[int, Health]:
    """Read those that fail or are inactive, the longest first."""
    return {row[0]: Health(*row[1:]) for row in connection.execute(_TROUBLED, (company_id, limit))}
