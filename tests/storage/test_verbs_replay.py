"""A replay sends the deliveries of a time again: each once, a few at a time, whatever happens meanwhile."""

import asyncio
from collections.abc import Sequence
from itertools import chain
from typing import Any

import apsw
import asyncpg
import pytest
from msgspec.structs import replace
from storage_samples import (
    DAY_MS,
    LEASE_MS,
    NOON_MS,
    NOTE,
    HandClock,
    OpenStorage,
    a_publication,
    a_settlement,
    a_subscription,
    an_event,
    attempt,
    change,
    claim,
    claim_one,
    create,
    deactivate,
    delivery_of,
    event_of,
    fence_of,
    log_of,
    populate,
    published,
    reactivate,
    settle,
    states_of,
)

from hookline import replays
from hookline.lifecycle import GiveUp, Reason, Retry
from hookline.model import DeliveryState, Entry, EventType, PayloadVersion, Policies, Replay, ReplayState
from hookline.storage.claims import Claimed, NewReplay
from hookline.storage.postgres import PostgresStorage
from hookline.storage.protocol import Storage
from hookline.storage.publications import Published
from hookline.storage.sqlite import SqliteStorage

pytestmark = pytest.mark.anyio

SUCCEEDED, DEAD, PENDING = DeliveryState.SUCCEEDED, DeliveryState.DEAD, DeliveryState.PENDING
RUNNING, DONE, CANCELLED = ReplayState.RUNNING, ReplayState.DONE, ReplayState.CANCELLED
GIVEN_UP = GiveUp(Reason.EXHAUSTED)


def wanted(subscription_id: int | None = 1001, **changes: Any) -> NewReplay:
    plain = NewReplay(
        subscription_id=subscription_id, company_id=None, from_at=NOON_MS - DAY_MS, to_at=NOON_MS + DAY_MS, status=None
    )
    return replace(plain, **changes)


async def asked(storage: Storage, subscription_id: int | None = 1001, **changes: Any) -> Replay:
    replay = await storage.create_replay(wanted(subscription_id, **changes))
    assert replay
    return replay


async def now(storage: Storage, replay: Replay) -> Replay:
    found = await storage.replay(replay.id)
    assert found
    return found


async def stepped(storage: Storage) -> bool:
    """Let every running replay go on once; tell whether anything moved."""
    has_moved, place = False, replays.FIRST
    while True:
        step = await storage.step_replays(place)
        has_moved |= step.has_moved
        place = step.place
        if place == replays.FIRST:
            return has_moved


async def send_all(storage: Storage) -> list[Claimed]:
    """Claim and settle all that is due, as successes."""
    sent: list[Claimed] = []
    while claimed := (await claim(storage)).deliveries:
        await storage.settle([a_settlement(one) for one in claimed])
        sent += claimed
    return sent


async def to_the_end(storage: Storage, replay: Replay) -> list[Claimed]:
    """Step and send until the replay has ended; return what was sent, in order."""
    sent: list[Claimed] = []
    while (await now(storage, replay)).state is RUNNING:
        await stepped(storage)
        sent += await send_all(storage)
    return sent


async def ended(storage: Storage, *verdicts: Any) -> list[str]:
    """Publish one event for each verdict, and let its only attempt end so; return their ids, oldest first."""
    ids = []
    for verdict in verdicts:
        ids.append(await published(storage))
        assert await settle(storage, await claim_one(storage), verdict)
    return ids


# --- what is taken ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "taken"), [(None, [0, 1, 2, 3]), (SUCCEEDED, [0, 2]), (DEAD, [1, 3])])
async def test_ended_deliveries_of_the_status_go_again_oldest_first(
    storage: Storage, clock: HandClock, status: DeliveryState | None, taken: Sequence[int]
) -> None:
    await populate(storage, {101: [1001]})
    ids = await ended(storage, None, GIVEN_UP, None, GIVEN_UP)
    clock.now += 1_000
    replay = await asked(storage, status=status)
    assert (replay.state, replay.total, replay.done) == (RUNNING, len(taken), 0)
    sent = await to_the_end(storage, replay)
    assert [one.event_id for one in sent] == [ids[index] for index in taken]
    assert {(one.attempt, one.failures) for one in sent} == {(2, 0)}
    finished = await now(storage, replay)
    assert (finished.state, finished.total, finished.done) == (DONE, len(taken), len(taken))
    assert not await stepped(storage)


@pytest.mark.parametrize("status", [None, SUCCEEDED, DEAD])
async def test_erased_events_are_neither_counted_nor_sent(
    storage: Storage, clock: HandClock, status: DeliveryState | None
) -> None:
    await populate(storage, {101: [1001]})
    verdict = None if status is SUCCEEDED else GIVEN_UP
    erased, kept = await ended(storage, verdict, verdict)
    await storage.erase(erased)
    clock.now += 1_000
    replay = await asked(storage, status=status)
    assert replay.total == 1
    assert [one.event_id for one in await to_the_end(storage, replay)] == [kept]
    finished = await now(storage, replay)
    assert (finished.state, finished.done) == (DONE, 1)


async def test_an_erased_event_that_a_subscription_missed_is_not_counted(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: []})
    await storage.erase(await published(storage, {101: []}))
    clock.now += 1_000
    await create(storage, a_subscription(1001, 101))
    replay = await asked(storage)
    assert (replay.state, replay.total) == (DONE, 0)


async def test_only_events_accepted_within_the_time_are_taken(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    ids = []
    for _ in range(5):
        ids += await ended(storage, GIVEN_UP)
        clock.now += 1_000
    replay = await asked(storage, from_at=NOON_MS + 1_000, to_at=NOON_MS + 3_000)
    assert [one.event_id for one in await to_the_end(storage, replay)] == ids[1:3]


async def test_days_apart_are_one_time(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    ids = []
    for _ in range(4):
        ids += await ended(storage, GIVEN_UP, None)
        clock.now += DAY_MS
    replay = await asked(storage, from_at=NOON_MS + DAY_MS, to_at=NOON_MS + 3 * DAY_MS)
    assert (await now(storage, replay)).total == 4
    assert [one.event_id for one in await to_the_end(storage, replay)] == ids[2:6]


async def test_names_as_the_subscription_sees_them_narrow_it(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    ids = {}
    for name in (NOTE, "collaboration-request.created"):
        ids[name] = await published(storage, event_type=name)
        await attempt(storage)
    clock.now += 1_000
    replay = await asked(storage, type_names=(NOTE,))
    assert (replay.total, replay.type_names) == (1, (NOTE,))
    assert [one.event_id for one in await to_the_end(storage, replay)] == [ids[NOTE]]


async def test_other_subscriptions_notice_nothing(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001, 1002], 102: [1003]})
    event_id = await published(storage, {101: [1001, 1002], 102: [1003]})
    await send_all(storage)
    clock.now += 1_000
    replay = await asked(storage)
    assert [one.subscription_id for one in await to_the_end(storage, replay)] == [1001]
    assert await states_of(storage, event_id) == dict.fromkeys((1001, 1002, 1003), SUCCEEDED)
    assert len(await log_of(storage, 1002)) == len(await log_of(storage, 1003)) == 1


async def test_what_is_open_is_left_alone_even_when_it_ends_meanwhile(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]}, max_in_flight=100)
    (first,) = await ended(storage, None)
    waiting, flying = await published(storage), await published(storage)
    retried = await claim(storage, 1)
    await settle(storage, retried.deliveries[0], Retry(60_000))
    in_flight = await claim_one(storage)
    assert (retried.deliveries[0].event_id, in_flight.event_id) == (waiting, flying)
    clock.now += 1_000
    replay = await asked(storage)
    assert replay.total == 1
    clock.now += 1_000
    await settle(storage, in_flight)
    assert [one.event_id for one in await to_the_end(storage, replay)] == [first]
    (view,) = (await event_of(storage, waiting)).deliveries
    assert (view.state, view.failures) == (PENDING, 1)


async def test_what_is_published_meanwhile_is_not_part_of_it(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await ended(storage, None, None)
    clock.now += 1_000
    replay = await asked(storage)
    clock.now += 1_000
    later = await published(storage)
    sent = await to_the_end(storage, replay)
    assert len(sent) == 3
    assert [one.attempt for one in sent if one.event_id == later] == [1]


async def test_a_replay_of_nothing_is_done_at_once(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    replay = await asked(storage)
    assert (replay.state, replay.total, replay.done) == (DONE, 0, 0)
    assert not (await storage.step_replays(replays.FIRST)).is_running


# --- what was missed -------------------------------------------------------------------------------------------------


async def test_a_subscription_made_later_gets_what_it_missed(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    ids = [await published(storage, data=b'{"n":%d}' % number) for number in range(3)]
    await send_all(storage)
    clock.now += 1_000
    await create(storage, a_subscription(1002, payload_version=PayloadVersion.V2))
    for status in (SUCCEEDED, DEAD):
        assert (await asked(storage, 1002, status=status)).total == 0, "only a replay of everything makes deliveries"
    replay = await asked(storage, 1002, source="https://hookline.example.com")
    assert replay.total == 3
    sent = await to_the_end(storage, replay)
    assert [(one.event_id, one.data, one.attempt) for one in sent] == [
        (event_id, b'{"n":%d}' % number, 1) for number, event_id in enumerate(ids)
    ]
    assert {(one.type_name, one.source, one.payload_version) for one in sent} == {
        ("org.tsanet.connect.collaboration-request.note.created", "https://hookline.example.com", PayloadVersion.V2)
    }
    assert await states_of(storage, ids[0]) == dict.fromkeys((1001, 1002), SUCCEEDED)
    assert (await now(storage, replay)).done == 3
    clock.now += 1_000
    again = await asked(storage, 1002)
    assert {one.attempt for one in await to_the_end(storage, again)} == {2}, "an event keeps one delivery"


async def test_what_it_would_not_get_now_is_not_made(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001], 102: []})
    await published(storage, event_type="collaboration-request.created")
    note = await published(storage)
    await published(storage, {102: []})
    await published(storage, event_type="webhook.ping")
    await send_all(storage)
    clock.now += 1_000
    await create(storage, a_subscription(1002, event_types=(NOTE, "webhook.ping")))
    replay = await asked(storage, 1002)
    assert [one.event_id for one in await to_the_end(storage, replay)] == [note]


async def test_filters_decide_about_what_was_missed(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    inbound, outbound = Entry(case_direction="INBOUND"), Entry(case_direction="OUTBOUND")
    ids = [
        await published(storage, data=data, entries=(entry,))
        for entry in (inbound, outbound)
        for data in (b'{"n":1.0}', b'{"n":2}')
    ]
    await send_all(storage)
    clock.now += 1_000
    policies = Policies(filter='{"n":{"lt":2}}', case_directions=("INBOUND",))
    await create(storage, a_subscription(1002, payload_version=PayloadVersion.V2, policies=policies))
    replay = await asked(storage, 1002)
    assert replay.total == 1
    assert [one.event_id for one in await to_the_end(storage, replay)] == ids[:1]


async def test_a_type_that_its_shape_never_gets_is_not_made(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: []})
    assert await storage.put_event_type(EventType(name="order.paid", v1_name=None, v2_name="order.paid"))
    await published(storage, {101: []}, event_type="order.paid")
    clock.now += 1_000
    await create(storage, a_subscription(1002))
    assert (await asked(storage, 1002)).total == 0


# --- the pace --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("slots", "share"), [(2, 1), (10, 2), (100, 20)])
async def test_it_holds_a_fifth_of_the_slots_and_at_least_one(
    storage: Storage, clock: HandClock, slots: int, share: int
) -> None:
    await populate(storage, {101: [1001]}, max_in_flight=slots)
    while True:  # answers while all slots are taken let the lane grow
        for _ in range(2 * slots):
            await published(storage)
        claimed = (await claim(storage, 1_000)).deliveries
        await storage.settle([a_settlement(one) for one in claimed])
        await send_all(storage)
        if len(claimed) == slots:
            break
    clock.now += 1_000
    replay = await asked(storage)
    total = replay.total
    for number in range(3):
        await stepped(storage)
        assert not await stepped(storage), "nothing more before an attempt has ended"
        claimed = (await claim(storage, 1_000)).deliveries
        assert len(claimed) == share
        assert not await stepped(storage), "in flight is not ended"
        await storage.settle([a_settlement(one) for one in claimed])
        assert (await now(storage, replay)).done == number * share
    await stepped(storage)
    assert ((await now(storage, replay)).done, (await now(storage, replay)).total) == (3 * share, total)


async def test_two_replays_share_one_share(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await ended(storage, None, GIVEN_UP, None)
    clock.now += 1_000
    both = [await asked(storage), await asked(storage)]
    assert [replay.total for replay in both] == [3, 3]
    sent: list[Claimed] = []
    while any([(await now(storage, replay)).state is RUNNING for replay in both]):
        clock.now += 1
        await stepped(storage)
        claimed = (await claim(storage)).deliveries
        assert len(claimed) <= 1
        await storage.settle([a_settlement(one) for one in claimed])
        sent += claimed
    assert len(sent) == 3, "what one has sent again has ended too late for the other"


async def test_a_failed_first_attempt_makes_room_and_is_retried_by_schedule(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    ids = await ended(storage, None, None)
    clock.now += 1_000
    replay = await asked(storage)
    await stepped(storage)
    first = await attempt(storage, wait_ms=10_000)
    await stepped(storage)
    second = await attempt(storage)
    await stepped(storage)
    assert [first.event_id, second.event_id] == ids
    assert ((await now(storage, replay)).state, (await now(storage, replay)).done) == (DONE, 2)
    assert await send_all(storage) == []
    clock.now += 10_000
    (again,) = await send_all(storage)
    assert (again.event_id, again.attempt, again.failures) == (ids[0], 3, 1)


async def test_it_waits_while_the_subscription_is_inactive_and_then_goes_on(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    ids = await ended(storage, None, None, None)
    clock.now += 1_000
    replay = await asked(storage)
    await stepped(storage)
    await attempt(storage)
    await deactivate(storage, 1001)
    assert await stepped(storage), "the attempt is counted"
    for _ in range(3):
        assert not await stepped(storage)
    assert [(await states_of(storage, event_id))[1001] for event_id in ids] == [SUCCEEDED] * 3
    assert ((await now(storage, replay)).state, (await now(storage, replay)).done) == (RUNNING, 1)
    await reactivate(storage, 1001)
    assert [one.event_id for one in await to_the_end(storage, replay)] == ids[1:]


async def test_it_ends_with_its_subscription(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await ended(storage, None, None, None)
    clock.now += 1_000
    replay = await asked(storage)
    await stepped(storage)
    assert await storage.delete_subscription(1001)
    await stepped(storage)
    assert (await now(storage, replay)).state is CANCELLED
    assert not (await storage.step_replays(replays.FIRST)).is_running
    assert (await claim(storage)).deliveries == ()


async def test_with_its_subscription_goes_what_it_had_open(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await ended(storage, GIVEN_UP, GIVEN_UP)
    clock.now += 1_000
    await asked(storage)
    await stepped(storage)
    assert await _noted(storage) == 1
    assert await storage.delete_subscription(1001)
    await stepped(storage)
    assert await storage.close_deleted(10) == 1
    await stepped(storage)
    assert await _noted(storage) == 0


async def _noted(storage: Storage) -> int:
    """How much is noted as open for replays: no verb tells."""
    sql = "SELECT count(*) FROM replayed"
    if isinstance(storage, SqliteStorage):
        return int(apsw.Connection(storage._path).execute(sql).get)
    assert isinstance(storage, PostgresStorage)
    connection = await asyncpg.connect(storage._dsn)
    try:
        await connection.execute("SELECT set_config('hookline.all', 'on', false)")
        return int(await connection.fetchval(sql))
    finally:
        await connection.close()


async def test_too_many_at_once_are_refused(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await ended(storage, None)
    clock.now += 1_000
    for _ in range(replays.RUNNING_MAX):
        await asked(storage)
    assert await storage.create_replay(wanted()) is None
    assert await storage.create_replay(wanted(None)), "an operator's own is not refused for a member's"


# --- cancelling ------------------------------------------------------------------------------------------------------


async def test_cancelling_restores_what_has_not_started(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]}, max_in_flight=1)
    (event_id,) = await ended(storage, GIVEN_UP)
    before = (await event_of(storage, event_id)).deliveries
    clock.now += 1_000
    replay = await asked(storage)
    await stepped(storage)
    assert await states_of(storage, event_id) == {1001: PENDING}
    await storage.cancel_replay(replay.id)
    assert (await event_of(storage, event_id)).deliveries == before
    cancelled = await now(storage, replay)
    assert (cancelled.state, cancelled.total, cancelled.done) == (CANCELLED, 1, 0)
    assert (await claim(storage)).deliveries == ()
    await storage.cancel_replay(replay.id)
    assert await now(storage, replay) == cancelled
    assert not await stepped(storage)


async def test_cancelling_unmakes_what_it_made(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    event_id = await published(storage)
    await attempt(storage)
    clock.now += 1_000
    await create(storage, a_subscription(1002))
    replay = await asked(storage, 1002)
    await stepped(storage)
    assert await states_of(storage, event_id) == {1001: SUCCEEDED, 1002: PENDING}
    await storage.cancel_replay(replay.id)
    assert await states_of(storage, event_id) == {1001: SUCCEEDED}
    assert (await claim(storage)).deliveries == ()


async def test_cancelling_leaves_alone_what_has_started(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await ended(storage, None, None, None)
    clock.now += 1_000
    replay = await asked(storage)
    await stepped(storage)
    retried = await attempt(storage, wait_ms=10_000)
    await stepped(storage)
    in_flight = await claim_one(storage)
    await storage.cancel_replay(replay.id)
    assert ((await now(storage, replay)).state, (await now(storage, replay)).done) == (CANCELLED, 2)
    assert (await delivery_of(storage, retried)).state is PENDING
    assert await settle(storage, in_flight)
    clock.now += 10_000
    assert [one.id for one in await send_all(storage)] == [retried.id]


async def test_what_was_handed_back_unsent_is_restored_too(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    (event_id,) = await ended(storage, None)
    clock.now += 1_000
    replay = await asked(storage)
    await stepped(storage)
    await storage.release([fence_of(await claim_one(storage))])
    await storage.cancel_replay(replay.id)
    assert await states_of(storage, event_id) == {1001: SUCCEEDED}
    assert ((await now(storage, replay)).state, (await now(storage, replay)).done) == (CANCELLED, 0)


async def test_what_another_puts_back_is_sent_and_raises_the_total(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    for _ in range(3):
        await ended(storage, GIVEN_UP)
        clock.now += 1_000
    first = await asked(storage, status=DEAD, from_at=clock.now - 2_000, to_at=clock.now - 1_000)
    await stepped(storage)
    second = await asked(storage, status=DEAD)
    assert (first.total, second.total) == (1, 2)
    assert await storage.cancel_replay(first.id)
    assert len(await to_the_end(storage, second)) == 3
    found = await now(storage, second)
    assert (found.total, found.done) == (3, 3)


async def test_somebody_s_redelivery_survives_the_cancelling(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await ended(storage, None, None)
    clock.now += 1_000
    replay = await asked(storage)
    await stepped(storage)
    sent = await attempt(storage)
    assert await storage.redeliver(1001, sent.id)
    await storage.cancel_replay(replay.id)
    assert (await delivery_of(storage, sent)).state is PENDING
    assert [one.id for one in await send_all(storage)] == [sent.id]


async def test_a_replay_that_is_done_stays_done(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await ended(storage, None)
    clock.now += 1_000
    replay = await asked(storage)
    await to_the_end(storage, replay)
    await storage.cancel_replay(replay.id)
    assert (await now(storage, replay)).state is DONE
    await storage.cancel_replay(replay.id + 1)
    assert await storage.replay(replay.id + 1) is None


# --- over all subscriptions ------------------------------------------------------------------------------------------


async def test_an_operator_s_replay_goes_over_every_subscription(storage: Storage, clock: HandClock) -> None:
    companies = {company: [company * 10 + number for number in range(3)] for company in range(101, 108)}
    await populate(storage, companies)
    event_id = await published(storage, companies)
    healthy = await published(storage, companies)
    await send_all(storage)
    clock.now += 1_000
    dead = await published(storage, companies)
    while claimed := (await claim(storage)).deliveries:
        await storage.settle([a_settlement(one, GIVEN_UP) for one in claimed])
    clock.now += 1_000
    replay = await asked(storage, None, status=DEAD)
    assert (replay.subscription_id, replay.company_id, replay.total) == (None, 1, 21)
    assert replays.PARTS_MAX < 21, "one step does not reach all"
    sent = await to_the_end(storage, replay)
    assert sorted(one.subscription_id for one in sent) == sorted(chain.from_iterable(companies.values()))
    assert {one.event_id for one in sent} == {dead}
    assert ((await now(storage, replay)).state, (await now(storage, replay)).done) == (DONE, 21)
    one_company = await asked(storage, None, company_id=102, status=SUCCEEDED)
    assert (one_company.subscription_id, one_company.total) == (None, 9)
    sent = await to_the_end(storage, one_company)
    assert {(one.company_id, one.event_id) for one in sent} == {(102, each) for each in (event_id, healthy, dead)}


async def test_an_operator_s_replay_of_nothing_can_be_read(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    replay = await asked(storage, None, status=DEAD)
    assert (replay.state, replay.total) == (DONE, 0)
    assert await now(storage, replay) == replay


async def test_an_operator_s_replay_is_cancelled_whole(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001], 102: [1002]})
    event_id = await published(storage, {101: [1001], 102: [1002]})
    await send_all(storage)
    clock.now += 1_000
    replay = await asked(storage, None, status=SUCCEEDED)
    await stepped(storage)
    assert await states_of(storage, event_id) == {1001: PENDING, 1002: PENDING}
    await storage.cancel_replay(replay.id)
    assert await states_of(storage, event_id) == {1001: SUCCEEDED, 1002: SUCCEEDED}
    assert (await now(storage, replay)).state is CANCELLED


# --- trouble ---------------------------------------------------------------------------------------------------------


async def test_it_goes_on_after_the_process_was_replaced(open_storage: OpenStorage, clock: HandClock) -> None:
    storage = await open_storage()
    await populate(storage, {101: [1001]})
    ids = await ended(storage, None, GIVEN_UP, None, None)
    clock.now += 1_000
    replay = await asked(storage)
    sent = []
    while (await now(storage, replay)).state is RUNNING:
        await stepped(storage)
        await storage.close()
        storage = await open_storage()
        sent += await send_all(storage)
        await storage.close()
        storage = await open_storage()
    assert [one.event_id for one in sent] == ids


async def test_an_attempt_lost_with_its_process_is_made_again_and_makes_room(
    storage: Storage, clock: HandClock
) -> None:
    await populate(storage, {101: [1001]})
    ids = await ended(storage, None, None)
    clock.now += 1_000
    replay = await asked(storage)
    await stepped(storage)
    await claim_one(storage)
    clock.now += LEASE_MS
    sent = await to_the_end(storage, replay)
    assert [one.event_id for one in sent] == ids
    assert ((await now(storage, replay)).state, (await now(storage, replay)).done) == (DONE, 2)


async def test_steps_at_once_open_each_delivery_once(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001, 1002], 102: [1003]})
    for _ in range(5):
        await published(storage, {101: [1001, 1002], 102: [1003]})
    await send_all(storage)
    clock.now += 1_000
    replay = await asked(storage, None, status=SUCCEEDED)
    sent: list[Claimed] = []
    while (await now(storage, replay)).state is RUNNING:
        await asyncio.gather(*(storage.step_replays(replays.FIRST) for _ in range(4)))
        claimed = (await claim(storage)).deliveries
        assert len(claimed) <= 3
        await storage.settle([a_settlement(one) for one in claimed])
        sent += claimed
    assert len({one.id for one in sent}) == len(sent) == 15
    assert (await now(storage, replay)).done == 15


async def test_steps_at_once_make_each_missing_delivery_once(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: []})
    ids = [await published(storage, {101: []}) for _ in range(5)]
    clock.now += 1_000
    await create(storage, a_subscription(1002))
    both = [await asked(storage, 1002), await asked(storage, 1002)]
    sent: list[Claimed] = []
    while any([(await now(storage, replay)).state is RUNNING for replay in both]):
        clock.now += 1
        await asyncio.gather(*(storage.step_replays(replays.FIRST) for _ in range(4)))
        sent += await send_all(storage)
    assert [one.event_id for one in sent] == ids


async def test_a_change_of_types_counts_for_what_is_not_made_yet(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: []})
    for name in (NOTE, "collaboration-request.created", NOTE):
        await published(storage, {101: []}, event_type=name)
    clock.now += 1_000
    await create(storage, a_subscription(1002))
    replay = await asked(storage, 1002)
    assert replay.total == 3
    await stepped(storage)
    await send_all(storage)
    await change(storage, 1002, event_types=("collaboration-request.created",))
    sent = await to_the_end(storage, replay)
    assert [one.type_name for one in sent] == ["collaboration-request.created"]
    assert (await now(storage, replay)).state is DONE


async def test_publishing_meanwhile_is_matched_and_stored_as_ever(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await ended(storage, None, None)
    clock.now += 1_000
    replay = await asked(storage)
    await stepped(storage)
    publication = await a_publication(storage, *[await an_event(storage, {101: [1001]}) for _ in range(3)])
    result, _ = await asyncio.gather(storage.publish(publication), storage.step_replays(replays.FIRST))
    assert isinstance(result, Published)
    await to_the_end(storage, replay)
    assert (await send_all(storage)) == []
