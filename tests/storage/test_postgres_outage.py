"""Connections lost under verbs and at rest, verbs given up by their callers, and servers that may lose writes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from storage_samples import a_company, claim_one, populate, publish, settle

from hookline.errors import StartRefused, Unavailable
from hookline.lifecycle import Retry
from hookline.storage.postgres import PostgresStorage
from postgres_server import Server

pytestmark = pytest.mark.anyio

_WAITING = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()"""


@pytest.fixture
async def storage(postgres_url: str) -> AsyncIterator[PostgresStorage]:
    """On the database's own clock, as in production."""
    storage = PostgresStorage(postgres_url)
    await storage.open()
    try:
        yield storage
    finally:
        await storage.close()


@pytest.fixture
async def rival(postgres_url: str) -> AsyncIterator[Any]:
    """A connection beside ours, to hold what we want."""
    connection = await asyncpg.connect(postgres_url)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def held(rival: Any, what: str) -> AsyncIterator[None]:
    """Rows locked by a transaction that is not ours."""
    transaction = rival.transaction()
    await transaction.start()
    await rival.execute(f"SELECT FROM {what} FOR UPDATE")
    try:
        yield
    finally:
        await transaction.rollback()


async def waiting(rival: Any) -> int:
    """The server process of ours that waits for the rival's lock."""
    async with asyncio.timeout(10):
        while (pid := await rival.fetchval(_WAITING)) is None:
            pass
    return int(pid)


async def test_a_settlement_that_was_cut_off_can_be_repeated(storage: PostgresStorage, rival: Any) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    claimed = await claim_one(storage)
    async with held(rival, "lanes"):
        settling = asyncio.create_task(settle(storage, claimed, Retry(1_000)))
        await rival.execute("SELECT pg_terminate_backend($1)", await waiting(rival))
        with pytest.raises(Unavailable):
            await settling
    assert await settle(storage, claimed, Retry(1_000))
    assert not await settle(storage, claimed, Retry(1_000))


async def test_connections_lost_at_rest_are_made_anew(storage: PostgresStorage, rival: Any) -> None:
    await asyncio.gather(*(storage.change_counter() for _ in range(20)))
    await rival.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(10):
        while True:
            try:
                counters = await asyncio.gather(*(storage.change_counter() for _ in range(20)))
            except Unavailable:
                continue
            break
    assert len(set(counters)) == 1


async def test_a_verb_that_was_cancelled_leaves_no_half_and_no_broken_connection(
    storage: PostgresStorage, rival: Any
) -> None:
    await populate(storage, {101: []})
    before = await storage.company(101)
    async with held(rival, "companies WHERE id = 101"):
        changing = asyncio.create_task(storage.replace_company(a_company(101), a_company(101)))
        deleting = asyncio.create_task(storage.delete_company(101, cascade=True))
        await waiting(rival)
        changing.cancel()
        deleting.cancel()
        for task in (changing, deleting):
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await storage.company(101) == before
    assert await storage.replace_company(a_company(101), a_company(101))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("synchronous_commit = local", "synchronous_commit"),
        ("default_transaction_read_only = on", "accepts writes"),
    ],
)
async def test_a_server_that_may_lose_or_refuse_writes_is_refused(
    postgres_server: Server, setting: str, said: str
) -> None:
    async with postgres_server.database() as url:
        connection = await asyncpg.connect(url)
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET {setting}")
        await connection.close()
        storage = PostgresStorage(url)
        with pytest.raises(StartRefused, match=said):
            await storage.open()
        await storage.close()
