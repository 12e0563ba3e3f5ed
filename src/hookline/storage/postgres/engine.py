"""`PostgresStorage`: the storage protocol on PostgreSQL, for any number of nodes on one database.

What a verb does stands in the module of its subject; how one becomes a transaction, in `database`.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Final, TypeVar

from hookline import circuit
from hookline.circuit import Health
from hookline.clock import Clock, SystemClock
from hookline.fairness import Flight
from hookline.model import Account, Change, Company, EventType, Link, Replay, Subscription, Token
from hookline.storage.claims import Backlog, Claim, Fence, NewReplay, Notice, Redelivery, ReplayStep, Settlement
from hookline.storage.postgres import (
    accounts,
    audit,
    buckets,
    directory,
    erasing,
    forgetting,
    health,
    lanes,
    links,
    log,
    notices,
    presence,
    publishing,
    redelivering,
    replaying,
    schema,
    settling,
    subscriptions,
    tallying,
    upkeep,
    validating,
)
from hookline.storage.postgres.claiming import ClaimRequest, Leases, claim_due
from hookline.storage.postgres.connection import Patience, dial_for_hints
from hookline.storage.postgres.database import Database, Transaction, Verb
from hookline.storage.postgres.days import Days
from hookline.storage.postgres.grouping import Groups
from hookline.storage.postgres.hints import Hints
from hookline.storage.postgres.hosts import Hosts
from hookline.storage.postgres.jumps import Jumps
from hookline.storage.protocol import AccountCreation, CompanyDeletion, Creation, Redemption
from hookline.storage.publications import Catalogue, Publication, PublishResult, Routes
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

Result = TypeVar("Result")

BYTES_PER_SECOND_MIN: Final = 1_000_000
"""What a server that is well takes of a large request, however busy it is."""


class PostgresStorage:
    """Fulfils `storage.protocol.Storage`. Time is the database's, unless a test passes a clock.

    An empty database is given the current schema; one with an older schema is refused until it is migrated.
    """

    def __init__(
        self,
        dsn: str,
        *,
        clock: Clock | None = None,
        circuit_rules: circuit.Rules = circuit.RULES,
        monotonic_seconds: Callable[[], float] | None = None,
        patience: Patience | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._dsn = dsn
        self._circuit_rules = circuit_rules
        self._jumps = Jumps(monotonic_seconds or (clock or SystemClock()).monotonic_seconds)
        self._hints = Hints(Hosts(dsn, dial_for_hints).connect)
        self._database = Database(dsn, clock, patience or Patience(), self._hints.reconnect)
        self._publishes = (
            Groups[Publication, PublishResult](self._publish, publishing.bytes_of, telemetry.committed)
            if telemetry
            else Groups[Publication, PublishResult](self._publish, publishing.bytes_of)
        )
        if telemetry:
            telemetry.watch_connections("database", "open", lambda: self._database.connections)
            telemetry.watch_connections("database", "idle", lambda: self._database.idle_connections)
        self._days = Days(self._database)
        self._walk = forgetting.Walk(self._database)
        self._turn = asyncio.Lock()
        """The engine's verbs of one node go one after the other: a claim sees the room that settlements asked for with
        it have made, and finds no lane locked by them."""
        self._claims = count()
        self._leases = Leases()

    async def open(self) -> None:
        await self._database.open()
        try:
            if await self._database.read(schema.version_of) == 0:
                await schema.migrate(self._dsn)
            await self._database.read(schema.verify)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self._hints.close()
        await self._publishes.close()
        await self._database.close()

    async def probe(self) -> None:
        await self._database.write_soon(upkeep.probe)

    def tell(self) -> None:
        self._hints.tell()

    def listen(self, wake: Callable[[], None]) -> None:
        self._hints.listen(wake)

    # publishing

    async def catalogue(self) -> Catalogue:
        return await self._database.read_soon(directory.catalogue)

    async def routes(self, company_ids: Sequence[int]) -> Mapping[int, Routes]:
        return await self._database.read_soon(lambda connection: subscriptions.routes(connection, company_ids))

    async def publish(self, publication: Publication) -> PublishResult:
        return await self._publishes.run(publication)

    async def _publish(self, publications: Sequence[Publication]) -> Sequence[PublishResult]:
        return await self._database.write_soon(
            lambda connection, clock: publishing.publish(connection, clock, publications),
            seconds=sum(map(publishing.bytes_of, publications)) / BYTES_PER_SECOND_MIN,
        )

    # the engine

    async def claim_due(
        self, *, flight: Flight, rows_max: int, body_bytes_max: int, lease_ms: int, known: Mapping[int, int]
    ) -> Claim:
        request = ClaimRequest(flight, rows_max, body_bytes_max, lease_ms, known, next(self._claims), self._leases)
        async with self._turn:
            asked_at = self._jumps.now_seconds()

            async def claim(transaction: Transaction) -> Claim:
                if wait_ms := self._jumps.note(transaction.now, asked_at, lease_ms):
                    return _nothing_for(wait_ms)
                return await claim_due(transaction, request)

            return await self._database.write(claim)

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[bool]:
        async with self._turn:
            return await self._database.write(
                lambda transaction: settling.settle(transaction, settlements, self._circuit_rules), ids=len(settlements)
            )

    async def notices(self, limit: int) -> tuple[Notice, ...]:
        return await self._database.read_as(None, lambda connection: notices.read(connection, buckets.EVERY, limit))

    async def drop_notices(self, ids: Sequence[int]) -> None:
        await self._database.write(lambda transaction: notices.drop(transaction, ids))

    async def take_validations(self, wait_ms: int, limit: int) -> tuple[Subscription, ...]:
        return await self._database.write(lambda transaction: validating.take(transaction, wait_ms, limit))

    async def grant_validation(
        self, subscription_id: int, callback_url: str, *, allowed_per_second: float | None
    ) -> bool:
        return await self._database.write(
            lambda transaction: validating.grant(transaction, subscription_id, callback_url, allowed_per_second)
        )

    async def release(self, fences: Sequence[Fence]) -> None:
        async with self._turn:
            await self._database.write(lambda transaction: settling.release(transaction, fences))

    async def redeliver(
        self, subscription_id: int, delivery_id: int, *, change: Change | None = None
    ) -> Redelivery | None:
        return await self._change(
            lambda transaction: redelivering.redeliver(transaction, subscription_id, delivery_id), change
        )

    async def park(self, fences: Sequence[Fence]) -> None:
        async with self._turn:
            await self._database.write(lambda transaction: settling.park(transaction, fences))

    async def has_fresh_claims(self, subscription_id: int, window_ms: int) -> bool:
        since = (await self._database.moment()).now - window_ms
        return await self._database.read_as(
            None, lambda connection: upkeep.has_fresh_claims(connection, subscription_id, since)
        )

    async def repair_lanes(self) -> None:
        await self._database.write(lanes.repair)

    async def close_deleted(self, limit: int) -> int:
        return await self._database.write(lambda transaction: upkeep.close_deleted(transaction, limit))

    async def forget_keys(self, limit: int) -> int:
        return await self._database.write(lambda transaction: upkeep.forget_keys(transaction, limit))

    async def expire_held(self, retention_ms: int, limit: int) -> int:
        return await self._database.write(lambda transaction: forgetting.expire_held(transaction, retention_ms, limit))

    async def erase(self, event_id: str, *, change: Change | None = None) -> bool:
        return await self._change(lambda transaction: erasing.erase(transaction, event_id), change)

    async def forget(self, retention_ms: int, limit: int) -> bool:
        if await self._walk.step(retention_ms, limit) or await self.drop_days(retention_ms, limit):
            return True
        self._walk.begin_again()
        return False

    async def prepare_days(self) -> None:
        await self._days.prepare()

    async def drop_days(self, retention_ms: int, limit: int) -> bool:
        """Forget one step of what is older than the retention; True: there is more to forget at once."""
        return await self._days.drop(retention_ms, limit)

    async def backlog(self) -> Backlog:
        now = (await self._database.moment()).now
        return await self._database.read_as(None, lambda connection: upkeep.backlog(connection, now))

    async def health(self, subscription_ids: Sequence[int]) -> Mapping[int, Health]:
        return await self._database.read_as(None, lambda connection: health.of(connection, subscription_ids))

    async def troubled(self, company_id: int | None, limit: int) -> Mapping[int, Health]:
        return await self._database.read_as(
            company_id, lambda connection: health.troubled(connection, company_id, limit)
        )

    # what was counted

    async def tally(self, limit: int) -> bool:
        return await self._database.write(lambda transaction: tallying.tally(transaction, limit))

    async def tally_backlog(self, late_ms: int) -> None:
        await self._database.write(lambda transaction: tallying.note_late(transaction, late_ms))

    async def forget_tallies(self, limit: int) -> bool:
        return await self._database.write(lambda transaction: tallying.forget(transaction, limit))

    async def tallies(self, query: TallyQuery) -> tuple[Tally, ...]:
        return await self._database.read_as(query.company_id, lambda connection: tallying.read(connection, query))

    async def waiting(self, subscription_ids: Sequence[int], at_most: int) -> Mapping[int, int]:
        return await self._database.read_as(
            None, lambda connection: tallying.waiting(connection, subscription_ids, at_most)
        )

    async def last_success_at(self, subscription_id: int, among: int) -> int | None:
        return await self._database.read_as(
            None, lambda connection: tallying.last_success_at(connection, subscription_id, among)
        )

    # the nodes

    async def beat(self, node: NodeBeat) -> None:
        await self._database.write(lambda transaction: presence.beat(transaction, node))

    async def forget_node(self, node_id: str) -> None:
        await self._database.write(lambda transaction: presence.forget(transaction, node_id))

    async def nodes(self, limit: int) -> tuple[Node, ...]:
        return await self._database.read(lambda connection: presence.read(connection, limit))

    # replays

    async def create_replay(self, replay: NewReplay, *, change: Change | None = None) -> Replay | None:
        wall = (await self._database.moment()).wall
        counted = await self._database.read_as(None, lambda connection: replaying.count(connection, replay, wall))
        return await self._change(
            lambda transaction: replaying.create(transaction, replay, counted, wall), change, ids=1
        )

    async def replay(self, replay_id: int) -> Replay | None:
        return await self._database.read_as(None, lambda connection: replaying.read(connection, replay_id))

    async def cancel_replay(self, replay_id: int, *, change: Change | None = None) -> bool:
        return await self._change(lambda transaction: replaying.cancel(transaction, replay_id), change)

    async def step_replays(self, place: tuple[int, int]) -> ReplayStep:
        return await self._database.write(lambda transaction: replaying.step(transaction, place))

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
        return await self._database.read_as(
            company_id, lambda connection: subscriptions.by_id(connection, subscription_id, company_id)
        )

    async def subscriptions(self, query: SubscriptionQuery) -> Page[Subscription]:
        return await self._database.read_as(query.company_id, lambda connection: subscriptions.page(connection, query))

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
        return await self._database.read_as(
            company_id, lambda connection: directory.stored_bytes(connection, company_id)
        )

    async def company(self, company_id: int) -> Company | None:
        return await self._database.read_as(company_id, lambda connection: directory.company(connection, company_id))

    async def companies(self, after_id: int, limit: int) -> Page[Company]:
        return await self._database.read_as(None, lambda connection: directory.companies(connection, after_id, limit))

    async def create_token(self, token: Token, *, change: Change | None = None) -> Creation:
        return await self._change(lambda transaction: directory.create_token(transaction, token), change)

    async def tokens(self, company_id: int | None, after_id: int, limit: int) -> Page[Token]:
        return await self._database.read_as(
            company_id, lambda connection: directory.tokens(connection, company_id, after_id, limit)
        )

    async def revoke_token(self, company_id: int | None, token_id: int, *, change: Change | None = None) -> bool:
        return await self._change(lambda transaction: directory.revoke_token(transaction, company_id, token_id), change)

    async def revoke_pass(self, token_id: int) -> bool:
        return await self._change(lambda transaction: directory.revoke_pass(transaction, token_id), None)

    async def token_by_hash(self, token_hash: bytes) -> Token | None:
        return await self._database.read_soon(lambda connection: directory.token_by_hash(connection, token_hash))

    async def create_account(self, account: Account, *, change: Change | None = None) -> AccountCreation:
        return await self._change(lambda transaction: accounts.create(transaction, account), change)

    async def accounts(self, company_id: int, after_id: int, limit: int) -> Page[Account]:
        return await self._database.read_as(
            company_id, lambda connection: accounts.page(connection, company_id, after_id, limit)
        )

    async def delete_account(self, company_id: int, account_id: int, *, change: Change | None = None) -> bool:
        return await self._change(lambda transaction: accounts.delete(transaction, company_id, account_id), change)

    async def account(self, account_id: int) -> Account | None:
        return await self._database.read_as(None, lambda connection: accounts.by_id(connection, account_id))

    async def account_by_username(self, username: str) -> Account | None:
        return await self._database.read_as(None, lambda connection: accounts.by_username(connection, username))

    async def revoke_passes(self, account_id: int, *, change: Change | None = None) -> bool:
        return await self._change(lambda transaction: accounts.revoke_passes(transaction, account_id), change)

    async def create_link(self, link: Link, *, change: Change | None = None) -> bool:
        return await self._change(lambda transaction: links.create(transaction, link), change)

    async def redeem_link(self, link_hash: bytes, token_id: int, token_hash: bytes) -> Token | Redemption:
        return await self._change(lambda transaction: links.redeem(transaction, link_hash, token_id, token_hash), None)

    async def change_counter(self) -> int:
        return await self._database.read_soon(directory.change_counter)

    async def put_event_type(self, event_type: EventType, *, change: Change | None = None) -> bool:
        return await self._change(lambda transaction: directory.put_event_type(transaction, event_type), change)

    async def delete_event_type(self, name: str, *, change: Change | None = None) -> bool:
        return await self._change(lambda transaction: directory.delete_event_type(transaction, name), change)

    # the log

    async def audit(self, before_id: int | None, limit: int) -> tuple[AuditEntry, ...]:
        return await self._database.read_as(None, lambda connection: audit.page(connection, before_id, limit))

    async def page_of_attempts(self, query: AttemptQuery) -> AttemptPage:
        return await self._database.read_as(
            query.company_id, lambda connection: log.page_of_attempts(connection, query)
        )

    async def delivery(
        self, subscription_id: int, delivery_id: int, *, company_id: int | None = None
    ) -> DeliveryView | None:
        return await self._database.read_as(
            company_id, lambda connection: log.delivery(connection, subscription_id, delivery_id, company_id)
        )

    async def subscription_of_delivery(self, delivery_id: int, *, company_id: int | None) -> int | None:
        return await self._database.read_as(
            company_id, lambda connection: log.subscription_of(connection, delivery_id, company_id)
        )

    async def events(self, query: EventQuery) -> tuple[EventView, ...]:
        return await self._database.read_as(query.company_id, lambda connection: log.events(connection, query))

    async def search_events(self, query: EventQuery, looked_at_max: int) -> EventSearch:
        return await self._database.read_as(
            query.company_id, lambda connection: log.search(connection, query, looked_at_max)
        )

    async def event(
        self, event_id: str, *, company_id: int | None, after_id: int, limit: int, attempts_max: int
    ) -> EventDetail | None:
        part = log.Part(company_id=company_id, after_id=after_id, limit=limit, attempts_max=attempts_max)
        return await self._database.read_as(company_id, lambda connection: log.event(connection, event_id, part))

    async def _change(self, verb: Verb[Result], change: Change | None, *, ids: int = 0) -> Result:
        """Run what somebody asked for, and leave word of it."""
        return await self._database.write(audit.noted(verb, change), ids=ids)


def _nothing_for(wait_ms: int) -> Claim:
    return Claim(deliveries=(), subscriptions={}, lost=0, parked=0, unreadable=(), next_due_ms=wait_ms, more=False)
