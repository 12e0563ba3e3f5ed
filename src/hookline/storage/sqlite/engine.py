"""`SqliteStorage`: the storage protocol on one embedded SQLite file.

Everything that writes goes through the writer, everything that reads through one of two groups of readers: what takes
as long as there is much to read (pages of the log, events) cannot hold up what everybody waits for (tokens, routes).
What a verb does stands in the module of its subject.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import apsw

from hookline import circuit
from hookline.circuit import Health
from hookline.clock import Clock
from hookline.errors import StartRefused, Unavailable
from hookline.fairness import Flight
from hookline.model import Account, Change, Company, EventType, Link, Replay, Subscription, Token
from hookline.storage.claims import Backlog, Claim, Fence, NewReplay, Notice, Redelivery, ReplayStep, Settlement
from hookline.storage.migrate import migrations, refuse_outdated, still_needed
from hookline.storage.protocol import AccountCreation, CompanyDeletion, Creation, Redemption
from hookline.storage.publications import Catalogue, Publication, PublishResult, Routes
from hookline.storage.sqlite import (
    accounts,
    audit,
    directory,
    erasing,
    forgetting,
    health,
    lanes,
    links,
    log,
    notices,
    presence,
    redelivering,
    replaying,
    schema,
    subscriptions,
    tallying,
    upkeep,
    validating,
)
from hookline.storage.sqlite.claiming import ClaimRequest, claim_due
from hookline.storage.sqlite.committing import Committer, Request, Verb
from hookline.storage.sqlite.connection import FileLock, connect_reader, connect_writer
from hookline.storage.sqlite.publishing import publish
from hookline.storage.sqlite.readers import OpenReaders, Query, Readers, ThreadedReaders
from hookline.storage.sqlite.settling import park, release, settle
from hookline.storage.sqlite.transaction import Transaction
from hookline.storage.sqlite.writer import OpenWriter, ThreadedWriter, Writer
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
from hookline.telemetry import Telemetry

FREE_BYTES_MIN: Final = 4 * 1024 * 1024
"""On the disk of the file: one event of 1 MiB takes about so much, first in SQLite's log and then in the file."""

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class SqliteStorage:
    """Fulfils `storage.protocol.Storage`. One process at a time per file.

    A new file is given the current schema; one with an older schema is refused until it is migrated.
    """

    def __init__(
        self,
        path: str,
        *,
        clock: Clock,
        circuit_rules: circuit.Rules = circuit.RULES,
        telemetry: Telemetry | None = None,
        writer: OpenWriter = ThreadedWriter,
        readers: OpenReaders = ThreadedReaders,
        vfs: str | None = None,
    ) -> None:
        self._path = path
        self._directory = Path(path).absolute().parent
        self._clock = clock
        self._settle = partial(settle, rules=circuit_rules)  # one object: settlements that wait together run together
        self._note_commit = telemetry.committed if telemetry else None
        self._open_writer = writer
        self._open_readers = readers
        self._vfs = vfs
        self._lock = FileLock(path)
        self._walk = forgetting.Walk()
        self._writer: Writer | None = None
        self._readers: Readers | None = None
        self._lookups: Readers | None = None

    async def open(self) -> None:
        self._lock.take()
        try:
            connection = connect_writer(self._path, self._vfs)
            try:
                _verify_schema(connection)
                committer = Committer(connection, self._clock, self._note_commit)
            except BaseException:
                connection.close()
                raise
            self._readers = self._open_readers(lambda: connect_reader(self._path, self._vfs))
            self._lookups = self._open_readers(lambda: connect_reader(self._path, self._vfs))
            self._writer = self._open_writer(committer)
            await self._write(upkeep.end_leases)
            await self._write(lanes.repair)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        writer, groups = self._writer, (self._readers, self._lookups)
        self._writer = self._readers = self._lookups = None
        try:
            for readers in groups:
                if readers:
                    await readers.close()
            if writer:
                await writer.close()
        finally:
            self._lock.release()

    async def probe(self) -> None:
        await self._write(upkeep.probe)
        # On a full disk a write as tiny as that still finds room in the log, and an event does not.
        try:
            free = shutil.disk_usage(self._directory).free
        except OSError as error:
            raise Unavailable("The disk of the database does not answer.") from error
        if free < FREE_BYTES_MIN:
            raise Unavailable(f"The disk is full: {free:,} bytes are left, and an event may need {FREE_BYTES_MIN:,}.")

    def tell(self) -> None:
        """Tell nobody: no other process works on the file."""

    def listen(self, wake: Callable[[], None]) -> None:
        """Hear from nobody."""

    # publishing

    async def catalogue(self) -> Catalogue:
        return await self._look_up(directory.catalogue)

    async def routes(self, company_ids: Sequence[int]) -> Mapping[int, Routes]:
        return await self._look_up(lambda connection: subscriptions.routes(connection, company_ids))

    async def publish(self, publication: Publication) -> PublishResult:
        return await self._write_together(publish, publication)

    # the engine

    async def claim_due(
        self, *, flight: Flight, rows_max: int, body_bytes_max: int, lease_ms: int, known: Mapping[int, int]
    ) -> Claim:
        request = ClaimRequest(flight, rows_max, body_bytes_max, lease_ms, known)
        return await self._write_together(claim_due, request)

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[bool]:
        return await self._write_together(self._settle, settlements)

    async def notices(self, limit: int) -> tuple[Notice, ...]:
        return await self._look_up(lambda connection: notices.read(connection, limit))

    async def drop_notices(self, ids: Sequence[int]) -> None:
        await self._write(lambda transaction: notices.drop(transaction, ids))

    async def take_validations(self, wait_ms: int, limit: int) -> tuple[Subscription, ...]:
        return await self._write(lambda transaction: validating.take(transaction, wait_ms, limit))

    async def grant_validation(
        self, subscription_id: int, callback_url: str, *, allowed_per_second: float | None
    ) -> bool:
        return await self._write(
            lambda transaction: validating.grant(transaction, subscription_id, callback_url, allowed_per_second)
        )

    async def release(self, fences: Sequence[Fence]) -> None:
        await self._write_together(release, fences)

    async def redeliver(
        self, subscription_id: int, delivery_id: int, *, change: Change | None = None
    ) -> Redelivery | None:
        return await self._change(
            lambda transaction: redelivering.redeliver(transaction, subscription_id, delivery_id), change
        )

    async def park(self, fences: Sequence[Fence]) -> None:
        await self._write_together(park, fences)

    async def has_fresh_claims(self, subscription_id: int, window_ms: int) -> bool:
        since = self._clock.schedule_ms() - window_ms
        return await self._look_up(lambda connection: upkeep.has_fresh_claims(connection, subscription_id, since))

    async def repair_lanes(self) -> None:
        await self._write(lanes.repair)

    async def close_deleted(self, limit: int) -> int:
        return await self._write(lambda transaction: upkeep.close_deleted(transaction, limit))

    async def forget_keys(self, limit: int) -> int:
        return await self._write(lambda transaction: upkeep.forget_keys(transaction, limit))

    async def expire_held(self, retention_ms: int, limit: int) -> int:
        return await self._write(lambda transaction: forgetting.expire_held(transaction, retention_ms, limit))

    async def erase(self, event_id: str, *, change: Change | None = None) -> bool:
        return await self._change(lambda transaction: erasing.erase(transaction, event_id), change)

    async def forget(self, retention_ms: int, limit: int) -> bool:
        return await self._write(lambda transaction: self._walk.step(transaction, retention_ms, limit))

    async def prepare_days(self) -> None:
        """Nothing is kept by days here."""

    async def backlog(self) -> Backlog:
        now = self._clock.schedule_ms()
        return await self._look_up(lambda connection: upkeep.backlog(connection, now))

    async def health(self, subscription_ids: Sequence[int]) -> Mapping[int, Health]:
        return await self._look_up(lambda connection: health.of(connection, subscription_ids))

    async def troubled(self, company_id: int | None, limit: int) -> Mapping[int, Health]:
        return await self._look_up(lambda connection: health.troubled(connection, company_id, limit))

    # what was counted

    async def tally(self, limit: int) -> bool:
        counted = await self._read(lambda connection: tallying.count(connection, limit))
        if counted.next_place == counted.place:
            return False
        return await self._write(lambda transaction: tallying.add(transaction, counted))

    async def tally_backlog(self, late_ms: int) -> None:
        await self._write(lambda transaction: tallying.note_late(transaction, late_ms))

    async def forget_tallies(self, limit: int) -> bool:
        return await self._write(lambda transaction: tallying.forget(transaction, limit))

    async def tallies(self, query: TallyQuery) -> tuple[Tally, ...]:
        return await self._read(lambda connection: tallying.read(connection, query))

    async def waiting(self, subscription_ids: Sequence[int], at_most: int) -> Mapping[int, int]:
        return await self._look_up(lambda connection: tallying.waiting(connection, subscription_ids, at_most))

    async def last_success_at(self, subscription_id: int, among: int) -> int | None:
        return await self._look_up(lambda connection: tallying.last_success_at(connection, subscription_id, among))

    # the nodes

    async def beat(self, node: NodeBeat) -> None:
        await self._write(lambda transaction: presence.beat(transaction, node))

    async def forget_node(self, node_id: str) -> None:
        await self._write(lambda transaction: presence.forget(transaction, node_id))

    async def nodes(self, limit: int) -> tuple[Node, ...]:
        return await self._look_up(lambda connection: presence.read(connection, limit))

    # replays

    async def create_replay(self, replay: NewReplay, *, change: Change | None = None) -> Replay | None:
        wall = self._clock.wall_ms()
        counted = await self._read(lambda connection: replaying.count(connection, replay, wall))
        return await self._change(lambda transaction: replaying.create(transaction, replay, counted, wall), change)

    async def replay(self, replay_id: int) -> Replay | None:
        return await self._look_up(lambda connection: replaying.read(connection, replay_id))

    async def cancel_replay(self, replay_id: int, *, change: Change | None = None) -> bool:
        return await self._change(lambda transaction: replaying.cancel(transaction, replay_id), change)

    async def step_replays(self, place: tuple[int, int]) -> ReplayStep:
        return await self._write(lambda transaction: replaying.step(transaction, place))

    # subscriptions

    async def create_subscription(
        self, subscription: Subscription, per_company_max: int, *, change: Change | None = None
    ) -> Creation:
        return await self._change(
            lambda transaction: subscriptions.create(transaction, subscription, per_company_max), change
        )

    async def replace_subscription(
        self, subscription: Subscription, *, lift_hold: bool, change: Change | None = None
    ) -> bool:
        return await self._change(
            lambda transaction: subscriptions.replace(transaction, subscription, lift_hold=lift_hold), change
        )

    async def delete_subscription(self, subscription_id: int, *, change: Change | None = None) -> bool:
        return await self._change(lambda transaction: subscriptions.delete(transaction, subscription_id), change)

    async def subscription(self, subscription_id: int, *, company_id: int | None = None) -> Subscription | None:
        return await self._look_up(lambda connection: subscriptions.by_id(connection, subscription_id, company_id))

    async def subscriptions(self, query: SubscriptionQuery) -> Page[Subscription]:
        return await self._read(lambda connection: subscriptions.page(connection, query))

    # who

    async def create_company(self, company: Company, *, change: Change | None = None) -> Creation:
        return await self._change(lambda transaction: directory.create_company(transaction, company), change)

    async def replace_company(self, before: Company, after: Company, *, change: Change | None = None) -> bool:
        return await self._change(lambda transaction: directory.replace_company(transaction, before, after), change)

    async def delete_company(self, company_id: int, *, cascade: bool, change: Change | None = None) -> CompanyDeletion:
        return await self._change(
            lambda transaction: directory.delete_company(transaction, company_id, cascade=cascade), change
        )

    async def stored_bytes(self, company_id: int) -> int:
        return await self._read(lambda connection: directory.stored_bytes(connection, company_id))

    async def company(self, company_id: int) -> Company | None:
        return await self._look_up(lambda connection: directory.company(connection, company_id))

    async def companies(self, after_id: int, limit: int) -> Page[Company]:
        return await self._read(lambda connection: directory.companies(connection, after_id, limit))

    async def create_token(self, token: Token, *, change: Change | None = None) -> Creation:
        return await self._change(lambda transaction: directory.create_token(transaction, token), change)

    async def tokens(self, company_id: int | None, after_id: int, limit: int) -> Page[Token]:
        return await self._read(lambda connection: directory.tokens(connection, company_id, after_id, limit))

    async def revoke_token(self, company_id: int | None, token_id: int, *, change: Change | None = None) -> bool:
        return await self._change(lambda transaction: directory.revoke_token(transaction, company_id, token_id), change)

    async def revoke_pass(self, token_id: int) -> bool:
        return await self._change(lambda transaction: directory.revoke_pass(transaction, token_id), None)

    async def token_by_hash(self, token_hash: bytes) -> Token | None:
        return await self._look_up(lambda connection: directory.token_by_hash(connection, token_hash))

    async def create_account(self, account: Account, *, change: Change | None = None) -> AccountCreation:
        return await self._change(lambda transaction: accounts.create(transaction, account), change)

    async def accounts(self, company_id: int, after_id: int, limit: int) -> Page[Account]:
        return await self._read(lambda connection: accounts.page(connection, company_id, after_id, limit))

    async def delete_account(self, company_id: int, account_id: int, *, change: Change | None = None) -> bool:
        return await self._change(lambda transaction: accounts.delete(transaction, company_id, account_id), change)

    async def account(self, account_id: int) -> Account | None:
        return await self._look_up(lambda connection: accounts.by_id(connection, account_id))

    async def account_by_username(self, username: str) -> Account | None:
        return await self._look_up(lambda connection: accounts.by_username(connection, username))

    async def revoke_passes(self, account_id: int, *, change: Change | None = None) -> bool:
        return await self._change(lambda transaction: accounts.revoke_passes(transaction, account_id), change)

    async def create_link(self, link: Link, *, change: Change | None = None) -> bool:
        return await self._change(lambda transaction: links.create(transaction, link), change)

    async def redeem_link(self, link_hash: bytes, token_id: int, token_hash: bytes) -> Token | Redemption:
        return await self._change(lambda transaction: links.redeem(transaction, link_hash, token_id, token_hash), None)

    async def change_counter(self) -> int:
        return await self._look_up(directory.change_counter)

    async def put_event_type(self, event_type: EventType, *, change: Change | None = None) -> bool:
        return await self._change(lambda transaction: directory.put_event_type(transaction, event_type), change)

    async def delete_event_type(self, name: str, *, change: Change | None = None) -> bool:
        return await self._change(lambda transaction: directory.delete_event_type(transaction, name), change)

    # the log

    async def audit(self, before_id: int | None, limit: int) -> tuple[AuditEntry, ...]:
        return await self._read(lambda connection: audit.page(connection, before_id, limit))

    async def page_of_attempts(self, query: AttemptQuery) -> AttemptPage:
        return await self._read(lambda connection: log.page_of_attempts(connection, query))

    async def delivery(
        self, subscription_id: int, delivery_id: int, *, company_id: int | None = None
    ) -> DeliveryView | None:
        return await self._read(lambda connection: log.delivery(connection, subscription_id, delivery_id, company_id))

    async def subscription_of_delivery(self, delivery_id: int, *, company_id: int | None) -> int | None:
        return await self._look_up(lambda connection: log.subscription_of(connection, delivery_id, company_id))

    async def events(self, query: EventQuery) -> tuple[EventView, ...]:
        return await self._read(lambda connection: log.events(connection, query))

    async def search_events(self, query: EventQuery, looked_at_max: int) -> EventSearch:
        return await self._read(lambda connection: log.search(connection, query, looked_at_max))

    async def event(
        self, event_id: str, *, company_id: int | None, after_id: int, limit: int, attempts_max: int
    ) -> EventDetail | None:
        part = log.Part(company_id=company_id, after_id=after_id, limit=limit, attempts_max=attempts_max)
        return await self._read(lambda connection: log.event(connection, event_id, part))

    async def _write_together(self, verb: Verb[Argument, Result], argument: Argument) -> Result:
        """Run a verb that takes neighbouring requests for it in bulk."""
        if self._writer is None:
            raise Unavailable("The database is not open.")
        return await self._writer.run(Request(verb, argument))

    async def _write(self, act: Callable[[Transaction], Result]) -> Result:
        """Run something that is rare enough to stand alone in its group's transaction."""
        return await self._write_together(_one_by_one, act)

    async def _change(self, act: Callable[[Transaction], Result], change: Change | None) -> Result:
        """Run what somebody asked for, and leave word of it."""
        return await self._write(audit.noted(act, change))

    async def _read(self, query: Query[Result]) -> Result:
        if self._readers is None:
            raise Unavailable("The database is not open.")
        return await self._readers.run(query)

    async def _look_up(self, query: Query[Result]) -> Result:
        """Read a few rows by key, beside the readers that may be busy for seconds."""
        if self._lookups is None:
            raise Unavailable("The database is not open.")
        return await self._lookups.run(query)


def _one_by_one(transaction: Transaction, acts: Sequence[Callable[[Transaction], Result]]) -> Sequence[Result]:
    return [act(transaction) for act in acts]


def _verify_schema(connection: apsw.Connection) -> None:
    try:
        version = schema.version_of(connection)
        needed = still_needed(migrations("sqlite"), version)
        if version:
            refuse_outdated(needed)
        else:
            schema.upgrade(connection, needed)
    except apsw.Error as error:
        raise StartRefused(f"The database cannot be read: {error}. It must be a SQLite file of Hookline.") from error
