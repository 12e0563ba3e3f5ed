"""What the verb `publish` takes and answers, and what an event is matched by."""

from collections.abc import Mapping

from msgspec import Struct

from hookline.model import (
    EventType,
    PayloadVersion,
    Recipient,
    Route,
)


class Routes(Struct, frozen=True, kw_only=True):
    """The routes of one company, of one revision."""

    company_id: int
    revision: int
    routes: tuple[Route, ...]


class Catalogue(Struct, frozen=True, kw_only=True):
    """The event types of one revision, by name."""

    revision: int
    types: Mapping[str, EventType]


class NewDelivery(Struct, frozen=True, kw_only=True):
    """A delivery to create; shape, type name and source are frozen in it."""

    subscription_id: int
    company_id: int
    payload_version: PayloadVersion
    type_name: str
    source: str | None = None
    """CloudEvents `source`, for V2 alone."""


class NewEvent(Struct, frozen=True, kw_only=True):
    """An event to create with its deliveries, matched under the revisions that it names."""

    id: str
    event_type: str
    data: bytes
    occurred_at: int | None
    """None: the moment of acceptance."""
    fingerprint: bytes | None
    """SHA-256 of the event as the publisher said it, where the publisher chose the id; None for an id of ours."""
    recipients: tuple[Recipient, ...]
    deliveries: tuple[NewDelivery, ...]


class IdempotencyKey(Struct, frozen=True, kw_only=True):
    """A publisher's header key with the SHA-256 of the request's bytes."""

    key: str
    fingerprint: bytes
    lives_ms: int


class Publication(Struct, frozen=True, kw_only=True):
    """One request to publish: all of its events or none."""

    events: tuple[NewEvent, ...]
    catalogue_revision: int
    key: IdempotencyKey | None = None


class Accepted(Struct, frozen=True, kw_only=True):
    """One event that is on disk with its deliveries."""

    id: str
    event_type: str
    accepted_at: int
    deliveries: int


class Published(Struct, frozen=True, kw_only=True):
    """The events are durable: as asked now, or as first answered to the same key or id."""

    events: tuple[Accepted, ...]


class KeyConflict(Struct, frozen=True, kw_only=True):
    """The header key was used with another request. Nothing was stored."""


class IdConflict(Struct, frozen=True, kw_only=True):
    """The id at `index` belongs to another event. Nothing was stored."""

    index: int


class Stale(Struct, frozen=True, kw_only=True):
    """A revision moved since matching. Nothing was stored; reload what is named and match again.

    A company that no longer exists is named too; its routes then cannot be loaded.
    """

    catalogue: bool
    company_ids: tuple[int, ...]


PublishResult = Published | KeyConflict | IdConflict | Stale
