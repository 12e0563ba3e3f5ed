"""From what a publisher says to events with deliveries on disk.

A request is judged in three steps, each refusing with the member's name: what can be told from the request alone, what
needs the catalogue and the companies, and what only the database knows in its transaction. Routes and catalogue are
cached with their revisions; the database compares them as it commits, and where one has moved, matching is done again.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from difflib import get_close_matches
from hashlib import sha256
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw, Struct

from hookline import matching, rendering, tokens
from hookline.clock import Clock, milliseconds
from hookline.errors import FieldError, HooklineError, Invalid, Unavailable
from hookline.filtering import Document
from hookline.matching import Demands
from hookline.model import BUILT_IN_COMPANY_ID, Entry, EventType, PayloadVersion, Recipient, TypeKind
from hookline.quotas import Asked, Quotas
from hookline.storage.protocol import (
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
    Storage,
)

DATA_BYTES_MAX: Final = 256 * 1024
RECIPIENTS_MAX: Final = 1_000
EVENTS_MAX: Final = 1_000
DELIVERIES_MAX: Final = 10_000
"""Of one transaction: about a fifth of a second of the writer's time."""
ERRORS_MAX: Final = 20
"""Refused members named in one answer."""
CACHED_MAX: Final = 300_000
"""Companies, routes and matched deliveries kept at hand, each about 200 bytes; past it all are forgotten, and read
again as they are needed."""
MATCHING_TRIES: Final = 5
"""A subscription that changes between matching and commit costs one more; five in a row are a fault."""
KEY_LIVES_MS: Final = 72 * 3_600_000
NO_REVISION: Final = -1
"""What no catalogue is of."""

DIRECTIONS: Final = ("INBOUND", "OUTBOUND")

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TYPE_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")

Int = Annotated[int, Meta(ge=-(2**53) + 1, le=2**53 - 1)]


class RecipientRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """One entry of `recipients`."""

    company_id: Int
    case_direction: str | None = None
    partner_company_id: Int | None = None


class EventRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """One event as a publisher says it. `data` is left as its bytes."""

    event_type: str
    data: Raw
    company_ids: list[Int] | None = None
    recipients: list[RecipientRequest] | None = None
    id: str | None = None
    occurred_at: Annotated[datetime, Meta(tz=True)] | None = None


class BatchRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of a batch."""

    events: list[EventRequest]


class _Draft(Struct, frozen=True, kw_only=True):
    """An event whose request is in order by itself."""

    place: str
    """What its members' names begin with in a refusal: nothing, or `events[3].`."""
    id: str
    event_type: str
    data: bytes
    occurred_at: int | None
    fingerprint: bytes | None
    entries: dict[int, tuple[Entry, ...]]
    """What is said of each company, in order of first mention."""
    first_named: dict[int, str]
    """Where each company was first mentioned, for a refusal."""
    document: Document
    """The data, for filters: parsed only if one asks."""


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
        return await self._publish([self._draft(request, "")], key)

    async def publish_batch(
        self, requests: Sequence[EventRequest], key: IdempotencyKey | None
    ) -> Published | KeyConflict | IdConflict:
        """Make all events durable or none; the refused ones are named by index."""
        if not 1 <= len(requests) <= EVENTS_MAX:
            raise Invalid.field("events", f"expected 1 to {EVENTS_MAX:,} events, found {len(requests):,}.")
        drafts, refused = [], list[FieldError]()
        for index, request in enumerate(requests):
            try:
                drafts.append(self._draft(request, f"events[{index}]."))
            except Invalid as error:
                refused += error.fields
                if len(refused) >= ERRORS_MAX:
                    break
        refused += _repeated_ids(requests)
        if refused:
            raise Invalid(f"{refused[0].field}: {refused[0].message}", refused[:ERRORS_MAX])
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
            draft = _Draft(
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

    # what the request alone tells

    def _draft(self, request: EventRequest, place: str) -> _Draft:
        data = _data(request, place)
        entries, first_named = _recipients(request, place)
        if request.id is not None and not _ID.fullmatch(request.id):
            raise Invalid.field(f"{place}id", "expected 1 to 64 characters of A-Z a-z 0-9 _ and -.")
        occurred_at = _occurred_at(request, place)
        return _Draft(
            place=place,
            id=request.id or tokens.new_event_id(self._clock.wall_ms(), self._random_bytes),
            event_type=request.event_type,
            data=data,
            occurred_at=occurred_at,
            fingerprint=_fingerprint(request.event_type, data, occurred_at, entries) if request.id else None,
            entries=entries,
            first_named=first_named,
            document=Document(data),
        )

    # what catalogue and companies tell

    async def _publish(
        self, drafts: Sequence[_Draft], key: IdempotencyKey | None
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

    async def _publication(self, drafts: Sequence[_Draft], key: IdempotencyKey | None) -> Publication:
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
        self, drafts: Sequence[_Draft], key: IdempotencyKey | None, refusal: HooklineError
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

    async def _load_companies(self, drafts: Sequence[_Draft]) -> None:
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

    def _event(self, draft: _Draft, event_type: EventType, catalogue: Catalogue) -> NewEvent:
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


# --- the request alone -----------------------------------------------------------------------------------------------


def _data(request: EventRequest, place: str) -> bytes:
    field = f"{place}data"
    try:
        data = rendering.compact(bytes(request.data))
    except rendering.NotJson as error:
        raise Invalid.field(field, f"{error}.") from error
    if not data.startswith(b"{"):
        raise Invalid.field(field, "expected a JSON object.")
    if len(data) > DATA_BYTES_MAX:
        raise Invalid.field(field, f"is {len(data):,} bytes without white space; at most {DATA_BYTES_MAX:,} are taken.")
    return data


def _recipients(request: EventRequest, place: str) -> tuple[dict[int, tuple[Entry, ...]], dict[int, str]]:
    """Merge what is said of each company; return that, and where each was first named."""
    if (request.company_ids is None) == (request.recipients is None):
        raise Invalid.field(f"{place}companyIds", "expected either companyIds or recipients, exactly one of the two.")
    if request.recipients is None:
        name = "companyIds"
        listed: list[tuple[int, Entry | None]] = [(company_id, None) for company_id in request.company_ids or ()]
    else:
        name = "recipients"
        listed = [
            (item.company_id, _entry(item, f"{place}recipients[{index}]"))
            for index, item in enumerate(request.recipients)
        ]
    if not 1 <= len(listed) <= RECIPIENTS_MAX:
        raise Invalid.field(f"{place}{name}", f"expected 1 to {RECIPIENTS_MAX:,} entries, found {len(listed):,}.")
    entries: dict[int, tuple[Entry, ...]] = {}
    first: dict[int, str] = {}
    for index, (company_id, entry) in enumerate(listed):
        first.setdefault(company_id, f"{place}{name}[{index}]")
        known = entries.get(company_id, ())
        entries[company_id] = known if entry is None or entry in known else (*known, entry)
    return entries, first


def _entry(request: RecipientRequest, place: str) -> Entry | None:
    if request.case_direction not in {None, *DIRECTIONS}:
        raise Invalid.field(f"{place}.caseDirection", f"expected {' or '.join(DIRECTIONS)}.")
    if request.case_direction is None and request.partner_company_id is None:
        return None
    return Entry(case_direction=request.case_direction, partner_company_id=request.partner_company_id)


def _occurred_at(request: EventRequest, place: str) -> int | None:
    if request.occurred_at is None:
        return None
    try:
        return milliseconds(request.occurred_at)
    except ValueError as error:
        raise Invalid.field(f"{place}occurredAt", f"{error}.") from error


def _fingerprint(event_type: str, data: bytes, occurred_at: int | None, entries: dict[int, tuple[Entry, ...]]) -> bytes:
    """Hash what makes two events the same: type, data, time and recipients, in whatever order those were listed."""
    recipients = sorted((company_id, msgspec.json.encode(said)) for company_id, said in entries.items())
    return sha256(msgspec.json.encode((event_type, occurred_at, recipients)) + data).digest()


def _asked(drafts: Sequence[_Draft]) -> dict[int, Asked]:
    """Add up what a request wants of each company."""
    asked: dict[int, Asked] = {}
    for draft in drafts:
        for company_id in draft.entries:
            events, data_bytes = asked.get(company_id, (0, 0))
            asked[company_id] = Asked(events + 1, data_bytes + len(draft.data))
    return asked


def _known_by_id(draft: _Draft) -> NewEvent:
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


def _repeated_ids(requests: Sequence[EventRequest]) -> list[FieldError]:
    first: dict[str, int] = {}
    repeated = []
    for index, request in enumerate(requests):
        if request.id is not None and first.setdefault(request.id, index) != index:
            message = f"is the id of events[{first[request.id]}] too; an event has one id, and an id one event."
            repeated.append(FieldError(f"events[{index}].id", message))
    return repeated


def _refuse_unknown_companies(drafts: Sequence[_Draft], company_ids: AbstractSet[int]) -> None:
    unknown = [
        FieldError(place, f"there is no company {company_id}.")
        for draft in drafts
        for company_id, place in draft.first_named.items()
        if company_id in company_ids
    ]
    if unknown:
        raise Invalid(f"{unknown[0].field}: {unknown[0].message}", unknown[:ERRORS_MAX])


# --- the catalogue ---------------------------------------------------------------------------------------------------


def _type_of(draft: _Draft, catalogue: Catalogue) -> EventType:
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
