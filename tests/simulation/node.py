"""One node: engine and publisher of the product on a clock of their own, and what the API does beside them.

It can be stopped, resumed and killed between any two steps. Clients outside only ever `ask` it and may get no answer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from random import Random
from types import SimpleNamespace
from typing import Any, Final, TypeVar, cast

from hookline.api.context import Api
from hookline.api.turns import CHANGE_TRIES
from hookline.api.webhooks import nothing_starts
from hookline.dispatch import Targets
from hookline.egress.oauth import GrantingSender
from hookline.egress.url import UrlRules
from hookline.engine import Engine, Limits
from hookline.errors import NotFound, Unavailable
from hookline.model import Subscription
from hookline.publishing import Publisher
from hookline.rotation import RotationRequest, rotated
from hookline.sealing import Keyring
from hookline.storage.protocol import Storage
from hookline.storage.publications import Catalogue
from hookline.subscribing import Rules, SubscriptionRequest, changed
from hookline.telemetry import Telemetry
from hookline.validating import Validator
from simulation.database import NOTE, Note
from simulation.handshakes import ORIGIN, Grants
from simulation.network import End, Network, Receivers, Start
from simulation.oracle import SOURCE
from simulation.signatures import Rotation
from simulation.virtual import NODE, VirtualClock, VirtualLoop

Answer = TypeVar("Answer")

KEYRING: Final = Keyring([bytes(range(32))], bytes)
RULES: Final = Rules(url_rules=UrlRules(), keyring=KEYRING, timeout_seconds_max=3, shows_settings=False)


class Unreachable(Exception):
    """No answer came: the node is down, stopped, or too slow. What it did is unknown."""


class NodeStorage:
    """The storage as one node calls it: every verb is noted with its caller."""

    def __init__(self, storage: Storage, node: int) -> None:
        self._storage, self._node = storage, node

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._storage, verb)
        node = self._node

        async def called(*args: Any, **named: Any) -> Any:
            token = NOTE.set(Note(verb, node, args, named))
            try:
                return await method(*args, **named)
            finally:
                NOTE.reset(token)

        self.__dict__[verb] = called
        return called


class Node:
    """A process, or one of several on one database."""

    def __init__(
        self,
        number: int,
        *,
        loop: VirtualLoop,
        clock: VirtualClock,
        storage: Storage,
        random: Random,
        telemetry: Telemetry,
        limits: Limits,
        receivers: Receivers,
        start: Start,
        end: End,
        grants: Grants,
    ) -> None:
        self.number, self.clock, self._loop = number, clock, loop
        self.is_down = False
        self._context = copy_context()
        self._context.run(NODE.set, number)
        self.storage = cast(Storage, NodeStorage(storage, number))
        network = Network(number, receivers, clock.wall_ms, start=start, end=end, grants=grants)
        targets = Targets(
            keyring=KEYRING, rules=RULES.url_rules, retry_delays_seconds=(10, 60, 300), timeout_seconds_max=3
        )
        validator = Validator(self.storage, cast(GrantingSender, network), targets, ORIGIN)
        self.engine = Engine(
            storage=self.storage,
            sender=network,
            targets=targets,
            clock=clock,
            random=random,
            limits=limits,
            telemetry=telemetry,
            slow_chores=[validator.step],
        )
        self.publisher = Publisher(
            storage=self.storage, clock=clock, random_bytes=random.randbytes, event_source=SOURCE
        )
        self._random_bytes = random.randbytes
        self.running: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start delivering."""
        self.running = self.task(self.engine.run())

    def task(self, coroutine: Coroutine[Any, Any, Answer]) -> "asyncio.Task[Answer]":
        """Run something inside the node."""
        return self._loop.create_task(coroutine, context=self._context.copy())

    def kill(self) -> None:
        """Let nothing of it run any more; what it has not committed is gone."""
        self.is_down = True
        self._loop.stop_node(self.number)

    async def ask(self, coroutine: Coroutine[Any, Any, Answer], seconds: float = 4.0) -> Answer:
        """Return the node's answer; raise `Unreachable` where none comes in time. The request may still be at work."""
        if self.is_down:
            coroutine.close()
            raise Unreachable
        task = self.task(coroutine)
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if done:
            return task.result()
        task.add_done_callback(_forgotten)
        raise Unreachable

    # what the API does

    async def change(self, subscription_id: int, request: SubscriptionRequest, catalogue: Catalogue) -> Subscription:
        """Change a subscription as `api.webhooks.change` does."""
        for _ in range(CHANGE_TRIES):
            before = await self.storage.subscription(subscription_id)
            if before is None:
                raise NotFound("There is no such subscription.")
            after = changed(before, request, catalogue, RULES, now=self.clock.wall_ms())
            is_on = request.active is True
            if await self.storage.replace_subscription(after, lift_hold=is_on):
                break
        else:
            raise Unavailable("It kept changing.")
        if is_on:
            self.engine.wake()
        elif request.active is False:
            await self._nothing_starts(after.id)
        return after

    async def rotate(
        self, subscription_id: int, request: RotationRequest, foresee: Callable[[Subscription, Rotation], object]
    ) -> None:
        """Rotate a secret as `api.webhooks.rotate` does, and let somebody know before it is tried."""
        for _ in range(CHANGE_TRIES):
            before = await self.storage.subscription(subscription_id)
            if before is None:
                raise NotFound("There is no such subscription.")
            now = self.clock.wall_ms()
            after, shown = rotated(before, request, KEYRING, random_bytes=self._random_bytes, now=now)
            overlap_seconds = 86_400 if request.overlap_seconds is None else request.overlap_seconds
            foresee(after, Rotation(shown, overlap_seconds * 1000, request.hub_signature, now))
            if await self.storage.replace_subscription(after, lift_hold=False):
                return
        raise Unavailable("It kept changing.")

    async def delete(self, subscription_id: int) -> None:
        """Delete a subscription as `api.webhooks.delete` does."""
        if not await self.storage.delete_subscription(subscription_id):
            raise NotFound("There is no such subscription.")
        await self._nothing_starts(subscription_id)

    async def _nothing_starts(self, subscription_id: int) -> None:
        api = cast(Api, SimpleNamespace(storage=self.storage, clock=self.clock))
        await nothing_starts([subscription_id], api)


def _forgotten(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()
