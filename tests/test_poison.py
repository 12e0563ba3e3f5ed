"""What cannot be delivered stops nothing else: rows that are damaged, secrets that no key opens, and a killer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import apsw
import pytest

from hookline import wiring
from hookline.egress.sender import Call
from hookline.errors import StartRefused
from hookline.lifecycle import LOSS_WAITS_MS
from hookline.model import DeliveryState, ErrorClass, Outcome
from hookline.sealing import Keyring
from simulation.virtual import VirtualClock, run, virtual_loop
from simulation.world import KEYRING, World, answered, until

Scenario = Callable[[World], Awaitable[None]]
Play = Callable[[Scenario], None]

SUCCEEDED, PENDING, DEAD = DeliveryState.SUCCEEDED, DeliveryState.PENDING, DeliveryState.DEAD


@pytest.fixture
def play(tmp_path: Path) -> Play:
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


def damage(world: World, sql: str) -> None:
    """Write past the verbs and past what the schema checks, as a flipped bit or a careless hand does."""
    direct = apsw.Connection(world.path)
    direct.execute("PRAGMA ignore_check_constraints = ON")
    direct.execute(sql)
    direct.close()


async def state_of(world: World, event_id: str) -> DeliveryState:
    (delivery,) = await world.deliveries(event_id)
    return delivery.state


def is_now(world: World, event_id: str, state: DeliveryState) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        return await state_of(world, event_id) is state

    return condition


# --- damaged rows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE deliveries SET payload_version = 'V9'",
        "UPDATE deliveries SET type_name = CAST(x'6e6fe274' AS TEXT)",
        "UPDATE events SET data = NULL",
        "UPDATE events SET data = CAST('{\"note\":1.1' AS BLOB)",
        "UPDATE events SET data = CAST('[1]' AS BLOB)",
        "DELETE FROM events",
    ],
)
def test_a_damaged_delivery_is_parked_at_once_never_sent_and_stops_nothing(
    play: Play, caplog: pytest.LogCaptureFixture, sql: str
) -> None:
    async def scenario(world: World) -> None:
        subscription = await world.subscription(await world.company(), "/a")
        await world.publish("broken", [subscription])
        ((delivery,),) = (await world.deliveries("broken"),)
        damage(world, sql)
        running = asyncio.create_task((engine := world.engine()).run())
        await world.publish("whole", [subscription])
        engine.wake()
        async with asyncio.timeout(1):
            await until(is_now(world, "whole", SUCCEEDED))
        engine.stop()
        await running
        assert [arrival.event_id for arrival in world.receivers.arrivals["/a"]] == ["whole"]
        row = apsw.Connection(world.path).execute("SELECT state, reason FROM deliveries WHERE id = ?", (delivery.id,))
        assert row.get == ("dead", "unreadable")
        (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert f"delivery {delivery.id} " in line
        assert "restore the row from a backup" in line

    play(scenario)


# --- subscriptions that cannot be served -----------------------------------------------------------------------------

STRANGE: Keyring = Keyring([bytes(32)])


def test_deliveries_wait_where_no_key_opens_the_secret_and_go_out_once_it_is_back(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(world: World) -> None:
        subscription = await world.subscription(await world.company(), "/a")
        for number in range(5):
            await world.publish(f"e{number}", [subscription])
        running = asyncio.create_task((engine := world.engine(keyring=STRANGE)).run())
        await asyncio.sleep(3600)
        assert await state_of(world, "e0") is PENDING
        assert await world.log(subscription) == ()
        lines = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert 50 <= len(lines) <= 61, "a line a minute, not one a delivery"
        assert "add it to HOOKLINE_SECRET_KEY" in lines[0]
        engine.stop()
        await running
        mended = asyncio.create_task((engine := world.engine()).run())
        for number in range(5):
            await until(is_now(world, f"e{number}", SUCCEEDED), 2)
        engine.stop()
        await mended

    play(scenario)


def test_a_node_with_the_wrong_key_takes_nothing_from_one_with_the_right_key(play: Play) -> None:
    async def scenario(world: World) -> None:
        subscription = await world.subscription(await world.company(), "/a")
        engines = [world.engine(keyring=STRANGE), world.engine()]
        running = [asyncio.create_task(engine.run()) for engine in engines]
        for number in range(30):
            await world.publish(f"e{number}", [subscription])
            await asyncio.sleep(7)
            assert await state_of(world, f"e{number}") is SUCCEEDED
        for engine in engines:
            engine.stop()
        await asyncio.gather(*running)
        assert {row.error for row in await world.log(subscription)} == {None}

    play(scenario)


def test_a_subscription_whose_row_is_damaged_holds_up_its_own_deliveries_alone_until_it_is_mended(play: Play) -> None:
    async def scenario(world: World) -> None:
        company_id = await world.company()
        broken, whole = await world.subscription(company_id, "/a"), await world.subscription(company_id, "/b")
        for event_id, subscription in (("e1", broken), ("e2", whole)):
            await world.publish(event_id, [subscription])
        damage(world, f"UPDATE subscriptions SET policies = '{{' || policies WHERE id = {broken.id}")
        running = asyncio.create_task((engine := world.engine()).run())
        await until(is_now(world, "e2", SUCCEEDED), 2)
        await asyncio.sleep(600)
        assert await state_of(world, "e1") is PENDING
        damage(world, f"UPDATE subscriptions SET policies = substr(policies, 2) WHERE id = {broken.id}")
        await until(is_now(world, "e1", SUCCEEDED), 62)
        engine.stop()
        await running
        assert [arrival.attempt for arrival in world.receivers.arrivals["/b"]] == [1]

    play(scenario)


def test_a_start_checks_the_key_and_no_damaged_row_prevents_it(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: World) -> None:
        await world.subscription(await world.company(), "/a")
        await wiring._check_key(world.storage, KEYRING)
        with pytest.raises(StartRefused, match="HOOKLINE_SECRET_KEY"):
            await wiring._check_key(world.storage, STRANGE)
        damage(world, "UPDATE subscriptions SET auth_type = 'BASIK'")
        await wiring._check_key(world.storage, STRANGE)
        assert "was not checked" in caplog.text

    play(scenario)


# --- a killer --------------------------------------------------------------------------------------------------------

INNOCENTS = 12


async def live_once(world: World, killed: asyncio.Event) -> None:
    """Run one process until it is killed, or until nothing kills any more, and start the next on its file."""
    killed.clear()
    running = asyncio.create_task(world.engine().run())
    dying = asyncio.create_task(killed.wait())
    parked = asyncio.create_task(until(is_now(world, "poison", DEAD), 7200))
    await asyncio.wait([dying, parked], return_when=asyncio.FIRST_COMPLETED)
    for task in (running, dying, parked):
        task.cancel()
    await asyncio.gather(running, dying, parked, return_exceptions=True)
    await world.reopen()


def test_a_delivery_that_kills_the_process_falls_alone(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything in flight beside it is lost with the process each time, and yet all of that is delivered."""
    monkeypatch.setattr("hookline.engine.UPKEEP_SECONDS", 30)  # it takes hours, and nothing here hangs on upkeep

    async def scenario(world: World) -> None:
        company_id = await world.company()
        poison = await world.subscription(company_id, "/poison")
        others = [await world.subscription(company_id, f"/{number}") for number in range(INNOCENTS)]
        killed = asyncio.Event()
        deaths: list[float] = []

        async def kill(_call: Call, _number: int) -> Outcome:
            deaths.append(world.clock.monotonic_seconds())
            killed.set()
            await asyncio.Event().wait()  # the process dies here; nothing answers
            raise AssertionError

        async def slow(_call: Call, _number: int) -> Outcome:
            await asyncio.sleep(2)  # long enough to be in flight whenever the killer strikes
            return answered(200)

        world.receivers.scripts["/poison"] = kill
        for number in range(INNOCENTS):
            world.receivers.scripts[f"/{number}"] = slow
        await world.publish("poison", [poison])
        for number, other in enumerate(others):
            await world.publish(f"e{number}", [other])
        while await state_of(world, "poison") is not DEAD:
            await live_once(world, killed)
        running = asyncio.create_task((engine := world.engine()).run())
        for number in range(INNOCENTS):
            await until(is_now(world, f"e{number}", SUCCEEDED))
        engine.stop()
        await running

        (view,) = await world.deliveries("poison")
        assert (view.state, view.reason) == (DEAD, "crashed")
        log = await world.log(poison)
        assert [row.error for row in log] == [ErrorClass.LOST] * 6
        assert [row.dead_lettered for row in log] == [False] * 5 + [True]
        waits = [round(later * 1000) - round(earlier * 1000) for earlier, later in pairwise(deaths)]
        assert all(wait >= promised for wait, promised in zip(waits, LOSS_WAITS_MS, strict=True))
        for other in others:
            errors = [row.error for row in await world.log(other)]
            assert errors[-1] is None
            assert errors.count(ErrorClass.LOST) <= 3

    play(scenario)
