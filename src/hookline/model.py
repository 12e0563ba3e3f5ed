"""What things are: the nouns of the contract as frozen values.

No I/O and no rules. Every instant is named `_at` and is an integer: milliseconds since the Unix epoch, UTC; RFC 3339
exists only at the edges. Values are `msgspec.Struct`s, because a delivery passes through several of them and
creating one costs a quarter of what a frozen dataclass does (measured: 0.3 against 1.2 microseconds).
"""

from enum import StrEnum
from typing import Final

from msgspec import Struct

# --- who -------------------------------------------------------------------------------------------------------------


class Role(StrEnum):
    """What a token may do; the contract's section 2 says what."""

    OPERATOR = "operator"
    PUBLISHER = "publisher"
    MEMBER = "member"
    VIEWER = "viewer"


BUILT_IN_COMPANY_ID: Final = 1
"""`operator`: owns the operator's own subscriptions. No event can name it, and it is never changed or removed."""


class Company(Struct, frozen=True, kw_only=True):
    """A tenant."""

    id: int
    name: str
    created_at: int
    retention_days: int | None = None


class Account(Struct, frozen=True, kw_only=True):
    """A person or program of a company that gets short-lived member tokens of its own."""

    id: int
    company_id: int
    username: str
    """Once in the whole installation."""
    password: str | None
    """As `passwords` writes it; None: no login by password."""
    secret_hash: bytes
    """SHA-256 of the client secret."""
    created_at: int


class Token(Struct, frozen=True, kw_only=True):
    """A bearer token as stored: its SHA-256, never itself. `company_id` is None for operator and publisher."""

    id: int
    company_id: int | None
    name: str
    role: Role
    hash: bytes
    created_at: int
    expires_at: int | None = None
    account_id: int | None = None
    """Whose it is, where an account signed in for it."""
    is_pass: bool = False
    """Whether it was made by signing in: such tokens are many, short-lived and in no list."""


class Link(Struct, frozen=True, kw_only=True):
    """A link that signs somebody in once, as stored: the SHA-256 of its code, never the code."""

    hash: bytes
    company_id: int | None
    """None: for an operator."""
    role: Role
    name: str
    """Of the token that it opens a session with."""
    created_at: int
    expires_at: int
    session_ms: int
    """How long that session lasts at most."""


class Action(StrEnum):
    """What a change did, as the audit shows it."""

    COMPANY_CREATED = "company.created"
    COMPANY_CHANGED = "company.changed"
    COMPANY_DELETED = "company.deleted"
    TOKEN_CREATED = "token.created"  # noqa: S105 - a name
    TOKEN_REVOKED = "token.revoked"  # noqa: S105 - a name
    ACCOUNT_CREATED = "account.created"
    ACCOUNT_DELETED = "account.deleted"
    ACCOUNT_SIGNED_OUT = "account.signed-out"
    PORTAL_LINK_CREATED = "portal-link.created"
    SUBSCRIPTION_CREATED = "subscription.created"
    SUBSCRIPTION_CHANGED = "subscription.changed"
    SUBSCRIPTION_DELETED = "subscription.deleted"
    SECRET_ROTATED = "subscription.secret-rotated"  # noqa: S105 - a name
    EVENT_TYPE_PUT = "event-type.put"
    EVENT_TYPE_DELETED = "event-type.deleted"
    DELIVERY_REDELIVERED = "delivery.redelivered"
    REPLAY_STARTED = "replay.started"
    REPLAY_CANCELLED = "replay.cancelled"
    EVENT_ERASED = "event.erased"


class Change(Struct, frozen=True, kw_only=True):
    """Who does what to what: told to the verb that does it, which keeps it with what it changed."""

    actor: str
    """As a person reads it; never what proves who somebody is."""
    action: Action
    target: str | None
    """The id; None where the verb that does it is to give it."""
    company_id: int | None = None
    """Whose it is, where it belongs to a company."""


# --- what is published -----------------------------------------------------------------------------------------------


class TypeKind(StrEnum):
    """Which event types a subscription gets without naming them, and which an operator may publish."""

    ORDINARY = "ordinary"
    PING = "ping"
    OPERATIONAL = "operational"


OPERATIONAL_TYPES: Final = (
    "subscription.failing",
    "subscription.deactivated",
    "subscription.recovered",
    "delivery.dead",
)
"""What Hookline itself tells of deliveries: built in, and never caused by one another."""


class EventType(Struct, frozen=True, kw_only=True):
    """One row of the catalogue. `v1_name`/`v2_name` None: subscriptions of that version never get it."""

    name: str
    v1_name: str | None
    v2_name: str | None
    kind: TypeKind = TypeKind.ORDINARY
    description: str | None = None
    schema: bytes | None = None
    """JSON, shown and never enforced."""


class Entry(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What one entry of a published event says of its recipient beside the company."""

    case_direction: str | None = None
    partner_company_id: int | None = None


class Recipient(Struct, frozen=True, kw_only=True):
    """A company an event is for. A company named several times is one recipient with several entries."""

    company_id: int
    company_revision: int
    """The revision of the company's subscriptions that the event was matched under."""
    entries: tuple[Entry, ...] = ()
    """Those that say something; a filter matches where any one does."""


class Event(Struct, frozen=True, kw_only=True):
    """A published fact. `data` is compact JSON, byte for byte what was published but for white space."""

    key: int
    """Our own number, rising in order of acceptance; never shown."""
    id: str
    event_type: str
    data: bytes | None
    """None once erased."""
    occurred_at: int
    accepted_at: int
    catalogue_revision: int


# --- who gets it -----------------------------------------------------------------------------------------------------


class PayloadVersion(StrEnum):
    """The shape of a body."""

    V1 = "V1"
    V2 = "V2"
    STANDARD = "STANDARD"
    RAW = "RAW"


class AuthType(StrEnum):
    """How an attempt proves itself to the receiver."""

    NONE = "NONE"
    BASIC = "BASIC"
    BEARER = "BEARER"
    HEADER = "HEADER"
    OAUTH2_CLIENT_CREDENTIALS = "OAUTH2_CLIENT_CREDENTIALS"


class ClientAuthentication(StrEnum):
    """How a token request shows the client secret: RFC 6749, 2.3.1."""

    CLIENT_SECRET_BASIC = "CLIENT_SECRET_BASIC"  # noqa: S105 - the name of a method
    CLIENT_SECRET_POST = "CLIENT_SECRET_POST"  # noqa: S105


class Validation(StrEnum):
    """How a receiver says that it wants deliveries, before the first."""

    CLOUDEVENTS = "CLOUDEVENTS"
    """HTTP 1.1 Web Hooks for Event Delivery, 1.0.1, section 4."""


class Certificate(Struct, frozen=True, kw_only=True):
    """What is shown of a certificate."""

    subject: str
    expires_at: int


class Policies(Struct, frozen=True, kw_only=True):
    """How a subscription wants to be delivered to (contract, section 4), without anything secret."""

    retry_delays_seconds: tuple[int, ...] | str | None = None
    """The waits, a preset's name, or None for the installation's default."""
    timeout_seconds: int = 30
    max_in_flight: int = 10
    rate_per_second: int | None = None
    ordered: bool = False
    content_type: str | None = None
    header_names: tuple[str, ...] = ()
    case_directions: tuple[str, ...] | None = None
    """Of recipients' entries, as `partner_company_ids`; None: no filter."""
    partner_company_ids: tuple[int, ...] | None = None
    filter: str | None = None
    """An expression over an event's data: JSON as it was given, but for white space."""
    client_certificate: Certificate | None = None
    """What we show to the receiver; itself in `trust_sealed`, as the authorities are."""
    validation: Validation | None = None
    ca_certificates: tuple[Certificate, ...] | None = None
    """Whom else we trust to vouch for the receiver."""


class Secret(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One signing secret, sealed (see `sealing`); it lives until `expires_at`. None: the current one."""

    sealed: bytes
    created_at: int
    expires_at: int | None = None
    hub_from: int | None = None
    """From when on it keys `X-Hub-Signature-256`, which has room for one; None: from its creation."""


class InactiveReason(StrEnum):
    """Why a subscription is inactive, as readers see it."""

    PAUSED = "paused"
    """Somebody wanted it."""
    GONE = "gone"
    """A delivery ended on 410."""
    FAILING = "failing"
    """Nothing but failures for days."""


class Subscription(Struct, frozen=True, kw_only=True):
    """A callback URL with its event types, secrets and policies, owned by one company."""

    id: int
    company_id: int
    revision: int
    """Rises with every change; guards a read-then-write and keys what is cached of it."""
    callback_url: str
    event_types: tuple[str, ...] | None
    """Names as this subscription sees them; None: every ordinary type of its version, later ones too."""
    payload_version: PayloadVersion
    policies: Policies
    secrets: tuple[Secret, ...]
    """Newest first."""
    auth_type: AuthType = AuthType.NONE
    auth_sealed: bytes | None = None
    """JSON of the credential, sealed."""
    headers_sealed: bytes | None = None
    """JSON object of the static headers, sealed."""
    trust_sealed: bytes | None = None
    """Client certificate, its key and further authorities, sealed."""
    active: bool = True
    inactive_reason: str | None = None
    inactive_at: int | None = None
    created_at: int
    updated_at: int


class Route(Struct, frozen=True, kw_only=True):
    """What matching needs to know of a subscription; the last three as in its policies."""

    subscription_id: int
    company_id: int
    payload_version: PayloadVersion
    event_types: tuple[str, ...] | None
    case_directions: tuple[str, ...] | None = None
    partner_company_ids: tuple[int, ...] | None = None
    filter: str | None = None


# --- what becomes of it ----------------------------------------------------------------------------------------------


class DeliveryState(StrEnum):
    """What a reader is shown. `held` is derived and never stored; a delete also shows before it is stored."""

    PENDING = "pending"
    SENDING = "sending"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"
    HELD = "held"


class ReplayState(StrEnum):
    """Where a replay is."""

    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"


class Replay(Struct, frozen=True, kw_only=True):
    """Somebody's wish to have the deliveries of a time again."""

    id: int
    company_id: int
    """Whose it is: the built-in company's where it goes over several subscriptions."""
    subscription_id: int | None
    state: ReplayState
    total: int
    """How many deliveries it came to when it was asked for."""
    done: int
    """How many of them have had their first attempt."""
    from_at: int
    to_at: int
    status: DeliveryState | None
    type_names: tuple[str, ...] | None
    created_at: int


class ErrorClass(StrEnum):
    """Why an attempt failed, in the words of the delivery log."""

    TIMEOUT = "timeout"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    BLOCKED = "blocked"
    PROTOCOL = "protocol"
    OAUTH = "oauth"
    STATUS = "status"
    LOST = "lost"


class Timings(Struct, frozen=True, kw_only=True):
    """Milliseconds of each step of an attempt; None for one that did not happen or that a reused connection spared."""

    dns_ms: int | None = None
    connect_ms: int | None = None
    tls_ms: int | None = None
    wait_ms: int | None = None
    """From the last byte of the request to the last byte of the response head."""


class Answered(Struct, frozen=True, kw_only=True):
    """The receiver answered with a complete response head, of whatever status."""

    status: int
    duration_ms: int
    """From the start of the attempt to the end of the response head."""
    timings: Timings
    head: bytes
    """Status line and header lines as received, CRLF between them, at most 32 KiB."""
    body: bytes
    """The first bytes of the body, at most 16 KiB, never decompressed."""
    retry_after: str | None = None
    """The header's value as sent: seconds or an HTTP date."""


class Failed(Struct, frozen=True, kw_only=True):
    """There was no complete response head."""

    error: ErrorClass
    detail: str
    """One sentence for a person: what happened and what it means. Names no address of ours and no rule."""
    duration_ms: int
    timings: Timings


Outcome = Answered | Failed
"""What one attempt came to. The receiver's and the network's faults are values, never exceptions."""
