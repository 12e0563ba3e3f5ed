"""The verb `publish`: look up what a group of requests refers to, judge them in memory, store with one statement.

What it writes is one statement, whose parts are independent inserts, none fed by another, so that they can lie on
different nodes. What became known between look and statement is a unique violation: then the group runs again.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from hookline.clock import Clock
from hookline.storage import records
from hookline.storage.postgres import buckets, lanes, moment
from hookline.storage.postgres.moment import Moment
from hookline.storage.publications import (
    Accepted,
    IdConflict,
    KeyConflict,
    NewEvent,
    Publication,
    Published,
    PublishResult,
    Stale,
)

ROW_BYTES: Final = 200
"""About what a row takes in the statement that stores it, an event's data aside."""

_LOOK: Final = f"""
SELECT {moment.CLOCK_AND_IDS},
  (SELECT catalogue_revision FROM installation),
  ARRAY(SELECT ROW(id, revision) FROM companies
    WHERE id = any($2::bigint[]) AND deleted_at IS NULL),
  ARRAY(SELECT ROW(key, fingerprint, answer, expires_at) FROM idempotency_keys
    WHERE bucket = any($3::smallint[]) AND key = any($4::text[])),
  ARRAY(SELECT ROW(id, fingerprint, event_type, accepted_at, deliveries) FROM event_keys
    WHERE bucket = any($5::smallint[]) AND id = any($6::text[]))"""
"""Read without a lock: a change that commits after this look is one that the group came before."""

_FORGET_KEYS: Final = """
DELETE FROM idempotency_keys WHERE bucket = any($1::smallint[]) AND key = any($2::text[]) AND expires_at <= $3"""

_STORE: Final = f"""
WITH asleep AS MATERIALIZED (
  SELECT subscription_id FROM lanes
  WHERE bucket = any($3::smallint[]) AND subscription_id = any($4::integer[])
    AND (next_due IS NULL OR next_due > greatest($1::bigint, {lanes.NOT_BEFORE}, probe_at))
  ORDER BY subscription_id FOR NO KEY UPDATE
), woken AS (
  UPDATE lanes SET next_due = greatest($1, {lanes.NOT_BEFORE}, probe_at)
  WHERE bucket = any($3) AND subscription_id = any(ARRAY(SELECT subscription_id FROM asleep))
), new_deliveries AS (
  INSERT INTO deliveries (
    state, due_at, id, event_key, subscription_id, company_id, data_bytes, payload_version, type_name, source,
    event_bucket, bucket)
  SELECT 'pending', $1, * FROM unnest(
    $5::bigint[], $6::bigint[], $7::integer[], $8::integer[], $9::integer[], $10::text[], $11::text[], $12::text[],
    $13::smallint[], $14::smallint[])
), new_recipients AS (
  INSERT INTO recipients (
    accepted_at, company_id, event_key, company_revision, event_type, entries, event_bucket, bucket)
  SELECT $2, * FROM unnest(
    $15::integer[], $16::bigint[], $17::bigint[], $18::text[], $19::text[], $20::smallint[], $21::smallint[])
), new_events AS (
  INSERT INTO events (accepted_at, catalogue_revision, key, id, event_type, data, occurred_at, bucket, company_ids)
  SELECT $2, $22, key, id, event_type, data, occurred_at, bucket, company_ids::integer[] FROM unnest(
    $23::bigint[], $24::text[], $25::text[], $26::bytea[], $27::bigint[], $28::smallint[], $29::text[])
    AS new (key, id, event_type, data, occurred_at, bucket, company_ids)
), new_event_keys AS (
  INSERT INTO event_keys (accepted_at, id, fingerprint, event_type, key, deliveries, event_bucket, bucket)
  SELECT $2, * FROM unnest(
    $30::text[], $31::bytea[], $32::text[], $33::bigint[], $34::integer[], $35::smallint[], $36::smallint[])
)
INSERT INTO idempotency_keys (key, fingerprint, answer, expires_at, bucket)
SELECT * FROM unnest($37::text[], $38::bytea[], $39::text[], $40::bigint[], $41::smallint[])"""


def bytes_of(publication: Publication) -> int:
    """Return about how many bytes storing a request takes."""
    return sum([len(event.data) + ROW_BYTES * (3 + len(event.deliveries)) for event in publication.events])


async def publish(connection: Any, clock: Clock | None, publications: Sequence[Publication]) -> Sequence[PublishResult]:
    """Store what is new; answer a known key or id as it was answered first. Writes with one statement."""
    seen = await _look(connection, clock, publications)
    if seen.outlived:
        by_bucket = [buckets.of_text(key) for key in seen.outlived]
        await connection.execute(_FORGET_KEYS, by_bucket, seen.outlived, seen.moment.wall)
    group = _Group(seen)
    results = [group.take(publication) for publication in publications]
    await group.write(connection)
    return results


class _Seen(NamedTuple):
    """What the database holds of all that a group refers to, and when it was read."""

    moment: Moment
    catalogue_revision: int
    revisions: Mapping[int, int]
    answers: dict[str, tuple[bytes, tuple[Accepted, ...]]]
    """By key: the fingerprint and the first answer."""
    events: dict[str, tuple[bytes | None, Accepted]]
    """By id, likewise; without a fingerprint where the id is ours: no publisher's event equals it."""
    outlived: Sequence[str]
    """Keys whose span is over."""


async def _look(connection: Any, clock: Clock | None, publications: Sequence[Publication]) -> _Seen:
    events = list(chain.from_iterable([publication.events for publication in publications]))
    keys = [publication.key.key for publication in publications if publication.key]
    ids = [event.id for event in events if event.fingerprint]
    now, numbers, catalogue_revision, companies, answers, known = await connection.fetchrow(
        _LOOK,
        sum([1 + len(event.deliveries) for event in events]),
        list({recipient.company_id for event in events for recipient in event.recipients}),
        [buckets.of_text(key) for key in keys],
        keys,
        [buckets.of_text(event_id) for event_id in ids],
        ids,
    )
    read_at = moment.of(now, numbers, clock)
    return _Seen(
        read_at,
        catalogue_revision,
        dict(map(tuple, companies)),
        {key: (mark, records.answer(answer)) for key, mark, answer, ends_at in answers if ends_at > read_at.wall},
        {
            event_id: (
                mark,
                Accepted(id=event_id, event_type=event_type, accepted_at=accepted_at, deliveries=deliveries),
            )
            for event_id, mark, event_type, accepted_at, deliveries in known
        },
        [key for key, _, _, ends_at in answers if ends_at <= read_at.wall],
    )


class _Group:
    """The rows that a group of requests comes to; a request sees what those before it store."""

    def __init__(self, seen: _Seen) -> None:
        self._seen = seen
        self._ids = iter(seen.moment.ids)
        self._deliveries: list[tuple[Any, ...]] = []
        self._recipients: list[tuple[Any, ...]] = []
        self._events: list[tuple[Any, ...]] = []
        self._event_keys: list[tuple[Any, ...]] = []
        self._keys: list[tuple[Any, ...]] = []

    def take(self, publication: Publication) -> PublishResult:
        """Judge one request; where it is accepted, its rows are added."""
        if (key := publication.key) and (answered := self._seen.answers.get(key.key)):
            return Published(events=answered[1]) if answered[0] == key.fingerprint else KeyConflict()
        for index, event in enumerate(publication.events):
            known = self._seen.events.get(event.id)
            if known and known[0] != event.fingerprint:
                return IdConflict(index=index)
        if stale := self._stale(publication):
            return stale
        answer = tuple([self._accept(event) for event in publication.events])
        if key:
            self._seen.answers[key.key] = (key.fingerprint, answer)
            expires_at = self._seen.moment.wall + key.lives_ms
            self._keys.append((key.key, key.fingerprint, records.encode(answer), expires_at, buckets.of_text(key.key)))
        return Published(events=answer)

    async def write(self, connection: Any) -> None:
        """Store all rows with one statement."""
        if not (self._events or self._keys):
            return
        # Groups that share ids or keys must take them in one order, or each could wait for the other.
        self._event_keys.sort(key=_first)
        self._keys.sort(key=_first)
        await connection.execute(
            _STORE,
            self._seen.moment.now,
            self._seen.moment.wall,
            buckets.of_companies(row[3] for row in self._deliveries),
            list({row[2] for row in self._deliveries}),
            *_columns(self._deliveries, 10),
            *_columns(self._recipients, 7),
            self._seen.catalogue_revision,
            *_columns(self._events, 7),
            *_columns(self._event_keys, 7),
            *_columns(self._keys, 5),
        )

    def _stale(self, publication: Publication) -> Stale | None:
        """Compare the revisions that new events were matched under; a known event was matched long ago."""
        new = [event for event in publication.events if event.id not in self._seen.events]
        if not new:
            return None
        catalogue = publication.catalogue_revision != self._seen.catalogue_revision
        company_ids = {
            recipient.company_id
            for event in new
            for recipient in event.recipients
            if self._seen.revisions.get(recipient.company_id) != recipient.company_revision
        }
        return Stale(catalogue=catalogue, company_ids=tuple(sorted(company_ids))) if catalogue or company_ids else None

    def _accept(self, event: NewEvent) -> Accepted:
        if known := self._seen.events.get(event.id):
            return known[1]
        key, wall, count = next(self._ids), self._seen.moment.wall, len(event.deliveries)
        id_bucket = buckets.of_text(event.id)
        # A body lies with its first recipient: read there, in most installations, by its only one.
        home = buckets.of_company(event.recipients[0].company_id) if event.recipients else id_bucket
        occurred_at = wall if event.occurred_at is None else event.occurred_at
        company_ids = ",".join([str(recipient.company_id) for recipient in event.recipients])
        self._events.append((key, event.id, event.event_type, event.data, occurred_at, home, f"{{{company_ids}}}"))
        self._event_keys.append((event.id, event.fingerprint, event.event_type, key, count, home, id_bucket))
        for recipient in event.recipients:
            self._recipients.append(
                (
                    recipient.company_id,
                    key,
                    recipient.company_revision,
                    event.event_type,
                    records.entries(recipient),
                    home,
                    buckets.of_company(recipient.company_id),
                )
            )
        for delivery in event.deliveries:
            self._deliveries.append(
                (
                    next(self._ids),
                    key,
                    delivery.subscription_id,
                    delivery.company_id,
                    len(event.data),
                    delivery.payload_version,
                    delivery.type_name,
                    delivery.source,
                    home,
                    buckets.of_company(delivery.company_id),
                )
            )
        accepted = Accepted(id=event.id, event_type=event.event_type, accepted_at=wall, deliveries=count)
        if event.fingerprint:
            self._seen.events[event.id] = (event.fingerprint, accepted)
        return accepted


def _first(row: tuple[Any, ...]) -> Any:
    return row[0]


def _columns(rows: Sequence[tuple[Any, ...]], count: int) -> Sequence[Sequence[Any]]:
    """Turn rows into the arrays that `unnest` makes rows of again."""
    return list(zip(*rows, strict=True)) if rows else [()] * count
