"""The engine on virtual time: the real loop, rules and SQLite engine; only the network is scripted."""

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hookline.egress.sender import Call
from hookline.engine import Engine
from hookline.errors import Unavailable
from hookline.model import DeliveryState, ErrorClass, Failed, Outcome, Policies, Subscription, Timings
from hookline.retry import JITTER_SHARE_MAX
from hookline.storage.claims import Settlement
from simulation.virtual import VirtualClock, run, virtual_loop
from simulation.world import World, answered, statuses, until

Scenario = Callable[[World], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Scenario], None]:
    """Run a scenario in a world of its own."""

    def played(scenario: Scenario) -> None:
        loop = virtual_loop()
        world = World(tmp_path, VirtualClock(loop))

        async def whole() -> None:
            await world.open()
            try:
                await scenario(world)
            finally:
                await world.storage.close()

        run(whole(), loop)

    return played


async def stopped(engine: Engine, running: asyncio.Task[None]) -> None:
    engine.stop()
    await asyncio.wait_for(running, 60)


async def states(world: World, event_id: str) -> list[DeliveryState]:
    return [delivery.state for delivery in await world.deliveries(event_id)]


def ended(world: World, event_id: str) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        open_states = {DeliveryState.PENDING, DeliveryState.SENDING}
        return not open_states.intersection(await states(world, event_id))

    return condition


def test_event_is_delivered_once_and_logged(play: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        subscription = await world.subscription(await world.company(), "/a")
        engine = world.engine()
        running = asyncio.create_task(engine.run())
        await world.publish("e1", [subscription])
        engine.wake()
        await until(ended(world, "e1"))
        await stopped(engine, running)
        assert await states(world, "e1") == [DeliveryState.SUCCEEDED]
        assert [arrival.attempt for arrival in world.receivers.arrivals["/a"]] == [1]
        (row,) = await world.log(subscription)
        assert (row.number, row.http_status, row.error, row.next_attempt_at) == (1, 200, None, None)

    play(scenario)


def test_failures_are_retried_after_10_60_and_300_seconds_never_early_then_dead(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(world: World) -> None:
        subscription = await world.subscription(await world.company(), "/a")
        world.receivers.scripts["/a"] = statuses(500, 503, 302, 400)
        engine = world.engine()
        running = asyncio.create_task(engine.run())
        await world.publish("e1", [subscription])
        await until(ended(world, "e1"))
        await stopped(engine, running)
        assert await states(world, "e1") == [DeliveryState.DEAD]
        arrivals = world.receivers.arrivals["/a"]
        waits = [later.at - earlier.at for earlier, later in pairwise(arrivals)]
        for wait, documented in zip(waits, (10, 60, 300), strict=True):
            assert documented <= wait <= documented * 1.2 + 1.1
        assert {arrival.body for arrival in arrivals} == {arrivals[0].body}
        log = await world.log(subscription)
        assert [row.number for row in log] == [1, 2, 3, 4]
        assert [row.error for row in log] == [ErrorClass.STATUS] * 4
        assert [row.dead_lettered for row in log] == [False, False, False, True]

    play(scenario)


def test_ten_thousand_failures_at_one_instant_come_back_spread_and_never_early(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(world: World) -> None:
        broken = asyncio.Event()

        async def fail_with_all(_call: Call, number: int) -> Outcome:
            await broken.wait()
            return answered(503 if number < 2 else 200)  # each has two, which is what a new one may have in flight

        for company in range(50):
            company_id = await world.company()
            its_own = [await world.subscription(company_id, f"/{company}/{number}") for number in range(100)]
            world.receivers.scripts |= {f"/{company}/{number}": fail_with_all for number in range(100)}
            for number in range(2):
                await world.publish(f"e{company}-{number}", its_own)
        running = asyncio.create_task((engine := world.engine(max_in_flight=20_000)).run())
        await asyncio.sleep(1)
        assert world.receivers.under_way == 10_000
        failed_at = world.clock.monotonic_seconds()
        broken.set()
        await asyncio.sleep(20)
        await stopped(engine, running)
        again = sorted(its.at for arrivals in world.receivers.arrivals.values() for its in arrivals[2:])
        assert len(again) == 10_000
        assert again[0] >= failed_at + 10
        window_seconds = 10 * JITTER_SHARE_MAX
        assert again[-1] <= failed_at + 10 + window_seconds + 0.1
        in_one_second = [bisect_left(again, at + 1) - index for index, at in enumerate(again)]
        assert max(in_one_second) <= 1.3 * 10_000 / window_seconds

    play(scenario)


def test_polling_delivers_where_every_hint_was_lost(play: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        subscription = await world.subscription(await world.company(), "/a")
        running = asyncio.create_task((engine := world.engine()).run())
        await asyncio.sleep(5)
        published_at = world.clock.monotonic_seconds()
        await world.publish("e1", [subscription])
        await until(ended(world, "e1"))
        await stopped(engine, running)
        assert world.receivers.arrivals["/a"][0].at - published_at <= 1.1

    play(scenario)


def test_hanging_receiver_does_not_hold_up_another(play: Callable[[Scenario], None]) -> None:
    async def hang(_call: Call, _number: int) -> Outcome:
        await asyncio.sleep(30)
        return Failed(error=ErrorClass.TIMEOUT, detail="No answer.", duration_ms=30_000, timings=Timings())

    async def scenario(world: World) -> None:
        company_id = await world.company()
        hanging = await world.subscription(company_id, "/hanging")
        healthy = await world.subscription(company_id, "/healthy")
        world.receivers.scripts["/hanging"] = hang
        running = asyncio.create_task((engine := world.engine()).run())
        for number in range(20):
            await world.publish(f"e{number}", [hanging, healthy])
            engine.wake()
        await asyncio.sleep(2)
        assert len(world.receivers.arrivals["/healthy"]) == 20
        assert len(world.receivers.arrivals["/hanging"]) == 2  # a new subscription starts with two slots
        await stopped(engine, running)

    play(scenario)


def test_at_a_host_that_many_share_those_that_hang_hold_up_no_other(play: Callable[[Scenario], None]) -> None:
    async def hang(_call: Call, _number: int) -> Outcome:
        await asyncio.sleep(30)
        return Failed(error=ErrorClass.TIMEOUT, detail="No answer.", duration_ms=30_000, timings=Timings())

    async def scenario(world: World) -> None:
        companies = [await world.company() for _ in range(5)]

        async def at_one_host(kind: str) -> list[Subscription]:
            return [
                await world.subscription(companies[number % 5], f"/{kind}/{number}", host="shared.example.com")
                for number in range(30)
            ]

        hanging, healthy = await at_one_host("hanging"), await at_one_host("healthy")
        for number in range(30):
            world.receivers.scripts[f"/hanging/{number}"] = hang
        running = asyncio.create_task((engine := world.engine(host_max_in_flight=50, max_in_flight=200)).run())
        for number in range(10):
            await world.publish(f"e{number}", [*hanging, *healthy])
            engine.wake()
            await asyncio.sleep(1)
        assert [len(world.receivers.arrivals[f"/healthy/{number}"]) for number in range(30)] == [10] * 30
        assert sum(len(world.receivers.arrivals[f"/hanging/{number}"]) for number in range(30)) == 45
        await stopped(engine, running)

    play(scenario)


def test_claim_that_took_longer_than_the_start_window_is_handed_back_unsent(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(world: World) -> None:
        subscription = await world.subscription(await world.company(), "/a")
        await world.publish("e1", [subscription])
        slow = SlowFirstClaim(world.storage, seconds=3.5)
        running = asyncio.create_task((engine := world.engine(slow)).run())
        await until(ended(world, "e1"))
        await stopped(engine, running)
        assert [arrival.attempt for arrival in world.receivers.arrivals["/a"]] == [2]
        assert [row.number for row in await world.log(subscription)] == [2]

    play(scenario)


def test_settlement_that_was_not_confirmed_is_repeated_and_the_receiver_is_not_asked_again(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(world: World) -> None:
        subscription = await world.subscription(await world.company(), "/a")
        await world.publish("e1", [subscription])
        forgetful = ForgetfulSettle(world.storage, refusals=5)
        running = asyncio.create_task((engine := world.engine(forgetful)).run())
        await until(ended(world, "e1"))
        await stopped(engine, running)
        assert len(world.receivers.arrivals["/a"]) == 1
        assert len(await world.log(subscription)) == 1

    play(scenario)


def test_killed_process_costs_one_lost_attempt_and_no_retry(play: Callable[[Scenario], None]) -> None:
    async def hang(_call: Call, number: int) -> Outcome:
        if number == 0:
            await asyncio.sleep(3600)
        return answered(200)

    async def scenario(world: World) -> None:
        subscription = await world.subscription(await world.company(), "/a")
        world.receivers.scripts["/a"] = hang
        await world.publish("e1", [subscription])
        killed = asyncio.create_task(world.engine().run())
        await asyncio.sleep(2)
        killed.cancel()
        await asyncio.gather(killed, return_exceptions=True)
        await world.reopen()
        running = asyncio.create_task((engine := world.engine()).run())
        await until(ended(world, "e1"))
        await stopped(engine, running)
        log = await world.log(subscription)
        assert [(row.number, row.error) for row in log] == [(1, ErrorClass.LOST), (2, None)]
        (delivery,) = await world.deliveries("e1")
        assert (delivery.state, delivery.failures) == (DeliveryState.SUCCEEDED, 0)

    play(scenario)


def test_two_engines_on_one_database_send_each_delivery_once(play: Callable[[Scenario], None]) -> None:
    async def slow(_call: Call, _number: int) -> Outcome:
        await asyncio.sleep(0.3)
        return answered(200)

    async def scenario(world: World) -> None:
        subscription = await world.subscription(await world.company(), "/a", Policies(max_in_flight=100))
        world.receivers.scripts["/a"] = slow
        engines = [world.engine(), world.engine()]
        running = [asyncio.create_task(engine.run()) for engine in engines]
        for number in range(60):
            await world.publish(f"e{number}", [subscription])
        await until(ended(world, "e59"))
        for engine, task in zip(engines, running, strict=True):
            await stopped(engine, task)
        seen = [arrival.event_id for arrival in world.receivers.arrivals["/a"]]
        assert sorted(seen) == sorted({f"e{number}" for number in range(60)})

    play(scenario)


def test_stop_waits_for_attempts_in_flight_and_settles_them(play: Callable[[Scenario], None]) -> None:
    async def slow(_call: Call, _number: int) -> Outcome:
        await asyncio.sleep(5)
        return answered(200)

    async def scenario(world: World) -> None:
        subscription = await world.subscription(await world.company(), "/a")
        world.receivers.scripts["/a"] = slow
        await world.publish("e1", [subscription])
        running = asyncio.create_task((engine := world.engine()).run())
        await asyncio.sleep(1)
        assert world.receivers.under_way == 1
        await stopped(engine, running)
        assert await states(world, "e1") == [DeliveryState.SUCCEEDED]

    play(scenario)


def test_retry_after_holds_the_whole_subscription(play: Callable[[Scenario], None]) -> None:
    async def busy_once(_call: Call, number: int) -> Outcome:
        return answered(503, retry_after="120") if number == 0 else answered(200)

    async def scenario(world: World) -> None:
        subscription = await world.subscription(await world.company(), "/a")
        world.receivers.scripts["/a"] = busy_once
        running = asyncio.create_task((engine := world.engine()).run())
        await world.publish("e1", [subscription])
        await until(lambda: _true(len(world.receivers.arrivals["/a"]) == 1))
        await asyncio.sleep(1)
        await world.publish("e2", [subscription])
        await until(ended(world, "e1"))
        await until(ended(world, "e2"))
        await stopped(engine, running)
        first, *later = [arrival.at for arrival in world.receivers.arrivals["/a"]]
        assert len(later) == 2
        assert min(later) - first >= 120

    play(scenario)


def test_wall_clock_jump_sends_nothing_early(play: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        subscription = await world.subscription(await world.company(), "/a")
        world.receivers.scripts["/a"] = statuses(500, 200)
        running = asyncio.create_task((engine := world.engine()).run())
        await world.publish("e1", [subscription])
        await asyncio.sleep(2)
        world.clock.skew_ms = 86_400_000
        await until(ended(world, "e1"))
        await stopped(engine, running)
        first, second = [arrival.at for arrival in world.receivers.arrivals["/a"]]
        assert second - first >= 10

    play(scenario)


async def _true(value: bool) -> bool:  # noqa: FBT001
    return value


class SlowFirstClaim:
    """The database, but the first claim's answer takes its time."""

    def __init__(self, storage: Any, seconds: float) -> None:
        self._storage = storage
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def claim_due(self, **arguments: Any) -> Any:
        claim = await self._storage.claim_due(**arguments)
        seconds, self._seconds = self._seconds, 0.0
        await asyncio.sleep(seconds)
        return claim


class ForgetfulSettle:
    """The database, but some settlements commit and the answer is lost, and some do not commit at all."""

    def __init__(self, storage: Any, refusals: int) -> None:
        self._storage = storage
        self._refusals = refusals

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[bool]:
        if self._refusals:
            self._refusals -= 1
            if self._refusals == 0:
                await self._storage.settle(settlements)
            raise Unavailable("The connection was lost.")
        answer: Sequence[bool] = await self._storage.settle(settlements)
        return answer


class Unsettling:
    """The database, but the next settlements fail with these errors in turn."""

    def __init__(self, storage: Any, errors: Sequence[Exception]) -> None:
        self._storage = storage
        self._errors = list(errors)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[bool]:
        await asyncio.sleep(0.01)  # a claim made at the same time goes first
        if self._errors:
            raise self._errors.pop(0)
        answer: Sequence[bool] = await self._storage.settle(settlements)
        return answer


def test_settlement_of_a_refused_batch_that_is_not_confirmed_alone_is_repeated_too(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(world: World) -> None:
        subscriptions = [await world.subscription(await world.company(), path) for path in ("/a", "/b")]
        await world.publish("e1", subscriptions)
        storage = Unsettling(world.storage, [ValueError("a bad row"), Unavailable("disk full"), Unavailable("still")])
        running = asyncio.create_task((engine := world.engine(storage)).run())
        await until(ended(world, "e1"))
        await stopped(engine, running)
        assert [len(world.receivers.arrivals[path]) for path in ("/a", "/b")] == [1, 1]
        assert [row.error for subscription in subscriptions for row in await world.log(subscription)] == [None, None]

    play(scenario)


def test_nothing_new_starts_while_no_settlement_is_confirmed(play: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        company_id = await world.company()
        subscriptions = [await world.subscription(company_id, f"/{number}") for number in range(60)]
        for number in range(2):
            await world.publish(f"e{number}", subscriptions)
        storage = Unsettling(world.storage, [Unavailable("disk full")] * 100)
        running = asyncio.create_task((engine := world.engine(storage, max_in_flight=10)).run())
        await asyncio.sleep(15)
        assert 1 <= sum(map(len, world.receivers.arrivals.values())) <= 20
        await until(ended(world, "e1"))
        await stopped(engine, running)
        assert sum(map(len, world.receivers.arrivals.values())) == 120

    play(scenario)
