"""Of several hosts the one that accepts writes is used, again after a failover, and never one that was left behind."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import asyncpg
import pytest
from storage_samples import claim, populate, publish

from hookline.errors import StartRefused, Unavailable
from hookline.storage.postgres import PostgresStorage, hosts
from hookline.storage.postgres.connection import Patience
from hookline.storage.postgres.hosts import addresses
from hookline.storage.publications import Published
from postgres_server import URL_VARIABLE, Cluster, own_cluster

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(URL_VARIABLE in os.environ, reason="only servers of this machine can be stopped and frozen"),
]

PATIENCE = Patience(statement_seconds=2, search_seconds=3_600)


@pytest.mark.parametrize(
    ("dsn", "each"),
    [
        ("postgresql://u:p@h1:5432,h2:5433/name", ["postgresql://u:p@h1:5432/name", "postgresql://u:p@h2:5433/name"]),
        ("postgresql://h1,h2/name?ssl=on", ["postgresql://h1/name?ssl=on", "postgresql://h2/name?ssl=on"]),
        ("postgresql://u:a,b@h1/name", ["postgresql://u:a,b@h1/name"]),
        ("postgresql://u@[::1]:1,[::2]/name", ["postgresql://u@[::1]:1/name", "postgresql://u@[::2]/name"]),
        ("postgresql://u@/name?host=/one,/two", ["postgresql://u@/name?host=/one", "postgresql://u@/name?host=/two"]),
        (
            "postgresql://u@/name?host=/one,/two&port=1,2",
            ["postgresql://u@/name?host=/one&port=1", "postgresql://u@/name?host=/two&port=2"],
        ),
        (
            "postgresql://u@/name?port=7&host=/one,/two",
            ["postgresql://u@/name?port=7&host=/one", "postgresql://u@/name?port=7&host=/two"],
        ),
        ("postgresql://u@/name?host=/one", ["postgresql://u@/name?host=/one"]),
        ("postgresql://u@h:5432/name", ["postgresql://u@h:5432/name"]),
    ],
)
async def test_an_address_of_several_hosts_is_one_address_each(dsn: str, each: list[str]) -> None:
    assert list(addresses(dsn)) == each


class Pair(NamedTuple):
    """A primary with a standby that has all that was written before it was made, and follows."""

    primary: Cluster
    standby: Cluster

    @property
    def primary_first(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.primary.folder},{self.standby.folder}"

    @property
    def standby_first(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.standby.folder},{self.primary.folder}"


@pytest.fixture
def pair() -> Iterator[Pair]:
    with own_cluster() as primary, TemporaryDirectory(prefix="hookline-standby-", ignore_cleanup_errors=True) as name:
        standby = Cluster(Path(name), primary)
        standby.start()
        try:
            yield Pair(primary, standby)
        finally:
            primary.thaw()
            standby.crash()


@asynccontextmanager
async def opened(url: str, patience: Patience = PATIENCE) -> AsyncIterator[PostgresStorage]:
    storage = PostgresStorage(url, patience=patience)
    await storage.open()
    try:
        yield storage
    finally:
        await storage.close()


async def count_of_events(cluster: Cluster) -> int:
    connection = await asyncpg.connect(cluster.server.url)
    try:
        count: int = await connection.fetchval("SELECT count(*) FROM events")
    finally:
        await connection.close()
    return count


async def has_followed(pair: Pair) -> None:
    """Return once the standby has all that is on the primary."""
    connection = await asyncpg.connect(pair.primary.server.url)
    try:
        async with asyncio.timeout(30):
            while not await connection.fetchval(
                "SELECT bool_and(replay_lsn = pg_current_wal_lsn()) FROM pg_stat_replication"
            ):
                pass
    finally:
        await connection.close()


async def published_at_last(storage: PostgresStorage) -> int:
    """Publish until it is confirmed; return how often it was not."""
    async with asyncio.timeout(30):
        refused = 0
        while True:
            try:
                result = await publish(storage)
            except Unavailable:
                refused += 1
                await asyncio.sleep(0)
                continue
            assert isinstance(result, Published)
            return refused


async def test_a_standby_that_is_named_first_is_passed_over(pair: Pair) -> None:
    async with opened(pair.standby_first) as storage:
        await populate(storage, {101: [1001]})
        assert isinstance(await publish(storage), Published)
        assert len((await claim(storage)).deliveries) == 1


async def test_hosts_of_which_none_accepts_writes_are_refused(pair: Pair) -> None:
    pair.primary.crash()
    with pytest.raises(StartRefused, match="accepts writes"):
        await PostgresStorage(pair.primary_first).open()
    pair.primary.start()


async def test_a_standby_that_is_promoted_takes_over(pair: Pair) -> None:
    async with opened(pair.primary_first) as storage:
        await populate(storage, {101: [1001]})
        await has_followed(pair)
        pair.primary.crash()
        with pytest.raises(Unavailable):
            await publish(storage)
        with pytest.raises(Unavailable):
            await storage.probe()
        pair.standby.promote()
        await published_at_last(storage)
        await storage.probe()
        assert await count_of_events(pair.standby) == 1
    pair.primary.start()


async def test_a_first_host_that_is_frozen_is_left_for_good(pair: Pair) -> None:
    async with opened(pair.primary_first) as storage:
        await populate(storage, {101: [1001]})
        await asyncio.gather(*(storage.change_counter() for _ in range(10)))
        await has_followed(pair)
        pair.primary.freeze()
        with pytest.raises(Unavailable):
            await publish(storage)
        pair.standby.promote()
        await published_at_last(storage)
        pair.primary.thaw()
        for _ in range(10):
            await asyncio.gather(*(publish(storage) for _ in range(3)), *(storage.change_counter() for _ in range(8)))
        assert await count_of_events(pair.standby) == 31
        assert await count_of_events(pair.primary) <= 1, "the one that was under way when it froze"


async def test_a_primary_that_another_has_replaced_is_left_though_it_still_answers(pair: Pair) -> None:
    async with opened(pair.primary_first, Patience(search_seconds=0.05)) as storage:
        await populate(storage, {101: [1001]})
        await has_followed(pair)
        pair.standby.promote()
        async with asyncio.timeout(30):
            while not await count_of_events(pair.standby):
                await publish(storage)
        before = await count_of_events(pair.primary)
        for _ in range(20):
            await asyncio.gather(publish(storage), publish(storage), storage.change_counter())
        assert await count_of_events(pair.primary) == before


async def test_a_frozen_server_is_not_waited_for_and_is_used_again_when_it_thaws(pair: Pair) -> None:
    async with opened(pair.primary.server.url) as storage:
        await populate(storage, {101: [1001]})
        pair.primary.freeze()
        async with asyncio.timeout(10):  # many times what each of them may take, and less than a statement's own limit
            for ask in (publish, PostgresStorage.probe, publish):
                with pytest.raises(Unavailable):
                    await ask(storage)
        pair.primary.thaw()
        await published_at_last(storage)
        await storage.probe()


class Answering:
    """A connection of which only the timeline is asked."""

    def __init__(self, timeline: str) -> None:
        self._timeline = timeline
        self.is_terminated = False

    async def fetchval(self, _: str) -> str:
        return self._timeline

    def terminate(self) -> None:
        self.is_terminated = True


async def test_a_successor_that_is_found_is_not_kept_waiting_by_a_host_that_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hosts, "DIAL_SECONDS", 3_600)
    timelines = {"postgresql://old/x": "00000001"}

    async def dial(address: str, _: float | None) -> Answering:
        if address not in timelines:
            await asyncio.Event().wait()
        return Answering(timelines[address])

    async with asyncio.timeout(30):
        one = hosts.Hosts("postgresql://old/x", dial)
        assert (await one.connect()).is_terminated is False
        named = hosts.Hosts("postgresql://old,new/x", dial)
        named._known = ("postgresql://old/x", "00000001")
        timelines["postgresql://new/x"] = "00000002"
        del timelines["postgresql://old/x"]
        assert await (await named.connect()).fetchval("") == "00000002"
