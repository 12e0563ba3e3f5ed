"""Hand writing verbs to the one connection that writes.

`ThreadedWriter` is what a server runs: its thread takes all that has queued up, commits it as one group and wakes the
callers with one call. A group waits for the commit before it, never for a timer. `InlineWriter` runs the same code on
the spot, one request a group, for tools and deterministic simulation.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol, TypeVar

from hookline.errors import Unavailable
from hookline.storage.sqlite.committing import Broken, Committer, Done, Ending, Request

Result = TypeVar("Result")

QUEUE_MAX: Final = 4_096
"""Requests that may wait for the disk: about half a second of work. More are refused rather than kept in memory."""

_Queued = tuple[Request[Any, Any], "asyncio.Future[Any]"]


class Writer(Protocol):
    """Runs requests to write, each in a transaction that others may share."""

    async def run(self, request: Request[Any, Result]) -> Result:
        """Return the verb's answer once it is durable; raise `Unavailable` where nothing is known to be."""
        ...

    async def close(self) -> None:
        """Finish what is queued, then close the connection."""
        ...


OpenWriter = Callable[[Committer], Writer]
"""How an engine starts its writer: one of the two classes below."""


class InlineWriter:
    """Runs each request at once, in the caller's thread."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer

    async def run(self, request: Request[Any, Result]) -> Result:
        (ending,) = self._committer.commit([request])
        if isinstance(ending, Broken):
            raise ending.error
        result: Result = ending.value
        return result

    async def close(self) -> None:
        self._committer.close()


class ThreadedWriter:
    """Runs requests on a thread of its own, as many a commit as have queued up."""

    def __init__(self, committer: Committer, queue_max: int = QUEUE_MAX) -> None:
        self._committer = committer
        self._queue: SimpleQueue[_Queued | None] = SimpleQueue()
        self._queue_max = queue_max
        self._unanswered = 0
        self._is_closing = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._serve, name="hookline-sqlite-writer", daemon=True)
        self._thread.start()

    async def run(self, request: Request[Any, Result]) -> Result:
        if self._is_closing:
            raise Unavailable("The database is being closed.")
        if self._unanswered >= self._queue_max:
            raise Unavailable("The queue before the disk is full. Repeat in a moment.")
        self._unanswered += 1
        future: asyncio.Future[Result] = self._loop.create_future()
        self._queue.put((request, future))
        return await future

    async def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _serve(self) -> None:
        while group := self._next_group():
            endings = self._committer.commit([request for request, _ in group])
            self._loop.call_soon_threadsafe(self._answer, group, endings)
        self._committer.close()

    def _next_group(self) -> Sequence[_Queued]:
        """Wait for a request, then take all that wait behind it; nothing once the writer was closed and all is done."""
        first = self._queue.get()
        group: list[_Queued] = []
        while first is not None:
            group.append(first)
            try:
                first = self._queue.get_nowait()
            except Empty:
                return group
        if group:
            self._queue.put(None)
        return group

    def _answer(self, group: Sequence[_Queued], endings: Sequence[Ending]) -> None:
        self._unanswered -= len(group)
        for (_, future), ending in zip(group, endings, strict=True):
            if future.done():
                continue
            match ending:
                case Done(value):
                    future.set_result(value)
                case Broken(error):
                    future.set_exception(error)
