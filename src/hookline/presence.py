"""Say now and then that this process lives, and what it does: for people who look at the nodes, and for nothing else.

No claim and no lease rests on it: a node that says nothing loses nothing.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from hookline.clock import Clock
from hookline.engine import Engine
from hookline.errors import Unavailable
from hookline.storage.protocol import Storage
from hookline.storage.views import NodeBeat

log = logging.getLogger("hookline.presence")

BEAT_SECONDS: Final = 5.0


class Presence:
    """The heartbeat of one process."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        engine: Engine | None,
        *,
        node_id: str,
        name: str,
        version: str,
        roles: Sequence[str],
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._engine = engine
        self._identity = (node_id, name, version, tuple(roles))
        self._started_at = clock.wall_ms()
        self._attempts = 0
        self._beaten_at = clock.monotonic_seconds()

    async def keep_beating(self) -> None:
        """Beat until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(BEAT_SECONDS)

    async def beat(self) -> None:
        """Say once that this process lives. A database that does not answer is not told, and the next beat will do."""
        try:
            await self._storage.beat(self._now())
        except Unavailable as error:
            log.debug("no beat: %s", error)
        except Exception:
            log.exception("a beat failed; the next is tried in %d s", BEAT_SECONDS)

    async def leave(self) -> None:
        """Say that this process ends. Where nobody hears it, its last beat tells as much a while later."""
        try:
            await self._storage.forget_node(self._identity[0])
        except Unavailable as error:
            log.debug("left without a word: %s", error)

    def _now(self) -> NodeBeat:
        node_id, name, version, roles = self._identity
        engine, now = self._engine, self._clock.monotonic_seconds()
        attempts = engine.attempts if engine else 0
        rate = (attempts - self._attempts) / max(now - self._beaten_at, 1.0)
        self._attempts, self._beaten_at = attempts, now
        return NodeBeat(
            id=node_id,
            name=name,
            version=version,
            roles=roles,
            started_at=self._started_at,
            wall_ms=self._clock.wall_ms(),
            in_flight=engine.in_flight if engine else 0,
            max_in_flight=engine.max_in_flight if engine else 0,
            attempts_per_second=rate,
            since_claim_ms=engine.since_claim_ms if engine else None,
        )
