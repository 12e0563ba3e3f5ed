"""The verb `publish`: events, their deliveries and the answers to their keys, all requests of a group in bulk.

Reads once what the group refers to, judges request by request in memory, so that a request sees what those before it
stored, and writes once.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec

from hookline.storage import records
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
from hookline.storage.sqlite import lanes
from hookline.storage.sqlite.transaction import Bulk, Transaction, json_ids

_KNOWN: Final = """
SELECT
  (SELECT catalogue_revision FROM installation),
  (SELECT json_group_array(json_array(id, revision)) FROM companies
    WHERE id IN (SELECT value FROM json_each(?1)) AND deleted_at IS NULL),
  (SELECT json_group_array(json_array(key, hex(fingerprint), answer)) FROM idempotency_keys
    WHERE key IN (SELECT value FROM json_each(?2)) AND expires_at > ?4),
  (SELECT json_group_array(json_array(id, hex(fingerprint), event_type, accepted_at, deliveries)) FROM events
    WHERE id IN (SELECT value FROM json_each(?3)))"""

_COMPANIES: Final = msgspec.json.Decoder(list[tuple[int, int]])
_KEYS: Final = msgspec.json.Decoder(list[tuple[str, str, str]])
_IDS: Final = msgspec.json.Decoder(list[tuple[str, str, str, int, int]])

_INSERT_EVENTS: Final = Bulk(
    "INSERT INTO events"
    " (accepted_at, catalogue_revision, key, id, event_type, data, fingerprint, occurred_at, deliveries)"
    " SELECT ?1, ?2, * FROM (VALUES {rows}) WHERE column1 IS NOT NULL",
    columns=7,
)
_INSERT_RECIPIENTS: Final = Bulk(
    "INSERT INTO recipients (company_id, event_key, company_revision, entries)"
    " SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL",
    columns=4,
)
_INSERT_DELIVERIES: Final = Bulk(
    "INSERT INTO deliveries"
    " (state, due_at, id, event_key, subscription_id, company_id, payload_version, type_name, source)"
    " SELECT 'pending', ?1, * FROM (VALUES {rows}) WHERE column1 IS NOT NULL",
    columns=7,
)
_INSERT_KEYS: Final = Bulk(
    "INSERT OR REPLACE INTO idempotency_keys (key, fingerprint, answer, expires_at)"
    " SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL",
    columns=4,
)


def publish(transaction: Transaction, publications: Sequence[Publication]) -> Sequence[PublishResult]:
    """Store what is new; answer a known key or id as it was answered first."""
    group = _Group(transaction, _known(transaction, publications))
    results = [group.take(publication) for publication in publications]
    group.write()
    return results


class _Known(NamedTuple):
    """What the database holds of all that a group refers to."""

    catalogue_revision: int
    revisions: Mapping[int, int]
    answers: dict[str, tuple[str, tuple[Accepted, ...]]]
    """By key: the fingerprint in upper-case hexadecimal, and the first answer."""
    events: dict[str, tuple[str, Accepted]]
    """By the publisher's id, likewise; the fingerprint of an event whose id is ours is empty."""


def _known(transaction: Transaction, publications: Sequence[Publication]) -> _Known:
    events = list(chain.from_iterable(publication.events for publication in publications))
    company_ids = {recipient.company_id for event in events for recipient in event.recipients}
    keys = [publication.key.key for publication in publications if publication.key]
    ids = [event.id for event in events if event.fingerprint]
    catalogue_revision, companies, answers, stored = transaction.one(
        _KNOWN, (json_ids(company_ids), records.encode(keys), records.encode(ids), transaction.wall)
    )
    return _Known(
        catalogue_revision,
        dict(_COMPANIES.decode(companies)),
        {key: (fingerprint, records.answer(answer)) for key, fingerprint, answer in _KEYS.decode(answers)},
        {
            event_id: (fingerprint, Accepted(id=event_id, event_type=name, accepted_at=at, deliveries=deliveries))
            for event_id, fingerprint, name, at, deliveries in _IDS.decode(stored)
        },
    )


class _Group:
    """The rows that a group of requests comes to."""

    def __init__(self, transaction: Transaction, known: _Known) -> None:
        self._transaction = transaction
        self._known = known
        self._events: list[tuple[Any, ...]] = []
        self._recipients: list[tuple[Any, ...]] = []
        self._deliveries: list[tuple[Any, ...]] = []
        self._keys: list[tuple[Any, ...]] = []

    def take(self, publication: Publication) -> PublishResult:
        """Judge one request; where it is accepted, its rows are added."""
        if key := publication.key:
            fingerprint, answer = self._known.answers.get(key.key, ("", ()))
            if fingerprint:
                return Published(events=answer) if fingerprint == _hex(key.fingerprint) else KeyConflict()
        for index, event in enumerate(publication.events):
            if event.fingerprint:
                known = self._known.events.get(event.id)
                if known and known[0] != _hex(event.fingerprint):
                    return IdConflict(index=index)
        if stale := self._stale(publication):
            return stale
        answer = tuple([self._accept(event) for event in publication.events])
        if key:
            self._known.answers[key.key] = (_hex(key.fingerprint), answer)
            expires_at = self._transaction.wall + key.lives_ms
            self._keys.append((key.key, key.fingerprint, records.encode(answer), expires_at))
        return Published(events=answer)

    def write(self) -> None:
        """Store all rows."""
        transaction = self._transaction
        _INSERT_EVENTS.run(transaction, self._events, (transaction.wall, self._known.catalogue_revision))
        _INSERT_RECIPIENTS.run(transaction, self._recipients)
        _INSERT_DELIVERIES.run(transaction, self._deliveries, (transaction.now,))
        _INSERT_KEYS.run(transaction, self._keys)
        if self._deliveries:
            lanes.wake(transaction, {subscription_id for _, _, subscription_id, *_ in self._deliveries})

    def _stale(self, publication: Publication) -> Stale | None:
        """Compare the revisions that new events were matched under; a known event was matched long ago."""
        new = [event for event in publication.events if event.id not in self._known.events]
        revisions = self._known.revisions
        company_ids = {
            recipient.company_id
            for event in new
            for recipient in event.recipients
            if revisions.get(recipient.company_id) != recipient.company_revision
        }
        catalogue = bool(new) and publication.catalogue_revision != self._known.catalogue_revision
        return Stale(catalogue=catalogue, company_ids=tuple(sorted(company_ids))) if catalogue or company_ids else None

    def _accept(self, event: NewEvent) -> Accepted:
        if event.fingerprint and (known := self._known.events.get(event.id)):
            return known[1]
        counters, wall = self._transaction.counters, self._transaction.wall
        key = counters.next_event()
        occurred_at = wall if event.occurred_at is None else event.occurred_at
        count = len(event.deliveries)
        self._events.append((key, event.id, event.event_type, event.data, event.fingerprint, occurred_at, count))
        for recipient in event.recipients:
            entries = records.entries(recipient)
            self._recipients.append((recipient.company_id, key, recipient.company_revision, entries))
        for delivery in event.deliveries:
            self._deliveries.append(
                (
                    counters.next_delivery(),
                    key,
                    delivery.subscription_id,
                    delivery.company_id,
                    delivery.payload_version,
                    delivery.type_name,
                    delivery.source,
                )
            )
        accepted = Accepted(id=event.id, event_type=event.event_type, accepted_at=wall, deliveries=count)
        if event.fingerprint:
            self._known.events[event.id] = (_hex(event.fingerprint), accepted)
        return accepted


def _hex(fingerprint: bytes) -> str:
    return fingerprint.hex().upper()
