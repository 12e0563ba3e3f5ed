"""What a publisher's request says, judged by itself: the first of the three steps of `publishing`. Pure."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw, Struct

from hookline import rendering, tokens
from hookline.clock import milliseconds
from hookline.errors import FieldError, Invalid
from hookline.filtering import Document
from hookline.model import Entry

DATA_BYTES_MAX: Final = 256 * 1024
RECIPIENTS_MAX: Final = 1_000
EVENTS_MAX: Final = 1_000
ERRORS_MAX: Final = 20
"""Refused members named in one answer."""
DIRECTIONS: Final = ("INBOUND", "OUTBOUND")

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

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


class Draft(Struct, frozen=True, kw_only=True):
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


def drafted(request: EventRequest, place: str, wall_ms: int, random_bytes: Callable[[int], bytes]) -> Draft:
    """Judge one event; `place` is where it stands in the request. Raises `Invalid` naming the member refused."""
    data = _data(request, place)
    entries, first_named = _recipients(request, place)
    if request.id is not None and not _ID.fullmatch(request.id):
        raise Invalid.field(f"{place}id", "expected 1 to 64 characters of A-Z a-z 0-9 _ and -.")
    occurred_at = _occurred_at(request, place)
    return Draft(
        place=place,
        id=request.id or tokens.new_event_id(wall_ms, random_bytes),
        event_type=request.event_type,
        data=data,
        occurred_at=occurred_at,
        fingerprint=_fingerprint(request.event_type, data, occurred_at, entries) if request.id else None,
        entries=entries,
        first_named=first_named,
        document=Document(data),
    )


def drafted_batch(
    requests: Sequence[EventRequest], wall_ms: int, random_bytes: Callable[[int], bytes]
) -> Sequence[Draft]:
    """Judge all events of a batch; raises `Invalid` naming the refused ones by index, the first `ERRORS_MAX`."""
    if not 1 <= len(requests) <= EVENTS_MAX:
        raise Invalid.field("events", f"expected 1 to {EVENTS_MAX:,} events, found {len(requests):,}.")
    drafts, refused = [], list[FieldError]()
    for index, request in enumerate(requests):
        try:
            drafts.append(drafted(request, f"events[{index}].", wall_ms, random_bytes))
        except Invalid as error:
            refused += error.fields
            if len(refused) >= ERRORS_MAX:
                break
    refused += _repeated_ids(requests)
    if refused:
        raise Invalid(f"{refused[0].field}: {refused[0].message}", refused[:ERRORS_MAX])
    return drafts


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


def _repeated_ids(requests: Sequence[EventRequest]) -> list[FieldError]:
    first: dict[str, int] = {}
    repeated = []
    for index, request in enumerate(requests):
        if request.id is not None and first.setdefault(request.id, index) != index:
            message = f"is the id of events[{first[request.id]}] too; an event has one id, and an id one event."
            repeated.append(FieldError(f"events[{index}].id", message))
    return repeated
