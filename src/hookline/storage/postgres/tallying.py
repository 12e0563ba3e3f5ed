"""Count what the log and the events have new into `tallies`, forget old tallies, and read them.

Of all nodes that want to count, the one that holds the group's row of `tallied` does. Ids are drawn before their rows
are committed, so what is young is left for later: by then nothing can appear behind what is counted.
"""

from collections.abc import Sequence
from typing import Any, Final

from hookline.storage.postgres import buckets
from hookline.storage.postgres.database import Transaction
from hookline.storage.views import Tally, TallyQuery
from hookline.tallies import CLASSES_PER_DOUBLING, KEPT, MINUTE_MS, ROUNDING, Level, Measure, class_of

YOUNG_MS: Final = 30_000
"""Longer than a verb that draws ids can take: two statements and a commit, each with its limit, end in less."""

_CLASS: Final = (
    f"floor({CLASSES_PER_DOUBLING} * ln(greatest(0, {{}})::float8 + 1) / ln(2::float8) + {ROUNDING})::integer"
)
_MINUTE: Final = f"{{}} / {MINUTE_MS} * {MINUTE_MS}"
_LEVELS: Final = ",".join(f"('{level}', {span_ms}::bigint)" for level, span_ms in KEPT)

_PLACE: Final = """
SELECT attempt_id, event_key FROM tallied WHERE bucket = $1::smallint FOR NO KEY UPDATE SKIP LOCKED"""
_ENDS: Final = """
WITH attempted AS (
  SELECT id, created_at FROM attempts WHERE bucket = any($1::smallint[]) AND id > $2 ORDER BY id LIMIT $5
), accepted AS (
  SELECT event_key, accepted_at FROM recipients
  WHERE bucket = any($1) AND event_key > $3 ORDER BY event_key LIMIT $5
)
SELECT
  (SELECT coalesce(min(id) FILTER (WHERE created_at >= $4) - 1, max(id), $2) FROM attempted),
  (SELECT coalesce(min(event_key) FILTER (WHERE accepted_at >= $4) - 1, max(event_key), $3) FROM accepted),
  (SELECT count(*) = $5 FROM attempted WHERE created_at < $4)
    OR (SELECT count(*) = $5 FROM accepted WHERE accepted_at < $4)"""
_ADD: Final = f"""
INSERT INTO tallies AS old (level, subject_id, company_id, span_ms, begins_at, measure, class, count, bucket)
SELECT l.level,
  CASE l.level WHEN '{Level.SUBSCRIPTION}' THEN t.subscription_id WHEN '{Level.COMPANY}' THEN t.company_id ELSE 0 END,
  CASE l.level WHEN '{Level.INSTALLATION}' THEN 0 ELSE t.company_id END,
  l.span_ms, t.minute / l.span_ms * l.span_ms, t.measure, t.class, sum(t.count),
  CASE l.level WHEN '{Level.INSTALLATION}' THEN $2::smallint ELSE t.bucket END
FROM told AS t CROSS JOIN (VALUES {_LEVELS}) AS l (level, span_ms)
WHERE CASE l.level
  WHEN '{Level.SUBSCRIPTION}' THEN t.subscription_id > 0 AND t.measure <> '{Measure.START}'
  WHEN '{Level.COMPANY}' THEN t.company_id > 0
  ELSE (t.subscription_id > 0 OR t.company_id = 0) AND t.measure <> '{Measure.ANSWER}' END
GROUP BY 1, 2, 3, 4, 5, 6, 7, 9
ON CONFLICT (level, subject_id, span_ms, begins_at, measure, class, bucket)
  DO UPDATE SET count = old.count + excluded.count"""
"""A row without a subscription counts for the company alone, one without either for the installation alone. What no
page asks for is not kept: first attempts by subscription, answers of all receivers together."""
_COUNT: Final = f"""
WITH logged AS MATERIALIZED (
  SELECT a.bucket, a.company_id, a.subscription_id, a.created_at, a.http_status, a.error, a.duration_ms,
    a.dead_lettered,
    CASE WHEN a.number = 1 THEN coalesce(
      (SELECT n.event_key FROM ended_deliveries AS n WHERE n.bucket = any($1::smallint[]) AND n.id = a.delivery_id),
      (SELECT n.event_key FROM deliveries AS n WHERE n.bucket = any($1) AND n.id = a.delivery_id)) END AS event_key
  FROM attempts AS a WHERE a.bucket = any($1) AND a.id > $3 AND a.id <= $4
), attempted AS MATERIALIZED (
  SELECT l.bucket, l.company_id, l.subscription_id, {_MINUTE.format("l.created_at")} AS minute, l.http_status, l.error,
    l.duration_ms, l.dead_lettered,
    l.created_at - l.duration_ms - (
      SELECT r.accepted_at FROM recipients AS r
      WHERE r.bucket = any($1) AND r.company_id = l.company_id AND r.event_key = l.event_key) AS start_ms
  FROM logged AS l
), accepted AS MATERIALIZED (
  SELECT r.bucket, r.event_bucket, r.event_key, r.company_id, {_MINUTE.format("r.accepted_at")} AS minute
  FROM recipients AS r WHERE r.bucket = any($1) AND r.event_key > $5 AND r.event_key <= $6
), told (bucket, company_id, subscription_id, minute, measure, class, count) AS (
  SELECT bucket, company_id, subscription_id, minute, coalesce(error, '{Measure.SUCCEEDED}'),
    CASE WHEN error = 'status' THEN coalesce(http_status, 0) ELSE 0 END, count(*)
  FROM attempted GROUP BY 1, 2, 3, 4, 5, 6
  UNION ALL
  SELECT bucket, company_id, subscription_id, minute, '{Measure.DEAD}', 0, count(*)
  FROM attempted WHERE dead_lettered GROUP BY 1, 2, 3, 4
  UNION ALL
  SELECT bucket, company_id, subscription_id, minute, '{Measure.ANSWER}', {_CLASS.format("duration_ms")}, count(*)
  FROM attempted WHERE http_status IS NOT NULL GROUP BY 1, 2, 3, 4, 6
  UNION ALL
  SELECT bucket, company_id, subscription_id, minute, '{Measure.START}', {_CLASS.format("start_ms")}, count(*)
  FROM attempted WHERE start_ms IS NOT NULL GROUP BY 1, 2, 3, 4, 6
  UNION ALL
  SELECT bucket, company_id, 0, minute, '{Measure.PUBLISHED}', 0, count(*) FROM accepted GROUP BY 1, 2, 4
  UNION ALL
  SELECT $2, 0, 0, minute, '{Measure.PUBLISHED}', 0, count(DISTINCT event_key)
  FROM accepted WHERE event_bucket = bucket GROUP BY 4
)
{_ADD}"""
"""Each row is found by its own key, one after the other: joined, a company's recipients would be gone through for each
attempt. An event is counted where its first recipient lies: once, however many groups have others."""
_LATE: Final = f"""
WITH told (company_id, subscription_id, minute, measure, class, count, bucket) AS (
  VALUES (0, 0, $1::bigint, '{Measure.LATE}', $3::integer, 1, $2::smallint)
)
{_ADD}"""
_MOVE: Final = "UPDATE tallied SET attempt_id = $2, event_key = $3 WHERE bucket = $1::smallint"

_FORGET: Final = """
DELETE FROM tallies AS t USING (
  SELECT o.level, o.subject_id, o.span_ms, o.begins_at, o.measure, o.class, o.bucket FROM tallies AS o
  WHERE o.bucket = any($1::smallint[]) AND o.level = $2 AND o.span_ms = $3 AND o.begins_at < $4 LIMIT $5
) AS old
WHERE t.bucket = any($1) AND t.bucket = old.bucket AND t.level = old.level AND t.subject_id = old.subject_id
  AND t.span_ms = old.span_ms AND t.begins_at = old.begins_at AND t.measure = old.measure AND t.class = old.class
RETURNING 1"""

_READ: Final = f"""
SELECT subject_id, begins_at / $2 * $2, measure, class, sum(count)::bigint FROM tallies
WHERE bucket = any($1::smallint[]) AND level = $3 AND span_ms = $4 AND begins_at >= $5 AND subject_id = {{subjects}}
  AND ($6::boolean OR measure NOT IN ('{Measure.ANSWER}', '{Measure.START}'))
GROUP BY 1, 2, 3, 4"""
_READ_SOME: Final = _READ.format(subjects="any($7::integer[])")
_READ_EVERY: Final = _READ.format(subjects="any(ARRAY(SELECT id FROM companies WHERE deleted_at IS NULL))")

_WAITING: Final = """
SELECT asked.id, (
  SELECT count(*) FROM (
    SELECT FROM deliveries AS d WHERE d.bucket = any($1::smallint[]) AND d.subscription_id = asked.id LIMIT $3
  ) AS open)
FROM unnest($2::integer[]) AS asked (id)"""
_LAST_SUCCESS: Final = """
SELECT created_at FROM (
  SELECT http_status, created_at FROM attempts
  WHERE bucket = any($1::smallint[]) AND subscription_id = $2::integer ORDER BY id DESC LIMIT $3
) AS latest WHERE http_status BETWEEN 200 AND 299 LIMIT 1"""


async def tally(transaction: Transaction, limit: int) -> bool:
    """Count the next of the log, and of the events, unless another node is at it; True: there may be more."""
    connection, its_buckets, first = transaction.connection, transaction.buckets, transaction.buckets[0]
    place = await connection.fetchrow(_PLACE, first)
    if place is None:
        return False
    attempt_id, event_key = place
    *ends, is_full = await connection.fetchrow(
        _ENDS, its_buckets, attempt_id, event_key, transaction.wall - YOUNG_MS, limit
    )
    if ends != [attempt_id, event_key]:
        await connection.execute(_COUNT, its_buckets, first, attempt_id, ends[0], event_key, ends[1])
        await connection.execute(_MOVE, first, *ends)
    return bool(is_full)


async def note_late(transaction: Transaction, late_ms: int) -> None:
    """Count a look at the backlog."""
    minute = transaction.wall // MINUTE_MS * MINUTE_MS
    await transaction.connection.execute(_LATE, minute, transaction.buckets[0], class_of(late_ms))


async def forget(transaction: Transaction, limit: int) -> bool:
    """Remove some of the tallies that have had their time; True: there may be more."""
    counts = [
        len(
            await transaction.connection.fetch(
                _FORGET, transaction.buckets, level, span_ms, transaction.wall - kept_ms, limit
            )
        )
        for (level, span_ms), kept_ms in KEPT.items()
    ]
    return limit in counts


async def read(connection: Any, query: TallyQuery) -> tuple[Tally, ...]:
    """Read tallies, summed up into the cells that are asked for."""
    values: list[Any] = [buckets.EVERY, query.cell_ms, query.level, query.span_ms, query.from_at, query.spreads]
    if query.subject_ids is None:
        rows = await connection.fetch(_READ_EVERY, *values)
    else:
        rows = await connection.fetch(_READ_SOME, *values, list(query.subject_ids))
    return tuple([Tally(*row) for row in rows])


async def waiting(connection: Any, subscription_ids: Sequence[int], at_most: int) -> dict[int, int]:
    """Count open deliveries of each subscription, no further than `at_most`."""
    return dict(map(tuple, await connection.fetch(_WAITING, buckets.EVERY, list(subscription_ids), at_most)))


async def last_success_at(connection: Any, subscription_id: int, among: int) -> int | None:
    """Read when an attempt succeeded last, among the latest."""
    found: int | None = await connection.fetchval(_LAST_SUCCESS, buckets.EVERY, subscription_id, among)
    return found
