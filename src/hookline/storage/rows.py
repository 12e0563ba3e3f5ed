"""How rows read as values, for both engines alike: they select the same columns in the same order. Pure.

What is written in a column of text is `records`' to read.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Final, Protocol, TypeVar

import msgspec
from msgspec import structs

from hookline.model import (
    Account,
    AuthType,
    Company,
    DeliveryState,
    ErrorClass,
    Event,
    Link,
    PayloadVersion,
    Role,
    Subscription,
    Timings,
    Token,
)
from hookline.storage import records
from hookline.storage.claims import Notice, Unreadable
from hookline.storage.publications import Routes
from hookline.storage.views import AttemptRow, DeliveryView, Node, Page

Row = Sequence[Any]


class _HasId(Protocol):
    @property
    def id(self) -> int: ...


Identified = TypeVar("Identified", bound=_HasId)

DAY_MS: Final = 86_400_000
DAYS_BEGIN_AT: Final = 1_704_067_200_000
"""2024-01-01T00:00:00Z: the first day that an id can carry."""
DAY_BITS: Final = 39
"""Ids of one day: 2^39 of them, so that 2^53 holds the days of 44 years."""

SUBSCRIPTION_COLUMNS: Final = (
    "id, company_id, revision, callback_url, event_types, payload_version, policies, secrets, auth_type, auth_sealed,"
    " headers_sealed, trust_sealed, active, inactive_reason, inactive_at, created_at, updated_at"
)
NOTICE_COLUMNS: Final = "id, event_type, company_id, subscription_id, delivery_id, event_id, reason, since, created_at"
TOKEN_COLUMNS: Final = ", ".join(Token.__struct_fields__)
LINK_COLUMNS: Final = ", ".join(Link.__struct_fields__)
NODE_COLUMNS: Final = ", ".join(Node.__struct_fields__)
ACCOUNT_COLUMNS: Final = "id, company_id, username, password, secret_hash, created_at"
DAMAGE: Final = (msgspec.MsgspecError, LookupError, TypeError, ValueError)
"""What reading raises where a row is not as it was written."""
EVENT_KEY: Final = 13
"""The column of a delivery's row, behind those that `read_delivery` reads, that names its event."""


def first_id_of_day(wall: int) -> int:
    """Return the lowest id of an event, a delivery or an attempt that the day of this instant can give out."""
    return (wall - DAYS_BEGIN_AT) // DAY_MS << DAY_BITS


def cut(items: Sequence[Identified], limit: int | None) -> Page[Identified]:
    """Make a page of at most `limit` items, one more having been read to know whether there is more."""
    if limit is None or len(items) <= limit:
        return Page(items=tuple(items), next_after_id=None)
    return Page(items=tuple(items[:limit]), next_after_id=items[limit - 1].id)


def read_company(row: Row) -> Company:
    """Read id, name, created_at, retention_days."""
    return Company(id=row[0], name=row[1], created_at=row[2], retention_days=row[3])


def read_token(row: Row) -> Token:
    """Read `TOKEN_COLUMNS`."""
    values = dict(zip(Token.__struct_fields__, row, strict=True))
    return Token(**{**values, "role": Role(values["role"]), "is_pass": bool(values["is_pass"])})


def token_row(token: Token) -> Row:
    """Write `TOKEN_COLUMNS`."""
    return structs.astuple(token)


def read_link(row: Row) -> Link:
    """Read `LINK_COLUMNS`."""
    values = dict(zip(Link.__struct_fields__, row, strict=True))
    return Link(**{**values, "role": Role(values["role"])})


def link_row(link: Link) -> Row:
    """Write `LINK_COLUMNS`."""
    return structs.astuple(link)


def read_node(row: Row) -> Node:
    """Read `NODE_COLUMNS`."""
    values = dict(zip(Node.__struct_fields__, row, strict=True))
    return Node(**{**values, "roles": tuple(values["roles"].split())})


def opened_by(link: Link, token_id: int, token_hash: bytes, wall: int) -> Token:
    """Make the pass that a link is exchanged for."""
    return Token(
        id=token_id,
        company_id=link.company_id,
        name=link.name,
        role=link.role,
        hash=token_hash,
        created_at=wall,
        expires_at=wall + link.session_ms,
        is_pass=True,
    )


def read_account(row: Row) -> Account:
    """Read `ACCOUNT_COLUMNS`."""
    return Account(
        id=row[0], company_id=row[1], username=row[2], password=row[3], secret_hash=row[4], created_at=row[5]
    )


def read_subscription(row: Row) -> Subscription:
    """Read `SUBSCRIPTION_COLUMNS`."""
    return Subscription(
        id=row[0],
        company_id=row[1],
        revision=row[2],
        callback_url=row[3],
        event_types=records.names(row[4]),
        payload_version=PayloadVersion(row[5]),
        policies=records.policies(row[6]),
        secrets=records.secrets(row[7]),
        auth_type=AuthType(row[8]),
        auth_sealed=row[9],
        headers_sealed=row[10],
        trust_sealed=row[11],
        active=bool(row[12]),
        inactive_reason=row[13],
        inactive_at=row[14],
        created_at=row[15],
        updated_at=row[16],
    )


def try_subscription(row: Row) -> Subscription | Unreadable:
    """Read `SUBSCRIPTION_COLUMNS` of a row that may be damaged."""
    try:
        return read_subscription(row)
    except DAMAGE as error:
        return Unreadable(f"{type(error).__name__}: {error}")


def subscription_page(found: Sequence[tuple[int, Subscription | Unreadable]], limit: int | None) -> Page[Subscription]:
    """Make a page of at most `limit` rows by id, as `cut` does; what is damaged counts, and is told apart."""
    shown = found if limit is None else found[:limit]
    return Page(
        items=tuple([each for _, each in shown if isinstance(each, Subscription)]),
        next_after_id=shown[-1][0] if len(shown) < len(found) else None,
        unreadable=tuple([subscription_id for subscription_id, each in shown if isinstance(each, Unreadable)]),
    )


def subscription_values(subscription: Subscription) -> tuple[Any, ...]:
    """Return what is stored in `SUBSCRIPTION_COLUMNS`."""
    return (
        subscription.id,
        subscription.company_id,
        subscription.revision,
        subscription.callback_url,
        _names(subscription),
        subscription.payload_version,
        *_changeable_values(subscription),
        subscription.created_at,
        subscription.updated_at,
    )


def changed_values(subscription: Subscription) -> tuple[Any, ...]:
    """Return what a change may store anew: URL and event types, policies to the moment it became inactive, update."""
    return (
        subscription.callback_url,
        _names(subscription),
        *_changeable_values(subscription),
        subscription.updated_at,
    )


def _changeable_values(subscription: Subscription) -> tuple[Any, ...]:
    return (
        records.encode(subscription.policies),
        records.encode(subscription.secrets),
        subscription.auth_type,
        subscription.auth_sealed,
        subscription.headers_sealed,
        subscription.trust_sealed,
        subscription.active,
        subscription.inactive_reason,
        subscription.inactive_at,
    )


def _names(subscription: Subscription) -> str | None:
    return None if subscription.event_types is None else records.encode(subscription.event_types)


def read_notice(row: Row) -> Notice:
    """Read `NOTICE_COLUMNS`."""
    return Notice(
        id=row[0],
        event_type=row[1],
        company_id=row[2],
        subscription_id=row[3],
        delivery_id=row[4],
        event_id=row[5],
        reason=row[6],
        since=row[7],
        created_at=row[8],
    )


def read_routes(rows: Iterable[Row]) -> dict[int, Routes]:
    """Read the routes of companies whose rows follow each other: company, its revision, and a route, null for none.

    Routes as they are kept by revision, and not out of the subscriptions: so a damaged one is matched as it was when
    it was whole, and an event that it may be for is refused to nobody.
    """
    found = {}
    for (company_id, revision), its_rows in groupby(rows, key=lambda row: row[:2]):
        its_routes = tuple([records.route(route) for _, _, route in its_rows if route is not None])
        found[company_id] = Routes(company_id=company_id, revision=revision, routes=its_routes)
    return found


def read_event(row: Row) -> Event:
    """Read key, id, event_type, data, occurred_at, accepted_at, catalogue_revision."""
    return Event(
        key=row[0],
        id=row[1],
        event_type=row[2],
        data=row[3],
        occurred_at=row[4],
        accepted_at=row[5],
        catalogue_revision=row[6],
    )


def read_delivery(row: Row, event: Event) -> DeliveryView:
    """Read a delivery without its attempts, its shown state and reason worked out by the statement.

    id, subscription_id, company_id, type_name, payload_version, source, state, reason, the moment its subscription
    became inactive (null where it is not held), due_at, attempt, failures, settled_at.
    """
    inactive_at = row[8]
    return DeliveryView(
        id=row[0],
        subscription_id=row[1],
        company_id=row[2],
        event_id=event.id,
        event_type=event.event_type,
        type_name=row[3],
        payload_version=PayloadVersion(row[4]),
        source=row[5],
        occurred_at=event.occurred_at,
        accepted_at=event.accepted_at,
        data=event.data,
        state=DeliveryState(row[6]),
        reason=row[7],
        held_since=None if inactive_at is None else max(inactive_at, event.accepted_at),
        due_at=row[9],
        attempt=row[10],
        failures=row[11],
        settled_at=row[12],
        attempts=(),
    )


def read_attempt(row: Row, view: DeliveryView) -> AttemptRow:
    """Read one row of the log.

    id, delivery_id, number, http_status, error, detail, duration_ms, dns_ms, connect_ms, tls_ms, wait_ms, created_at,
    next_attempt_at, dead_lettered, request_head, response_head, response_body.
    """
    return AttemptRow(
        id=row[0],
        delivery_id=row[1],
        event_id=view.event_id,
        event_type=view.event_type,
        type_name=view.type_name,
        payload_version=view.payload_version,
        source=view.source,
        occurred_at=view.occurred_at,
        data=view.data,
        number=row[2],
        http_status=row[3],
        error=None if row[4] is None else ErrorClass(row[4]),
        detail=row[5],
        duration_ms=row[6],
        timings=Timings(dns_ms=row[7], connect_ms=row[8], tls_ms=row[9], wait_ms=row[10]),
        created_at=row[11],
        next_attempt_at=row[12],
        dead_lettered=bool(row[13]),
        request_head=row[14],
        response_head=row[15],
        response_body=row[16],
    )
