"""The verb `claim_due`: fair, bounded, and quick however much waits.

Looks at lanes, never at the backlog: which lanes are due, what each has in flight, what `fairness.share` grants, and
only then at the first rows of the granted ones.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from hookline import fairness
from hookline.fairness import Flight, Lane
from hookline.model import PayloadVersion
from hookline.storage import records
from hookline.storage.protocol import Claim, Claimed
from hookline.storage.sqlite import lanes, subscriptions
from hookline.storage.sqlite.settling import LOSSES_MAX, Losses, log_losses
from hookline.storage.sqlite.transaction import Transaction, json_ids

LANES_MAX: Final = 256
"""Lanes that one claim looks at: more than it can usually grant, few enough to count what each has in flight."""

_GOLDEN: Final = 1_327_217_885
_RING: Final = (1 << 31) - 1
"""Lanes stand on a ring of 2^31 places, each at its id times 2^31 divided by the golden ratio: neighbours are spread
evenly. Each claim begins one such step further, so that every place comes up soon and equally often."""

_LOOK: Final = f"""
SELECT
  (SELECT min(due_at) FROM deliveries WHERE state = 'sending'),
  (SELECT json_group_array(json_object(
      'subscription_id', lane.subscription_id, 'company_id', lane.company_id, 'host', host, 'slots', slots,
      'in_flight',
      (SELECT count(*) FROM deliveries AS d WHERE d.state = 'sending' AND d.subscription_id = lane.subscription_id)))
    FROM (
      SELECT subscription_id
      FROM lanes JOIN (
        SELECT company_id, count(*) AS its_due FROM lanes WHERE is_open = 1 AND next_due <= ?1 GROUP BY company_id
      ) USING (company_id)
      WHERE is_open = 1 AND next_due <= ?1
        AND (company_id, host) NOT IN (SELECT value ->> 0, value ->> 1 FROM json_each(?3))
      ORDER BY ((subscription_id + ?2) * {_GOLDEN} & {_RING}) * its_due LIMIT {LANES_MAX}
    ) AS due CROSS JOIN lanes AS lane ON lane.subscription_id = due.subscription_id)"""
"""One row: when the first lease ends, and due lanes in turn over companies. A lane's place on the ring, times how many
lanes of its company are due, is the turn at which it would come up if each company sent its lanes along the ring: so
nobody gains by having many, and 3,000 due lanes take 1.5 ms (row_number over a partition: 2.2 ms)."""

_TAKE: Final = """
WITH RECURSIVE
  walk (subscription_id, room, turn, due_at, id) AS (
    SELECT value ->> 0, value ->> 1, 0, -1, 0 FROM json_each(?1)
    UNION ALL
    SELECT walk.subscription_id, walk.room - 1, walk.turn + 1, d.due_at, d.id
    FROM walk CROSS JOIN deliveries AS d ON d.id = (
      SELECT n.id FROM deliveries AS n INDEXED BY deliveries_due
      WHERE n.state = 'pending' AND n.subscription_id = walk.subscription_id AND n.due_at <= ?2
        AND (n.due_at, n.id) > (walk.due_at, walk.id)
      ORDER BY n.due_at, n.id LIMIT 1)
    WHERE walk.room > 0
  ),
  sized AS (
    SELECT d.id, length(e.data) AS bytes, sum(length(e.data)) OVER (ORDER BY walk.turn, d.id) AS total
    FROM walk CROSS JOIN deliveries AS d ON d.id = walk.id CROSS JOIN events AS e ON e.key = d.event_key
    WHERE walk.turn > 0
  )
SELECT
  count(*),
  json_group_array(json_array(
    d.id, d.attempt + 1, d.failures, d.subscription_id, s.revision, d.company_id, d.type_name, d.payload_version,
    d.source, e.id, e.event_type, e.occurred_at, e.accepted_at, sized.bytes
  )) FILTER (WHERE total <= ?3 OR total = bytes),
  CAST(group_concat(e.data, '') FILTER (WHERE total <= ?3 OR total = bytes) AS BLOB)
FROM sized
  CROSS JOIN deliveries AS d ON d.id = sized.id
  CROSS JOIN events AS e ON e.key = d.event_key
  CROSS JOIN subscriptions AS s ON s.id = d.subscription_id"""
"""Walks each granted lane along its index, a row of each lane a turn. All comes back as one row: rows that are fetched
one by one cost the interpreter's lock each (see `transaction.Bulk`)."""

_Row = tuple[int, int, int, int, int, int, str, PayloadVersion, str | None, str, str, int, int, int]

_DUE_LANES: Final = msgspec.json.Decoder(list[Lane])
_ROWS: Final = msgspec.json.Decoder(list[_Row])

_MARK: Final = (
    "UPDATE deliveries SET state = 'sending', attempt = attempt + 1, due_at = ?1, claimed_at = ?2"
    " WHERE id IN (SELECT value FROM json_each(?3))"
)

_NEXT_DUE: Final = """
SELECT min(due_at) FROM (
  SELECT (SELECT min(next_due) FROM lanes WHERE is_open = 1 AND next_due > ?1) AS due_at
  UNION ALL SELECT (SELECT min(due_at) FROM deliveries WHERE state = 'sending'))"""


class ClaimRequest(Struct, frozen=True):
    """What one node asks for."""

    flight: Flight
    rows_max: int
    body_bytes_max: int
    lease_ms: int
    known: Mapping[int, int]


def claim_due(transaction: Transaction, requests: Sequence[ClaimRequest]) -> Sequence[Claim]:
    """Answer claims one after the other."""
    return [_claim(transaction, request) for request in requests]


def _claim(transaction: Transaction, request: ClaimRequest) -> Claim:
    losses, due = _look(transaction, request.flight)
    granted = fairness.share(due, request.flight, request.rows_max)
    taken = _take(transaction, granted, request.body_bytes_max) if granted else _NOTHING
    if taken.rows:
        lease_end = transaction.now + request.lease_ms
        transaction.run(_MARK, (lease_end, transaction.now, json_ids([row[0] for row in taken.rows])))
    stirred = [lane.subscription_id for lane in due if lane.subscription_id in granted or lane.in_flight >= lane.slots]
    if stirred:
        lanes.refresh(transaction, stirred)
    revisions = {row[3]: row[4] for row in taken.rows}
    unknown = [key for key, revision in revisions.items() if request.known.get(key) != revision]
    next_due = transaction.one(_NEXT_DUE, (transaction.now,))
    return Claim(
        deliveries=_claimed(taken, {lane.subscription_id: lane.host for lane in due}),
        subscriptions=subscriptions.by_ids(transaction.connection, unknown) if unknown else {},
        lost=losses.lost,
        parked=losses.parked,
        next_due_ms=None if next_due is None else max(0, next_due - transaction.now),
        more=taken.was_cut
        or (len(taken.rows) < sum(granted.values()) and fairness.is_any_short(due, granted))
        or sum(granted.values()) >= request.rows_max
        or losses.lost == LOSSES_MAX
        or (len(due) == LANES_MAX and bool(stirred)),
    )


def _look(transaction: Transaction, flight: Flight) -> tuple[Losses, Sequence[Lane]]:
    """Return the due lanes, in turn over companies, after leases that have passed were judged."""
    full_hosts = set(fairness.full_hosts(flight))
    blocked = [pair for pair, count in flight.by_company_at_host.items() if pair[1] in full_hosts and count > 0]
    bindings = (transaction.now, transaction.counters.next_claim() & _RING, records.encode(blocked))
    losses = Losses(0, 0)
    first_lease_end, due = transaction.one(_LOOK, bindings)
    if first_lease_end is not None and first_lease_end <= transaction.now:
        losses = log_losses(transaction)
        _, due = transaction.one(_LOOK, bindings)
    return losses, _DUE_LANES.decode(due)


class _Taken(NamedTuple):
    rows: Sequence[_Row]
    bodies: bytes
    was_cut: bool


_NOTHING: Final = _Taken((), b"", was_cut=False)


def _take(transaction: Transaction, granted: Mapping[int, int], body_bytes_max: int) -> _Taken:
    count, rows, bodies = transaction.one(
        _TAKE, (records.encode(list(granted.items())), transaction.now, body_bytes_max)
    )
    decoded = _ROWS.decode(rows)
    return _Taken(decoded, bodies or b"", was_cut=len(decoded) < count)


def _claimed(taken: _Taken, hosts: Mapping[int, str]) -> tuple[Claimed, ...]:
    """Make values of the rows; their bodies come as one text, one behind the other."""
    deliveries = []
    start = 0
    for row in taken.rows:
        end = start + row[13]
        deliveries.append(
            Claimed(
                id=row[0],
                attempt=row[1],
                failures=row[2],
                subscription_id=row[3],
                subscription_revision=row[4],
                company_id=row[5],
                host=hosts[row[3]],
                type_name=row[6],
                payload_version=row[7],
                source=row[8],
                event_id=row[9],
                event_type=row[10],
                occurred_at=row[11],
                accepted_at=row[12],
                data=taken.bodies[start:end],
            )
        )
        start = end
    return tuple(deliveries)
