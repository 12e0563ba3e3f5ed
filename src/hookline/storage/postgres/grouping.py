"""Gather requests that wait at the same moment into groups: one commit for all of them, no shared fate.

A group waits for the commits before it, never for a timer. Where it fails on somebody's data it is run again in halves,
down to a transaction for the bad one alone. Whoever stops waiting is not waited for, and what they asked for may still
be done.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from msgspec import Struct

from hookline.errors import Unavailable
from hookline.storage.postgres.connection import Contended, Silent

Argument = TypeVar("Argument")
Result = TypeVar("Result")

WAITING_MAX: Final = 4_096
"""Requests that may wait for a commit: about half a second of work. More are refused rather than kept in memory."""
GROUP_MAX: Final = 512
"""Requests of one group: what it takes to write them is by then many times what a commit costs."""
GROUP_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of one group: a statement is laid out in memory, here and on the server. A larger request goes alone."""
GROUPS_MAX: Final = 2
"""Groups on their way at once. One is as fast and costs as much (16 and 128 publishers, within the noise of a busy
machine); with two, single publishes need not wait behind a large batch."""


class _Waiting(Struct, Generic[Argument, Result], frozen=True, eq=False):
    argument: Argument
    weight: int
    answer: "asyncio.Future[Result]"


class Groups(Generic[Argument, Result]):
    """Runs a verb over groups of requests.

    `weigh` tells how many bytes a request comes to; `note` is told the size of each group that was committed.
    """

    def __init__(
        self,
        verb: Callable[[Sequence[Argument]], Awaitable[Sequence[Result]]],
        weigh: Callable[[Argument], int],
        note: Callable[[int], None] = lambda _size: None,
    ) -> None:
        self._verb = verb
        self._weigh = weigh
        self._note = note
        self._waiting: deque[_Waiting[Argument, Result]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._serving = 0
        """Tasks that will look at what waits once more. One that has ended will not, though the set still holds it."""

    async def run(self, argument: Argument) -> Result:
        """Return the verb's answer once it is durable; raise `Unavailable` where nothing is known to be."""
        if len(self._waiting) >= WAITING_MAX:
            raise Unavailable("The queue before the database is full. Repeat in a moment.")
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(argument, self._weigh(argument), answer))
        if self._serving < GROUPS_MAX:
            self._serving += 1
            # It begins after all that are ready to ask have asked.
            task = asyncio.create_task(self._serve())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await answer

    async def close(self) -> None:
        """Wait until all that was asked for is answered."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self) -> None:
        try:
            while group := self._next_group():
                await self._settle(group)
        finally:
            self._serving -= 1

    def _next_group(self) -> Sequence[_Waiting[Argument, Result]]:
        """Take what waits, as far as a group may go; one always goes."""
        group: list[_Waiting[Argument, Result]] = []
        room = GROUP_BYTES_MAX
        while self._waiting and len(group) < GROUP_MAX and (not group or self._waiting[0].weight <= room):
            group.append(self._waiting.popleft())
            room -= group[-1].weight
        return group

    async def _settle(self, group: Sequence[_Waiting[Argument, Result]]) -> None:
        try:
            results = await self._verb([each.argument for each in group])
        except Exception as error:  # noqa: BLE001 - somebody's data; found out below whose
            is_divisible = len(group) > 1 and (isinstance(error, Contended) or not isinstance(error, Unavailable))
            if not is_divisible:
                self._refuse(group, error)
                return
        else:
            self._note(len(group))
            for each, result in zip(group, results, strict=True):
                if not each.answer.done():
                    each.answer.set_result(result)
            return
        half = len(group) // 2
        await self._settle(group[:half])
        await self._settle(group[half:])

    def _refuse(self, group: Sequence[_Waiting[Argument, Result]], error: Exception) -> None:
        if isinstance(error, Silent):
            # Who waits behind a server that says nothing has waited as long already.
            group = [*group, *self._waiting]
            self._waiting.clear()
        for each in group:
            if not each.answer.done():
                each.answer.set_exception(error)
