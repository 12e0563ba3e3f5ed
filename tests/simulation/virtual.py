"""A virtual minute costs nothing: an event loop without a selector whose time jumps to the next timer.

It runs what is ready in an order drawn from a seed, and it can stop everything that belongs to one *node* between any
two callbacks, as SIGSTOP and SIGKILL do. Deterministic: same seed, same run.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from itertools import count
from random import Random
from typing import Any, TypeVar, TypeVarTuple

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

EPOCH_MS = 1_795_000_000_000
"""Where virtual wall clocks start: November 2026."""

CALLBACKS_MAX = 100_000
"""At one moment: more are a busy loop."""

NODE: ContextVar[int] = ContextVar("node", default=0)
"""Whose task it is; 0 is the outside, which is never stopped. Tasks inherit it from whoever made them."""


class VirtualLoop(asyncio.AbstractEventLoop):
    """asyncio on virtual time. With a `random`, whatever is ready at the same moment runs in a drawn order."""

    def __init__(self, random: Random | None = None) -> None:
        self._random = random
        self._now = 0.0
        self._numbers = count()
        self._ready: list[asyncio.Handle] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._stopped: dict[int, list[asyncio.Handle]] = {}
        self._tasks: list[asyncio.Task[Any]] = []
        """All that ever were: nothing else holds those of a killed node, and to collect one would run its ending."""
        self._is_closed = False
        self.failures: list[str] = []
        """What nobody else would hear of: exceptions in callbacks and in tasks that nobody awaits."""

    # what a simulation does with it

    def stop_node(self, node: int) -> None:
        """Run nothing of this node until `resume_node`."""
        self._stopped.setdefault(node, [])

    def resume_node(self, node: int) -> None:
        """Let a stopped node go on; its timers that have passed meanwhile fire now."""
        self._ready += self._stopped.pop(node, [])

    def is_stopped(self, node: int) -> bool:
        return node in self._stopped

    def run_until_complete(self, future: Any) -> Any:
        """Run until the coroutine or future is done; raise where it never can be."""
        running = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            task = asyncio.ensure_future(future, loop=self)
            self._run_until(task)
            return task.result()
        finally:
            asyncio._set_running_loop(running)

    def _run_until(self, task: "asyncio.Future[Any]") -> None:
        # Much of a simulation's own time passes here: hence one loop, and no `randrange`, which is slow.
        ready, draw = self._ready, self._random.random if self._random else _first
        callbacks_left = CALLBACKS_MAX
        while not task.done():
            if not ready:
                self._jump()
                callbacks_left = CALLBACKS_MAX
                continue
            if not callbacks_left:
                raise RuntimeError(f"{CALLBACKS_MAX:,} callbacks at one moment: somebody waits by turning")
            callbacks_left -= 1
            many = len(ready)
            handle = ready.pop() if many == 1 else ready.pop(int(draw() * many))
            if handle._cancelled:
                continue
            if self._stopped and (parked := self._stopped.get(_node_of(handle))) is not None:
                parked.append(handle)
                continue
            handle._run()

    def _jump(self) -> None:
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not timers:
            raise RuntimeError("nothing is scheduled and nothing can happen: the simulated system hangs")
        self._now = timers[0][0]
        while timers and timers[0][0] <= self._now:
            self._ready.append(heapq.heappop(timers)[2])

    # what asyncio asks of a loop

    def time(self) -> float:
        return self._now

    def call_soon(
        self, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + max(0.0, delay), callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are dropped when their moment comes."""

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> "asyncio.Task[Any]":
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.failures.append(f"{context.get('message')}: {context.get('exception')!r}")

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return asyncio._get_running_loop() is self

    def is_closed(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        self._is_closed = True
        self._tasks.clear()
        self._ready.clear()
        self._timers.clear()
        self._stopped.clear()

    def end(self) -> None:
        """Cancel every task, stopped ones too, and let each of them finish; then close."""
        for node in list(self._stopped):
            self.resume_node(node)
        pending = asyncio.all_tasks(self)
        for task in pending:
            task.cancel()
        if pending:
            self.run_until_complete(_ends(pending))
        self.close()


def virtual_loop(random: Random | None = None) -> VirtualLoop:
    """Make a loop. It lacks what asyncio's have for sockets and processes: whoever asks for that is no simulation."""
    return VirtualLoop(random)  # type: ignore[abstract]


def _first() -> float:
    return 0.0


def _node_of(handle: asyncio.Handle) -> int:
    context: Context = handle._context  # type: ignore[attr-defined]
    return context.get(NODE, 0)


async def _ends(tasks: set["asyncio.Task[Any]"]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


class VirtualClock:
    """A `hookline.clock.Clock` on a loop's virtual time; `skew_ms` sets the wall clock apart from the schedule."""

    def __init__(self, loop: asyncio.AbstractEventLoop, skew_ms: int = 0) -> None:
        self._loop = loop
        self.skew_ms = skew_ms

    def wall_ms(self) -> int:
        return EPOCH_MS + self.skew_ms + int(self._loop.time() * 1000)

    def schedule_ms(self) -> int:
        return EPOCH_MS + int(self._loop.time() * 1000)

    def monotonic_seconds(self) -> float:
        return self._loop.time()


def run(scenario: Coroutine[Any, Any, Result], loop: VirtualLoop) -> Result:
    """Run a scenario to its end on virtual time, leaving nothing behind."""
    try:
        result: Result = loop.run_until_complete(scenario)
        return result
    finally:
        loop.end()
