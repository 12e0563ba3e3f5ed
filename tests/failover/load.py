"""Publishers that never tire, and somebody who asks every node all the time whether it accepts writes."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Self

import asyncpg

from e2e.harness import Client, Unanswered

from .cluster import Cluster, Node

PUBLISHERS = 4
PAUSE_SECONDS = 0.01
"""Between two events of one publisher: the machine is to be busy, not choked."""
AGAIN_SECONDS = 0.05
"""Before an event that was refused is published again."""
PROBE_SECONDS = 0.05
PROBE_PATIENCE_SECONDS = 1.0

TIMELINE = """
SELECT CASE WHEN NOT pg_is_in_recovery()
  THEN ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint END"""
_WRITE = "SELECT pg_logical_emit_message(true, 'failover', '')"
"""Writes and commits, and therefore waits for a standby, but needs no table."""

_LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@dataclass
class Book:
    """What publishers were told."""

    acknowledged: dict[str, float] = field(default_factory=dict)
    """Event ids, with when they were acknowledged."""
    refusals: list[float] = field(default_factory=list)
    """When a 503 with `Retry-After` came."""
    surprises: list[str] = field(default_factory=list)
    """Any other answer, or none."""
    longest_seconds: float = 0.0
    """That an answer took."""


def _publish(client: Client, company: int, name: str, book: Book, stop: threading.Event) -> None:
    number = 0
    while not stop.is_set():
        event_id = f"{name}-{number}"
        body = {
            "id": event_id,
            "eventType": "note.created",
            "companyIds": [company],
            "data": {"number": number},
        }
        began = time.monotonic()
        try:
            answer = client.call("POST", "/v1/events", body)
        except Unanswered as error:
            book.surprises.append(f"{event_id}: no answer, {error.__cause__!r}")
            stop.wait(AGAIN_SECONDS)
            continue
        now = time.monotonic()
        book.longest_seconds = max(book.longest_seconds, now - began)
        if answer.status in {200, 202}:
            book.acknowledged[event_id] = now
            number += 1
            stop.wait(PAUSE_SECONDS)
        elif answer.status == 503 and "retry-after" in answer.headers:
            book.refusals.append(now)
            stop.wait(AGAIN_SECONDS)
        else:
            book.surprises.append(f"{event_id}: {answer.status} {answer.body[:200]!r}")
            stop.wait(AGAIN_SECONDS)


@contextmanager
def publishing(clients: Sequence[Client], company: int, name: str) -> Iterator[Book]:
    """Publish all the while, each event until it is acknowledged."""
    book, stop = Book(), threading.Event()
    threads = [
        threading.Thread(
            target=_publish,
            args=(clients[number % len(clients)].as_(clients[0].token), company, f"{name}-{number}", book, stop),
        )
        for number in range(PUBLISHERS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield book
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@dataclass(frozen=True)
class Write:
    """A write that a node confirmed."""

    at: float
    node: str
    timeline: int


class Watch:
    """Asks every node, from a thread of its own, whether it confirms a write."""

    def __init__(self, cluster: Cluster) -> None:
        self.writes: list[Write] = []
        self._cluster = cluster
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def timeline(self) -> int:
        """The highest that confirmed a write."""
        return max((write.timeline for write in self.writes), default=0)

    def accepting(self, above: int) -> float | None:
        """When a node on a timeline above this one first confirmed a write."""
        return next((write.at for write in self.writes if write.timeline > above), None)

    async def _run(self) -> None:
        await asyncio.gather(*(self._ask(node) for node in self._cluster.nodes))

    async def _ask(self, node: Node) -> None:
        while not self._stop.is_set():
            connection = None
            with suppress(*_LOST):
                connection = await asyncpg.connect(
                    host="127.0.0.1",
                    port=node.port,
                    user="postgres",
                    database="postgres",
                    timeout=PROBE_PATIENCE_SECONDS,
                )
                await self._ask_over(connection, node)
            if connection is not None:
                connection.terminate()
            await asyncio.sleep(PROBE_SECONDS)

    async def _ask_over(self, connection: "asyncpg.Connection[asyncpg.Record]", node: Node) -> None:
        while not self._stop.is_set():
            async with asyncio.timeout(PROBE_PATIENCE_SECONDS):
                timeline = await connection.fetchval(TIMELINE)
                if timeline is None:
                    return
                await connection.execute(_WRITE)
            self.writes.append(Write(time.monotonic(), node.name, timeline))
            await asyncio.sleep(PROBE_SECONDS)
