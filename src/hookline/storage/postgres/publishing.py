"""The verb `publish`: look up what the request refers to, judge it, store it with one statement.

The statement is the transaction. Its parts are independent inserts, none fed by another, so that they can lie on
different nodes. What became known between look and statement is a unique violation: then the verb runs again.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from hookline.model import BUILT_IN_COMPANY_ID
from hookline.storage import records
from hookline.storage.postgres import buckets
from hookline.storage.postgres.database import Transaction
from hookline.storage.protocol import (
    Accepted,
    IdConflict,
    IdempotencyKey,
    KeyConflict,
    NewEvent,
    Publication,
    Published,
    PublishResult,
    Stale,
)

_KEY: Final = """
SELECT fingerprint, answer, expires_at <= $3 FROM idempotency_keys WHERE bucket = $2::smallint AND key = $1"""
_FORGET_KEY: Final = """
DELETE FROM idempotency_keys WHERE bucket = $2::smallint AND key = $1 AND expires_at <= $3"""
_IDS: Final = """
SELECT id, fingerprint, event_type, accepted_at, deliveries FROM event_keys
WHERE bucket = any($1::smallint[]) AND id = any($2::text[])"""
_REVISIONS: Final = f"""
SELECT i.catalogue_revision, c.id, c.revision
FROM installation AS i LEFT JOIN companies AS c
  ON c.id = any($1::bigint[]) AND c.deleted_at IS NULL AND c.id <> {BUILT_IN_COMPANY_ID}"""

_STORE: Final = """
WITH woken AS (
  UPDATE lanes SET next_due = greatest($1::bigint, lanes.hold_until)
  FROM (
    SELECT subscription_id, bucket FROM lanes
    WHERE bucket = any($3::smallint[]) AND subscription_id = any($4::integer[])
      AND (next_due IS NULL OR next_due > greatest($1, hold_until))
    ORDER BY subscription_id FOR NO KEY UPDATE
  ) AS asleep
  WHERE lanes.bucket = any($3) AND lanes.subscription_id = any($4)
    AND lanes.subscription_id = asleep.subscription_id AND lanes.bucket = asleep.bucket
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
  INSERT INTO events (accepted_at, catalogue_revision, key, id, event_type, data, occurred_at, bucket)
  SELECT $2, $22, * FROM unnest(
    $23::bigint[], $24::text[], $25::text[], $26::bytea[], $27::bigint[], $28::smallint[])
), new_event_keys AS (
  INSERT INTO event_keys (accepted_at, id, fingerprint, event_type, key, deliveries, event_bucket, bucket)
  SELECT $2, * FROM unnest(
    $29::text[], $30::bytea[], $31::text[], $32::bigint[], $33::integer[], $34::smallint[], $35::smallint[])
)
INSERT INTO idempotency_keys (key, fingerprint, answer, expires_at, bucket)
SELECT * FROM unnest($36::text[], $37::bytea[], $38::text[], $39::bigint[], $40::smallint[])"""


def ids_needed(publication: Publication) -> int:
    """Return how many ids a publication takes at most: one an event, one a delivery."""
    return sum(1 + len(event.deliveries) for event in publication.events)


async def publish(transaction: Transaction, publication: Publication) -> PublishResult:
    """Store what is new; answer a known key or id as it was answered first. Writes with one statement."""
    if publication.key and (answered := await _answered(transaction, publication.key)):
        return answered
    known = await _known_ids(transaction, publication.events)
    for index, event in enumerate(publication.events):
        if event.id in known and known[event.id].fingerprint != event.fingerprint:
            return IdConflict(index=index)
    new = [event for event in publication.events if event.id not in known]
    if stale := await _stale(transaction, publication, new):
        return stale
    rows = _Rows(transaction, publication.catalogue_revision)
    answer = tuple(
        [known[event.id].answer if event.id in known else rows.accept(event) for event in publication.events]
    )
    rows.keep_answer(publication, answer)
    await rows.write()
    return Published(events=answer)


async def _answered(transaction: Transaction, key: IdempotencyKey) -> PublishResult | None:
    """Return the first answer to a key, if there is one that still lives."""
    bucket = buckets.of_text(key.key)
    row = await transaction.connection.fetchrow(_KEY, key.key, bucket, transaction.wall)
    if row is None:
        return None
    fingerprint, answer, is_over = row
    if is_over:
        await transaction.connection.execute(_FORGET_KEY, key.key, bucket, transaction.wall)
        return None
    return Published(events=records.answer(answer)) if fingerprint == key.fingerprint else KeyConflict()


class _KnownEvent(Struct, frozen=True):
    fingerprint: bytes | None
    """None where the id is ours: no publisher's event equals it."""
    answer: Accepted


async def _known_ids(transaction: Transaction, events: Sequence[NewEvent]) -> Mapping[str, _KnownEvent]:
    """Read what is stored under ids that publishers chose."""
    ids = [event.id for event in events if event.fingerprint]
    if not ids:
        return {}
    rows = await transaction.connection.fetch(_IDS, [buckets.of_text(event_id) for event_id in ids], ids)
    return {
        event_id: _KnownEvent(
            fingerprint, Accepted(id=event_id, event_type=event_type, accepted_at=accepted_at, deliveries=deliveries)
        )
        for event_id, fingerprint, event_type, accepted_at, deliveries in rows
    }


async def _stale(transaction: Transaction, publication: Publication, new: Sequence[NewEvent]) -> Stale | None:
    """Compare the revisions that new events were matched under; a known event was matched long ago.

    Read without a lock: a change that commits after this look is one that the publication came before.
    """
    if not new:
        return None
    recipients = [recipient for event in new for recipient in event.recipients]
    rows = await transaction.connection.fetch(_REVISIONS, list({recipient.company_id for recipient in recipients}))
    revisions = {company_id: revision for _, company_id, revision in rows}
    catalogue = publication.catalogue_revision != rows[0][0]
    company_ids = {
        recipient.company_id
        for recipient in recipients
        if revisions.get(recipient.company_id) != recipient.company_revision
    }
    return Stale(catalogue=catalogue, company_ids=tuple(sorted(company_ids))) if catalogue or company_ids else None


class _Rows:
    """The rows that a publication comes to."""

    def __init__(self, transaction: Transaction, catalogue_revision: int) -> None:
        self._transaction = transaction
        self._catalogue_revision = catalogue_revision
        self._ids = iter(transaction.ids)
        self._deliveries: list[tuple[Any, ...]] = []
        self._recipients: list[tuple[Any, ...]] = []
        self._events: list[tuple[Any, ...]] = []
        self._event_keys: list[tuple[Any, ...]] = []
        self._keys: list[tuple[Any, ...]] = []

    def accept(self, event: NewEvent) -> Accepted:
        """Add the rows of one event."""
        key, wall, count = next(self._ids), self._transaction.wall, len(event.deliveries)
        # A body lies with its first recipient: read there, in most installations, by its only one.
        home = buckets.of_company(event.recipients[0].company_id) if event.recipients else buckets.of_text(event.id)
        occurred_at = wall if event.occurred_at is None else event.occurred_at
        self._events.append((key, event.id, event.event_type, event.data, occurred_at, home))
        id_bucket = buckets.of_text(event.id)
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
        return Accepted(id=event.id, event_type=event.event_type, accepted_at=wall, deliveries=count)

    def keep_answer(self, publication: Publication, answer: tuple[Accepted, ...]) -> None:
        """Add the row that lets a repetition be answered alike."""
        if key := publication.key:
            expires_at = self._transaction.wall + key.lives_ms
            bucket = buckets.of_text(key.key)
            self._keys.append((key.key, key.fingerprint, records.encode(answer), expires_at, bucket))

    async def write(self) -> None:
        """Store all rows with one statement."""
        if not (self._events or self._keys):
            return
        # Two batches that share ids must take them in one order, or each could wait for the other.
        self._event_keys.sort(key=lambda row: row[0])
        await self._transaction.connection.execute(
            _STORE,
            self._transaction.now,
            self._transaction.wall,
            self._transaction.buckets,
            list({row[2] for row in self._deliveries}),
            *_columns(self._deliveries, 10),
            *_columns(self._recipients, 7),
            self._catalogue_revision,
            *_columns(self._events, 6),
            *_columns(self._event_keys, 7),
            *_columns(self._keys, 5),
        )


def _columns(rows: Sequence[tuple[Any, ...]], count: int) -> Sequence[Sequence[Any]]:
    """Turn rows into the arrays that `unnest` makes rows of again."""
    return list(zip(*rows, strict=True)) if rows else [()] * count
