"""Nodes on one PostgreSQL wake each other after a commit; a hint that is lost harms nobody."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from hookline.storage.postgres import PostgresStorage, hints

pytestmark = pytest.mark.anyio


class Node:
    """A storage that counts how often it was woken."""

    def __init__(self, storage: PostgresStorage) -> None:
        self.storage = storage
        self.woken = 0
        self._event = asyncio.Event()

    def wake(self) -> None:
        self.woken += 1
        self._event.set()

    async def is_woken(self) -> None:
        """Return once it was woken since this was last asked."""
        async with asyncio.timeout(30):
            await self._event.wait()
        self._event.clear()


OpenNode = Callable[[], Awaitable[Node]]


@pytest.fixture
async def open_node(postgres_url: str) -> AsyncIterator[OpenNode]:
    """Opens nodes that listen already."""
    async with AsyncExitStack() as stack:

        async def open_one() -> Node:
            node = Node(PostgresStorage(postgres_url))
            await node.storage.open()
            stack.push_async_callback(node.storage.close)
            node.storage.listen(node.wake)
            await node.is_woken()  # as it began to listen: what was told before it did not hear
            return node

        yield open_one


@pytest.fixture
async def someone(postgres_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(postgres_url)
    try:
        yield connection
    finally:
        await connection.close()


async def test_a_hint_wakes_every_other_node_and_not_its_own(open_node: OpenNode) -> None:
    nodes = [await open_node() for _ in range(3)]
    nodes[0].storage.tell()
    await nodes[1].is_woken()
    await nodes[2].is_woken()
    nodes[1].storage.tell()
    await nodes[0].is_woken()
    await nodes[2].is_woken()
    assert [node.woken for node in nodes] == [2, 2, 3]


async def test_a_node_that_does_not_listen_may_tell(open_node: OpenNode, postgres_url: str) -> None:
    engine = await open_node()
    api = PostgresStorage(postgres_url)
    await api.open()
    api.tell()
    await engine.is_woken()
    await api.close()


async def test_hints_of_one_moment_are_one(open_node: OpenNode, someone: Any) -> None:
    heard = asyncio.Queue[int]()
    node = await open_node()
    await someone.add_listener(hints.CHANNEL, lambda *_: heard.put_nowait(1))
    for _ in range(1_000):
        node.storage.tell()
    await heard.get()
    node.storage.tell()
    await heard.get()
    await someone.fetchval("SELECT 1")
    assert heard.empty()


async def test_a_lost_connection_is_made_again_and_hints_go_on(open_node: OpenNode, someone: Any) -> None:
    nodes = [await open_node() for _ in range(2)]
    await someone.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    for node in nodes:
        await node.is_woken()  # listening again
    nodes[0].storage.tell()
    await nodes[1].is_woken()


async def test_closing_twice_or_without_a_hint_does_nothing(postgres_url: str) -> None:
    storage = PostgresStorage(postgres_url)
    await storage.open()
    storage.tell()
    await storage.close()
    await storage.close()
