"""What the engine takes from the database and hands back to it: claims, settlements, notices, replays."""

from collections.abc import Mapping

from msgspec import Struct

from hookline.lifecycle import Verdict
from hookline.model import (
    DeliveryState,
    ErrorClass,
    PayloadVersion,
    Subscription,
    Timings,
)


class Claimed(Struct, frozen=True, kw_only=True):
    """A delivery that is ours until its lease ends, with all that its body is made of."""

    id: int
    attempt: int
    """The number of the attempt to make, and the fence of its settlement."""
    failures: int
    losses: int
    """Attempts lost in a row before this one."""
    subscription_id: int
    subscription_revision: int
    company_id: int
    host: str
    event_id: str
    event_type: str
    type_name: str
    payload_version: PayloadVersion
    source: str | None
    occurred_at: int
    accepted_at: int
    data: bytes


class Unreadable(Struct, frozen=True):
    """A row that is not as it was written: what is wrong with it, never what it holds."""

    problem: str


class Claim(Struct, frozen=True, kw_only=True):
    """What a claim brought."""

    deliveries: tuple[Claimed, ...]
    subscriptions: Mapping[int, Subscription | Unreadable]
    """By id: those of the deliveries whose revision the caller did not name as known."""
    unreadable: "tuple[tuple[Fence, Unreadable], ...]"
    """Claimed like `deliveries`, but no attempt can be made of them: the caller parks them."""
    lost: int
    """Attempts whose lease had passed, logged as lost by this claim."""
    parked: int
    """Of these, deliveries that ended as crashed."""
    next_due_ms: int | None
    """How long until a lane falls due that is not due now; None: nothing waits for a time."""
    more: bool
    """Whether this claim left something that an immediate second one could take (a limit of rows or bytes cut it)."""


class Fence(Struct, frozen=True, kw_only=True):
    """A delivery as claimed: whoever does not hold the current attempt changes nothing."""

    delivery_id: int
    subscription_id: int
    company_id: int
    attempt: int


class AttemptRecord(Struct, frozen=True, kw_only=True):
    """What the log keeps of one attempt."""

    http_status: int | None
    error: ErrorClass | None
    detail: str | None
    duration_ms: int
    timings: Timings
    request_head: bytes
    """As sent, with every credential and static header value replaced by `hidden`."""
    response_head: bytes | None
    response_body: bytes | None


class Settlement(Struct, frozen=True, kw_only=True):
    """The end of one attempt."""

    fence: Fence
    subscription_revision: int
    """That the attempt was made under: the answer of an old callback URL says nothing of a newer one."""
    verdict: Verdict
    record: AttemptRecord
    answered: bool
    """Whether any complete response head came: grows the lane where all its slots were taken."""
    timed_out: bool
    """Halves the lane's slots."""
    hold_ms: int | None = None
    """Nothing starts for this subscription before so much time has passed (`Retry-After`)."""


class Redelivery(Struct, frozen=True, kw_only=True):
    """What a redelivery found, as a reader saw it before."""

    event_id: str
    state: DeliveryState
    """Succeeded or dead: it is open again, unless `is_erased`. In any other state it stays as it was."""
    reason: str | None
    """Why it was cancelled, or why its subscription is inactive where it is held."""
    is_erased: bool
    """The event has no data any more: nothing could be sent."""


class Notice(Struct, frozen=True, kw_only=True):
    """What is to be published as an operational event: noted by the verb whose change it tells of."""

    id: int
    """Of the note; may be given out again once it is dropped."""
    event_type: str
    company_id: int
    subscription_id: int
    delivery_id: int
    """The delivery that it came of."""
    event_id: str
    reason: str
    since: int
    created_at: int


class NewReplay(Struct, frozen=True, kw_only=True):
    """What is to be sent again: of events with `from_at` <= accepted_at < `to_at`, and no later than now."""

    subscription_id: int | None
    """None: of every subscription of `company_id`, and with that None too, of every one there is."""
    company_id: int | None
    from_at: int
    to_at: int
    status: DeliveryState | None
    """Succeeded or dead; None: both, and what the subscription would get now and has no delivery of."""
    type_names: tuple[str, ...] | None = None
    """By the names that the subscription sees; None: all."""
    source: str | None = None
    """CloudEvents `source` of deliveries that are made."""


class ReplayStep(Struct, frozen=True, kw_only=True):
    """What one step of the replays came to."""

    place: tuple[int, int]
    """Where the next step goes on: replays are served in turn."""
    has_moved: bool
    """Whether anything was opened, ended or looked at; where nothing was, the receivers have the word."""
    is_running: bool
    """Whether any replay runs."""


class Backlog(Struct, frozen=True, kw_only=True):
    """What waits, for metrics."""

    open: int
    """Pending, held and sending deliveries, exact up to 100,000."""
    oldest_due_ms: int
    """How late the latest delivery of an active subscription is, from when its lane lets it start: a hold, a rate and
    an open circuit are no delay of ours. 0 where nothing is late."""
