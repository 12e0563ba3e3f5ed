"""Count what the log and the events have new into `tallies`, forget old tallies, and read them.

A reader counts, so that the writer only adds sums up; where the writer finds that somebody has counted meanwhile it
changes nothing. Here ids rise in the order of commits: nothing can appear behind what is counted.
"""

from collections.abc import Sequence
from typing import Any, Final

import apsw
import msgspec
from msgspec import Struct

from hookline.storage.sqlite.transaction import Transaction, json_ids
from hookline.storage.views import Tally, TallyQuery
from hookline.tallies import CLASSES_PER_DOUBLING, KEPT, MINUTE_MS, ROUNDING, Level, Measure, class_of

_CLASS: Final = f"CAST(floor({CLASSES_PER_DOUBLING} * log2(max(0, {{}}) + 1) + {ROUNDING}) AS INTEGER)"
_MINUTE: Final = f"{{}} / {MINUTE_MS} * {MINUTE_MS}"
_LEVELS: Final = ",".join(f"('{level}', {span_ms})" for level, span_ms in KEPT)

_COUNT: Final = f"""
WITH attempted AS MATERIALIZED (
  SELECT a.id, l.company_id, a.subscription_id, {_MINUTE.format("a.created_at")} AS minute, a.http_status, a.error,
    a.duration_ms, a.dead_lettered,
    CASE WHEN a.number = 1 THEN a.created_at - a.duration_ms - (
      SELECT e.accepted_at FROM deliveries AS d JOIN events AS e ON e.key = d.event_key WHERE d.id = a.delivery_id
    ) END AS start_ms
  FROM (SELECT * FROM attempts WHERE id > ?1 ORDER BY id LIMIT ?3) AS a
    JOIN lanes AS l ON l.subscription_id = a.subscription_id
), accepted AS MATERIALIZED (
  SELECT r.event_key, r.company_id, {_MINUTE.format("e.accepted_at")} AS minute
  FROM recipients AS r INDEXED BY recipients_of_event JOIN events AS e ON e.key = r.event_key
  WHERE r.event_key > ?2 AND r.event_key <= (
    SELECT max(event_key) FROM (
      SELECT event_key FROM recipients INDEXED BY recipients_of_event WHERE event_key > ?2
      ORDER BY event_key LIMIT ?3))
), told (company_id, subscription_id, minute, measure, class, count) AS (
  SELECT company_id, subscription_id, minute, coalesce(error, '{Measure.SUCCEEDED}'),
    CASE WHEN error = 'status' THEN coalesce(http_status, 0) ELSE 0 END, count(*)
  FROM attempted GROUP BY 1, 2, 3, 4, 5
  UNION ALL
  SELECT company_id, subscription_id, minute, '{Measure.DEAD}', 0, count(*)
  FROM attempted WHERE dead_lettered GROUP BY 1, 2, 3
  UNION ALL
  SELECT company_id, subscription_id, minute, '{Measure.ANSWER}', {_CLASS.format("duration_ms")}, count(*)
  FROM attempted WHERE http_status IS NOT NULL GROUP BY 1, 2, 3, 5
  UNION ALL
  SELECT company_id, subscription_id, minute, '{Measure.START}', {_CLASS.format("start_ms")}, count(*)
  FROM attempted WHERE start_ms IS NOT NULL GROUP BY 1, 2, 3, 5
  UNION ALL
  SELECT company_id, 0, minute, '{Measure.PUBLISHED}', 0, count(*) FROM accepted GROUP BY 1, 3
  UNION ALL
  SELECT 0, 0, minute, '{Measure.PUBLISHED}', 0, count(DISTINCT event_key) FROM accepted GROUP BY 3
)
SELECT coalesce((SELECT max(id) FROM attempted), ?1), coalesce((SELECT max(event_key) FROM accepted), ?2),
  (SELECT count(*) FROM attempted) = ?3 OR (SELECT count(*) FROM accepted) >= ?3,
  (SELECT json_group_array(json_array(level, subject_id, span_ms, begins_at, measure, class, count)) FROM (
    SELECT l.column1 AS level,
      CASE l.column1 WHEN '{Level.SUBSCRIPTION}' THEN subscription_id WHEN '{Level.COMPANY}' THEN company_id ELSE 0 END
        AS subject_id,
      l.column2 AS span_ms, minute / l.column2 * l.column2 AS begins_at, measure, class, sum(count) AS count
    FROM told CROSS JOIN (VALUES {_LEVELS}) AS l
    WHERE CASE l.column1
      WHEN '{Level.SUBSCRIPTION}' THEN subscription_id > 0 AND measure <> '{Measure.START}'
      WHEN '{Level.COMPANY}' THEN company_id > 0
      ELSE (subscription_id > 0 OR company_id = 0) AND measure <> '{Measure.ANSWER}' END
    GROUP BY 1, 2, 3, 4, 5, 6))"""
"""A row without a subscription counts for the company alone, one without either for the installation alone. What no
page asks for is not kept: first attempts by subscription, answers of all receivers together."""

_PLACE: Final = "SELECT attempt_id, event_key FROM tallied"
_MOVE: Final = "UPDATE tallied SET attempt_id = ?3, event_key = ?4 WHERE attempt_id = ?1 AND event_key = ?2"
_ADD: Final = """
INSERT INTO tallies (level, subject_id, span_ms, begins_at, measure, class, count)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
FROM json_each(?1) WHERE true
ON CONFLICT DO UPDATE SET count = count + excluded.count"""

_FORGET: Final = """
DELETE FROM tallies WHERE (level, subject_id, span_ms, begins_at, measure, class) IN (
  SELECT level, subject_id, span_ms, begins_at, measure, class FROM tallies INDEXED BY tallies_age
  WHERE level = ?1 AND span_ms = ?2 AND begins_at < ?3 LIMIT ?4)"""

_READ: Final = f"""
SELECT subject_id, begins_at / ?1 * ?1, measure, class, sum(count) FROM tallies
WHERE level = ?2 AND span_ms = ?3 AND begins_at >= ?4 AND subject_id IN ({{subjects}})
  AND (?6 OR measure NOT IN ('{Measure.ANSWER}', '{Measure.START}'))
  AND CASE WHEN ?5 IS NULL THEN 1 WHEN level = 'company' THEN subject_id = ?5
    ELSE subject_id IN (SELECT id FROM subscriptions WHERE company_id = ?5) END
GROUP BY 1, 2, 3, 4"""
_READ_SOME: Final = _READ.format(subjects="SELECT value FROM json_each(?7)")
_READ_EVERY: Final = _READ.format(subjects="SELECT id FROM companies WHERE deleted_at IS NULL")

_WAITING: Final = """
SELECT asked.value, (
  SELECT count(*) FROM (
    SELECT 1 FROM deliveries WHERE subscription_id = asked.value AND settled_at IS NULL LIMIT ?2))
FROM json_each(?1) AS asked"""
_LAST_SUCCESS: Final = """
SELECT created_at FROM (
  SELECT http_status, created_at FROM attempts INDEXED BY attempts_log WHERE subscription_id = ?1
  ORDER BY id DESC LIMIT ?2)
WHERE http_status BETWEEN 200 AND 299 LIMIT 1"""


class Counted(Struct, frozen=True):
    """What a reader counted, from where and how far."""

    place: tuple[int, int]
    next_place: tuple[int, int]
    is_full: bool
    """Whether there may be more."""
    sums: str
    """JSON, as `_ADD` reads it."""


def count(connection: apsw.Connection, limit: int) -> Counted:
    """Count the next of the log, and of the events."""
    place: tuple[int, int] = connection.execute(_PLACE).get
    attempt_id, event_key, is_full, sums = connection.execute(_COUNT, (*place, limit)).get
    return Counted(place, (attempt_id, event_key), bool(is_full), sums)


def add(transaction: Transaction, counted: Counted) -> bool:
    """Add what was counted, unless somebody else has; tell whether there may be more to count."""
    if transaction.run(_MOVE, (*counted.place, *counted.next_place)):
        transaction.run(_ADD, (counted.sums,))
    return counted.is_full


def note_late(transaction: Transaction, late_ms: int) -> None:
    """Count a look at the backlog."""
    sums = [
        [level, 0, span_ms, transaction.wall // span_ms * span_ms, Measure.LATE, class_of(late_ms), 1]
        for level, span_ms in KEPT
        if level is Level.INSTALLATION
    ]
    transaction.run(_ADD, (msgspec.json.encode(sums).decode(),))


def forget(transaction: Transaction, limit: int) -> bool:
    """Remove some of the tallies that have had their time; True: there may be more."""
    counts = [
        transaction.run(_FORGET, (level, span_ms, transaction.wall - kept_ms, limit))
        for (level, span_ms), kept_ms in KEPT.items()
    ]
    return limit in counts


def read(connection: apsw.Connection, query: TallyQuery) -> tuple[Tally, ...]:
    """Read tallies, summed up into the cells that are asked for."""
    bindings: Sequence[Any] = (
        query.cell_ms,
        query.level,
        query.span_ms,
        query.from_at,
        query.company_id,
        query.spreads,
    )
    if query.subject_ids is None:
        rows = connection.execute(_READ_EVERY, bindings)
    else:
        rows = connection.execute(_READ_SOME, (*bindings, json_ids(query.subject_ids)))
    return tuple([Tally(*row) for row in rows])


def waiting(connection: apsw.Connection, subscription_ids: Sequence[int], at_most: int) -> dict[int, int]:
    """Count open deliveries of each subscription, no further than `at_most`."""
    return dict(connection.execute(_WAITING, (json_ids(subscription_ids), at_most)))


def last_success_at(connection: apsw.Connection, subscription_id: int, among: int) -> int | None:
    """Read when an attempt succeeded last, among the latest."""
    found: int | None = connection.execute(_LAST_SUCCESS, (subscription_id, among)).get
    return found
