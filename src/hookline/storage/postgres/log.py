"""Verbs that read what happened: attempts, deliveries and events, each from one snapshot.

Two states are derived here and stored nowhere: `held` (pending while the subscription is inactive) and the `cancelled`
of an open delivery whose subscription is deleted. Open deliveries and ended ones are two tables, and read as one.
Events are read on their own: they may lie in other buckets.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

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
from hookline.storage.postgres import buckets
from hookline.storage.postgres.connection import is_storable
from hookline.storage.rows import DAY_MS, EVENT_KEY, first_id_of_day, read_attempt, read_delivery, read_event
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

_IS_CLOSED: Final = "(d.due_at IS NOT NULL AND s.deleted_at IS NOT NULL)"
_IS_HELD: Final = "(d.state = 'pending' AND NOT s.active)"
_STATE: Final = f"CASE WHEN {_IS_CLOSED} THEN 'cancelled' WHEN {_IS_HELD} THEN 'held' ELSE d.state END"
_OF_LANE: Final = """(
  SELECT {what} FROM lanes AS l
  WHERE l.bucket = any($1) AND l.bucket = d.bucket AND l.subscription_id = d.subscription_id)"""
_LANE_WAIT: Final = (
    f"greatest(hold_until, CASE WHEN probe_at IS NOT NULL THEN least(probe_at, d.due_at + {WAITED_MS_MAX}) END)"
)
"""Until when a lane keeps a delivery waiting, whatever its due time is; null: it does not."""
_REASON: Final = f"""
CASE
  WHEN {_IS_CLOSED} THEN 'deleted'
  WHEN {_IS_HELD} THEN s.inactive_reason
  WHEN d.state = 'pending' AND {_OF_LANE.format(what="validate_at")} IS NOT NULL THEN '{Waiting.VALIDATION}'
  WHEN d.state = 'pending' AND {_OF_LANE.format(what="probe_at")} IS NOT NULL THEN '{Waiting.RECEIVER_FAILING}'
  ELSE d.reason
END"""
_DUE_AT: Final = f"""
CASE
  WHEN s.deleted_at IS NOT NULL THEN NULL
  WHEN d.state = 'pending' AND s.active THEN greatest(
    d.due_at, {_OF_LANE.format(what=_LANE_WAIT)})
  ELSE d.due_at
END"""
_OPEN_OR_ENDED: Final = """
(
  SELECT n.id, n.event_key, n.subscription_id, n.company_id, n.type_name, n.payload_version, n.source, n.state,
    NULL AS reason, n.due_at, n.attempt, n.failures, NULL::bigint AS settled_at, n.event_bucket, n.bucket
  FROM deliveries AS n WHERE n.bucket = any($1::smallint[]) AND {which}
  UNION ALL
  SELECT n.id, n.event_key, n.subscription_id, n.company_id, n.type_name, n.payload_version, n.source, n.state,
    n.reason, NULL::bigint AS due_at, n.attempt, n.failures, n.settled_at, n.event_bucket, n.bucket
  FROM ended_deliveries AS n WHERE n.bucket = any($1::smallint[]) AND {which}
) AS d"""
"""Deliveries wherever they are. The condition stands in both parts, where it leads to an index and, by an id of its own
rather than an array of them, to the one partition of its day."""
_WITH_SUBSCRIPTION: Final = "JOIN subscriptions AS s ON s.id = d.subscription_id AND s.bucket = d.bucket"

_DELIVERY: Final = f"""
d.id, d.subscription_id, d.company_id, d.type_name, d.payload_version, d.source, {_STATE}, {_REASON},
CASE WHEN {_IS_HELD} AND s.deleted_at IS NULL THEN s.inactive_at END, {_DUE_AT}, d.attempt, d.failures,
CASE WHEN {_IS_CLOSED} THEN s.deleted_at ELSE d.settled_at END, d.event_key, d.event_bucket"""
_DELIVERIES: Final = f"""
SELECT {_DELIVERY}
FROM unnest($2::bigint[]) AS asked (id)
  CROSS JOIN LATERAL {_OPEN_OR_ENDED.format(which="n.id = asked.id")} {_WITH_SUBSCRIPTION}
WHERE s.bucket = any($1::smallint[]) AND ($3::bigint IS NULL OR d.company_id = $3)"""
_OF_EVENT: Final = f"""
SELECT {_DELIVERY}
FROM {_OPEN_OR_ENDED.format(which="n.event_key = $2 AND n.id > $2")} {_WITH_SUBSCRIPTION}
WHERE s.bucket = any($1::smallint[]) AND d.id > $3::bigint AND ($4::bigint IS NULL OR d.company_id = $4)
ORDER BY d.id LIMIT $5"""
"""No delivery is older than its event, so that earlier days are not looked into."""

_EVENT_COLUMNS: Final = "e.key, e.id, e.event_type, e.data, e.occurred_at, e.accepted_at, e.catalogue_revision"
_EVENT: Final = f"SELECT {_EVENT_COLUMNS} FROM events AS e"
_BY_KEY: Final = """
unnest($2::bigint[]) AS asked (key)
  CROSS JOIN LATERAL (
    SELECT * FROM events AS n WHERE n.bucket = any($1::smallint[]) AND n.key = asked.key OFFSET 0) AS e"""
"""Event by event: the OFFSET keeps the planner from going through all events for the sake of their order instead."""
_EVENTS: Final = f"SELECT {_EVENT_COLUMNS} FROM {_BY_KEY}"
_EVENTS_HOLDING: Final = f"""
SELECT {_EVENT_COLUMNS} FROM {_BY_KEY} WHERE position($3::bytea IN e.data) > 0 ORDER BY e.key DESC LIMIT $4"""
_BY_ID: Final = "SELECT key, event_bucket FROM event_keys WHERE bucket = $2::smallint AND id = $1"

_ATTEMPT: Final = """
a.id, a.delivery_id, a.number, a.http_status, a.error, a.detail, a.duration_ms, a.dns_ms, a.connect_ms, a.tls_ms,
a.wait_ms, a.created_at, a.next_attempt_at, a.dead_lettered, a.request_head, a.response_head, a.response_body"""
_PAGE: Final = f"""
SELECT {_ATTEMPT}
FROM (SELECT a.id FROM attempts AS a {{where}} ORDER BY a.id DESC LIMIT {{limit}} OFFSET {{offset}}::bigint) AS page
  JOIN attempts AS a ON a.id = page.id
WHERE a.bucket = any($1::smallint[])
ORDER BY a.id DESC"""
"""The way to the page goes by an index alone; only its own rows are read."""
_ATTEMPTS: Final = f"""
SELECT {_ATTEMPT} FROM attempts AS a
WHERE a.bucket = any($1::smallint[]) AND a.delivery_id = $2 AND a.id > $2 ORDER BY a.number"""
"""Attempts are no older than their delivery, either."""
_TYPE_NAME: Final = f"""
(SELECT d.type_name FROM {_OPEN_OR_ENDED.format(which="n.id = a.delivery_id")} WHERE d.bucket = a.bucket)"""

_COUNTS: Final = f"""
SELECT d.event_key, {_STATE}, count(*)
FROM unnest($2::bigint[]) AS asked (key)
  CROSS JOIN LATERAL {_OPEN_OR_ENDED.format(which="n.event_key = asked.key AND n.id > asked.key")} {_WITH_SUBSCRIPTION}
WHERE s.bucket = any($1::smallint[]) AND ($3::bigint IS NULL OR d.company_id = $3)
GROUP BY 1, 2"""

_RECIPIENTS: Final = """
SELECT r.event_key, r.company_id, r.company_revision, r.entries
FROM unnest($2::bigint[]) AS asked (key)
  CROSS JOIN LATERAL (
    SELECT * FROM recipients AS n WHERE n.bucket = any($1::smallint[]) AND n.event_key = asked.key OFFSET 0) AS r
WHERE $3::bigint IS NULL OR r.company_id = $3
ORDER BY r.event_key, r.company_id"""

_LAST_ATTEMPTS: Final = f"""
SELECT {_ATTEMPT}
FROM unnest($2::bigint[]) AS asked (id)
  CROSS JOIN LATERAL (
    SELECT * FROM attempts AS n
    WHERE n.bucket = any($1::smallint[]) AND n.delivery_id = asked.id AND n.id > asked.id
    ORDER BY n.number DESC LIMIT $3
  ) AS a
ORDER BY a.delivery_id, a.number"""

_ROUTES_THEN: Final = """
SELECT route FROM (
  SELECT DISTINCT ON (r.company_id, r.subscription_id) r.company_id, r.subscription_id, r.route
  FROM subscription_revisions AS r
    JOIN unnest($2::integer[], $3::bigint[]) AS asked (company_id, revision) ON asked.company_id = r.company_id
  WHERE r.bucket = any($1::smallint[]) AND r.company_id = any($2) AND r.revision <= asked.revision
  ORDER BY r.company_id, r.subscription_id, r.revision DESC
) AS latest WHERE route IS NOT NULL ORDER BY company_id, subscription_id"""

_TYPE_THEN: Final = """
SELECT name, v1_name, v2_name, kind FROM event_type_revisions
WHERE name = $1 AND revision <= $2 ORDER BY revision DESC LIMIT 1"""


KEY_MAX: Final = 2**53
"""Over every key."""
_FLOOR: Final = """
SELECT key FROM events
WHERE bucket = any($1::smallint[]) AND key < $2 AND key >= $3 AND $5::bigint IS NULL
ORDER BY key DESC LIMIT 1 OFFSET $4::bigint - 1"""
_FLOOR_OF_COMPANY: Final = """
SELECT event_key FROM recipients
WHERE bucket = any($1::smallint[]) AND company_id = $5::bigint AND event_key < $2 AND event_key >= $3
ORDER BY event_key DESC LIMIT 1 OFFSET $4::bigint - 1"""
_WITH_DEAD: Final = """
SELECT DISTINCT newest.event_key
FROM lanes AS l CROSS JOIN LATERAL (
  SELECT d.event_key FROM ended_deliveries AS d
  WHERE d.bucket = any($1::smallint[]) AND d.state = 'dead' AND d.subscription_id = l.subscription_id
    AND d.event_key < $3 AND d.event_key >= $4 AND d.id >= $4
  ORDER BY d.event_key DESC LIMIT $5
) AS newest
WHERE l.bucket = any($1) AND ($2::bigint IS NULL OR l.company_id = $2)
ORDER BY newest.event_key DESC LIMIT $5"""
"""The newest of each lane, among which are the newest of all: few are dead where many events are."""


class Part(Struct, frozen=True, kw_only=True):
    """Which deliveries of an event are asked for, and how many of their attempts."""

    company_id: int | None
    after_id: int
    limit: int
    attempts_max: int


async def page_of_attempts(connection: Any, query: AttemptQuery) -> AttemptPage:
    """Read a page of a subscription's log by id descending, and count all of it."""
    where = _Conditions("a.bucket = any({}::smallint[])", buckets.EVERY)
    where.add("a.subscription_id = {}::bigint", query.subscription_id)
    where.add("a.company_id = {}::bigint", query.company_id)
    where.add("a.id < {}", query.before_id)
    where.add("a.id >= {}", None if query.from_at is None else first_id_of_day(query.from_at))
    where.add("a.created_at >= {}", query.from_at)
    where.add("a.created_at < {}", query.to_at)
    where.add("coalesce(a.http_status BETWEEN 200 AND 299, false) = {}", query.success)
    where.add(f"{_TYPE_NAME} = {{}}", query.type_name)
    total: int = await connection.fetchval(f"SELECT count(*) FROM attempts AS a {where}", *where.values)
    limit, offset = where.bind(query.size), where.bind(query.page * query.size)
    rows = await connection.fetch(_PAGE.format(where=where, limit=limit, offset=offset), *where.values)
    views = await _views(connection, {row[1] for row in rows}, query.company_id)
    return AttemptPage(rows=tuple([read_attempt(row, views[row[1]]) for row in rows]), total=total)


async def delivery(
    connection: Any, subscription_id: int, delivery_id: int, company_id: int | None
) -> DeliveryView | None:
    """Read one delivery of the subscription, and of the company where one is named, with all its attempts."""
    view = (await _views(connection, [delivery_id], company_id)).get(delivery_id)
    if view is None or view.subscription_id != subscription_id:
        return None
    rows = await connection.fetch(_ATTEMPTS, [buckets.of_company(view.company_id)], view.id)
    return replace(view, attempts=tuple([read_attempt(row, view) for row in rows]))


async def subscription_of(connection: Any, delivery_id: int, company_id: int | None) -> int | None:
    """Read the subscription of a delivery, if it is the company's where one is named."""
    view = (await _views(connection, [delivery_id], company_id)).get(delivery_id)
    return None if view is None else view.subscription_id


async def events(connection: Any, query: EventQuery) -> tuple[EventView, ...]:
    """Read events by key descending."""
    if query.company_id is None:
        found = await _events_of_all(connection, query)
    else:
        found = await _events_of_company(connection, query, query.company_id)
    return await _event_views(connection, found, query.company_id)


async def search(connection: Any, query: EventQuery, looked_at_max: int) -> EventSearch:
    """Read events by key descending, looking at no more than so many; those with a dead delivery are known by it."""
    is_narrow = query.event_type is not None or query.state is not None or query.containing is not None
    is_of_dead = query.state is DeliveryState.DEAD and query.event_type is None and query.containing is None
    floor, keys = None, None
    span = (query.before_key or KEY_MAX, _lowest(query))
    if is_of_dead:
        rows = await connection.fetch(_WITH_DEAD, buckets.EVERY, query.company_id, *span, query.limit)
        query, keys = replace(query, state=None), [row[0] for row in rows]
    elif is_narrow:
        sql = _FLOOR if query.company_id is None else _FLOOR_OF_COMPANY
        floor = await connection.fetchval(sql, _buckets_of(query), *span, looked_at_max, query.company_id)
    if floor is not None:
        query = replace(query, after_key=floor - 1)
    if query.company_id is None:
        found = await _events_of_all(connection, query, keys)
    else:
        found = await _events_of_company(connection, query, query.company_id, keys)
    return EventSearch(
        events=await _event_views(connection, found, query.company_id),
        next_before_key=found[-1].key if len(found) == query.limit else floor,
    )


def _lowest(query: EventQuery) -> int:
    """Return the least key that an event of the query can have."""
    first = 0 if query.from_at is None else first_id_of_day(query.from_at)
    return max(first, 0 if query.after_key is None else query.after_key + 1)


def _buckets_of(query: EventQuery) -> Sequence[int]:
    return buckets.EVERY if query.company_id is None else [buckets.of_company(query.company_id)]


async def event(connection: Any, event_id: str, part: Part) -> EventDetail | None:
    """Read one event with a part of its deliveries, and what it was matched under."""
    if not is_storable(event_id):
        return None
    place = await connection.fetchrow(_BY_ID, event_id, buckets.of_text(event_id))
    if place is None:
        return None
    views = await _event_views(connection, await _events(connection, [place]), part.company_id)
    if not views or (part.company_id is not None and not views[0].recipients):
        return None
    view = views[0]
    deliveries = await _deliveries_of(connection, view.event, part)
    more = len(deliveries) > part.limit
    return EventDetail(
        view=view,
        deliveries=deliveries[: part.limit],
        next_after_id=deliveries[part.limit - 1].id if more else None,
        routes=await _routes_then(connection, view.recipients),
        matched_type=await _type_then(connection, view.event),
    )


# --- parts -----------------------------------------------------------------------------------------------------------


class _Conditions:
    """A WHERE clause that grows by what was given, with its parameters."""

    def __init__(self, text: str, value: Any) -> None:
        self.values: list[Any] = []
        self._texts: list[str] = []
        self.add(text, value)

    def __str__(self) -> str:
        return f"WHERE {' AND '.join(self._texts)}"

    def add(self, text: str, value: Any) -> None:
        """Demand this, unless the value was not given; `{}` stands for its parameter."""
        if value is not None:
            is_possible = not isinstance(value, str) or is_storable(value)
            self._texts.append(text.format(self.bind(value)) if is_possible else "false")

    def bind(self, value: Any) -> str:
        """Add a parameter and return its name."""
        self.values.append(value)
        return f"${len(self.values)}"


async def _events_of_all(connection: Any, query: EventQuery, keys: Collection[int] | None = None) -> Sequence[Event]:
    """Read a page of the installation's events: an operator's look, over all buckets."""
    its_deliveries = _OPEN_OR_ENDED.format(which="n.event_key = e.key AND n.id > e.key")
    in_state = (
        f"EXISTS (SELECT FROM {its_deliveries} {_WITH_SUBSCRIPTION} WHERE s.bucket = any($1) AND {_STATE} = {{}}::text)"
    )
    where = _Conditions("e.bucket = any({}::smallint[])", buckets.EVERY)
    where.add("e.key = any({}::bigint[])", keys)
    where.add("e.key < {}", query.before_key)
    where.add("e.key > {}", query.after_key)
    where.add("e.key >= {}", None if query.from_at is None else first_id_of_day(query.from_at))
    where.add("e.accepted_at >= {}", query.from_at)
    where.add("e.key < {}", None if query.to_at is None else first_id_of_day(query.to_at + DAY_MS))
    where.add("e.accepted_at < {}", query.to_at)
    where.add("e.event_type = {}", query.event_type)
    where.add("position({}::bytea IN e.data) > 0", query.containing)
    where.add(in_state, query.state)
    limit = where.bind(query.limit)
    rows = await connection.fetch(f"{_EVENT} {where} ORDER BY e.key DESC LIMIT {limit}", *where.values)
    return [read_event(row) for row in rows]


async def _events_of_company(
    connection: Any, query: EventQuery, company_id: int, keys: Collection[int] | None = None
) -> Sequence[Event]:
    """Read a page of a company's events: its recipients lead, so that the events of others are never touched."""
    its_deliveries = _OPEN_OR_ENDED.format(which="n.event_key = r.event_key AND n.id > r.event_key")
    in_state = (
        f"EXISTS (SELECT FROM {its_deliveries} {_WITH_SUBSCRIPTION}"
        f" WHERE s.bucket = any($1) AND d.company_id = r.company_id AND {_STATE} = {{}}::text)"
    )
    where = _Conditions("r.bucket = any({}::smallint[])", [buckets.of_company(company_id)])
    where.add("r.company_id = {}::bigint", company_id)
    where.add("r.event_key = any({}::bigint[])", keys)
    where.add("r.event_key < {}", query.before_key)
    where.add("r.event_key > {}", query.after_key)
    where.add("r.event_key >= {}", None if query.from_at is None else first_id_of_day(query.from_at))
    where.add("r.accepted_at >= {}", query.from_at)
    where.add("r.event_key < {}", None if query.to_at is None else first_id_of_day(query.to_at + DAY_MS))
    where.add("r.accepted_at < {}", query.to_at)
    where.add("r.event_type = {}", query.event_type)
    where.add(in_state, query.state)
    if query.containing is not None:  # events may lie in other buckets: all that could hold it are looked at there
        places = await connection.fetch(
            f"SELECT r.event_key, r.event_bucket FROM recipients AS r {where}", *where.values
        )
        its_buckets, its_keys = list({bucket for _, bucket in places}), [key for key, _ in places]
        rows = await connection.fetch(_EVENTS_HOLDING, its_buckets, its_keys, query.containing, query.limit)
        return [read_event(row) for row in rows]
    limit = where.bind(query.limit)
    places = await connection.fetch(
        f"SELECT r.event_key, r.event_bucket FROM recipients AS r {where} ORDER BY r.event_key DESC LIMIT {limit}",
        *where.values,
    )
    return await _events(connection, places)


async def _events(connection: Any, places: Collection[Sequence[int]]) -> Sequence[Event]:
    """Read events by key and bucket, in the order given, as far as the reader may see them."""
    if not places:
        return []
    rows = await connection.fetch(_EVENTS, list({bucket for _, bucket in places}), [key for key, _ in places])
    found = {row[0]: read_event(row) for row in rows}
    return [found[key] for key, _ in places if key in found]


async def _event_views(connection: Any, found: Sequence[Event], company_id: int | None) -> tuple[EventView, ...]:
    if not found:
        return ()
    its_buckets = buckets.EVERY if company_id is None else [buckets.of_company(company_id)]
    keys = [event.key for event in found]
    counts: dict[int, dict[DeliveryState, int]] = defaultdict(dict)
    for key, state, count in await connection.fetch(_COUNTS, its_buckets, keys, company_id):
        counts[key][DeliveryState(state)] = count
    recipients: dict[int, list[Recipient]] = defaultdict(list)
    for key, *row in await connection.fetch(_RECIPIENTS, its_buckets, keys, company_id):
        recipients[key].append(records.recipient(*row))
    return tuple([EventView(event=e, recipients=tuple(recipients[e.key]), counts=counts.get(e.key, {})) for e in found])


async def _deliveries_of(connection: Any, event: Event, part: Part) -> tuple[DeliveryView, ...]:
    """Read one delivery more than asked for, each with its last attempts."""
    rows = await connection.fetch(_OF_EVENT, buckets.EVERY, event.key, part.after_id, part.company_id, part.limit + 1)
    views = {row[0]: read_delivery(row, event) for row in rows}
    attempts: dict[int, list[AttemptRow]] = defaultdict(list)
    for row in await connection.fetch(_LAST_ATTEMPTS, buckets.EVERY, list(views), part.attempts_max):
        attempt = read_attempt(row, views[row[1]])
        attempts[row[1]].append(replace(attempt, data=None, request_head=None, response_head=None, response_body=None))
    return tuple([replace(view, attempts=tuple(attempts[view.id])) for view in views.values()])


async def _views(connection: Any, delivery_ids: Collection[int], company_id: int | None) -> Mapping[int, DeliveryView]:
    """Read deliveries without their attempts, by id; each event's data is read once."""
    if not delivery_ids:
        return {}
    rows = await connection.fetch(_DELIVERIES, buckets.EVERY, list(delivery_ids), company_id)
    places = {(row[EVENT_KEY], row[EVENT_KEY + 1]) for row in rows}
    found = {event.key: event for event in await _events(connection, places)}
    return {row[0]: read_delivery(row, found[row[EVENT_KEY]]) for row in rows}


async def _routes_then(connection: Any, recipients: Iterable[Recipient]) -> tuple[Route, ...]:
    revisions = {recipient.company_id: recipient.company_revision for recipient in recipients}
    its_buckets = [buckets.of_company(company_id) for company_id in revisions]
    rows = await connection.fetch(_ROUTES_THEN, its_buckets, list(revisions), list(revisions.values()))
    return tuple([records.route(row[0]) for row in rows])


async def _type_then(connection: Any, event: Event) -> EventType | None:
    row = await connection.fetchrow(_TYPE_THEN, event.event_type, event.catalogue_revision)
    if row is None or row[3] is None:
        return None
    return EventType(name=row[0], v1_name=row[1], v2_name=row[2], kind=TypeKind(row[3]))
