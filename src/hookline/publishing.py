"""From what a publisher says to events with deliveries on disk.

A request is judged in three steps, each refusing with the member's name: what can be told from the request alone, what
needs the catalogue and the companies, and what only the database knows in its transaction. Routes and catalogue are
cached with their revisions; the database compares them as it commits, and where one has moved, matching is done again.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from difflib import get_close_matches
from hashlib import sha256
from typing import Final

import msgspec
from msgspec import Struct

from hookline import matching, rendering
from hookline.clock import Clock
from hookline.drafting import ERRORS_MAX, Draft, EventRequest, drafted, drafted_batch
from hookline.errors import FieldError, HooklineError, Invalid, Unavailable
from hookline.filtering import Document
from hookline.matching import Demands
from hookline.model import BUILT_IN_COMPANY_ID, Entry, EventType, PayloadVersion, Recipient, TypeKind
from hookline.quotas import Asked, Quotas
from hookline.storage.protocol import Storage
from hookline.storage.publications import (
    Catalogue,
    IdConflict,
    IdempotencyKey,
    KeyConflict,
    NewDelivery,
    NewEvent,
    Publication,
    Published,
    Routes,
    Stale,
)

DELIVERIES_MAX: Final = 10_000
"""Of one transaction: about a fifth of a second of the writer's time."""
CACHED_MAX: Final = 300_000
"""Companies, routes and matched deliveries kept at hand, each about 200 bytes; past it all are forgotten, and read
again as they are needed."""
MATCHING_TRIES: Final = 20
"""A subscription that changes between matching and commit costs one more. Where three companies changed 60 times a
second beside it, a busy machine gave up 4 % of the events for all three after five; so many in a row are a fault."""
KEY_LIVES_MS: Final = 72 * 3_600_000
NO_REVISION: Final = -1
"""What no catalogue is of."""

_TYPE_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")


class _Matched(Struct, frozen=True):
    """What a company's routes come to for one type: deliveries of every event, and those of events that meet more."""

    always: tuple[NewDelivery, ...]
    demanding: tuple[tuple[NewDelivery, Demands], ...]

    def of(self, entries: Sequence[Entry], document: Document) -> tuple[NewDelivery, ...]:
        """Return the deliveries of one event; nearly always they are the same for each."""
        if not self.demanding:
            return self.always
        met = [delivery for delivery, demands in self.demanding if not matching.unmet(demands, entries, document)]
        return (*self.always, *met)


class Announcement(Struct, frozen=True, kw_only=True):
    """An operational event: made by Hookline itself, for companies of which some may be gone by now."""

    id: str
    """The same for the same announcement, so that repeating it stores nothing."""
    event_type: str
    data: bytes
    """Compact JSON."""
    company_ids: tuple[int, ...]


class _Company:
    """One company's routes, and what they came to for the types published so far."""

    def __init__(self, routes: Routes) -> None:
        self.routes = routes
        self.catalogue_revision = 0
        self.matched: dict[str, _Matched] = {}


class Publisher:
    """Publish for one node. `event_source` becomes the CloudEvents `source`."""

    def __init__(
        self,
        *,
        storage: Storage,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        event_source: str,
        quotas: Quotas | None = None,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._random_bytes = random_bytes
        self._event_source = event_source
        self._quotas = quotas
        self._catalogue: Catalogue | None = None
        self._companies: dict[int, _Company] = {}
        self._cached = 0
        """How much has been put in `_companies` since it was last emptied."""

    async def publish(self, request: EventRequest, key: IdempotencyKey | None) -> Published | KeyConflict | IdConflict:
        """Make one event durable with its deliveries; raise `Invalid` naming the member that is refused."""
        return await self._publish([drafted(request, "", self._clock.wall_ms(), self._random_bytes)], key)

    async def publish_batch(
        self, requests: Sequence[EventRequest], key: IdempotencyKey | None
    ) -> Published | KeyConflict | IdConflict:
        """Make all events durable or none; the refused ones are named by index."""
        drafts = drafted_batch(requests, self._clock.wall_ms(), self._random_bytes)
        return await self._publish(drafts, key)

    async def announce(self, announcement: Announcement) -> None:
        """Make an operational event durable where any subscription asks for it; repeating it does nothing.

        Nobody waits for the answer: matching is done afresh, as an empty match is compared with nothing.
        """
        for _ in range(MATCHING_TRIES):
            self._forget(Stale(catalogue=True, company_ids=announcement.company_ids))
            catalogue = await self._load_catalogue()
            event_type = catalogue.types.get(announcement.event_type)
            existing = await self._storage.routes(announcement.company_ids)
            if event_type is None or not existing:
                return
            entries: dict[int, tuple[Entry, ...]] = dict.fromkeys(sorted(existing), ())
            draft = Draft(
                place="",
                id=announcement.id,
                event_type=announcement.event_type,
                data=announcement.data,
                occurred_at=None,
                fingerprint=sha256(announcement.data).digest(),
                entries=entries,
                first_named={},
                document=Document(announcement.data),
            )
            self._companies |= {company_id: _Company(routes) for company_id, routes in existing.items()}
            event = self._event(draft, event_type, catalogue)
            if not event.deliveries:
                return
            result = await self._storage.publish(Publication(events=(event,), catalogue_revision=catalogue.revision))
            if not isinstance(result, Stale):
                return
        raise Unavailable("Subscriptions changed too quickly to match the event. It is announced later.")

    # what catalogue and companies tell

    async def _publish(
        self, drafts: Sequence[Draft], key: IdempotencyKey | None
    ) -> Published | KeyConflict | IdConflict:
        if self._quotas and (refusal := await self._quotas.refusal(_asked(drafts))):
            return await self._first_answer(drafts, key, refusal)
        is_judged_afresh = False
        for _ in range(MATCHING_TRIES):
            try:
                publication = await self._publication(drafts, key)
            except Invalid as refusal:
                if is_judged_afresh:
                    return await self._first_answer(drafts, key, refusal)
                is_judged_afresh = True
                self._forget(
                    Stale(catalogue=True, company_ids=tuple({id_ for draft in drafts for id_ in draft.entries}))
                )
                continue
            result = await self._storage.publish(publication)
            if not isinstance(result, Stale):
                return result
            self._forget(result)
        raise Unavailable("Subscriptions changed too quickly to match the event. Nothing was stored; try again.")

    async def _publication(self, drafts: Sequence[Draft], key: IdempotencyKey | None) -> Publication:
        """Match by what is at hand; a refusal may be of yesterday, as nothing compares revisions for it."""
        catalogue = self._catalogue or await self._load_catalogue()
        types = [_type_of(draft, catalogue) for draft in drafts]
        await self._load_companies(drafts)
        events = tuple([self._event(draft, type_, catalogue) for draft, type_ in zip(drafts, types, strict=True)])
        if (count := sum([len(event.deliveries) for event in events])) > DELIVERIES_MAX:
            raise Invalid(
                f"This would make {count:,} deliveries, and one request makes at most {DELIVERIES_MAX:,}. "
                "Publish it in parts."
            )
        return Publication(events=events, catalogue_revision=catalogue.revision, key=key)

    async def _first_answer(
        self, drafts: Sequence[Draft], key: IdempotencyKey | None, refusal: HooklineError
    ) -> Published | KeyConflict | IdConflict:
        """Answer a repetition of what was accepted before it would be refused; raise `refusal` for a first.

        Asks with a revision that no catalogue has, so that nothing new can be stored.
        """
        if key is None and not any(draft.fingerprint for draft in drafts):
            raise refusal
        events = tuple([_known_by_id(draft) for draft in drafts])
        result = await self._storage.publish(Publication(events=events, catalogue_revision=NO_REVISION, key=key))
        if isinstance(result, Stale):
            raise refusal
        return result

    async def _load_catalogue(self) -> Catalogue:
        self._catalogue = await self._storage.catalogue()
        return self._catalogue

    async def _load_companies(self, drafts: Sequence[Draft]) -> None:
        """Have the routes of all recipients at hand; raise `Invalid` for a company that does not exist.

        Asked again after each reading: another request may have found stale, and forgotten, what was at hand before.
        The operator's own company is never at hand for a publisher, though `announce` may have left its routes here.
        """
        if self._cached > CACHED_MAX:
            self._companies, self._cached = {}, 0
        while missing := {
            company_id
            for draft in drafts
            for company_id in draft.entries
            if company_id not in self._companies or company_id == BUILT_IN_COMPANY_ID
        }:
            found = await self._storage.routes(sorted(missing))
            _refuse_unknown_companies(drafts, (missing - found.keys()) | (missing & {BUILT_IN_COMPANY_ID}))
            for company_id, routes in found.items():
                self._companies[company_id] = _Company(routes)
                self._cached += 1 + len(routes.routes)

    def _event(self, draft: Draft, event_type: EventType, catalogue: Catalogue) -> NewEvent:
        recipients, deliveries = [], list[NewDelivery]()
        for company_id, entries in draft.entries.items():
            company = self._companies[company_id]
            recipients.append(
                Recipient(company_id=company_id, company_revision=company.routes.revision, entries=entries)
            )
            deliveries += self._matched(company, event_type, catalogue).of(entries, draft.document)
        return NewEvent(
            id=draft.id,
            event_type=draft.event_type,
            data=draft.data,
            occurred_at=draft.occurred_at,
            fingerprint=draft.fingerprint,
            recipients=tuple(recipients),
            deliveries=tuple(deliveries),
        )

    def _matched(self, company: _Company, event_type: EventType, catalogue: Catalogue) -> _Matched:
        """Match once per company and type: beyond that, only what some routes demand depends on the event."""
        if company.catalogue_revision != catalogue.revision:
            company.matched = {}
            company.catalogue_revision = catalogue.revision
        known = company.matched.get(event_type.name)
        if known is None:
            always, demanding = list[NewDelivery](), list[tuple[NewDelivery, Demands]]()
            for route, name in matching.match(event_type, company.routes.routes):
                delivery = NewDelivery(
                    subscription_id=route.subscription_id,
                    company_id=route.company_id,
                    payload_version=route.payload_version,
                    type_name=name,
                    source=self._event_source if route.payload_version is PayloadVersion.V2 else None,
                )
                demands = matching.demands_of(route)
                if demands is None:
                    always.append(delivery)
                else:
                    demanding.append((delivery, demands))
            known = company.matched[event_type.name] = _Matched(tuple(always), tuple(demanding))
            self._cached += 1 + len(always) + len(demanding)
        return known

    def _forget(self, stale: Stale) -> None:
        if stale.catalogue:
            self._catalogue = None
        for company_id in stale.company_ids:
            self._companies.pop(company_id, None)


def _asked(drafts: Sequence[Draft]) -> dict[int, Asked]:
    """Add up what a request wants of each company."""
    asked: dict[int, Asked] = {}
    for draft in drafts:
        for company_id in draft.entries:
            events, data_bytes = asked.get(company_id, (0, 0))
            asked[company_id] = Asked(events + 1, data_bytes + len(draft.data))
    return asked


def _known_by_id(draft: Draft) -> NewEvent:
    """Return the event without what the catalogue and the companies would add: enough to find it, never to store it."""
    return NewEvent(
        id=draft.id,
        event_type=draft.event_type,
        data=draft.data,
        occurred_at=draft.occurred_at,
        fingerprint=draft.fingerprint,
        recipients=(),
        deliveries=(),
    )


def _refuse_unknown_companies(drafts: Sequence[Draft], company_ids: AbstractSet[int]) -> None:
    unknown = [
        FieldError(place, f"there is no company {company_id}.")
        for draft in drafts
        for company_id, place in draft.first_named.items()
        if company_id in company_ids
    ]
    if unknown:
        raise Invalid(f"{unknown[0].field}: {unknown[0].message}", unknown[:ERRORS_MAX])


# --- the catalogue ---------------------------------------------------------------------------------------------------


def _type_of(draft: Draft, catalogue: Catalogue) -> EventType:
    """Find the event's type; raise `Invalid` where it is unknown, not for publishing, or clashes with the data."""
    field, name = f"{draft.place}eventType", draft.event_type
    event_type = catalogue.types.get(name)
    if event_type is None:
        raise Invalid.field(field, unknown_type(name, catalogue.types))
    if event_type.kind is not TypeKind.ORDINARY:
        raise Invalid.field(field, f"{name} is published by Hookline itself; give your event another type.")
    if event_type.v1_name is not None and (taken := rendering.names_taken_by_v1(draft.data)):
        raise Invalid.field(
            f"{draft.place}data",
            f"must not contain {' or '.join(taken)} at the top, where the V1 body has its own: rename it, "
            f"or set v1Name of {name} to null (`PUT /v1/event-types/{name}` {_without_v1(event_type)}).",
        )
    return event_type


def _without_v1(event_type: EventType) -> str:
    """Return the body that takes a type's V1 name away and leaves its V2 name: what is absent becomes the default."""
    body = {"v1Name": None} | ({} if event_type.v2_name == event_type.name else {"v2Name": event_type.v2_name})
    return msgspec.json.encode(body).decode()


def unknown_type(name: str, known: Iterable[str]) -> str:
    """Say that no event type has this name, which one may be meant, and how an operator makes it."""
    if not _TYPE_NAME.fullmatch(name):
        return f"{name[:40]!r} is no name of an event type: expected 1 to 128 characters of A-Z a-z 0-9 . _ and -."
    near = get_close_matches(name, list(known), n=1, cutoff=0.8)
    meant = f"Did you mean {near[0]}? " if near else ""
    return f"there is no event type {name}. {meant}An operator makes it with `PUT /v1/event-types/{name}` {{}}."


def key_of(header: str, path: str, body: bytes) -> IdempotencyKey:
    """Make the stored key of an `Idempotency-Key` header; raise `Invalid` where it is none."""
    if not (1 <= len(header) <= 255 and all("!" <= character <= "~" for character in header)):
        raise Invalid.field("Idempotency-Key", "expected 1 to 255 visible ASCII characters.")
    return IdempotencyKey(key=header, fingerprint=sha256(path.encode() + b"\n" + body).digest(), lives_ms=KEY_LIVES_MS)
