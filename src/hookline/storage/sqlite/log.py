"""Verbs that read what happened: attempts, deliveries and events, each from one snapshot.

Two states are derived here and stored nowhere: `held` (pending while the subscription is inactive) and the `cancelled`
of an open delivery whose subscription is deleted.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import apsw
from msgspec import Struct
from msgspec.structs import replace

from hookline.circuit import WAITED_MS_MAX
from hookline.model import (
    DeliveryState,
    Event,
    EventType,
    Recipient,
    Route,
    TypeKind,
)
from hookline.storage import records
from hookline.storage.rows import DAY_MS, EVENT_KEY, first_id_of_day, read_attempt, read_delivery, read_event
from hookline.storage.sqlite.transaction import json_ids
from hookline.storage.views import (
    AttemptPage,
    AttemptQuery,
    AttemptRow,
    DeliveryView,
    EventDetail,
    EventQuery,
    EventSearch,
    EventView,
    Waiting,
)

_STATE: Final = """
CASE
  WHEN d.due_at IS NOT NULL AND s.deleted_at IS NOT NULL THEN 'cancelled'
  WHEN d.state = 'pending' AND s.active = 0 THEN 'held'
  ELSE d.state
END"""
_REASON: Final = f"""
CASE
  WHEN d.due_at IS NOT NULL AND s.deleted_at IS NOT NULL THEN 'deleted'
  WHEN d.state = 'pending' AND s.active = 0 THEN s.inactive_reason
  WHEN d.state = 'pending' AND l.validate_at IS NOT NULL THEN '{Waiting.VALIDATION}'
  WHEN d.state = 'pending' AND l.probe_at IS NOT NULL THEN '{Waiting.RECEIVER_FAILING}'
  ELSE d.reason
END"""
_DUE_AT: Final = f"""
CASE
  WHEN s.deleted_at IS NOT NULL THEN NULL
  WHEN d.state = 'pending' AND s.active = 1
    THEN max(d.due_at, coalesce(l.hold_until, 0), min(coalesce(l.probe_at, 0), d.due_at + {WAITED_MS_MAX}))
  ELSE d.due_at
END"""
_IS_CLOSED: Final = "d.due_at IS NOT NULL AND s.deleted_at IS NOT NULL"

_DELIVERIES: Final = f"""
SELECT d.id, d.subscription_id, d.company_id, d.type_name, d.payload_version, d.source, {_STATE}, {_REASON},
  CASE WHEN d.state = 'pending' AND s.active = 0 AND s.deleted_at IS NULL THEN s.inactive_at END,
  {_DUE_AT}, d.attempt, d.failures,
  CASE WHEN {_IS_CLOSED} THEN s.deleted_at ELSE d.settled_at END, d.event_key
FROM deliveries AS d
  JOIN subscriptions AS s ON s.id = d.subscription_id
  JOIN lanes AS l ON l.subscription_id = d.subscription_id
  JOIN events AS e ON e.key = d.event_key"""

_EVENTS: Final = (
    "SELECT e.key, e.id, e.event_type, e.data, e.occurred_at, e.accepted_at, e.catalogue_revision FROM events AS e"
)
_OF_COMPANY: Final = (
    _EVENTS.replace("FROM events AS e", "FROM recipients AS r CROSS JOIN events AS e ON e.key = r.event_key"),
    "r.event_key",
    "AND d.company_id = r.company_id",
)

_ATTEMPT: Final = """
a.id, a.delivery_id, a.number, a.http_status, a.error, a.detail, a.duration_ms, a.dns_ms, a.connect_ms, a.tls_ms,
a.wait_ms, a.created_at, a.next_attempt_at, a.dead_lettered, a.request_head, a.response_head, a.response_body"""

_COUNTS: Final = f"""
SELECT d.event_key, {_STATE}, count(*)
FROM deliveries AS d JOIN subscriptions AS s ON s.id = d.subscription_id
WHERE d.event_key IN (SELECT value FROM json_each(?1)) AND (?2 IS NULL OR d.company_id = ?2)
GROUP BY 1, 2"""

_RECIPIENTS: Final = """
SELECT event_key, company_id, company_revision, entries FROM recipients
WHERE event_key IN (SELECT value FROM json_each(?1)) AND (?2 IS NULL OR company_id = ?2)
ORDER BY event_key, company_id"""

_LAST_ATTEMPTS: Final = f"""
SELECT {_ATTEMPT} FROM (
  SELECT *, row_number() OVER (PARTITION BY delivery_id ORDER BY number DESC) AS place
  FROM attempts WHERE delivery_id IN (SELECT value FROM json_each(?1))
) AS a WHERE place <= ?2 ORDER BY a.delivery_id, a.number"""

_ROUTES_THEN: Final = """
SELECT r.route FROM subscription_revisions AS r
WHERE r.company_id = ?1 AND r.route IS NOT NULL AND r.revision = (
  SELECT max(n.revision) FROM subscription_revisions AS n
  WHERE n.company_id = ?1 AND n.subscription_id = r.subscription_id AND n.revision <= ?2)
ORDER BY r.subscription_id"""

_TYPE_THEN: Final = """
SELECT name, v1_name, v2_name, kind FROM event_type_revisions
WHERE name = ? AND revision <= ? ORDER BY revision DESC LIMIT 1"""


KEY_MAX: Final = 2**53
"""Over every key."""
_FLOOR: Final = "SELECT key FROM events WHERE key < :before AND key >= :lowest ORDER BY key DESC LIMIT 1 OFFSET :place"
_FLOOR_OF_COMPANY: Final = """
SELECT event_key FROM recipients WHERE company_id = :company AND event_key < :before AND event_key >= :lowest
ORDER BY event_key DESC LIMIT 1 OFFSET :place"""
_WITH_DEAD: Final = """
SELECT json_group_array(event_key) FROM (
  SELECT DISTINCT newest.value AS event_key FROM lanes AS l, json_each((
    SELECT json_group_array(event_key) FROM (
      SELECT event_key FROM deliveries INDEXED BY deliveries_dead
      WHERE state = 'dead' AND subscription_id = l.subscription_id AND event_key < ?2 AND event_key >= ?3
      ORDER BY event_key DESC LIMIT ?4))) AS newest
  WHERE ?1 IS NULL OR l.company_id = ?1 ORDER BY 1 DESC LIMIT ?4)"""
"""The newest of each lane, among which are the newest of all: few are dead where many events are."""


class Part(Struct, frozen=True, kw_only=True):
    """Which deliveries of an event are asked for, and how many of their attempts."""

    company_id: int | None
    after_id: int
    limit: int
    attempts_max: int


def page_of_attempts(connection: apsw.Connection, query: AttemptQuery) -> AttemptPage:
    """Read a page of a subscription's log by id descending, and count all of it."""
    where, bindings = _conditions(
        ("a.subscription_id = ?", query.subscription_id),
        ("a.subscription_id IN (SELECT id FROM subscriptions WHERE company_id = ?)", query.company_id),
        ("a.id < ?", query.before_id),
        ("a.id >= ?", None if query.from_at is None else first_id_of_day(query.from_at)),
        ("a.created_at >= ?", query.from_at),
        ("a.created_at < ?", query.to_at),
        ("coalesce(a.http_status BETWEEN 200 AND 299, 0) = ?", query.success),
        ("(SELECT type_name FROM deliveries WHERE id = a.delivery_id) = ?", query.type_name),
    )
    total: int = connection.execute(f"SELECT count(*) FROM attempts AS a {where}", bindings).get
    rows: Sequence[Any] = connection.execute(
        f"SELECT {_ATTEMPT} FROM attempts AS a {where} ORDER BY a.id DESC LIMIT ? OFFSET ?",
        (*bindings, query.size, query.page * query.size),
    ).fetchall()
    views = _views(connection, {row[1] for row in rows})
    return AttemptPage(rows=tuple([read_attempt(row, views[row[1]]) for row in rows]), total=total)


def delivery(
    connection: apsw.Connection, subscription_id: int, delivery_id: int, company_id: int | None
) -> DeliveryView | None:
    """Read one delivery of the subscription, and of the company where one is named, with all its attempts."""
    view = _views(connection, [delivery_id]).get(delivery_id)
    if view is None or view.subscription_id != subscription_id or company_id not in {None, view.company_id}:
        return None
    rows = connection.execute(f"SELECT {_ATTEMPT} FROM attempts AS a WHERE delivery_id = ? ORDER BY number", (view.id,))
    return replace(view, attempts=tuple([read_attempt(row, view) for row in rows]))


def subscription_of(connection: apsw.Connection, delivery_id: int, company_id: int | None) -> int | None:
    """Read the subscription of a delivery, if it is the company's where one is named."""
    view = _views(connection, [delivery_id]).get(delivery_id)
    return None if view is None or company_id not in {None, view.company_id} else view.subscription_id


def events(connection: apsw.Connection, query: EventQuery) -> tuple[EventView, ...]:
    """Read events by key descending."""
    return _event_views(connection, _found(connection, query), query.company_id)


def search(connection: apsw.Connection, query: EventQuery, looked_at_max: int) -> EventSearch:
    """Read events by key descending, looking at no more than so many; those with a dead delivery are known by it."""
    is_narrow = query.event_type is not None or query.state is not None or query.containing is not None
    is_of_dead = query.state is DeliveryState.DEAD and query.event_type is None and query.containing is None
    floor = None
    if is_narrow and not is_of_dead:
        floor = connection.execute(
            _FLOOR if query.company_id is None else _FLOOR_OF_COMPANY,
            {
                "before": query.before_key or KEY_MAX,
                "lowest": _lowest(query),
                "place": looked_at_max - 1,
                "company": query.company_id,
            },
        ).get
    if floor is not None:
        query = replace(query, after_key=floor - 1)
    found = _found(connection, query, of_dead=is_of_dead)
    return EventSearch(
        events=_event_views(connection, found, query.company_id),
        next_before_key=found[-1].key if len(found) == query.limit else floor,
    )


def _found(connection: apsw.Connection, query: EventQuery, *, of_dead: bool = False) -> Sequence[Event]:
    # For a company, its recipients lead: the events of others are never touched.
    source, key, whose = (_EVENTS, "e.key", "") if query.company_id is None else _OF_COMPANY
    in_state = (
        "EXISTS (SELECT 1 FROM deliveries AS d JOIN subscriptions AS s ON s.id = d.subscription_id"
        f" WHERE d.event_key = e.key {whose} AND {_STATE} = ?)"
    )
    keys = None
    if of_dead:
        bindings = (query.company_id, query.before_key or KEY_MAX, _lowest(query), query.limit)
        keys = connection.execute(_WITH_DEAD, bindings).get
    where, bindings = _conditions(
        ("r.company_id = ?", query.company_id),
        (f"{key} IN (SELECT value FROM json_each(?))", keys),
        ("e.key < ?", query.before_key),
        ("e.key > ?", query.after_key),
        ("e.key >= ?", None if query.from_at is None else first_id_of_day(query.from_at)),
        ("e.accepted_at >= ?", query.from_at),
        ("e.key < ?", None if query.to_at is None else first_id_of_day(query.to_at + DAY_MS)),
        ("e.accepted_at < ?", query.to_at),
        ("e.event_type = ?", query.event_type),
        ("instr(e.data, ?)", query.containing),
        (in_state, None if of_dead else query.state),
    )
    rows = connection.execute(f"{source} {where} ORDER BY {key} DESC LIMIT ?", (*bindings, query.limit))
    return [read_event(row) for row in rows]


def _lowest(query: EventQuery) -> int:
    """Return the least key that an event of the query can have."""
    first = 0 if query.from_at is None else first_id_of_day(query.from_at)
    return max(first, 0 if query.after_key is None else query.after_key + 1)


def event(connection: apsw.Connection, event_id: str, part: Part) -> EventDetail | None:
    """Read one event with a part of its deliveries, and what it was matched under."""
    row = connection.execute(f"{_EVENTS} WHERE id = ?", (event_id,)).get
    if row is None:
        return None
    (view,) = _event_views(connection, [read_event(row)], part.company_id)
    if part.company_id is not None and not view.recipients:
        return None
    deliveries = _deliveries_of(connection, view.event, part)
    more = len(deliveries) > part.limit
    return EventDetail(
        view=view,
        deliveries=deliveries[: part.limit],
        next_after_id=deliveries[part.limit - 1].id if more else None,
        routes=_routes_then(connection, view.recipients),
        matched_type=_type_then(connection, view.event),
    )


# --- parts -----------------------------------------------------------------------------------------------------------


def _conditions(*conditions: tuple[str, Any]) -> tuple[str, tuple[Any, ...]]:
    """Join those whose value was given to a WHERE clause with its bindings."""
    given = [(text, value) for text, value in conditions if value is not None]
    where = f"WHERE {' AND '.join(text for text, _ in given)}" if given else ""
    return where, tuple(value for _, value in given)


def _event_views(connection: apsw.Connection, found: Sequence[Event], company_id: int | None) -> tuple[EventView, ...]:
    keys = json_ids(event.key for event in found)
    counts: dict[int, dict[DeliveryState, int]] = defaultdict(dict)
    for key, state, count in connection.execute(_COUNTS, (keys, company_id)):
        counts[key][DeliveryState(state)] = count
    recipients: dict[int, list[Recipient]] = defaultdict(list)
    for key, *row in connection.execute(_RECIPIENTS, (keys, company_id)):
        recipients[key].append(records.recipient(*row))
    return tuple([EventView(event=e, recipients=tuple(recipients[e.key]), counts=counts.get(e.key, {})) for e in found])


def _deliveries_of(connection: apsw.Connection, event: Event, part: Part) -> tuple[DeliveryView, ...]:
    """Read one delivery more than asked for, each with its last attempts."""
    where, bindings = _conditions(
        ("d.event_key = ?", event.key), ("d.company_id = ?", part.company_id), ("d.id > ?", part.after_id)
    )
    rows = connection.execute(f"{_DELIVERIES} {where} ORDER BY d.id LIMIT ?", (*bindings, part.limit + 1))
    views = {row[0]: read_delivery(row, event) for row in rows}
    attempts: dict[int, list[AttemptRow]] = defaultdict(list)
    for row in connection.execute(_LAST_ATTEMPTS, (json_ids(views), part.attempts_max)):
        attempt = read_attempt(row, views[row[1]])
        attempts[row[1]].append(replace(attempt, data=None, request_head=None, response_head=None, response_body=None))
    return tuple([replace(view, attempts=tuple(attempts[view.id])) for view in views.values()])


def _views(connection: apsw.Connection, delivery_ids: Iterable[int]) -> Mapping[int, DeliveryView]:
    """Read deliveries without their attempts, by id; each event's data is read once."""
    rows = connection.execute(
        f"{_DELIVERIES} WHERE d.id IN (SELECT value FROM json_each(?))", (json_ids(delivery_ids),)
    )
    found: Sequence[Any] = rows.fetchall()
    keys = json_ids({row[EVENT_KEY] for row in found})
    matching = connection.execute(f"{_EVENTS} WHERE e.key IN (SELECT value FROM json_each(?))", (keys,))
    events_by_key = {row[0]: read_event(row) for row in matching}
    return {row[0]: read_delivery(row, events_by_key[row[EVENT_KEY]]) for row in found}


def _routes_then(connection: apsw.Connection, recipients: Iterable[Recipient]) -> tuple[Route, ...]:
    return tuple(
        [
            records.route(text)
            for recipient in recipients
            for (text,) in connection.execute(_ROUTES_THEN, (recipient.company_id, recipient.company_revision))
        ]
    )


def _type_then(connection: apsw.Connection, event: Event) -> EventType | None:
    row = connection.execute(_TYPE_THEN, (event.event_type, event.catalogue_revision)).get
    if row is None or row[3] is None:
        return None
    return EventType(name=row[0], v1_name=row[1], v2_name=row[2], kind=TypeKind(row[3]))
