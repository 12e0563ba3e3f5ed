"""The second lock: the database itself shows a member no foreign row, whatever a statement forgets to ask."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from storage_samples import HandClock, a_settlement, attempt, claim, delivery_of, event_of, populate, publish, published

from hookline.model import PayloadVersion
from hookline.storage.postgres import PostgresStorage, directory, log, subscriptions
from hookline.storage.views import AttemptPage, AttemptQuery, EventQuery, SubscriptionQuery

pytestmark = pytest.mark.anyio

OURS, THEIRS = 101, 101 + 256
"""Two companies of one bucket, which therefore keeps nothing apart."""
ITS_OWN, FOREIGN = 1001, 2001
"""Their subscriptions."""

_PREDICATE = re.compile(r"(?:\w+\.)?company_id = (\$\d+)(?:::bigint)?")


class Careless:
    """A connection on which every statement has forgotten the company that it was to narrow to."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.forgotten = 0

    async def fetch(self, sql: str, *values: Any) -> Any:
        return await self._connection.fetch(self._careless(sql), *values)

    async def fetchrow(self, sql: str, *values: Any) -> Any:
        return await self._connection.fetchrow(self._careless(sql), *values)

    async def fetchval(self, sql: str, *values: Any) -> Any:
        return await self._connection.fetchval(self._careless(sql), *values)

    def _careless(self, sql: str) -> str:
        text, count = _PREDICATE.subn(r"(\1::bigint IS NOT NULL)", sql)
        self.forgotten += count
        return text


@pytest.fixture
async def storage(owner_url: str, clock: HandClock) -> AsyncIterator[PostgresStorage]:
    storage = PostgresStorage(owner_url, clock=clock)
    await storage.open()
    await populate(storage, {OURS: [ITS_OWN], THEIRS: [FOREIGN]})
    yield storage
    await storage.close()


@pytest.fixture
async def owner(owner_url: str) -> AsyncIterator[Any]:
    """The tables' owner, whom policies would not hold if they were not forced."""
    connection = await asyncpg.connect(owner_url)
    assert not await connection.fetchval("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
    yield connection
    await connection.close()


@asynccontextmanager
async def reading(connection: Any, name: str, value: object) -> AsyncIterator[None]:
    async with connection.transaction():
        await connection.execute("SELECT set_config($1, $2, true)", f"hookline.{name}", str(value))
        yield


async def tables_of_companies(connection: Any) -> list[str]:
    rows = await connection.fetch(
        "SELECT DISTINCT attrelid::regclass::text FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
        " AND (attname IN ('company_id', 'company_ids') OR relname = 'companies') ORDER BY 1"
    )
    return [row[0] for row in rows]


async def counts(connection: Any) -> dict[str, int]:
    """How many rows the connection sees of each table, partitions by themselves included."""
    return {
        table: await connection.fetchval(f"SELECT count(*) FROM {table}")
        for table in await tables_of_companies(connection)
    }


async def test_every_table_with_rows_of_companies_forces_its_policy(owner: Any) -> None:
    rows = await owner.fetch(
        "SELECT c.oid::regclass::text FROM pg_class AS c WHERE c.oid = any($1::text[]::regclass[])"
        " AND NOT (c.relrowsecurity AND c.relforcerowsecurity"
        " AND (c.relispartition OR EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid)))",
        await tables_of_companies(owner),
    )
    assert [row[0] for row in rows] == [], "ENABLE and FORCE ROW LEVEL SECURITY, and a policy, as in 0001_start.sql"


async def test_without_a_setting_nothing_is_visible(owner: Any, storage: PostgresStorage) -> None:
    await publish(storage, {OURS: [ITS_OWN], THEIRS: [FOREIGN]})
    await attempt_all(storage)
    await publish(storage, {OURS: [ITS_OWN]})
    assert (await storage.backlog()).open == 1, "some are open, some have ended"
    assert set((await counts(owner)).values()) == {0}
    async with reading(owner, "all", "off"):
        assert set((await counts(owner)).values()) == {0}
    async with reading(owner, "company", ""):
        assert set((await counts(owner)).values()) == {0}


async def attempt_all(storage: PostgresStorage) -> None:
    await storage.settle([a_settlement(one) for one in (await claim(storage)).deliveries])


async def test_a_setting_ends_with_its_transaction(owner: Any, storage: PostgresStorage) -> None:
    """So that behind a proxy which lends a connection anew for each transaction nobody inherits it."""
    await published(storage, {OURS: [ITS_OWN]})
    for name, value in (("all", "on"), ("company", OURS)):
        async with reading(owner, name, value):
            assert await owner.fetchval("SELECT count(*) FROM recipients") == 1
        assert set((await counts(owner)).values()) == {0}


async def test_a_company_sees_its_own_rows_alone(owner: Any, storage: PostgresStorage) -> None:
    await publish(storage, {OURS: [ITS_OWN], THEIRS: [FOREIGN]})
    await attempt_all(storage)
    await publish(storage, {THEIRS: [FOREIGN]})
    async with reading(owner, "company", OURS):
        seen = await counts(owner)
    assert {table: seen[table] for table in ("companies", "subscriptions", "lanes", "events", "recipients")} == {
        "companies": 1,
        "subscriptions": 1,
        "lanes": 1,
        "events": 1,
        "recipients": 1,
    }
    assert (seen["deliveries"], seen["ended_deliveries"], seen["attempts"]) == (0, 1, 1)


async def test_a_company_writes_nothing_of_another(owner: Any, storage: PostgresStorage) -> None:
    await publish(storage, {THEIRS: [FOREIGN]})
    async with reading(owner, "company", OURS):
        assert await owner.execute("UPDATE subscriptions SET active = false, inactive_at = 1") == "UPDATE 1"
        assert await owner.execute("DELETE FROM deliveries") == "DELETE 0"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with owner.transaction():
                await owner.execute("UPDATE subscriptions SET company_id = $1", THEIRS)


Read = Callable[[Any], Awaitable[object]]


async def member_reads(storage: PostgresStorage) -> dict[str, tuple[Read, object]]:
    """What a member of `OURS` may ask for, aimed at what is foreign, each with the only answer that is right."""
    shared = await published(storage, {OURS: [ITS_OWN], THEIRS: [FOREIGN]})
    await attempt_all(storage)
    alien = await published(storage, {THEIRS: [FOREIGN]})
    foreign_delivery = await attempt(storage)
    assert (await delivery_of(storage, foreign_delivery)).company_id == THEIRS
    detail = await event_of(storage, shared, company_id=OURS)
    part = log.Part(company_id=OURS, after_id=0, limit=100, attempts_max=20)
    page = AttemptQuery(subscription_id=FOREIGN, company_id=OURS, page=0, size=100)
    versions = tuple(PayloadVersion)
    its_own = await storage.subscriptions(SubscriptionQuery(company_id=OURS, versions=versions))
    its_events = await storage.events(EventQuery(limit=100, company_id=OURS))
    assert (len(its_own.items), len(its_events), len(detail.deliveries)) == (1, 1, 1)
    return {
        "a subscription": (lambda c: subscriptions.by_id(c, FOREIGN, OURS), None),
        "subscriptions": (
            lambda c: subscriptions.page(c, SubscriptionQuery(company_id=OURS, versions=versions)),
            its_own,
        ),
        "a page of the log": (lambda c: log.page_of_attempts(c, page), AttemptPage(rows=(), total=0)),
        "a delivery": (lambda c: log.delivery(c, FOREIGN, foreign_delivery.id, OURS), None),
        "events": (lambda c: log.events(c, EventQuery(limit=100, company_id=OURS)), its_events),
        "an event for both": (lambda c: log.event(c, shared, part), detail),
        "an event for others": (lambda c: log.event(c, alien, part), None),
    }


async def test_a_query_that_forgets_the_company_shows_nothing_foreign(owner: Any, storage: PostgresStorage) -> None:
    for name, (read, own) in (await member_reads(storage)).items():
        async with reading(owner, "all", "on"):
            careless = Careless(owner)
            assert await read(careless) != own, f"{name}: forgetting shows more, or this test shows nothing"
            assert careless.forgotten
        async with reading(owner, "company", OURS):
            assert await read(Careless(owner)) == own, name
        async with owner.transaction():
            assert not await read(Careless(owner)) or name in {"subscriptions", "a page of the log"}, name


async def test_a_member_sees_its_company_and_no_other(owner: Any, storage: PostgresStorage) -> None:
    assert await storage.company(THEIRS)
    async with reading(owner, "company", OURS):
        assert await directory.company(owner, OURS)
        assert await directory.company(owner, THEIRS) is None
