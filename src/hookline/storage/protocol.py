"""Everything that Hookline needs of a database, as verbs.

Each verb is one transaction. Each states what it promises and what repeating it does. An engine is right when it
passes `tests/storage`; nothing above this file knows which engine runs.

A verb that the database did not confirm raises `errors.Unavailable`: its outcome is unknown, so callers only repeat
what is safe to repeat. Due times and leases are decided by the engine's own clock (SQLite: `Clock.schedule_ms`;
PostgreSQL: the database's), so callers pass spans, never instants, where something is to happen later.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from hookline.circuit import Health
from hookline.fairness import Flight
from hookline.model import (
    Account,
    Change,
    Company,
    EventType,
    Link,
    Replay,
    Subscription,
    Token,
)
from hookline.storage.claims import (
    Backlog,
    Claim,
    Fence,
    NewReplay,
    Notice,
    Redelivery,
    ReplayStep,
    Settlement,
)
from hookline.storage.publications import (
    Catalogue,
    Publication,
    PublishResult,
    Routes,
)
from hookline.storage.views import (
    AttemptPage,
    AttemptQuery,
    AuditEntry,
    DeliveryView,
    EventDetail,
    EventQuery,
    EventSearch,
    EventView,
    Node,
    NodeBeat,
    Page,
    SubscriptionQuery,
    Tally,
    TallyQuery,
)


class Creation(StrEnum):
    """What came of creating something."""

    CREATED = "created"
    ID_TAKEN = "id taken"
    NO_COMPANY = "no company"
    QUOTA_REACHED = "quota reached"


class AccountCreation(StrEnum):
    """What came of creating an account."""

    CREATED = "created"
    ID_TAKEN = "id taken"
    USERNAME_TAKEN = "username taken"
    NO_COMPANY = "no company"


class Redemption(StrEnum):
    """Why a link was not exchanged for a token."""

    SPENT = "spent"
    """Used, expired, gone with its company, or never made: nobody can tell."""
    ID_TAKEN = "id taken"


class CompanyDeletion(StrEnum):
    """What came of deleting a company."""

    DELETED = "deleted"
    NOT_FOUND = "not found"
    HAS_SUBSCRIPTIONS = "has subscriptions"


class Storage(Protocol):
    """A database.

    Verbs that somebody asks for take the `change` that they make: its row of the audit is written in the same
    transaction, where anything was changed at all. None: nobody asks to know.
    """

    async def open(self) -> None:
        """Connect, verify the schema's version and what durability rests on; make ready for every other verb.

        SQLite takes the file's lock first (another process on it: `StartRefused`) and, as no other worker can live,
        makes every `sending` delivery's lease end now. Raises `StartRefused` with what to do.
        """
        ...

    async def close(self) -> None:
        """Finish what was asked, then let go of everything. Repeating it does nothing."""
        ...

    async def probe(self) -> None:
        """Make one tiny write durable, or raise `Unavailable`: what `/readyz` stands on."""
        ...

    def tell(self) -> None:
        """Hint to all other nodes on this database that something may be due. Returns at once; a hint may be lost."""
        ...

    def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake` for the hints of other nodes from now on; at most one `wake` is kept."""
        ...

    # publishing

    async def catalogue(self) -> Catalogue:
        """Read all event types with the revision they are of."""
        ...

    async def routes(self, company_ids: Sequence[int]) -> Mapping[int, Routes]:
        """Read the routes of the companies; one that does not exist, or is deleted, is missing."""
        ...

    async def publish(self, publication: Publication) -> PublishResult:
        """Make events, their deliveries (pending, due now) and the idempotency key durable together, or nothing.

        `Published` means fsynced. A known key or id with the same fingerprint answers the first answer and stores
        nothing; for a batch this holds event by event. Concurrent publishes may share one commit, never one fate.
        """
        ...

    # the engine

    async def claim_due(
        self, *, flight: Flight, rows_max: int, body_bytes_max: int, lease_ms: int, known: Mapping[int, int]
    ) -> Claim:
        """Take due deliveries as `fairness.share` grants: `sending`, attempt + 1, leased.

        First, leases that have passed are logged as lost and judged by `lifecycle.verdict_of_loss`. Deliveries of
        inactive or deleted subscriptions, and of lanes on hold, stay, as do suspects (`lifecycle.is_suspect`) but for
        one where the node has none in flight. Oldest due first within a lane. `known` holds
        the revisions of subscriptions that the caller has at hand. A row that cannot be read is told apart and
        keeps no other from being claimed.
        """
        ...

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[bool]:
        """Record ends of attempts: state, schedule and one log row each, together.

        False: the fence is not current, nothing was changed for it. Repeating a settlement answers False. A failure
        of a delivery whose subscription is deleted cancels it; `GiveUp(gone=True)` makes the subscription inactive
        (reason `gone`) unless it was changed since the attempt; the lane's slots follow `fairness.slots_after`;
        `hold_ms` lengthens the lane's hold, never shortens it, and no `next_attempt_at` is before its end. The lane's
        health follows `circuit.after`, which may make the subscription inactive (reason `failing`). What is to be told
        of all this is left as notices.
        """
        ...

    async def notices(self, limit: int) -> tuple[Notice, ...]:
        """Read what is to be told, oldest first; deliveries of operational events leave nothing."""
        ...

    async def drop_notices(self, ids: Sequence[int]) -> None:
        """Remove notices that have been told; repeating it does nothing, unless new ones were noted meanwhile."""
        ...

    async def take_validations(self, wait_ms: int, limit: int) -> tuple[Subscription, ...]:
        """Take subscriptions whose receivers are to be asked now whether they grant the callback URL (`validation`).

        Nobody is given one again before `wait_ms`, doubled with each time that it was taken, has passed.
        """
        ...

    async def grant_validation(
        self, subscription_id: int, callback_url: str, *, allowed_per_second: float | None
    ) -> bool:
        """Let deliveries to a callback URL begin, at most so many a second; False: it is not wanted any more.

        Repeating it answers False. A change of the URL takes it back.
        """
        ...

    async def release(self, fences: Sequence[Fence]) -> None:
        """Hand claimed deliveries back unsent: pending and due now, no log row, their attempt numbers skipped."""
        ...

    async def redeliver(
        self, subscription_id: int, delivery_id: int, *, change: Change | None = None
    ) -> Redelivery | None:
        """Open an ended delivery again: pending, due now, with all of its retries; attempt numbers go on rising.

        None: the subscription has no such delivery, or is deleted. Repeating it finds the delivery open and changes
        nothing.
        """
        ...

    async def park(self, fences: Sequence[Fence]) -> None:
        """End claimed deliveries that cannot be read: dead, reason `unreadable`, no log row, as nothing was sent."""
        ...

    async def has_fresh_claims(self, subscription_id: int, window_ms: int) -> bool:
        """Tell whether an attempt of the subscription, claimed within the last `window_ms`, is not settled yet."""
        ...

    async def repair_lanes(self) -> None:
        """Set every lane's next due time from the index again: it is a hint, and a missed one must not strand rows."""
        ...

    async def close_deleted(self, limit: int) -> int:
        """Cancel up to `limit` open deliveries of deleted subscriptions (not those in flight); return how many."""
        ...

    async def forget_keys(self, limit: int) -> int:
        """Remove up to `limit` idempotency keys, passes and links that have outlived their span.

        Return how many it was in all; of each sort it is at most `limit`.
        """
        ...

    async def expire_held(self, retention_ms: int, limit: int) -> int:
        """End up to `limit` deliveries that were held for longer than their company's retention; return how many.

        They are dead, reason `expired`, and leave notices as others do. Where the company has no retention of its own
        it is `retention_ms`. Counts whole days (UTC): it may be up to one later.
        """
        ...

    async def erase(self, event_id: str, *, change: Change | None = None) -> bool:
        """Erase an event's data and the bodies answered to it, and cancel what is pending; False: there is none.

        An attempt in flight may end: a success is recorded, a failure cancels, and its body is not kept. Repeating it
        erases again what a backup may have brought back.
        """
        ...

    async def forget(self, retention_ms: int, limit: int) -> bool:
        """Do one short step of forgetting what has had its time; True: there is more to do at once.

        An ended delivery goes when its company's retention (or `retention_ms`) has passed since its end, its attempts
        with it at the latest; an event, and with it its id, when none of its deliveries is left and it is older than
        that itself. What is open stays, with all that it needs. Counts whole days, as `expire_held`. Revisions go that
        no event is matched under, and replays that ended and were asked for before `retention_ms`.
        """
        ...

    async def prepare_days(self) -> None:
        """Make room for the days to come, where rows are kept by days. Late or never, it costs speed alone."""
        ...

    async def backlog(self) -> Backlog:
        """Measure what waits."""
        ...

    async def health(self, subscription_ids: Sequence[int]) -> Mapping[int, Health]:
        """Read how the receivers of these do lately; one that has not failed since its last success is missing."""
        ...

    async def troubled(self, company_id: int | None, limit: int) -> Mapping[int, Health]:
        """Read up to `limit` subscriptions that fail or are inactive, the longest first, each with its health.

        `company_id` None: of all companies. Looks at every lane, so it is for people and not for a hot path.
        """
        ...

    # what was counted, for charts

    async def tally(self, limit: int) -> bool:
        """Count some of what the log and the events have new, each row once; True: there is more to count at once.

        One node does it at a time. What is younger than half a minute may be left for later.
        """
        ...

    async def tally_backlog(self, late_ms: int) -> None:
        """Count a look at the backlog: its oldest due delivery is so late. Repeating it counts another."""
        ...

    async def forget_tallies(self, limit: int) -> bool:
        """Remove up to `limit` of each sort of tallies that have had their time; True: there may be more."""
        ...

    async def tallies(self, query: TallyQuery) -> tuple[Tally, ...]:
        """Read tallies, in no order."""
        ...

    async def waiting(self, subscription_ids: Sequence[int], at_most: int) -> Mapping[int, int]:
        """Count the open deliveries of each subscription, no further than `at_most`."""
        ...

    async def last_success_at(self, subscription_id: int, among: int) -> int | None:
        """Read when an attempt of the subscription succeeded last; None: none of the latest `among` did."""
        ...

    # the nodes, for people

    async def beat(self, node: NodeBeat) -> None:
        """Note that a process lives and what it does; forget those not heard of for `NODE_KEPT_MS`."""
        ...

    async def forget_node(self, node_id: str) -> None:
        """Note that a process has ended. Repeating it does nothing."""
        ...

    async def nodes(self, limit: int) -> tuple[Node, ...]:
        """Read the processes heard of lately, by name."""
        ...

    # replays

    async def create_replay(self, replay: NewReplay, *, change: Change | None = None) -> Replay | None:
        """Count what a replay comes to, and store it as running, or as done where that is nothing.

        None: the subscription has `replays.RUNNING_MAX` of them running already.
        """
        ...

    async def replay(self, replay_id: int) -> Replay | None:
        """Read one, of whatever company."""
        ...

    async def cancel_replay(self, replay_id: int, *, change: Change | None = None) -> bool:
        """End a running replay: what it has opened and nobody claimed yet is as before. False: it does not run."""
        ...

    async def step_replays(self, place: tuple[int, int]) -> ReplayStep:
        """Let running replays go on, in turn and within bounds: open what their lanes have room for.

        Skips what is open, and what has ended since the replay was asked for. On every node at any time: a step goes
        by what is stored, and two never open the same delivery.
        """
        ...

    # subscriptions

    async def create_subscription(
        self, subscription: Subscription, per_company_max: int, *, change: Change | None = None
    ) -> Creation:
        """Store a new subscription with its lane, and raise its company's revision."""
        ...

    async def replace_subscription(
        self, subscription: Subscription, *, lift_hold: bool, change: Change | None = None
    ) -> bool:
        """Store a changed subscription where the stored revision is `subscription.revision - 1`; else False.

        Raises its company's revision. Waits already set stay. Deactivation counts for every claim after the answer;
        `lift_hold` ends a `Retry-After`, closes the circuit and makes the lane due. Where the policy `validation` is
        set, nothing is claimed until `grant_validation` has come for this callback URL.
        """
        ...

    async def delete_subscription(self, subscription_id: int, *, change: Change | None = None) -> bool:
        """Delete: no claim takes its deliveries from now on, readers show them cancelled. False: there is none."""
        ...

    async def subscription(self, subscription_id: int, *, company_id: int | None = None) -> Subscription | None:
        """Read one that is not deleted; for one company only if it is that company's."""
        ...

    async def subscriptions(self, query: SubscriptionQuery) -> Page[Subscription]:
        """Read those that are not deleted, by id ascending; one that is damaged hides no other."""
        ...

    # who

    async def create_company(self, company: Company, *, change: Change | None = None) -> Creation:
        """Store a new company."""
        ...

    async def replace_company(self, before: Company, after: Company, *, change: Change | None = None) -> bool:
        """Store a changed name or retention; False where the company is not, or no longer, as `before`."""
        ...

    async def delete_company(self, company_id: int, *, cascade: bool, change: Change | None = None) -> CompanyDeletion:
        """Delete a company, its accounts, tokens and links; with `cascade` its subscriptions too.

        These as `delete_subscription` does.
        """
        ...

    async def stored_bytes(self, company_id: int) -> int:
        """Measure the data of all events that are for a company: its size as it was published."""
        ...

    async def company(self, company_id: int) -> Company | None:
        """Read one, for itself or an operator; the built-in company `operator` included."""
        ...

    async def companies(self, after_id: int, limit: int) -> Page[Company]:
        """Read companies by id ascending, the built-in one left out."""
        ...

    async def create_token(self, token: Token, *, change: Change | None = None) -> Creation:
        """Store a new token's hash. A token of an account is `NO_COMPANY` where the account is gone."""
        ...

    async def tokens(self, company_id: int | None, after_id: int, limit: int) -> Page[Token]:
        """Read the tokens of one company, or of none (operators and publishers), by id ascending.

        Passes are left out; `revoke_token` does not find them either.
        """
        ...

    async def revoke_token(self, company_id: int | None, token_id: int, *, change: Change | None = None) -> bool:
        """Remove a token; False: this company (or the installation) has no such token."""
        ...

    async def revoke_pass(self, token_id: int) -> bool:
        """Remove a pass; False: there is no pass of this id."""
        ...

    async def token_by_hash(self, token_hash: bytes) -> Token | None:
        """Read a token by the SHA-256 of what the bearer shows; expiry is the caller's to judge."""
        ...

    async def create_account(self, account: Account, *, change: Change | None = None) -> AccountCreation:
        """Store a new account."""
        ...

    async def accounts(self, company_id: int, after_id: int, limit: int) -> Page[Account]:
        """Read the accounts of a company by id ascending."""
        ...

    async def delete_account(self, company_id: int, account_id: int, *, change: Change | None = None) -> bool:
        """Delete an account and its tokens; False: this company has no such account."""
        ...

    async def account(self, account_id: int) -> Account | None:
        """Read one."""
        ...

    async def account_by_username(self, username: str) -> Account | None:
        """Read the one with this username, whatever the company."""
        ...

    async def revoke_passes(self, account_id: int, *, change: Change | None = None) -> bool:
        """Remove all tokens that an account has signed in for; False: there is none."""
        ...

    async def create_link(self, link: Link, *, change: Change | None = None) -> bool:
        """Store a new link; False: its company is not there."""
        ...

    async def redeem_link(self, link_hash: bytes, token_id: int, token_hash: bytes) -> Token | Redemption:
        """Use a link up, and store the pass that it stands for: both or neither, and once, whoever else asks.

        The pass lasts from now as long as the link says. Where no answer came, the link may be used up.
        """
        ...

    async def change_counter(self) -> int:
        """Read the number that rises with every change of tokens, accounts, companies or the catalogue.

        A new pass does not raise it: nobody can have asked for it before, so no cache is wrong.
        """
        ...

    async def put_event_type(self, event_type: EventType, *, change: Change | None = None) -> bool:
        """Store or replace a type, raising the catalogue's revision; False: a V1 or V2 name is taken by another."""
        ...

    async def delete_event_type(self, name: str, *, change: Change | None = None) -> bool:
        """Delete a type, raising the catalogue's revision; False: there is none."""
        ...

    # the log

    async def audit(self, before_id: int | None, limit: int) -> tuple[AuditEntry, ...]:
        """Read changes, newest first."""
        ...

    async def page_of_attempts(self, query: AttemptQuery) -> AttemptPage:
        """Read one page of a subscription's log, with bodies, and the exact total, of one snapshot."""
        ...

    async def delivery(
        self, subscription_id: int, delivery_id: int, *, company_id: int | None = None
    ) -> DeliveryView | None:
        """Read one delivery with all its attempts, heads and bodies; for one company only if it is that company's."""
        ...

    async def subscription_of_delivery(self, delivery_id: int, *, company_id: int | None) -> int | None:
        """Read whose a delivery is; None: there is none, or it is another company's."""
        ...

    async def events(self, query: EventQuery) -> tuple[EventView, ...]:
        """Read events, newest first."""
        ...

    async def search_events(self, query: EventQuery, looked_at_max: int) -> EventSearch:
        """Read the newest events that match, as `events`, but look at no more than so many: a search that may go on."""
        ...

    async def event(
        self, event_id: str, *, company_id: int | None, after_id: int, limit: int, attempts_max: int
    ) -> EventDetail | None:
        """Read one event; for one company only what is that company's. Attempts are the last few, without bodies."""
        ...
