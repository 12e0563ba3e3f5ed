"""The verb `claim_due`: fair, bounded, and quick however much waits.

Looks at lanes, never at the backlog. It locks the due lanes that nobody else holds, counts what each has in flight,
asks `fairness.share`, and takes the first rows of the granted ones. Counted before the lock, two claims would fill one
lane twice.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from msgspec import Struct

from hookline import fairness, lifecycle
from hookline.fairness import Flight, Lane
from hookline.model import PayloadVersion
from hookline.storage.postgres import lanes, subscriptions
from hookline.storage.postgres.database import Transaction
from hookline.storage.postgres.lanes import LockedLane
from hookline.storage.postgres.settling import LOSSES_MAX, Losses, log_losses
from hookline.storage.protocol import Claim, Claimed, Fence, Unreadable
from hookline.storage.rows import DAMAGE

LANES_MAX: Final = 256
"""Lanes that one claim looks at: more than it can usually grant, few enough to count what each has in flight."""

SKIPPED_AGAIN_MS: Final = 5
"""A due lane, or a passed lease, that another transaction holds is looked at again so soon: it is held for about one
commit. At once would be a claim after the other for as long as a frozen node keeps its transaction open."""

LOSSES_END: Final = (1 << 31) - 1
"""More than any delivery has lost."""

_GOLDEN: Final = 1_327_217_885
_RING: Final = (1 << 31) - 1
"""Lanes stand on a ring of 2^31 places, each at its id times 2^31 divided by the golden ratio: neighbours are spread
evenly. Each claim begins one such step further, so that every place comes up soon and equally often."""

_FIRST_LEASE_END: Final = """
SELECT min(due_at) FROM deliveries WHERE bucket = any($1::smallint[]) AND state = 'sending'"""

_LOCK_DUE: Final = f"""
WITH due AS MATERIALIZED (
  SELECT subscription_id, bucket,
    ((subscription_id::bigint + $3) * {_GOLDEN} & {_RING}) * count(*) OVER (PARTITION BY company_id) AS place
  FROM lanes AS l
  WHERE bucket = any($1::smallint[]) AND is_open AND next_due <= $2 AND NOT EXISTS (
    SELECT FROM unnest($4::integer[], $5::text[]) AS f (company_id, host)
    WHERE f.company_id = l.company_id AND f.host = l.host)
  ORDER BY place LIMIT {LANES_MAX}
), locked AS MATERIALIZED (
  SELECT l.company_id, l.host, due.place, {", ".join(f"l.{name}" for name in lanes.COLUMNS.split(", "))}
  FROM due JOIN lanes AS l ON l.subscription_id = due.subscription_id AND l.bucket = due.bucket
  WHERE l.bucket = any($1) AND (l.is_open AND l.next_due <= $2) IS TRUE
  FOR NO KEY UPDATE OF l SKIP LOCKED
)
SELECT (SELECT count(*) FROM due), (SELECT count(*) FROM locked), locked.*
FROM (SELECT) AS one LEFT JOIN locked ON true
ORDER BY place"""
"""Due lanes in turn over companies, with how many were due and how many of these could be locked; at least one row, of
nulls. A lane's place on the ring, times how many lanes of its company are due, is the turn at which it would come up if
each company sent its lanes along the ring: so nobody gains by having many. Under the lock each is judged again; written
as it is, that condition leads to no index, for the lanes are found by their keys."""

_TAKE: Final = f"""
WITH walked AS (
  SELECT d.*, row_number() OVER (PARTITION BY d.subscription_id ORDER BY d.due_at, d.id) AS turn
  FROM unnest($3::integer[], $4::integer[], $8::bigint[], $9::boolean[])
    AS granted (subscription_id, room, due_by, is_ordered) CROSS JOIN LATERAL (
    (SELECT n.id, n.subscription_id, n.due_at, n.data_bytes, n.losses FROM deliveries AS n
    WHERE NOT granted.is_ordered AND n.bucket = any($1::smallint[]) AND n.state = 'pending'
      AND n.subscription_id = granted.subscription_id AND n.due_at <= granted.due_by AND n.losses < $7
    ORDER BY n.due_at, n.id LIMIT granted.room)
    UNION ALL
    SELECT id, subscription_id, due_at, data_bytes, losses FROM (
      SELECT n.id, n.subscription_id, n.due_at, n.data_bytes, n.losses, n.state FROM deliveries AS n
      WHERE granted.is_ordered AND n.bucket = any($1::smallint[]) AND n.subscription_id = granted.subscription_id
        AND n.due_at IS NOT NULL
      ORDER BY n.id LIMIT 1
    ) AS lowest WHERE state = 'pending' AND due_at <= granted.due_by AND losses < $7
  ) AS d
), sized AS (
  SELECT id, losses, sum(data_bytes) OVER whole AS total, row_number() OVER whole AS place,
    count(*) FILTER (WHERE losses >= {lifecycle.SUSPECT_LOSSES}) OVER whole AS suspects
  FROM walked WINDOW whole AS (ORDER BY turn, id)
), taken AS (
  UPDATE deliveries AS d SET state = 'sending', attempt = d.attempt + 1, due_at = $5, claimed_at = $2
  WHERE d.bucket = any($1) AND d.id = any(ARRAY(
      SELECT id FROM sized
      WHERE (total <= $6 OR place = 1) AND (losses < {lifecycle.SUSPECT_LOSSES} OR suspects = 1)))
    AND (d.state = 'pending') IS TRUE
  RETURNING d.*
)
SELECT t.id, t.attempt, t.failures, t.losses, t.subscription_id, s.revision, t.company_id, t.type_name,
  t.payload_version, t.source, t.event_key, t.event_bucket,
  CASE WHEN row_number() OVER () = 1 THEN ARRAY(SELECT id FROM sized ORDER BY place) END AS "order"
FROM taken AS t JOIN subscriptions AS s ON s.id = t.subscription_id AND s.bucket = t.bucket
WHERE s.bucket = any($1)"""
"""The first rows of each granted lane as far as the bytes go; one always goes. Of an ordered lane that is its lowest
open row, if that is due; of suspects only the first goes. The first row that comes back carries the ids of all in their
order, one of each lane a turn.

Each row is found by its id and by nothing else: joined with what was found, the table was read whole for each row of it
where the plan had been made for a small one (16,000 pending: 2 s). Written as it is, the state leads to no index.
"""

_EVENTS: Final = """
SELECT key, id, event_type, occurred_at, accepted_at, data FROM events
WHERE bucket = any($1::smallint[]) AND key = any($2::bigint[]) AND key BETWEEN $3 AND $4"""
"""Between the first and the last of them: so it opens the partitions of their days alone."""

_Damaged = tuple[Fence, Unreadable]

_NEXT_DUE: Final = """
SELECT
  (SELECT min(next_due) FROM lanes WHERE bucket = any($1::smallint[]) AND is_open AND next_due > $2),
  (SELECT min(due_at) FROM deliveries WHERE bucket = any($1) AND state = 'sending')"""

LEASES_EACH_MS: Final = 1_000
"""After so long a node asks again when the first lease ends, whatever its last claim saw at its end."""


class Leases:
    """When the first lease ends, as one node saw it last; of those given later none ends much before."""

    def __init__(self) -> None:
        self._first_end: int | None = None
        self._seen_at: int | None = None

    def are_due(self, now: int) -> bool:
        """Tell whether a lease may have passed, or nobody knows."""
        if self._seen_at is None or not 0 <= now - self._seen_at < LEASES_EACH_MS:
            return True
        return self._first_end is not None and self._first_end <= now

    def see(self, first_end: int | None, now: int) -> None:
        """Keep what was seen."""
        self._first_end, self._seen_at = first_end, now


class ClaimRequest(Struct, frozen=True):
    """What one node asks for."""

    flight: Flight
    rows_max: int
    body_bytes_max: int
    lease_ms: int
    known: Mapping[int, int]
    number: int
    """Of the claims of this node: where on the ring it begins."""
    leases: Leases


async def claim_due(transaction: Transaction, request: ClaimRequest) -> Claim:
    """Judge leases that have passed, then take what fairness grants of the due lanes."""
    losses = await _losses(transaction, request.leases)
    due = await _due_lanes(transaction, request)
    granted = fairness.share(due.lanes, request.flight, request.rows_max)
    taken, found = await _take(transaction, due, granted, request) if granted else ((), 0)
    started = Counter(row.subscription_id for row in taken)
    stirred = [
        _stirred(due.locked[lane.subscription_id], started[lane.subscription_id], transaction.now)
        for lane in due.lanes
        if lane.subscription_id in granted or lane.in_flight >= lane.slots
    ]
    await lanes.write(transaction, stirred)
    revisions = {row.subscription_id: row.subscription_revision for row in taken}
    unknown = [key for key, revision in revisions.items() if request.known.get(key) != revision]
    claimed = await _with_events(transaction, taken, {lane.subscription_id: lane.host for lane in due.lanes})
    more = losses.lost == LOSSES_MAX or (
        bool(taken or not request.flight.suspects)
        and (
            len(taken) < found
            or (len(taken) < sum(granted.values()) and fairness.is_any_short(due.lanes, request.flight, granted))
            or sum(granted.values()) >= request.rows_max
            or (len(due.lanes) == LANES_MAX and bool(stirred))
        )
    )
    return Claim(
        deliveries=tuple([one for one in claimed if isinstance(one, Claimed)]),
        unreadable=tuple([one for one in claimed if not isinstance(one, Claimed)]),
        subscriptions=await subscriptions.by_ids(transaction, unknown) if unknown else {},
        lost=losses.lost,
        parked=losses.parked,
        next_due_ms=await _next_due_ms(transaction, due, request.leases),
        more=more,
    )


def _stirred(lane: LockedLane, started: int, now: int) -> LockedLane:
    """Return the lane as it is left: what was started counts against its rate, or against its open circuit."""
    restraint = lane.restraint
    if restraint is None or not started:
        return lane
    return lane.restrained(fairness.restraint_after(restraint, started, now))


async def _losses(transaction: Transaction, leases: Leases) -> Losses:
    if not leases.are_due(transaction.now):
        return Losses(0, 0)
    first_end = await transaction.connection.fetchval(_FIRST_LEASE_END, transaction.buckets)
    if first_end is None or first_end > transaction.now:
        return Losses(0, 0)
    return await log_losses(transaction)


class _DueLanes(NamedTuple):
    lanes: Sequence[Lane]
    """In turn over companies."""
    locked: Mapping[int, LockedLane]
    skipped: int
    """Those that another transaction holds."""


async def _due_lanes(transaction: Transaction, request: ClaimRequest) -> _DueLanes:
    """Lock the due lanes that are free, then count what each has in flight."""
    flight = request.flight
    full_hosts = set(fairness.full_hosts(flight))
    blocked = [pair for pair, count in flight.by_company_at_host.items() if pair[1] in full_hosts and count > 0]
    rows = await transaction.connection.fetch(
        _LOCK_DUE,
        transaction.buckets,
        transaction.now,
        request.number & _RING,
        [company_id for company_id, _ in blocked],
        [host for _, host in blocked],
    )
    due, free = rows[0][0], rows[0][1]
    locked = {row[5]: LockedLane(*row[5:]) for row in rows} if free else {}
    in_flight = await lanes.in_flight(transaction, locked) if locked else {}
    return _DueLanes(
        [
            fairness.restrained(
                Lane(
                    subscription_id=row[5],
                    company_id=row[2],
                    host=row[3],
                    slots=locked[row[5]].slots,
                    in_flight=in_flight.get(row[5], 0),
                    restraint=locked[row[5]].restraint,
                ),
                transaction.now,
            )
            for row in rows
            if locked
        ],
        locked,
        due - free,
    )


class _Taken(NamedTuple):
    """A row as `_TAKE` returns it."""

    id: int
    attempt: int
    failures: int
    losses: int
    subscription_id: int
    subscription_revision: int
    company_id: int
    type_name: str
    payload_version: str
    source: str | None
    event_key: int
    event_bucket: int
    order: Sequence[int] | None
    """The ids of all rows there were before the bytes were counted, in their order; of the first row alone."""


async def _take(
    transaction: Transaction, due: _DueLanes, granted: Mapping[int, int], request: ClaimRequest
) -> tuple[Sequence[_Taken], int]:
    """Take rows, in order; return also how many there were before the bytes were counted."""
    wanted = [lane for lane in due.lanes if lane.subscription_id in granted]
    rows = await transaction.connection.fetch(
        _TAKE,
        transaction.buckets,
        transaction.now,
        [lane.subscription_id for lane in wanted],
        [granted[lane.subscription_id] for lane in wanted],
        transaction.now + request.lease_ms,
        request.body_bytes_max,
        lifecycle.SUSPECT_LOSSES if request.flight.suspects else LOSSES_END,
        [transaction.now if lane.due_by is None else lane.due_by for lane in wanted],
        [bool(lane.restraint and lane.restraint.is_ordered) for lane in wanted],
    )
    taken = {row[0]: _Taken(*row) for row in rows}
    order = rows[0]["order"] if rows else ()
    return [taken[delivery_id] for delivery_id in order if delivery_id in taken], len(order)


async def _with_events(
    transaction: Transaction, taken: Sequence[_Taken], hosts: Mapping[int, str]
) -> Sequence[Claimed | _Damaged]:
    """Join rows with their events, which may lie in other buckets, each read once however many deliveries it has."""
    if not taken:
        return ()
    keys = {row.event_key for row in taken}
    rows: Sequence[Any] = await transaction.connection.fetch(
        _EVENTS, list({row.event_bucket for row in taken}), list(keys), min(keys), max(keys)
    )
    events = {row[0]: row for row in rows}
    return [_try_claimed(row, events.get(row.event_key), hosts[row.subscription_id]) for row in taken]


def _try_claimed(row: _Taken, event: Sequence[Any] | None, host: str) -> Claimed | _Damaged:
    """Make a value of a row, or say what is wrong with it: one that is damaged keeps no other from being claimed."""
    if event and event[5]:
        try:
            return _claimed(row, event, host)
        except DAMAGE as error:
            problem = str(error)
    else:
        problem = "the data of its event is missing"
    fence = Fence(
        delivery_id=row.id, attempt=row.attempt, subscription_id=row.subscription_id, company_id=row.company_id
    )
    return fence, Unreadable(problem)


def _claimed(row: _Taken, event: Sequence[Any], host: str) -> Claimed:
    return Claimed(
        id=row.id,
        attempt=row.attempt,
        failures=row.failures,
        losses=row.losses,
        subscription_id=row.subscription_id,
        subscription_revision=row.subscription_revision,
        company_id=row.company_id,
        host=host,
        event_id=event[1],
        event_type=event[2],
        type_name=row.type_name,
        payload_version=PayloadVersion(row.payload_version),
        source=row.source,
        occurred_at=event[3],
        accepted_at=event[4],
        data=event[5],
    )


async def _next_due_ms(transaction: Transaction, due: _DueLanes, leases: Leases) -> int | None:
    next_due, first_end = await transaction.connection.fetchrow(_NEXT_DUE, transaction.buckets, transaction.now)
    leases.see(first_end, transaction.now)
    waits = [at - transaction.now for at in (next_due, first_end) if at is not None and at > transaction.now]
    is_judged_elsewhere = first_end is not None and first_end <= transaction.now
    if due.skipped or is_judged_elsewhere:
        waits.append(SKIPPED_AGAIN_MS)
    return min(waits, default=None)
