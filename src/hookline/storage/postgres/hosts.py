"""Connect to the one server that accepts writes, of the hosts that the address names.

All are dialled at once, as one that is frozen takes a connection and then says nothing. Of those that accept writes the
one on the highest timeline is kept: a primary that was cut off and does not know that another took its place is on a
lower one. What was found is dialled directly until something casts doubt on it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg
from msgspec import Struct

from hookline.storage.postgres.connection import CONNECTION_ERRORS

DIAL_SECONDS: Final = 1.0
"""For each host, where there are several: one that answers later is as good as away."""

GRACE_SECONDS: Final = 0.1
"""For hosts that are still silent once a server has been found that took over from the one known so far."""

Dial = Callable[[str, float | None], Awaitable[Any]]
"""Connects to an address of one host if that accepts writes, within so many seconds or else as the dialler sees fit."""

_TIMELINE: Final = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"


def addresses(dsn: str) -> Sequence[str]:
    """Split an address of several hosts, `h1:5432,h2:5432` or `?host=/one,/two`, into addresses of one each."""
    parts = urlsplit(dsn)
    user, at, hosts = parts.netloc.rpartition("@")
    if "," in hosts:
        return [parts._replace(netloc=f"{user}{at}{host}").geturl() for host in hosts.split(",")]
    query = dict(parse_qsl(parts.query))
    names, ports = query.get("host", "").split(","), query.get("port", "").split(",")
    if len(names) < 2:
        return [dsn]
    ports = ports if len(ports) == len(names) else ports[:1] * len(names)
    chosen = [
        query | {"host": name} | ({"port": port} if port else {}) for name, port in zip(names, ports, strict=True)
    ]
    return [parts._replace(query=urlencode(each, safe="/")).geturl() for each in chosen]


class _Found(Struct, frozen=True):
    address: str
    timeline: str
    connection: Any


class Hosts:
    """The hosts of one address. `on_move` is called where another server than before was found to accept writes."""

    def __init__(self, dsn: str, dial: Dial, on_move: Callable[[], Awaitable[None]] | None = None) -> None:
        self._addresses = addresses(dsn)
        self._dial = dial
        self._on_move = on_move
        self._known: tuple[str, str] | None = None
        """Address and timeline of the server that was found last."""
        self._is_doubted = True
        self._search = asyncio.Lock()

    @property
    def are_many(self) -> bool:
        """Whether there is a choice at all."""
        return len(self._addresses) > 1

    async def connect(self) -> Any:
        """Connect to the server that accepts writes; raise `OSError`, or what the driver raises, where none does."""
        if not self.are_many:
            return await self._dial(self._addresses[0], None)
        if connection := await self._connect_to_known():
            return connection
        async with self._search:
            # Whoever waits here while another searches goes where that one found the server.
            return await self._connect_to_known() or await self._connect_to_best()

    def doubt(self) -> None:
        """Look at all hosts again for the next connection."""
        self._is_doubted = True

    async def _connect_to_known(self) -> Any:
        """Connect where the last search led to; None where that is in doubt, or the server not what it was."""
        if self._known is None or self._is_doubted:
            return None
        address, timeline = self._known
        found = await self._look_at(address)
        if isinstance(found, _Found):
            if found.timeline == timeline:
                return found.connection
            found.connection.terminate()
        self._is_doubted = True
        return None

    async def _connect_to_best(self) -> Any:
        looks = await self._look_at_all()
        best = max((one for one in looks if isinstance(one, _Found)), key=_timeline, default=None)
        for one in looks:
            if isinstance(one, _Found) and one is not best:
                one.connection.terminate()
        if best is None:
            reasons = ", ".join(sorted({type(one).__name__ for one in looks}))
            raise OSError(f"of the hosts named, none answers and accepts writes: {reasons}")
        before, self._known, self._is_doubted = self._known, (best.address, best.timeline), False
        if before not in {None, self._known} and self._on_move:
            await self._on_move()
        return best.connection

    async def _look_at_all(self) -> Sequence[_Found | Exception]:
        """Look at all hosts at once; those that say nothing are not waited for once a successor is found."""
        tasks = [asyncio.create_task(self._look_at(address)) for address in self._addresses]
        waiting, is_found = set(tasks), False
        try:
            while waiting:
                ended, waiting = await asyncio.wait(
                    waiting, timeout=GRACE_SECONDS if is_found else None, return_when=asyncio.FIRST_COMPLETED
                )
                if not ended:
                    break
                is_found = is_found or any(self._is_successor(task.result()) for task in ended)
        except BaseException:
            await self._abandon(tasks)
            raise
        await self._abandon(waiting)
        return [task.result() for task in tasks if task not in waiting]

    def _is_successor(self, look: _Found | Exception) -> bool:
        return isinstance(look, _Found) and self._known is not None and look.timeline > self._known[1]

    @staticmethod
    async def _abandon(tasks: Collection[asyncio.Task[_Found | Exception]]) -> None:
        """End looks, and let go of what those found that had ended already."""
        for task in tasks:
            task.cancel()
        for look in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(look, _Found):
                look.connection.terminate()

    async def _look_at(self, address: str) -> _Found | Exception:
        """Connect to one host; return why not where it does not answer in time or accepts no writes."""
        connection = None
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                connection = await self._dial(address, DIAL_SECONDS)
                return _Found(address, await connection.fetchval(_TIMELINE), connection)
        except (*CONNECTION_ERRORS, asyncpg.PostgresError) as error:
            if connection:
                connection.terminate()
            return error
        except BaseException:
            if connection:
                connection.terminate()
            raise


def _timeline(found: _Found) -> str:
    return found.timeline
