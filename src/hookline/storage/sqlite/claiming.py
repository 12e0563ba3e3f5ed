"""The verb `claim_due`: fair, bounded, and quick however much waits.

Looks at lanes, never at the backlog: which lanes are due, what each has in flight, what `fairness.share` grants, and
only then at the first rows of the granted ones.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw, Struct

from hookline import fairness, lifecycle
from hookline.fairness import Flight, Lane
from hookline.model import PayloadVersion
from hookline.storage import records
from hookline.storage.claims import Claim, Claimed, Fence, Unreadable
from hookline.storage.rows import DAMAGE
from hookline.storage.sqlite import lanes, subscriptions
from hookline.storage.sqlite.settling import LOSSES_MAX, Losses, log_losses
from hookline.storage.sqlite.transaction import Transaction, json_ids

LANES_MAX: Final = 256
"""Lanes that one claim looks at: more than it can usually grant, few enough to count what each has in flight."""

LOSSES_END: Final = 1 << 31
"""More than any delivery has lost."""

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
      (SELECT count(*) FROM deliveries AS d WHERE d.state = 'sending' AND d.subscription_id = lane.subscription_id),
      'restraint', CASE WHEN is_ordered OR rate_per_second IS NOT NULL OR probe_at IS NOT NULL
        THEN json_array(is_ordered, rate_per_second, next_start_us, probe_at) END))
    FROM (
      SELECT subscription_id
      FROM lanes JOIN (
        SELECT company_id, count(*) AS its_due FROM lanes WHERE is_open = 1 AND next_due <= ?1 GROUP BY company_id
      ) USING (company_id)
      WHERE is_open = 1 AND next_due <= ?1
        AND (company_id, host) NOT IN (SELECT value ->> 0, value ->> 1 FROM json_each(?3))
        AND NOT (host IN (SELECT value FROM json_each(?4)) AND subscription_id IN (SELECT value FROM json_each(?5)))
      ORDER BY ((subscription_id + ?2) * {_GOLDEN} & {_RING}) * its_due LIMIT {LANES_MAX}
    ) AS due CROSS JOIN lanes AS lane ON lane.subscription_id = due.subscription_id)"""
"""One row: when the first lease ends, and due lanes in turn over companies. A lane's place on the ring, times how many
lanes of its company are due, is the turn at which it would come up if each company sent its lanes along the ring: so
nobody gains by having many, and 3,000 due lanes take 1.5 ms (row_number over a partition: 2.2 ms)."""

_TAKE: Final = """
WITH RECURSIVE
  walk (subscription_id, room, due_by, is_ordered, turn, due_at, id) AS (
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, 0, -1, 0 FROM json_each(?1)
    UNION ALL
    SELECT walk.subscription_id, walk.room - 1, walk.due_by, walk.is_ordered, walk.turn + 1, d.due_at, d.id
    FROM walk CROSS JOIN deliveries AS d ON d.id = CASE
      WHEN walk.is_ordered THEN (
        SELECT n.id FROM deliveries AS n INDEXED BY deliveries_open
        WHERE n.subscription_id = walk.subscription_id AND n.settled_at IS NULL ORDER BY n.id LIMIT 1)
      ELSE (
        SELECT n.id FROM deliveries AS n INDEXED BY deliveries_due
        WHERE n.state = 'pending' AND n.subscription_id = walk.subscription_id AND n.due_at <= walk.due_by
          AND (n.due_at, n.id) > (walk.due_at, walk.id) AND n.losses < ?3
        ORDER BY n.due_at, n.id LIMIT 1)
      END AND d.state = 'pending' AND d.due_at <= walk.due_by AND d.losses < ?3
    WHERE walk.room > 0
  ),
  sized AS (
    SELECT d.id, coalesce(length(e.data), 0) AS bytes,
      sum(coalesce(length(e.data), 0)) OVER (ORDER BY walk.turn, d.id) AS total
    FROM walk CROSS JOIN deliveries AS d ON d.id = walk.id LEFT JOIN events AS e ON e.key = d.event_key
    WHERE walk.turn > 0
  )
SELECT
  count(*),
  CAST(json_group_array(json_array(
    d.id, d.attempt + 1, d.subscription_id, d.company_id, sized.bytes, d.losses, d.failures, s.revision, d.type_name,
    d.payload_version, d.source, e.id, e.event_type, e.occurred_at, e.accepted_at
  )) FILTER (WHERE total <= ?2 OR total = bytes) AS BLOB),
  CAST(group_concat(e.data, '') FILTER (WHERE total <= ?2 OR total = bytes) AS BLOB)
FROM sized
  CROSS JOIN deliveries AS d ON d.id = sized.id
  LEFT JOIN events AS e ON e.key = d.event_key
  LEFT JOIN subscriptions AS s ON s.id = d.subscription_id"""
"""Walks each granted lane along its index, a row of each lane a turn; an ordered one gives its lowest open row or none.
All comes back as one row: rows that are fetched one by one cost the interpreter's lock each (see `transaction.Bulk`).
Nothing of a row is left out for being damaged: it would be due for ever."""

_Row = tuple[int, int, int, int, int, int, int, int, str, PayloadVersion, str | None, str, str, int, int]
_COLUMNS: Final = (
    *("id", "attempt", "subscription_id", "company_id", "bytes", "losses", "failures", "revision"),
    *("type_name", "payload_version", "source", "event_id", "event_type", "occurred_at", "accepted_at"),
)

_DUE_LANES: Final = msgspec.json.Decoder(list[Lane])
_ROWS: Final = msgspec.json.Decoder(list[_Row])
_DAMAGED_ROWS: Final = msgspec.json.Decoder(list[Raw])
_ROW: Final = msgspec.json.Decoder(_Row)
_DAMAGED_ROW: Final = msgspec.json.Decoder(
    tuple[int, int, int, int, int, int, Raw, Raw, Raw, Raw, Raw, Raw, Raw, Raw, Raw]
)
"""So much of a row must be whole for us to say which delivery it is."""
_PLACE: Final = re.compile(r"\$\[(\d+)\]")

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
    taken = _take(transaction, due, granted, request) if granted else _NOTHING
    if taken.ids:
        transaction.run(_MARK, (transaction.now + request.lease_ms, transaction.now, json_ids(taken.ids)))
        _restrain(transaction, due, taken)
    stirred = [lane.subscription_id for lane in due if lane.subscription_id in granted or lane.in_flight >= lane.slots]
    if stirred:
        lanes.refresh(transaction, stirred)
    revisions = {delivery.subscription_id: delivery.subscription_revision for delivery in taken.deliveries}
    unknown = [key for key, revision in revisions.items() if request.known.get(key) != revision]
    next_due = transaction.one(_NEXT_DUE, (transaction.now,))
    return Claim(
        deliveries=tuple(taken.deliveries),
        subscriptions=subscriptions.by_ids(transaction.connection, unknown) if unknown else {},
        unreadable=tuple(taken.unreadable),
        lost=losses.lost,
        parked=losses.parked,
        next_due_ms=None if next_due is None else max(0, next_due - transaction.now),
        more=losses.lost == LOSSES_MAX
        or (
            bool(taken.ids or not request.flight.suspects)
            and (
                taken.was_cut
                or (len(taken.ids) < sum(granted.values()) and fairness.is_any_short(due, request.flight, granted))
                or sum(granted.values()) >= request.rows_max
                or (len(due) == LANES_MAX and bool(stirred))
            )
        ),
    )


def _look(transaction: Transaction, flight: Flight) -> tuple[Losses, Sequence[Lane]]:
    """Return the due lanes, in turn over companies, after leases that have passed were judged."""
    full_hosts = set(fairness.full_hosts(flight))
    blocked = [pair for pair, count in flight.by_company_at_host.items() if pair[1] in full_hosts and count > 0]
    crowded_hosts = fairness.crowded_hosts(flight)
    bindings = (
        transaction.now,
        transaction.counters.next_claim() & _RING,
        records.encode(blocked),
        records.encode(crowded_hosts),
        records.encode(list(flight.by_subscription) if crowded_hosts else ()),
    )
    losses = Losses(0, 0)
    first_lease_end, due = transaction.one(_LOOK, bindings)
    if first_lease_end is not None and first_lease_end <= transaction.now:
        losses = log_losses(transaction)
        _, due = transaction.one(_LOOK, bindings)
    return losses, [fairness.restrained(lane, transaction.now) for lane in _DUE_LANES.decode(due)]


class _Taken(NamedTuple):
    ids: Sequence[int]
    deliveries: Sequence[Claimed]
    unreadable: Sequence[tuple[Fence, Unreadable]]
    was_cut: bool


_NOTHING: Final = _Taken((), (), (), was_cut=False)


def _restrain(transaction: Transaction, due: Sequence[Lane], taken: _Taken) -> None:
    """Count what was taken against the rates and circuits of the few lanes that have any."""
    restraints = {lane.subscription_id: lane.restraint for lane in due if lane.restraint}
    if restraints:
        started = Counter([each.subscription_id for each in taken.deliveries if each.subscription_id in restraints])
        lanes.restrain(
            transaction,
            {key: fairness.restraint_after(restraints[key], count, transaction.now) for key, count in started.items()},
        )


def _take(transaction: Transaction, due: Sequence[Lane], granted: Mapping[int, int], request: ClaimRequest) -> _Taken:
    """Make values of the rows; their bodies come as one text, one behind the other."""
    has_suspect = request.flight.suspects > 0
    losses_end = lifecycle.SUSPECT_LOSSES if has_suspect else LOSSES_END
    wanted = [
        (
            lane.subscription_id,
            granted[lane.subscription_id],
            transaction.now if lane.due_by is None else lane.due_by,
            lane.restraint.is_ordered if lane.restraint else 0,
        )
        for lane in due
        if lane.subscription_id in granted
    ]
    hosts = {lane.subscription_id: lane.host for lane in due}
    count, text, bodies = transaction.one(_TAKE, (records.encode(wanted), request.body_bytes_max, losses_end))
    ids: list[int] = []
    deliveries: list[Claimed] = []
    unreadable: list[tuple[Fence, Unreadable]] = []
    start, bodies = 0, bodies or b""
    rows, damage = _read_rows(text)
    for row in rows:
        data, start = bodies[start : start + row[4]], start + row[4]
        if lifecycle.is_suspect(row[5]):
            if has_suspect:
                continue
            has_suspect = True
        ids.append(row[0])
        if row[4] and row[0] not in damage:
            deliveries.append(_claimed(row, hosts[row[2]], data))
        else:
            fence = Fence(delivery_id=row[0], attempt=row[1], subscription_id=row[2], company_id=row[3])
            unreadable.append((fence, Unreadable(damage.get(row[0], "the data of its event is missing"))))
    return _Taken(ids, deliveries, unreadable, was_cut=len(ids) < count)


def _read_rows(text: bytes) -> tuple[Sequence[Any], Mapping[int, str]]:
    """Read all rows at once, or, where one is damaged, one by one; return also what is wrong with which delivery."""
    try:
        return _ROWS.decode(text), {}
    except DAMAGE:
        rows: list[Any] = []
        damage = {}
        for raw in _DAMAGED_ROWS.decode(text):
            try:
                rows.append(_ROW.decode(raw))
            except DAMAGE as error:
                rows.append(_DAMAGED_ROW.decode(raw))
                damage[rows[-1][0]] = _PLACE.sub(lambda place: _COLUMNS[int(place[1])], str(error))
        return rows, damage


def _claimed(row: _Row, host: str, data: bytes) -> Claimed:
    return Claimed(
        id=row[0],
        attempt=row[1],
        subscription_id=row[2],
        company_id=row[3],
        losses=row[5],
        failures=row[6],
        subscription_revision=row[7],
        host=host,
        type_name=row[8],
        payload_version=row[9],
        source=row[10],
        event_id=row[11],
        event_type=row[12],
        occurred_at=row[13],
        accepted_at=row[14],
        data=data,
    )
