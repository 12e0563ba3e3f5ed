"""What is not confirmed is never answered as done: lost connections, doubtful commits, servers that are not safe."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace
from storage_samples import (
    HandClock,
    a_company,
    a_publication,
    an_event,
    attempt,
    claim,
    claim_one,
    event_of,
    populate,
    publish,
    published,
)

from hookline.errors import Invalid, StartRefused, Unavailable
from hookline.storage.postgres import PostgresStorage
from hookline.storage.postgres.connection import Patience
from hookline.storage.publications import Published
from hookline.storage.views import EventQuery
from postgres_server import URL_VARIABLE

pytestmark = pytest.mark.anyio

Write = Callable[[PostgresStorage], Awaitable[object]]


async def in_one_statement(storage: PostgresStorage) -> object:
    return await publish(storage)


async def in_a_transaction(storage: PostgresStorage) -> object:
    return await storage.create_company(a_company(102))


@asynccontextmanager
async def opened(
    url: str, clock: HandClock | None = None, patience: Patience | None = None
) -> AsyncIterator[PostgresStorage]:
    storage = PostgresStorage(url, clock=clock, patience=patience)
    await storage.open()
    try:
        yield storage
    finally:
        await storage.close()


@pytest.fixture
async def someone(postgres_url: str) -> AsyncIterator[Any]:
    """A session beside ours."""
    connection = await asyncpg.connect(postgres_url)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def a_missing_standby(someone: Any, url: str) -> AsyncIterator[None]:
    """For so long every commit waits for a standby that does not exist."""
    await reconfigure(someone, "nobody")
    try:
        await in_effect(someone, url)
        yield
    finally:
        await reconfigure(someone, "")


async def reconfigure(someone: Any, standby: str) -> None:
    await someone.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{standby}'")
    await someone.execute("SELECT pg_reload_conf()")


async def in_effect(someone: Any, url: str) -> None:
    """Commit until one waits: it is the checkpointer that tells the others, and nobody tells when it has."""
    probe = await asyncpg.connect(url)
    try:
        pid, waits = probe.get_server_pid(), "SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = $1"
        while True:
            commit = asyncio.ensure_future(probe.execute("SELECT pg_logical_emit_message(true, 'test', '')"))
            while not (is_waiting := await someone.fetchval(waits, pid)) and not commit.done():
                pass
            if is_waiting:
                await someone.execute("SELECT pg_cancel_backend($1)", pid)
            await commit
            if is_waiting:
                return
    finally:
        await probe.close()


async def waiting_commits(someone: Any) -> list[tuple[int, Any]]:
    """Ours alone, by process and start of the statement: the server's own housekeeping waits for a standby, too."""
    rows = await someone.fetch(
        "SELECT pid, query_start FROM pg_stat_activity"
        " WHERE wait_event = 'SyncRep' AND application_name = 'hookline' AND datname = current_database()"
    )
    return [tuple(row) for row in rows]


async def cancel_commits(someone: Any, writing: asyncio.Future[object]) -> None:
    """Cancel every wait for the standby, once each: drawing ids may be a first that waits, before the write does."""
    cancelled: set[tuple[int, Any]] = set()
    while not writing.done():
        for commit in await waiting_commits(someone):
            if commit not in cancelled:
                cancelled.add(commit)
                await someone.execute("SELECT pg_cancel_backend($1)", commit[0])
    assert cancelled


# --- doubtful commits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [in_one_statement, in_a_transaction])
async def test_a_commit_that_no_standby_confirmed_is_not_answered_as_done(
    postgres_url: str, clock: HandClock, someone: Any, write: Write
) -> None:
    async with opened(postgres_url, clock) as storage:
        await populate(storage, {101: [1001]})
        async with a_missing_standby(someone, postgres_url):
            writing = asyncio.ensure_future(write(storage))
            # It answers `INSERT 0 1` all the same, with no more than a warning.
            await cancel_commits(someone, writing)
            with pytest.raises(Unavailable, match="unknown"):
                await writing


@pytest.mark.parametrize("write", [in_one_statement, in_a_transaction])
async def test_a_commit_that_takes_too_long_is_not_waited_for(
    postgres_url: str, clock: HandClock, someone: Any, write: Write
) -> None:
    impatient = Patience(statement_seconds=0.1, commit_seconds=0.1)
    async with opened(postgres_url, clock) as storage, opened(postgres_url, clock, impatient) as hasty:
        await populate(storage, {101: [1001]})
        async with a_missing_standby(someone, postgres_url):
            with pytest.raises(Unavailable):
                await write(hasty)
        assert await hasty.company(101), "it goes on with another connection"


async def test_a_publish_of_unknown_outcome_may_be_repeated_under_its_key(
    postgres_url: str, clock: HandClock, someone: Any
) -> None:
    async with opened(postgres_url, clock) as storage:
        await populate(storage, {101: [1001]})
        publication = await a_publication(storage, await an_event(storage, {101: [1001]}), key="k")
        async with a_missing_standby(someone, postgres_url):
            writing = asyncio.ensure_future(storage.publish(publication))
            while not (waiting := await waiting_commits(someone)):
                pass
            await someone.execute("SELECT pg_terminate_backend($1)", waiting[0][0])
            with pytest.raises(Unavailable):
                await writing
        assert isinstance(await storage.publish(publication), Published)
        assert len((await claim(storage)).deliveries) == 1


# --- lost connections ------------------------------------------------------------------------------------------------


async def test_a_lost_connection_is_unavailable_once_and_then_made_anew(
    postgres_url: str, clock: HandClock, someone: Any
) -> None:
    async with opened(postgres_url, clock) as storage:
        await populate(storage, {101: [1001]})
        event_id = await published(storage)
        async with someone.transaction():
            await someone.execute("LOCK TABLE deliveries")
            reading = asyncio.ensure_future(event_of(storage, event_id))
            while not await someone.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
                pass
            await someone.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'hookline' AND datname = current_database()"
            )
            with pytest.raises(Unavailable):
                await reading
        assert (await event_of(storage, event_id)).view.event.id == event_id


async def test_a_statement_that_takes_too_long_is_unavailable(
    postgres_url: str, clock: HandClock, someone: Any
) -> None:
    async with opened(postgres_url, clock, Patience(statement_seconds=0.5)) as storage:
        await populate(storage, {101: [1001]})
        async with someone.transaction():
            await someone.execute("LOCK TABLE deliveries")
            with pytest.raises(Unavailable):
                await publish(storage)
        assert isinstance(await publish(storage), Published)


async def test_what_runs_into_a_limit_leaves_nothing_behind(postgres_url: str, clock: HandClock, someone: Any) -> None:
    async with opened(postgres_url, clock, Patience(statement_seconds=0.5)) as storage:
        await populate(storage, {101: [1001]})
        await publish(storage)
        async with someone.transaction():
            await someone.execute("LOCK TABLE events")
            with pytest.raises(Unavailable):
                await claim(storage)
        assert (await claim_one(storage)).attempt == 1


@pytest.mark.skipif(URL_VARIABLE in os.environ, reason="only a process of this machine can be frozen")
async def test_a_server_process_that_freezes_costs_one_answer(
    postgres_url: str, clock: HandClock, someone: Any
) -> None:
    async with opened(postgres_url, clock, Patience(statement_seconds=0.2)) as storage:
        pid = await someone.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'hookline' AND datname = current_database()"
        )
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable):
                await storage.change_counter()
            assert await storage.change_counter() > 0
        finally:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.skipif(URL_VARIABLE in os.environ, reason="only a process of this machine can be frozen")
async def test_closing_waits_for_no_farewell_of_a_frozen_server(
    postgres_url: str, clock: HandClock, someone: Any
) -> None:
    storage = PostgresStorage(postgres_url, clock=clock, patience=Patience(statement_seconds=3_600))
    await storage.open()
    pid = await someone.fetchval(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'hookline' AND datname = current_database()"
    )
    os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(60):
            await storage.close()
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_storage_that_is_not_open_is_unavailable(postgres_url: str, clock: HandClock) -> None:
    storage = PostgresStorage(postgres_url, clock=clock)
    with pytest.raises(Unavailable):
        await storage.catalogue()
    await storage.open()
    await storage.close()
    await storage.close()
    with pytest.raises(Unavailable):
        await storage.probe()


async def test_closing_lets_what_runs_end_and_waits_no_longer(
    postgres_url: str, clock: HandClock, someone: Any
) -> None:
    storage = PostgresStorage(postgres_url, clock=clock, patience=Patience(statement_seconds=3_600))
    await storage.open()
    await populate(storage, {101: [1001]})
    async with someone.transaction():
        await someone.execute("LOCK TABLE deliveries")
        writing = asyncio.ensure_future(publish(storage))
        while not await someone.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            pass
        closing = asyncio.ensure_future(storage.close())
        await asyncio.sleep(0)
    async with asyncio.timeout(60):
        assert isinstance(await writing, Published)
        await closing


async def test_a_caller_who_leaves_harms_nobody(postgres_url: str, clock: HandClock) -> None:
    async with opened(postgres_url, clock) as storage:
        await populate(storage, {101: [1001]})
        for _ in range(20):
            writing = asyncio.ensure_future(publish(storage))
            for _ in range(3):
                await asyncio.sleep(0)
            writing.cancel()
            await asyncio.wait([writing])
        assert isinstance(await publish(storage), Published)
        counts = [view.counts for view in await storage.events(EventQuery(limit=100))]
        assert all(sum(count.values()) == 1 for count in counts), "what was stored is whole"


# --- what is refused -------------------------------------------------------------------------------------------------


async def test_a_session_that_does_not_wait_for_the_disk_is_refused(postgres_url: str, someone: Any) -> None:
    database = await someone.fetchval("SELECT current_database()")
    await someone.execute(f"ALTER DATABASE {database} SET synchronous_commit = off")
    try:
        with pytest.raises(StartRefused, match="synchronous_commit"):
            await PostgresStorage(postgres_url).open()
    finally:
        await someone.execute(f"ALTER DATABASE {database} RESET synchronous_commit")


async def test_a_server_that_cannot_be_used_is_refused_without_naming_its_address() -> None:
    for url in (
        "postgresql://hookline:secret@127.0.0.1:1/hookline",
        "postgresql://postgres:secret@/nothing?host=/nowhere",
    ):
        with pytest.raises(StartRefused, match="HOOKLINE_DATABASE_URL") as refused:
            await PostgresStorage(url).open()
        assert "secret" not in str(refused.value)


async def test_a_database_that_does_not_exist_is_refused_in_words(postgres_url: str) -> None:
    with pytest.raises(StartRefused, match="create it first"):
        await PostgresStorage(postgres_url.replace("/hookline_", "/absent_")).open()


async def test_an_empty_database_is_given_the_schema(postgres_server: Any) -> None:
    async with postgres_server.database() as url, opened(url) as storage:
        assert len((await storage.catalogue()).types) == 10


async def test_text_that_the_database_cannot_hold_is_the_callers_fault(postgres_url: str, clock: HandClock) -> None:
    async with opened(postgres_url, clock) as storage:
        with pytest.raises(Invalid, match=r"U\+0000"):
            await storage.create_company(replace(a_company(), name="a\0b"))


# --- time ------------------------------------------------------------------------------------------------------------


async def test_time_is_the_databases_own(postgres_url: str, someone: Any) -> None:
    clock = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    async with opened(postgres_url) as storage:
        await populate(storage, {101: [1001]})
        before = await someone.fetchval(clock)
        event_id = await published(storage)
        await attempt(storage, wait_ms=60_000)
        after = await someone.fetchval(clock)
        detail = await event_of(storage, event_id)
        assert before <= detail.view.event.accepted_at <= after
        (delivery,) = detail.deliveries
        assert delivery.due_at
        assert before + 60_000 <= delivery.due_at <= after + 60_000
        made = await claim(storage)
        assert made.deliveries == ()
        assert made.next_due_ms
        assert 0 < made.next_due_ms <= 60_000
