"""What the end of an attempt does to its delivery, its lane and its subscription."""

from pathlib import Path

from msgspec.structs import replace
from sqlite_samples import LEASE_MS, HandClock, claim, inline_storage, populate, publication, run, settlement

from hookline.lifecycle import GiveUp, Reason, Retry
from hookline.model import DeliveryState
from hookline.storage.sqlite import SqliteStorage
from hookline.storage.views import AttemptQuery, AttemptRow


async def log_of(storage: SqliteStorage, subscription_id: int = 1001) -> tuple[AttemptRow, ...]:
    """The subscription's log, oldest first."""
    query = AttemptQuery(subscription_id=subscription_id, page=0, size=100)
    return (await storage.page_of_attempts(query)).rows[::-1]


def test_lost_attempts_wait_as_the_rules_say_and_the_sixth_parks(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = HandClock()
        async with inline_storage(tmp_path / "h.db", clock) as storage:
            await populate(storage)
            await storage.publish(await publication(storage, "evt_1"))
            await claim(storage)
            parked = 0
            for _ in range(12):
                clock.now += LEASE_MS
                found = await claim(storage)
                parked += found.parked
                if not found.deliveries and found.next_due_ms:
                    clock.now += found.next_due_ms
                    await claim(storage)
            rows = await log_of(storage)
            waits = [row.next_attempt_at and row.next_attempt_at - row.created_at for row in rows]
            assert waits == [0, 0, 60_000, 300_000, 1_800_000, None]
            assert [row.number for row in rows] == [1, 2, 3, 4, 5, 6]
            assert [row.dead_lettered for row in rows] == [False] * 5 + [True]
            assert parked == 1
            view = await storage.delivery(1001, rows[0].delivery_id)
            assert view
            assert (view.state, view.reason, view.failures) == (DeliveryState.DEAD, Reason.CRASHED, 0)

    run(scenario)


def test_after_a_deletion_a_success_counts_and_a_failure_or_loss_cancels(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = HandClock()
        async with inline_storage(tmp_path / "h.db", clock) as storage:
            await populate(storage, subscriptions=4)
            await storage.publish(await publication(storage, "evt_1", [1001, 1002, 1003]))
            flying = {one.subscription_id: one for one in (await claim(storage)).deliveries}
            await storage.publish(await publication(storage, "evt_2", [1004]))
            for subscription_id in (1001, 1002, 1003, 1004):
                assert await storage.delete_subscription(subscription_id)
            assert await storage.settle([settlement(flying[1001]), settlement(flying[1002], Retry(5_000), status=500)])
            clock.now += LEASE_MS
            swept = await claim(storage)
            assert (swept.deliveries, swept.lost, swept.parked) == ((), 1, 0)
            states = {}
            for subscription_id, one in flying.items():
                view = await storage.delivery(subscription_id, one.id)
                assert view
                states[subscription_id] = (view.state, view.reason)
                (row,) = view.attempts
                assert (row.next_attempt_at, row.dead_lettered) == (None, False)
            assert states == {
                1001: (DeliveryState.SUCCEEDED, None),
                1002: (DeliveryState.CANCELLED, Reason.DELETED),
                1003: (DeliveryState.CANCELLED, Reason.DELETED),
            }
            assert [await storage.close_deleted(10), await storage.close_deleted(10)] == [1, 0]

    run(scenario)


def test_a_delivery_given_up_as_gone_makes_its_subscription_inactive(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db") as storage:
            await populate(storage)
            await storage.publish(await publication(storage, "evt_1"))
            (flying,) = (await claim(storage)).deliveries
            await storage.publish(await publication(storage, "evt_2"))
            await storage.settle([settlement(flying, GiveUp(Reason.EXHAUSTED, gone=True), status=410)])
            assert (await claim(storage)).deliveries == ()
            stored = await storage.subscription(1001)
            assert stored
            assert (stored.active, stored.inactive_reason, stored.revision) == (False, "gone", 2)
            detail = await storage.event("evt_2", company_id=None, after_id=0, limit=10, attempts_max=1)
            assert detail
            (held,) = detail.deliveries
            assert (held.state, held.reason) == (DeliveryState.HELD, "gone")
            revived = replace(stored, revision=3, active=True, inactive_reason=None, inactive_at=None)
            assert await storage.replace_subscription(revived, lift_hold=True)
            assert [one.event_id for one in (await claim(storage)).deliveries] == ["evt_2"]

    run(scenario)


def test_what_is_handed_back_leaves_no_row_and_skips_its_number(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db") as storage:
            await populate(storage)
            await storage.publish(await publication(storage, "evt_1"))
            (flying,) = (await claim(storage)).deliveries
            await storage.release([settlement(flying).fence])
            assert await storage.settle([settlement(flying)]) == (False,)
            (again,) = (await claim(storage)).deliveries
            assert again.attempt == 2
            await storage.release([settlement(flying).fence])
            assert await storage.settle([settlement(again)]) == (True,)
            assert [row.number for row in await log_of(storage)] == [2]

    run(scenario)
