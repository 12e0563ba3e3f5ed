"""How receivers do, as their lanes keep it: for people, never for a claim."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hookline.circuit import Health
from hookline.storage.postgres import buckets

_OF: Final = """
SELECT subscription_id, failed_in_a_row, failing_since, probe_at FROM lanes
WHERE bucket = any($1::smallint[]) AND subscription_id = any($2::bigint[]) AND failed_in_a_row > 0"""

_TROUBLED: Final = """
SELECT l.subscription_id, l.failed_in_a_row, l.failing_since, l.probe_at
FROM lanes AS l JOIN subscriptions AS s ON s.id = l.subscription_id AND s.bucket = l.bucket
WHERE l.bucket = any($1::smallint[]) AND s.bucket = any($1::smallint[])
  AND s.deleted_at IS NULL AND (NOT s.active OR l.failed_in_a_row > 0)
  AND ($2::bigint IS NULL OR s.company_id = $2)
ORDER BY coalesce(l.failing_since, s.inactive_at), s.id LIMIT $3"""


async def of(connection: Any, subscription_ids: Sequence[int]) -> Mapping[int, Health]:
    """Read the health of those that failed last."""
    rows = await connection.fetch(_OF, buckets.EVERY, list(subscription_ids))
    return {row[0]: Health(*row[1:]) for row in rows}


async def troubled(connection: Any, company_id: int | None, limit: int) -> Mapping[int, Health]:
    """Read those that fail or are inactive, the longest first."""
    rows = await connection.fetch(_TROUBLED, buckets.EVERY, company_id, limit)
    return {row[0]: Health(*row[1:]) for row in rows}
