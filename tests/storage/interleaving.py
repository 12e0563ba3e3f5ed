"""Two verbs on two connections, one statement at a time, in an order that a test chooses.

The driver's connections are given a gate: before each statement, and before each commit, a rival waits for its turn.
Nothing of the code under test knows of it. A statement that waits for a lock of the other's gives the turn back.
"""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from contextvars import ContextVar
from itertools import chain, combinations
from math import comb
from typing import Any

import pytest
from asyncpg.connection import Connection

_rival: ContextVar["Rival | None"] = ContextVar("rival", default=None)
"""Whose statements these are: tasks that a verb starts inherit it."""

_FREE = re.compile(r"\s*(BEGIN|ROLLBACK|LISTEN|NOTIFY|SET)\b|.*\bnextval\b", re.DOTALL)
"""Neither reads nor writes rows: where it stands makes no difference. (A snapshot is taken by the first statement.)"""

_READS = re.compile(r"\s*SELECT\b")

_WAITING = "SELECT pid FROM unnest($1::integer[]) AS pid WHERE pg_blocking_pids(pid) <> '{}'"

SOON_SECONDS = 0.02
"""Whoever is not at rest by then may wait for a lock: then the server is asked. It decides nothing but how often."""

Verb = Callable[[], Awaitable[None]]


class Rival:
    """One of the two: it goes one step whenever it is told to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps: list[str] = []
        self.pid: int | None = None
        self.is_at_gate = False
        self.task: asyncio.Task[None] | None = None
        self._turn = asyncio.Event()
        self._rest = asyncio.Event()

    @property
    def is_done(self) -> bool:
        return self.task is not None and self._rest.is_set() and not self.is_at_gate

    def begin(self, verb: Verb) -> None:
        """Run the verb up to its first gate."""

        async def run() -> None:
            _rival.set(self)
            try:
                await verb()
            finally:
                self._rest.set()

        self.task = asyncio.create_task(run())

    def go(self) -> None:
        """Let it pass the gate that it stands at."""
        self.is_at_gate = False
        self._rest.clear()
        self._turn.set()

    async def comes_to_rest(self) -> None:
        """Wait until it stands at a gate or has ended, if it does so at once."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SOON_SECONDS):
                await self._rest.wait()

    async def turn(self, connection: Any, statement: str) -> None:
        """Wait to be told to go."""
        self.pid = connection.get_server_pid()
        self.steps.append(" ".join(statement.split())[:60])
        self.is_at_gate = True
        self._rest.set()
        await self._turn.wait()
        self._turn.clear()


def gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every connection of the driver its gate."""
    for name in ("execute", "fetch", "fetchrow", "fetchval"):
        monkeypatch.setattr(Connection, name, _gated(getattr(Connection, name)))


def _gated(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def gated(connection: Any, statement: str, *arguments: Any, **options: Any) -> Any:
        rival = _rival.get()
        if rival is None or _FREE.match(statement):
            return await call(connection, statement, *arguments, **options)
        await rival.turn(connection, statement)
        if connection.is_in_transaction() or _READS.match(statement):
            return await call(connection, statement, *arguments, **options)
        # A statement that is a transaction commits a while after it has run: others can stand between.
        async with connection.transaction():
            return await call(connection, statement, *arguments, **options)

    return gated


class Deadlock(AssertionError):
    """Each waits for the other."""


async def play(here: Rival, there: Rival, order: Sequence[bool], observer: Any, look: Verb) -> None:
    """Run both, begun already, to their ends; True in `order` is a turn of `here`.

    Who cannot go gives its turn to the other. `look` is called after each step.
    """
    turns = iter(order)
    while True:
        await _come_to_rest([here, there], observer)
        await look()
        ready = [rival for rival in (here, there) if rival.is_at_gate]
        if not ready:
            break
        wanted = here if next(turns, True) else there
        (wanted if wanted in ready else ready[0]).go()
    if not (here.is_done and there.is_done):
        raise Deadlock
    for rival in (here, there):
        assert rival.task
        await rival.task


async def _come_to_rest(rivals: Sequence[Rival], observer: Any) -> None:
    """Wait until each stands at a gate, waits for a lock, or has ended."""
    while True:
        for rival in rivals:
            await rival.comes_to_rest()
        going = {rival.pid: rival for rival in rivals if not (rival.is_at_gate or rival.is_done)}
        waiting = await observer.fetch(_WAITING, [pid for pid in going if pid]) if going else []
        # Looked at again: what went on meanwhile may have let it go.
        if all(
            rival.is_at_gate or rival.is_done for pid, rival in going.items() if pid not in {row[0] for row in waiting}
        ):
            return


def orders(here: int, there: int, sample: int, seed: str) -> Iterator[Sequence[bool]]:
    """All orders of so many steps of each, or, where there are more than `sample`, the plainest and some by the seed.

    The plainest: one of them from beginning to end at each point of the other.
    """
    if comb(here + there, here) <= sample:
        for places in combinations(range(here + there), here):
            yield [place in places for place in range(here + there)]
        return
    inside = chain(
        ([True] * begun + [False] * there + [True] * (here - begun) for begun in range(here + 1)),
        ([False] * begun + [True] * here + [False] * (there - begun) for begun in range(there + 1)),
    )
    draw = random.Random(seed)
    plain = list(inside)
    drawn = []
    for _ in range(max(0, sample - len(plain))):
        order = [True] * here + [False] * there
        draw.shuffle(order)
        drawn.append(order)
    yield from draw.sample(plain, min(sample, len(plain)))
    yield from drawn
