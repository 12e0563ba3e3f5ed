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
from hookline.storage.claims import Claim, Claimed, Fence, Unreadable
from hookline.storage.postgres import lanes, subscriptions
from hookline.storage.postgres.database import Transaction
from hookline.storage.postgres.lanes import Ahead, LockedLane
from hookline.storage.postgres.settling import LOSSES_MAX, Losses, log_losses
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
SELECT min(due_at) FROM deliveries WHERE bucket = any($1::smallint[]) AND claimed_at IS NOT NULL"""

_LOCK_DUE: Final = f"""
WITH due AS MATERIALIZED (
  SELECT subscription_id,
    ((subscription_id::bigint + $3) * {_GOLDEN} & {_RING}) * count(*) OVER (PARTITION BY company_id) AS place
  FROM lanes AS l
  WHERE bucket = any($1::smallint[]) AND is_open AND next_due <= $2 AND NOT EXISTS (
    SELECT FROM unnest($4::integer[], $5::text[]) AS f (company_id, host)
    WHERE f.company_id = l.company_id AND f.host = l.host)
    AND NOT (host = any($6::text[]) AND subscription_id = any($7::integer[]))
  ORDER BY place LIMIT {LANES_MAX}
), locked AS MATERIALIZED (
  SELECT company_id, host, {lanes.COLUMNS} FROM lanes
  WHERE bucket = any($1) AND subscription_id = any(ARRAY(SELECT subscription_id FROM due))
    AND (is_open AND next_due <= $2) IS TRUE
  FOR NO KEY UPDATE SKIP LOCKED
)
SELECT CASE WHEN row_number() OVER () = 1 THEN ARRAY(SELECT subscription_id FROM due ORDER BY place) END, locked.*
FROM (SELECT) AS one LEFT JOIN locked ON true"""
"""Of the due lanes those that could be locked; at least one row, of nulls. The first row carries the ids of all that
were due, in turn over companies. A lane's place on the ring, times how many lanes of its company are due, is the turn
at which it would come up if each company sent its lanes along the ring: so nobody gains by having many.

Under the lock each is judged again; written as it is, that condition leads to no index, for the lanes are found by
their keys. They are found all at once: joined one by one, the buckets are sorted anew for each (100 lanes: 0.4 ms)."""

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
SELECT id, attempt, failures, losses, subscription_id, company_id, type_name, payload_version, source, event_key,
  event_bucket,
  CASE WHEN row_number() OVER () = 1 THEN ARRAY(SELECT id FROM sized ORDER BY place) END AS "order",
  CASE WHEN row_number() OVER () = 1 THEN ARRAY(
    SELECT ROW(id, revision) FROM subscriptions WHERE bucket = any($1) AND id = any($3)) END AS "revisions"
FROM taken"""
"""The first rows of each granted lane as far as the bytes go; one always goes. Of an ordered lane that is its lowest
open row, if that is due; of suspects only the first goes. The first row that comes back carries the ids of all in their
order, one of each lane a turn, and the revisions of the subscriptions.

Each row is found by its id and by nothing else: joined with what was found, the table was read whole for each row of it
where the plan had been made for a small one (16,000 pending: 2 s). Written as it is, the state leads to no index.
"""

_EVENTS: Final = """
SELECT key, id, event_type, occurred_at, accepted_at, data FROM events
WHERE bucket = any($1::smallint[]) AND key = any($2::bigint[]) AND key BETWEEN $3 AND $4"""
"""Between the first and the last of them: so it opens the partitions of their days alone."""

_Damaged = tuple[Fence, Unreadable]

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
    near = transaction.within(lane.company_id for lane in due.lanes)
    taken, found, revisions = await _take(near, due, granted, request) if granted else _NOTHING
    started = Counter(row.subscription_id for row in taken)
    stirred = [
        _stirred(due.locked[lane.subscription_id], started[lane.subscription_id], transaction.now)
        for lane in due.lanes
        if lane.subscription_id in granted or lane.in_flight >= lane.slots
    ]
    await lanes.write(near, [lane for lane in stirred if lane.is_changed])
    ahead = await lanes.refresh(transaction, [lane.subscription_id for lane in stirred if not lane.is_changed])
    request.leases.see(ahead.first_lease_end, transaction.now)
    unknown = [key for key in started if request.known.get(key) != revisions[key]]
    hosts = {lane.subscription_id: lane.host for lane in due.lanes}
    claimed = await _with_events(transaction, taken, hosts, revisions)
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
        subscriptions=await subscriptions.by_ids(near, unknown) if unknown else {},
        lost=losses.lost,
        parked=losses.parked,
        next_due_ms=_next_due_ms(ahead, due, transaction.now),
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
    crowded_hosts = fairness.crowded_hosts(flight)
    rows = await transaction.connection.fetch(
        _LOCK_DUE,
        transaction.buckets,
        transaction.now,
        request.number & _RING,
        [company_id for company_id, _ in blocked],
        [host for _, host in blocked],
        crowded_hosts,
        list(flight.by_subscription) if crowded_hosts else (),
    )
    order = rows[0][0]
    found = {row[3]: (row[1], row[2], LockedLane(*row[3:])) for row in rows if row[3] is not None}
    near = transaction.within(company_id for company_id, _, _ in found.values())
    in_flight = await lanes.in_flight(near, found) if found else {}
    return _DueLanes(
        [
            fairness.restrained(
                Lane(
                    subscription_id=subscription_id,
                    company_id=company_id,
                    host=host,
                    slots=locked.slots,
                    in_flight=in_flight.get(subscription_id, 0),
                    restraint=locked.restraint,
                ),
                transaction.now,
            )
            for subscription_id in order
            if subscription_id in found
            for company_id, host, locked in [found[subscription_id]]
        ],
        {subscription_id: locked for subscription_id, (_, _, locked) in found.items()},
        len(order) - len(found),
    )


class _Taken(NamedTuple):
    """A row as `_TAKE` returns it."""

    id: int
    attempt: int
    failures: int
    losses: int
    subscription_id: int
    company_id: int
    type_name: str
    payload_version: str
    source: str | None
    event_key: int
    event_bucket: int


class _Harvest(NamedTuple):
    """What was taken."""

    rows: Sequence[_Taken]
    """In order."""
    found: int
    """How many there were before the bytes were counted."""
    revisions: Mapping[int, int]
    """Of the subscriptions."""


_NOTHING: Final = _Harvest((), 0, {})


async def _take(
    transaction: Transaction, due: _DueLanes, granted: Mapping[int, int], request: ClaimRequest
) -> _Harvest:
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
    if not rows:
        return _NOTHING
    taken = {row[0]: _Taken(*row[:-2]) for row in rows}
    order, revisions = rows[0][-2:]
    return _Harvest(
        [taken[delivery_id] for delivery_id in order if delivery_id in taken], len(order), dict(map(tuple, revisions))
    )


async def _with_events(
    transaction: Transaction, taken: Sequence[_Taken], hosts: Mapping[int, str], revisions: Mapping[int, int]
) -> Sequence[Claimed | _Damaged]:
    """Join rows with their events, which may lie in other buckets, each read once however many deliveries it has."""
    if not taken:
        return ()
    keys = {row.event_key for row in taken}
    rows: Sequence[Any] = await transaction.connection.fetch(
        _EVENTS, list({row.event_bucket for row in taken}), list(keys), min(keys), max(keys)
    )
    events = {row[0]: row for row in rows}
    return [
        _try_claimed(row, events.get(row.event_key), hosts[row.subscription_id], revisions[row.subscription_id])
        for row in taken
    ]


def _try_claimed(row: _Taken, event: Sequence[Any] | None, host: str, revision: int) -> Claimed | _Damaged:
    """Make a value of a row, or say what is wrong with it: one that is damaged keeps no other from being claimed."""
    if event and event[5]:
        try:
            return _claimed(row, event, host, revision)
        except DAMAGE as error:
            problem = str(error)
    else:
        problem = "the data of its event is missing"
    fence = Fence(
        delivery_id=row.id, attempt=row.attempt, subscription_id=row.subscription_id, company_id=row.company_id
    )
    return fence, Unreadable(problem)


def _claimed(row: _Taken, event: Sequence[Any], host: str, revision: int) -> Claimed:
    return Claimed(
        id=row.id,
        attempt=row.attempt,
        failures=row.failures,
        losses=row.losses,
        subscription_id=row.subscription_id,
        subscription_revision=revision,
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


def _next_due_ms(ahead: Ahead, due: _DueLanes, now: int) -> int | None:
    waits = [at - now for at in ahead if at is not None and at > now]
    is_judged_elsewhere = ahead.first_lease_end is not None and ahead.first_lease_end <= now
    if due.skipped or is_judged_elsewhere:
        waits.append(SKIPPED_AGAIN_MS)
    return min(waits, default=None)
