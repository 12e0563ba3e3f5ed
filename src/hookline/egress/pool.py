"""Idle connections, kept for the next request of the same company to the same origin under the same trust."""

import asyncio
from collections.abc import Callable
from typing import Final

from hookline.clock import Clock
from hookline.credentials import Trust
from hookline.egress.http1 import Connection

IDLE_SECONDS_MAX: Final = 4.0
"""Node closes at 5 s, and a request that crosses the close on its way is a failed attempt."""
AGE_SECONDS_MAX: Final = 60.0
"""A busy connection never idles; without an end it would keep to an address that DNS has long left."""
IDLE_CONNECTIONS_MAX: Final = 1000
"""As many as a node has attempts in flight: what is open then is at most twice that."""
SWEEP_SECONDS: Final = 1.0

Key = tuple[int, str, str, int, Trust | None]
"""Company, scheme, host, port, trust."""


class Pool:
    """Hand out the connection used last, so that the others can end."""

    def __init__(self, clock: Clock, *, idle_connections_max: int = IDLE_CONNECTIONS_MAX) -> None:
        self._clock = clock
        self._idle_connections_max = idle_connections_max
        self._idle: dict[Key, list[tuple[Connection, float]]] = {}
        self._count = 0
        self._sweeper: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return self._count

    def take(self, key: Key) -> Connection | None:
        """Return an open idle connection, now the caller's; None where there is none."""
        waiting = self._idle.get(key)
        if not waiting:
            return None
        now = self._clock.monotonic_seconds()
        found = None
        while waiting and found is None:
            connection, idle_since = waiting.pop()
            self._count -= 1
            if connection.is_idle and now - idle_since < IDLE_SECONDS_MAX:
                found = connection
            else:
                connection.close()
        if not waiting:
            del self._idle[key]
        return found

    def give(self, key: Key, connection: Connection) -> None:
        """Keep an idle connection, or close it where it is too old or there are too many."""
        now = self._clock.monotonic_seconds()
        if self._count >= self._idle_connections_max or now - connection.opened_at >= AGE_SECONDS_MAX:
            connection.close()
            return
        self._idle.setdefault(key, []).append((connection, now))
        self._count += 1
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def close(self) -> None:
        """Close every idle connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self._keep(lambda _connection, _idle_since: False)

    def _sweep(self) -> None:
        now = self._clock.monotonic_seconds()
        self._keep(lambda connection, idle_since: connection.is_idle and now - idle_since < IDLE_SECONDS_MAX)
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep) if self._idle else None

    def _keep(self, is_kept: Callable[[Connection, float], bool]) -> None:
        for key, waiting in list(self._idle.items()):
            kept = []
            for connection, idle_since in waiting:
                if is_kept(connection, idle_since):
                    kept.append((connection, idle_since))
                else:
                    connection.close()
            self._count -= len(waiting) - len(kept)
            if kept:
                self._idle[key] = kept
            else:
                del self._idle[key]
