"""A virtual minute costs nothing: an event loop whose time jumps to the next timer, and a clock that runs on it."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

EPOCH_MS = 1_795_000_000_000
"""Where virtual wall clocks start: November 2026."""


class _JumpingSelector(selectors.BaseSelector):
    """A selector that never waits: it moves the loop's time instead. Only the loop's own pipe may be registered."""

    def __init__(self) -> None:
        self._inner = selectors.DefaultSelector()
        self.now = 0.0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._inner.unregister(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._inner.select(0)
        if ready:
            return ready
        if timeout is None:
            raise RuntimeError("nothing is scheduled and nothing can happen: the simulated system hangs")
        self.now += max(0.0, timeout)
        return []

    def close(self) -> None:
        self._inner.close()

    def get_map(self) -> Any:
        return self._inner.get_map()


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio on virtual time."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


class VirtualClock:
    """A `hookline.clock.Clock` on a loop's virtual time; `skew_ms` sets the wall clock apart from the schedule."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.skew_ms = 0

    def wall_ms(self) -> int:
        return EPOCH_MS + self.skew_ms + int(self._loop.time() * 1000)

    def schedule_ms(self) -> int:
        return EPOCH_MS + int(self._loop.time() * 1000)

    def monotonic_seconds(self) -> float:
        return self._loop.time()


def run(scenario: Coroutine[Any, Any, Result], loop: VirtualLoop) -> Result:
    """Run a scenario to its end on virtual time, leaving nothing behind."""
    try:
        return loop.run_until_complete(scenario)
    finally:
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        if pending:
            loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        loop.close()
