"""What readers ask for, and what they get: pages of the log, events, deliveries, charts and nodes."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Generic, TypeVar

from msgspec import Struct

from hookline.model import (
    Action,
    DeliveryState,
    ErrorClass,
    Event,
    EventType,
    PayloadVersion,
    Recipient,
    Route,
    Timings,
)
from hookline.tallies import Level

Item = TypeVar("Item")


class AttemptQuery(Struct, frozen=True, kw_only=True):
    """One page of the delivery log of one subscription."""

    subscription_id: int
    page: int
    size: int
    company_id: int | None = None
    """Only if the subscription is this company's; None: whoever owns it."""
    success: bool | None = None
    type_name: str | None = None
    from_at: int | None = None
    to_at: int | None = None
    before_id: int | None = None


class AttemptRow(Struct, frozen=True, kw_only=True):
    """One row of the delivery log."""

    id: int
    delivery_id: int
    event_id: str
    event_type: str
    type_name: str
    payload_version: PayloadVersion
    source: str | None
    occurred_at: int
    data: bytes | None
    """The event's data, of which the request body is rendered; None once erased."""
    number: int
    http_status: int | None
    error: ErrorClass | None
    detail: str | None
    duration_ms: int
    timings: Timings
    request_head: bytes | None
    response_head: bytes | None
    response_body: bytes | None
    created_at: int
    next_attempt_at: int | None
    dead_lettered: bool


class AttemptPage(Struct, frozen=True, kw_only=True):
    """Rows by id descending, and the exact total of the same snapshot."""

    rows: tuple[AttemptRow, ...]
    total: int


VALIDATION_DOUBLINGS_MAX: Final = 8
"""Of the wait before a receiver is asked again whether it grants its callback URL."""


class Waiting(StrEnum):
    """What keeps a pending delivery waiting beside its own due time."""

    RECEIVER_FAILING = "receiver failing"
    """The circuit is open; `due_at` is the next probe."""
    VALIDATION = "validation"
    """The receiver has not granted the callback URL yet (policy `validation`)."""


class DeliveryView(Struct, frozen=True, kw_only=True):
    """A delivery as readers see it: `held` and a delete's `cancelled` already derived."""

    id: int
    subscription_id: int
    company_id: int
    event_id: str
    event_type: str
    type_name: str
    payload_version: PayloadVersion
    source: str | None
    occurred_at: int
    accepted_at: int
    data: bytes | None
    state: DeliveryState
    reason: str | None
    """Why it ended (`lifecycle.Reason`), why its subscription is inactive where it is held, or `Waiting`."""
    held_since: int | None
    due_at: int | None
    """Where pending: when its attempt may start, by its lane's hold and circuit too."""
    attempt: int
    failures: int
    settled_at: int | None
    attempts: tuple[AttemptRow, ...]
    """By number ascending; how many, and whether with bodies, is the verb's to say."""


class EventQuery(Struct, frozen=True, kw_only=True):
    """Events, newest first. `company_id` narrows to events for that company."""

    limit: int
    before_key: int | None = None
    after_key: int | None = None
    company_id: int | None = None
    event_type: str | None = None
    state: DeliveryState | None = None
    from_at: int | None = None
    to_at: int | None = None
    containing: bytes | None = None
    """Only events whose data holds these bytes somewhere."""


class EventSearch(Struct, frozen=True, kw_only=True):
    """What a search found, and how far it looked."""

    events: "tuple[EventView, ...]"
    next_before_key: int | None
    """Where to go on; None: there are no older events."""


class EventView(Struct, frozen=True, kw_only=True):
    """An event with the states of its deliveries (of one company, where the reader is of one)."""

    event: Event
    recipients: tuple[Recipient, ...]
    counts: Mapping[DeliveryState, int]


class EventDetail(Struct, frozen=True, kw_only=True):
    """One event, its deliveries by id, and the routes and catalogue it was matched under."""

    view: EventView
    deliveries: tuple[DeliveryView, ...]
    next_after_id: int | None
    routes: tuple[Route, ...]
    """Every subscription that the recipients' companies had then."""
    matched_type: EventType | None
    """The event's type as the catalogue had it then."""


class AuditEntry(Struct, frozen=True, kw_only=True):
    """One change, as `model.Change`, and when it was made."""

    id: int
    at: int
    actor: str
    action: Action
    target: str
    company_id: int | None


class SubscriptionQuery(Struct, frozen=True, kw_only=True):
    """Subscriptions by id ascending; `company_id` None: of all companies."""

    company_id: int | None
    versions: tuple[PayloadVersion, ...]
    after_id: int = 0
    limit: int | None = None


class TallyQuery(Struct, frozen=True, kw_only=True):
    """Sums of what was counted of the log (see `tallies`), in cells of `cell_ms`, a multiple of `span_ms`."""

    level: Level
    span_ms: int
    """Of the cells to sum up: one of those kept for the level."""
    cell_ms: int
    from_at: int
    """Cells that begin at or after this instant, which is the beginning of one."""
    subject_ids: tuple[int, ...] | None = (0,)
    """Of companies or subscriptions, by the level; None: of every company."""
    company_id: int | None = None
    """Only what is this company's; None: whosever it is."""
    spreads: bool = True
    """Whether spans are asked for too (`Measure.ANSWER`, `Measure.START`): they are most of the tallies."""


class Tally(Struct, frozen=True):
    """How many of one measure and class there were in a cell of a subject."""

    subject_id: int
    begins_at: int
    measure: str
    """`tallies.Measure`, or the `ErrorClass` of failed attempts."""
    span_class: int
    count: int


NODE_KEPT_MS: Final = 86_400_000
"""After its last beat: so long people see that a node was there."""


class NodeFacts(Struct, frozen=True, kw_only=True):
    """What a process says of itself, as everybody sees it."""

    id: str
    """Of this life of the process."""
    name: str
    version: str
    roles: tuple[str, ...]
    started_at: int
    in_flight: int
    max_in_flight: int
    attempts_per_second: float
    since_claim_ms: int | None
    """Since the database last answered a claim; None where it never did, or delivers nothing."""


class NodeBeat(NodeFacts, frozen=True, kw_only=True):
    """What it says at a moment."""

    wall_ms: int
    """Its own clock, to be compared with the database's."""


class Node(NodeFacts, frozen=True, kw_only=True):
    """What is known of it."""

    seen_at: int
    """When it last said something, by the database's clock."""
    skew_ms: int
    """How far its clock was ahead of the database's."""


class Page(Struct, Generic[Item], frozen=True, kw_only=True):
    """Items by id ascending, and the id to go on after."""

    items: tuple[Item, ...]
    next_after_id: int | None
    unreadable: tuple[int, ...] = ()
    """Ids of the page whose rows are damaged: no items, where it is promised that one hides no other."""
