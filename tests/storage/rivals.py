"""Verbs that race each other over one small world, and the accounts that must balance whatever their order was."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from msgspec.structs import replace
from storage_samples import (
    LEASE_MS,
    HandClock,
    a_company,
    a_publication,
    a_settlement,
    a_subscription,
    an_event,
    claim,
    create,
    deactivate,
    fence_of,
    new_id,
    states_of,
)

from hookline.lifecycle import GiveUp, Reason, Retry
from hookline.model import DeliveryState, ErrorClass, Subscription
from hookline.storage.claims import Claimed
from hookline.storage.protocol import Creation, Storage
from hookline.storage.publications import Published, Stale

SLOTS = 2
WINDOW_MS = 3_000
PATIENCE = 20

Act = Callable[["World", Storage], Awaitable[None]]

_SENDING = "SELECT subscription_id, count(*) FROM deliveries WHERE state = 'sending' GROUP BY 1"
_OPEN = "SELECT id, subscription_id, state FROM deliveries"


class World:
    """A company of its own: an open lane of two slots, both taken, one of them past its lease; a paused one, a deleted.

    Nothing of it is left open after `balance`, so one world may follow another in one database.
    """

    def __init__(
        self, storage: Storage, observer: Any, clock: HandClock, number: int, *, is_idle: bool = False, events: int = 4
    ) -> None:
        self.company = 100 + number
        self.open, self.paused, self.deleted, self.new = range(1000 + 4 * number, 1004 + 4 * number)
        self.storage = storage
        self.clock = clock
        self._is_idle = is_idle
        self._events = events
        self._observer = observer
        self.key = new_id()
        self.key_answers: list[Published] = []
        self.expected: dict[str, set[int]] = {}
        """Acknowledged events, with the subscriptions that matched."""
        self.claimed: list[Claimed] = []
        self.held: dict[tuple[int, int], Claimed] = {}
        """What claims brought and nobody has settled or handed back."""
        self.settled: Counter[tuple[int, int]] = Counter()
        self.handed_back: set[tuple[int, int]] = set()
        self.erased: set[str] = set()
        self.quiet: set[int] = set()
        """Subscriptions of which nothing may start any more."""
        self.overdue: Claimed
        self.flying: Claimed

    async def begin(self) -> None:
        """Fill an empty database."""
        storage = self.storage
        assert await storage.create_company(a_company(self.company)) is Creation.CREATED
        for subscription_id in (self.open, self.paused, self.deleted):
            await create(storage, a_subscription(subscription_id, self.company, max_in_flight=SLOTS))
        everyone = {self.company: [self.open, self.paused, self.deleted]}
        events = [await an_event(storage, everyone) for _ in range(self._events)]
        assert isinstance(await storage.publish(await a_publication(storage, *events)), Published)
        self.expected = {event.id: set(everyone[self.company]) for event in events}
        await deactivate(storage, self.paused)
        assert await storage.delete_subscription(self.deleted)
        self.overdue = await self._claim_first(lease_ms=1_000)
        self.flying = await self._claim_first(lease_ms=LEASE_MS)
        if self._is_idle:
            # A claim that judges a passed lease holds the lane from then on: here it has none to judge.
            self.handed_back.add(key_of(self.flying))
            await storage.release([fence_of(self.overdue), fence_of(self.flying)])
        self.clock.now += WINDOW_MS + 1
        # What is held by whoever will report late is nobody's.
        del self.held[key_of(self.overdue)]

    async def _claim_first(self, lease_ms: int) -> Claimed:
        for _ in range(PATIENCE):  # a hint left by an earlier world may lead to an empty lane first
            for claimed in (await claim(self.storage, 1, lease_ms=lease_ms)).deliveries:
                self._hold(claimed)
                return claimed
        raise AssertionError("nothing to claim")

    def _hold(self, claimed: Claimed) -> None:
        assert claimed.subscription_id not in self.quiet, "an attempt starts behind the answer"
        self.claimed.append(claimed)
        self.held[key_of(claimed)] = claimed

    async def claim(self, storage: Storage, rows_max: int = 100) -> bool:
        """Claim, and keep account of it; False where there was nothing."""
        made = await claim(storage, rows_max)
        for claimed in made.deliveries:
            self._hold(claimed)
        return bool(made.deliveries)

    async def settle(self, storage: Storage, claimed: Claimed, **changes: Any) -> None:
        """Settle one attempt, and keep account of the answer."""
        (is_settled,) = await storage.settle([a_settlement(claimed, **changes)])
        if is_settled:
            self.settled[key_of(claimed)] += 1
            self.held.pop(key_of(claimed), None)

    async def look(self) -> None:
        """Judge what everybody can see between two steps."""
        for subscription_id, count in await self._observer.fetch(_SENDING):
            assert count <= SLOTS, f"{count} in flight of {subscription_id}, with {SLOTS} slots"

    async def balance(self) -> None:
        """Let everything come to its end, and judge the accounts."""
        assert len({key_of(one) for one in self.claimed}) == len(self.claimed), "claimed twice"
        assert len(set(map(repr, self.key_answers))) <= 1, "one key, two answers"
        self.quiet.clear()
        await self._end_all()
        assert set(self.settled.values()) <= {1}, "settled twice"
        await self._judge_events()
        await self._judge_log()

    async def _end_all(self) -> None:
        storage = self.storage
        for subscription_id in (self.open, self.paused):
            if (stored := await storage.subscription(subscription_id)) and not stored.active:
                assert await storage.replace_subscription(_changed(stored, active=True), lift_hold=True)
        await self._settle_held()
        for _ in range(PATIENCE):
            await storage.repair_lanes()
            await storage.close_deleted(1_000)
            if not await self.claim(storage):
                break
            await self._settle_held()
        stranded = [tuple(row) for row in await self._observer.fetch(_OPEN)]
        assert not stranded, f"stranded: {stranded}"

    async def _settle_held(self) -> None:
        for key, claimed in list(self.held.items()):
            await self.settle(self.storage, claimed)
            assert self.held.pop(key, None) is None or key in self.handed_back, "a current fence is refused"

    async def _judge_events(self) -> None:
        for event_id, expected in self.expected.items():
            states = await states_of(self.storage, event_id)
            assert set(states) == expected, "an acknowledged event has not the deliveries that it was answered with"
            assert set(states.values()) <= {DeliveryState.SUCCEEDED, DeliveryState.CANCELLED, DeliveryState.DEAD}
            for subscription_id in states:
                if states[subscription_id] is DeliveryState.CANCELLED and event_id not in self.erased:
                    assert await self.storage.subscription(subscription_id) is None

    async def _judge_log(self) -> None:
        for delivery_id, subscription_id in {(one.id, one.subscription_id) for one in self.claimed}:
            view = await self.storage.delivery(subscription_id, delivery_id)
            if view is None:  # of a deleted subscription
                continue
            logged = {row.number for row in view.attempts if row.error is not ErrorClass.LOST}
            assert logged == {number for key, number in self.settled if key == delivery_id}, "log and answers differ"


def key_of(claimed: Claimed) -> tuple[int, int]:
    return (claimed.id, claimed.attempt)


def _changed(subscription: Subscription, *, active: bool) -> Subscription:
    return replace(
        subscription,
        revision=subscription.revision + 1,
        active=active,
        inactive_reason=None if active else "requested",
        inactive_at=None if active else subscription.updated_at,
    )


# --- what races ------------------------------------------------------------------------------------------------------


async def publishes(world: World, storage: Storage) -> None:
    await _publish(world, storage, key=None)


async def publishes_under_a_key(world: World, storage: Storage) -> None:
    answer = await _publish(world, storage, key=world.key)
    world.key_answers.append(answer)


async def _publish(world: World, storage: Storage, key: str | None) -> Published:
    """Match under what is stored, as `publishing` does, and again where that has changed."""
    event_id = new_id()
    for _ in range(PATIENCE):
        routes = (await storage.routes([world.company]))[world.company]
        matched = [route.subscription_id for route in routes.routes]
        event = await an_event(storage, {world.company: matched})
        event = replace(
            event, id=event_id, recipients=(replace(event.recipients[0], company_revision=routes.revision),)
        )
        answer = await storage.publish(await a_publication(storage, event, key=key))
        if isinstance(answer, Published):
            (accepted,) = answer.events
            if accepted.id == event_id:
                world.expected[event_id] = set(matched)
            return answer
        assert isinstance(answer, Stale)
    raise AssertionError("for ever stale")


async def claims(world: World, storage: Storage) -> None:
    await world.claim(storage)


async def claims_one(world: World, storage: Storage) -> None:
    await world.claim(storage, 1)


async def drains(world: World, storage: Storage) -> None:
    """Leave nothing in flight behind that would look at the lane again."""
    await world.claim(storage)
    for claimed in list(world.held.values()):
        await world.settle(storage, claimed)


async def settles(world: World, storage: Storage) -> None:
    await world.settle(storage, world.flying)


async def fails(world: World, storage: Storage) -> None:
    await world.settle(storage, world.flying, verdict=Retry(0))


async def gives_up_for_good(world: World, storage: Storage) -> None:
    await world.settle(storage, world.flying, verdict=GiveUp(Reason.EXHAUSTED, gone=True))


async def settles_late(world: World, storage: Storage) -> None:
    await world.settle(storage, world.overdue)


async def releases(world: World, storage: Storage) -> None:
    world.handed_back.add(key_of(world.flying))
    await storage.release([fence_of(world.flying)])


async def pauses(world: World, storage: Storage) -> None:
    if await _replace(storage, world.open, active=False):
        await _see_what_flies(world, storage)


async def resumes(world: World, storage: Storage) -> None:
    await _replace(storage, world.paused, active=True)


async def blinks(world: World, storage: Storage) -> None:
    if await _replace(storage, world.open, active=False):
        await _replace(storage, world.open, active=True)


async def deletes(world: World, storage: Storage) -> None:
    if await storage.delete_subscription(world.open):
        await _see_what_flies(world, storage)


async def erases(world: World, storage: Storage) -> None:
    """Erase all that was published: what waits, and what is in flight."""
    for event_id in list(world.expected):
        assert await storage.erase(event_id)
        world.erased.add(event_id)


async def subscribes(world: World, storage: Storage) -> None:
    await storage.create_subscription(a_subscription(world.new, world.company, max_in_flight=SLOTS), 10)


async def repairs(world: World, storage: Storage) -> None:
    del world
    await storage.repair_lanes()


async def closes(world: World, storage: Storage) -> None:
    del world
    await storage.close_deleted(10)


async def _replace(storage: Storage, subscription_id: int, *, active: bool) -> bool:
    for _ in range(PATIENCE):
        stored = await storage.subscription(subscription_id)
        if stored is None:
            return False
        if await storage.replace_subscription(_changed(stored, active=active), lift_hold=active):
            return True
    raise AssertionError("for ever outrun")


async def _see_what_flies(world: World, storage: Storage) -> None:
    """Where nothing fresh is in flight when the change is answered, nothing may start afterwards."""
    if not await storage.has_fresh_claims(world.open, WINDOW_MS):
        world.quiet.add(world.open)


VERBS: Mapping[str, Act] = {
    act.__name__: act
    for act in (
        publishes,
        publishes_under_a_key,
        claims,
        settles,
        fails,
        gives_up_for_good,
        settles_late,
        releases,
        pauses,
        resumes,
        blinks,
        deletes,
        erases,
        subscribes,
        repairs,
        closes,
    )
}
