"""`hookline`, able to die at a named point of its work: what the tests of this folder start.

The program itself knows nothing of this: functions of it are wrapped here, in the child process, before it begins.
`CHAOS_FAULT=POINT:N` kills the process (SIGKILL) the Nth time it passes the point, `CHAOS_COMMIT_SECONDS` shortens the
part of the lease that is kept for the commit, and `CHAOS_CLOCK=signals` sets the wall clock an hour forward at each
SIGUSR1, an hour back at each SIGUSR2; the machine's clock is not touched. `CHAOS_START_SECONDS` lets every attempt
begin so much later than its claim.
"""

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import asyncpg

from hookline import clock, config
from hookline.cli.main import main
from hookline.egress.dial import Dialled, Dialler
from hookline.egress.http1 import Connection
from hookline.egress.sender import Sender
from hookline.storage.postgres import PostgresStorage
from hookline.storage.sqlite import SqliteStorage
from hookline.storage.sqlite.committing import Committer

TURNS = 3
"""Of the event loop, until a statement that was begun has left."""
HOUR_NS = 3_600_000_000_000
WRITES = re.compile(r"\b(INSERT|UPDATE|DELETE|COMMIT)\b")


class Fuse:
    """Ends this process when it is reached for the Nth time."""

    def __init__(self, passages: int) -> None:
        self._left = passages

    def reach(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


# --- the points ------------------------------------------------------------------------------------------------------


def after_claim(fuse: Fuse) -> None:
    """The claim is durable; nothing was dialled."""

    def then(claim: Any) -> None:
        if claim.deliveries:
            fuse.reach()

    for storage in (SqliteStorage, PostgresStorage):
        _after(storage, "claim_due", then)


def after_connect(fuse: Fuse) -> None:
    """A connection to the receiver is open; nothing was sent."""

    def then(opened: Any) -> None:
        if isinstance(opened, Dialled):
            fuse.reach()

    _after(Dialler, "dial", then)


def after_request(fuse: Fuse) -> None:
    """The whole request is the kernel's; whatever the receiver says will not be heard."""

    def wait(connection: Any) -> None:
        transport = connection._transport
        if transport is not None and transport.get_write_buffer_size():
            connection._loop.call_soon(wait, connection)
        else:
            fuse.reach()

    original = Connection.exchange

    @wraps(original)
    def exchange(self: Any, *arguments: Any, **named: Any) -> Any:
        answer = original(self, *arguments, **named)
        self._loop.call_soon(wait, self)
        return answer

    Connection.exchange = exchange  # type: ignore[method-assign]


def after_head(fuse: Fuse) -> None:
    """The receiver's answer is known, and recorded nowhere."""
    _before(Connection, "_begin_body", fuse.reach)


def before_commit(fuse: Fuse) -> None:
    """All is written, nothing is durable."""

    def committer(self: Any, connection: Any, *arguments: Any) -> None:
        original(self, connection, *arguments)

        def is_vetoed() -> bool:
            fuse.reach()
            return False

        connection.set_commit_hook(is_vetoed)

    original = Committer.__init__
    Committer.__init__ = committer  # type: ignore[method-assign, assignment]
    _around_commits(before=fuse.reach)


def commit_sent(fuse: Fuse) -> None:
    """PostgreSQL has the commit and will do it; nobody will hear so."""
    _around_commits(during=fuse.reach)


def after_commit(fuse: Fuse) -> None:
    """It is durable, and nobody was told."""

    def then(_endings: Any) -> None:
        fuse.reach()

    original = Committer._together

    @wraps(original)
    def together(self: Any, requests: Any) -> Any:
        endings = original(self, requests)
        then(endings)
        return endings

    Committer._together = together  # type: ignore[method-assign]
    _around_commits(after=fuse.reach)


POINTS: dict[str, Callable[[Fuse], None]] = {
    point.__name__: point
    for point in (after_claim, after_connect, after_request, after_head, before_commit, commit_sent, after_commit)
}


# --- slowness --------------------------------------------------------------------------------------------------------


def start_late(seconds: float) -> None:
    """Let time pass between a claim and its attempt, which begins within the window that a DELETE waits for."""
    original = Sender.send

    @wraps(original)
    async def send(self: Any, call: Any) -> Any:
        await asyncio.sleep(seconds)
        return await original(self, call)

    Sender.send = send  # type: ignore[method-assign]


# --- wrapping --------------------------------------------------------------------------------------------------------


def _before(owner: Any, name: str, first: Callable[[], None]) -> None:
    original = getattr(owner, name)

    @wraps(original)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        first()
        return original(*arguments, **named)

    setattr(owner, name, wrapped)


def _after(owner: Any, name: str, then: Callable[[Any], None]) -> None:
    original = getattr(owner, name)

    @wraps(original)
    async def wrapped(*arguments: Any, **named: Any) -> Any:
        result = await original(*arguments, **named)
        then(result)
        return result

    setattr(owner, name, wrapped)


def _nothing() -> None:
    """Where no fuse is."""


def _around_commits(
    before: Callable[[], None] = _nothing, during: Callable[[], None] = _nothing, after: Callable[[], None] = _nothing
) -> None:
    """Lay fuses around whatever makes PostgreSQL commit: a COMMIT, or a statement that writes by itself."""
    for name in ("execute", "fetch", "fetchrow", "fetchval"):
        _around_commits_of(name, before, during, after)


def _around_commits_of(
    name: str, before: Callable[[], None], during: Callable[[], None], after: Callable[[], None]
) -> None:
    original = getattr(asyncpg.Connection, name)

    @wraps(original)
    async def wrapped(self: Any, query: str, *arguments: Any, **named: Any) -> Any:
        is_commit = WRITES.search(query) and (not self.is_in_transaction() or "COMMIT" in query)
        if not is_commit:
            return await original(self, query, *arguments, **named)
        before()
        running = asyncio.ensure_future(original(self, query, *arguments, **named))
        for _ in range(TURNS):
            await asyncio.sleep(0)
        during()
        result = await running
        after()
        return result

    setattr(asyncpg.Connection, name, wrapped)


# --- the clock -------------------------------------------------------------------------------------------------------


class SetClock:
    """The module `time`, as `hookline.clock` sees it, with a wall clock that somebody sets."""

    def __init__(self) -> None:
        self._set_by_ns = 0
        signal.signal(signal.SIGUSR1, lambda *_: self._set(HOUR_NS))
        signal.signal(signal.SIGUSR2, lambda *_: self._set(-HOUR_NS))

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time_ns(self) -> int:
        return time.time_ns() + self._set_by_ns

    def _set(self, by_ns: int) -> None:
        self._set_by_ns += by_ns
        print("the clock was set", file=sys.stderr, flush=True)  # noqa: T201 - the tests wait for it


def prepare(environment: "os._Environ[str]") -> None:
    """Do what the environment asks for."""
    if fault := environment.get("CHAOS_FAULT"):
        point, _, passages = fault.partition(":")
        POINTS[point](Fuse(int(passages)))
    if seconds := environment.get("CHAOS_COMMIT_SECONDS"):
        config.COMMIT_SECONDS = int(seconds)  # type: ignore[misc]
    if seconds := environment.get("CHAOS_START_SECONDS"):
        start_late(float(seconds))
    if environment.get("CHAOS_CLOCK"):
        clock.time = SetClock()  # type: ignore[assignment, attr-defined]


if __name__ == "__main__":
    prepare(os.environ)
    main()
