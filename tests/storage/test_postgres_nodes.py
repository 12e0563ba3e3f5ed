"""Several nodes on one PostgreSQL: no row is claimed twice, no cap is exceeded, nobody waits for anybody's lane."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
from storage_samples import (
    LEASE_MS,
    HandClock,
    a_publication,
    a_settlement,
    an_event,
    change,
    claim,
    claim_one,
    deactivate,
    delivery_of,
    log_of,
    populate,
    publish,
    settle,
)

from hookline.lifecycle import Retry
from hookline.model import DeliveryState, Policies, Validation
from hookline.storage.claims import Claim
from hookline.storage.postgres import PostgresStorage
from hookline.storage.postgres.claiming import SKIPPED_AGAIN_MS
from hookline.storage.protocol import Storage

pytestmark = pytest.mark.anyio

OpenNode = Callable[[], Awaitable[PostgresStorage]]


@pytest.fixture
async def open_node(postgres_url: str, clock: HandClock) -> AsyncIterator[OpenNode]:
    async with AsyncExitStack() as stack:

        async def open_one() -> PostgresStorage:
            node = PostgresStorage(postgres_url, clock=clock)
            await node.open()
            stack.push_async_callback(node.close)
            return node

        yield open_one


@pytest.fixture
async def someone(postgres_url: str) -> AsyncIterator[Any]:
    """A session beside ours, to hold a lock and let it go."""
    connection = await asyncpg.connect(postgres_url)
    try:
        yield connection
    finally:
        await connection.close()


async def claim_everywhere(nodes: list[PostgresStorage], rows_max: int) -> list[Claim]:
    return list(await asyncio.gather(*(claim(node, rows_max) for node in nodes)))


async def publish_many(storage: Storage, subscription_ids: range, times: int) -> None:
    events = [await an_event(storage, {101: subscription_ids}) for _ in range(times)]
    await storage.publish(await a_publication(storage, *events))


async def test_nodes_that_claim_at_once_take_each_row_once(open_node: OpenNode) -> None:
    nodes = [await open_node() for _ in range(4)]
    await populate(nodes[0], {101: range(1001, 1041)})
    await publish_many(nodes[0], range(1001, 1041), 2)
    taken: Counter[int] = Counter()
    while sum(taken.values()) < 80:
        for made in await claim_everywhere(nodes, 9):
            taken.update(one.id for one in made.deliveries)
    assert len(taken) == 80
    assert set(taken.values()) == {1}


async def test_nodes_that_claim_at_once_exceed_no_subscriptions_slots(open_node: OpenNode) -> None:
    nodes = [await open_node() for _ in range(4)]
    await populate(nodes[0], {101: range(1001, 1006)})
    await publish_many(nodes[0], range(1001, 1006), 30)
    for _ in range(20):
        made = await claim_everywhere(nodes, 50)
        flying = [one for claimed in made for one in claimed.deliveries]
        assert max(Counter(one.subscription_id for one in flying).values(), default=0) <= 2
        # Every answer would add a slot; a timeout keeps them at two for the next round.
        timeouts = [a_settlement(one, Retry(600_000), answered=False) for one in flying]
        await asyncio.gather(*(node.settle(timeouts[number::4]) for number, node in enumerate(nodes)))


async def test_nodes_that_find_a_passed_lease_at_once_log_one_loss(open_node: OpenNode, clock: HandClock) -> None:
    nodes = [await open_node() for _ in range(4)]
    await populate(nodes[0], {101: range(1001, 1011)})
    await publish_many(nodes[0], range(1001, 1011), 1)
    assert len((await claim(nodes[0])).deliveries) == 10
    clock.now += LEASE_MS
    made = await claim_everywhere(nodes, 50)
    assert sum(claimed.lost for claimed in made) == 10
    for subscription_id in range(1001, 1011):
        assert len(await log_of(nodes[0], subscription_id)) == 1


async def test_a_lane_that_somebody_holds_is_passed_over_and_soon_looked_at_again(
    open_node: OpenNode, someone: Any
) -> None:
    node = await open_node()
    await populate(node, {101: [1001, 1002]})
    await publish(node, {101: [1001, 1002]})
    async with someone.transaction():
        await someone.execute("SELECT FROM lanes WHERE subscription_id = 1001 FOR NO KEY UPDATE")
        made = await claim(node)
        assert [one.subscription_id for one in made.deliveries] == [1002]
        assert made.next_due_ms == SKIPPED_AGAIN_MS
    assert (await claim_one(node)).subscription_id == 1001


async def test_a_publish_that_has_not_committed_hides_no_lane(open_node: OpenNode, someone: Any) -> None:
    """An insert of a publish holds a share of its lane's key: a claim must not take that for a claim."""
    node = await open_node()
    await populate(node, {101: [1001]})
    await publish(node)
    async with someone.transaction():
        await someone.execute("SELECT FROM lanes WHERE subscription_id = 1001 FOR KEY SHARE")
        assert len((await claim(node)).deliveries) == 1


async def test_a_hint_lost_to_an_uncommitted_publish_is_repaired(open_node: OpenNode, someone: Any) -> None:
    node = await open_node()
    await populate(node, {101: [1001]})
    await publish(node)
    await someone.execute("UPDATE lanes SET next_due = NULL")
    assert (await claim(node)).deliveries == ()
    await node.repair_lanes()
    assert len((await claim(node)).deliveries) == 1


async def test_a_repair_waits_for_nobody(open_node: OpenNode, someone: Any) -> None:
    node = await open_node()
    await populate(node, {101: [1001, 1002]})
    await publish(node, {101: [1001, 1002]})
    await someone.execute("UPDATE lanes SET next_due = NULL")
    async with someone.transaction():
        await someone.execute("SELECT FROM lanes WHERE subscription_id = 1001 FOR NO KEY UPDATE")
        await node.repair_lanes()
        assert (await claim_one(node)).subscription_id == 1002


async def test_a_deactivation_here_counts_for_a_claim_there(open_node: OpenNode) -> None:
    here, there = await open_node(), await open_node()
    await populate(here, {101: [1001]})
    await publish(here)
    await deactivate(here, 1001)
    assert (await claim(there)).deliveries == ()


async def test_a_claim_that_a_deactivation_waited_for_is_seen_by_it(open_node: OpenNode) -> None:
    """A deactivation that answers has every claim before it in sight, or an attempt could start behind its back."""
    nodes = [await open_node() for _ in range(2)]
    await populate(nodes[0], {101: [1001]})
    for _ in range(10):
        await publish(nodes[0])
        made, _ = await asyncio.gather(claim(nodes[0]), deactivate(nodes[1], 1001))
        for one in made.deliveries:
            assert await nodes[1].has_fresh_claims(1001, 3_000)
            assert await settle(nodes[0], one)
        assert (await claim(nodes[0])).deliveries == ()
        await change(nodes[1], 1001, lift_hold=True, active=True, inactive_reason=None, inactive_at=None)
        for one in (await claim(nodes[0])).deliveries:
            assert await settle(nodes[0], one)


async def test_settlements_that_cross_on_two_nodes_all_end(open_node: OpenNode) -> None:
    nodes = [await open_node() for _ in range(2)]
    await populate(nodes[0], {101: range(1001, 1031)})
    for _ in range(5):
        await publish_many(nodes[0], range(1001, 1031), 2)
        flying = list((await claim(nodes[0], 500)).deliveries)
        batches = [[a_settlement(one) for one in order] for order in (flying, flying[::-1])]
        answers = await asyncio.gather(*(node.settle(batch) for node, batch in zip(nodes, batches, strict=True)))
        there_reversed = list(answers[1])[::-1]
        assert [here + there for here, there in zip(answers[0], there_reversed, strict=True)] == [1] * len(flying)


async def test_everything_at_once_ends_with_every_delivery_delivered_once(open_node: OpenNode) -> None:
    nodes = [await open_node() for _ in range(3)]
    await populate(nodes[0], {101: range(1001, 1011), 102: range(2001, 2011)}, max_in_flight=3)
    is_published = asyncio.Event()
    delivered: Counter[int] = Counter()

    async def publisher() -> None:
        for _ in range(30):
            await publish(nodes[0], {101: range(1001, 1011), 102: range(2001, 2011)})
        is_published.set()

    async def worker(node: PostgresStorage) -> None:
        idle = 0
        while idle < 3:
            flying = (await claim(node, 40)).deliveries
            await node.settle([a_settlement(one) for one in flying])
            delivered.update(one.id for one in flying)
            idle = 0 if flying or not is_published.is_set() else idle + 1
            await node.repair_lanes()

    await asyncio.gather(publisher(), *map(worker, nodes))
    assert (len(delivered), set(delivered.values())) == (600, {1})
    assert (await nodes[0].backlog()).open == 0


async def test_a_stale_worker_on_another_node_changes_nothing(open_node: OpenNode, clock: HandClock) -> None:
    here, there = await open_node(), await open_node()
    await populate(here, {101: [1001]})
    await publish(here)
    stale = await claim_one(here)
    clock.now += LEASE_MS
    current = await claim_one(there)
    assert not await settle(here, stale)
    assert (await delivery_of(here, current)).state is DeliveryState.SENDING
    assert await settle(there, current)


# --- handshakes ------------------------------------------------------------------------------------------------------


async def test_nodes_that_look_at_once_ask_each_receiver_once(open_node: OpenNode) -> None:
    nodes = [await open_node() for _ in range(4)]
    asking = Policies(validation=Validation.CLOUDEVENTS)
    await populate(nodes[0], {101: range(1001, 1041)}, policies=asking)
    taken: Counter[int] = Counter()
    for _ in range(10):
        for found in await asyncio.gather(*(node.take_validations(10_000, 7) for node in nodes)):
            taken.update(subscription.id for subscription in found)
    assert taken == Counter(range(1001, 1041))


async def test_a_grant_that_waits_behind_a_change_of_the_url_opens_nothing(open_node: OpenNode, someone: Any) -> None:
    node, other = await open_node(), await open_node()
    await populate(node, {101: [1001]}, policies=Policies(validation=Validation.CLOUDEVENTS))
    stored = await node.subscription(1001)
    assert stored
    async with someone.transaction():
        await someone.execute("SELECT FROM lanes WHERE subscription_id = 1001 FOR UPDATE")
        changing = asyncio.create_task(change(node, 1001, callback_url="https://other.example.com/"))
        await _until_waiting(someone, 1)
        granting = asyncio.create_task(other.grant_validation(1001, stored.callback_url, allowed_per_second=None))
        await _until_waiting(someone, 2)
    await changing
    assert not await granting
    await publish_many(node, range(1001, 1002), 1)
    assert (await claim(node)).deliveries == ()


async def test_a_redelivery_that_waits_behind_an_erasure_opens_nothing(open_node: OpenNode, someone: Any) -> None:
    node = await open_node()
    await populate(node, {101: [1001]})
    await publish(node)
    claimed = await claim_one(node)
    assert await settle(node, claimed)
    async with someone.transaction():
        await someone.execute("UPDATE events SET data = NULL")
        redelivering = asyncio.create_task(node.redeliver(1001, claimed.id))
        await _until_waiting(someone, 1)
    found = await redelivering
    assert found
    assert found.is_erased
    assert (await delivery_of(node, claimed)).state is DeliveryState.SUCCEEDED


async def _until_waiting(someone: Any, count: int) -> None:
    """Wait until so many sessions wait for a lock. Not by pg_stat_activity, which a transaction sees only once."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    async with asyncio.timeout(10):
        while await someone.fetchval(waiting) < count:
            pass


async def test_a_passed_lease_that_somebody_judges_is_soon_looked_at_again_and_not_at_once(
    open_node: OpenNode, someone: Any, clock: HandClock
) -> None:
    node = await open_node()
    await populate(node, {101: [1001]})
    await publish(node)
    await claim_one(node)
    clock.now += LEASE_MS
    async with someone.transaction():
        await someone.execute("SELECT FROM deliveries FOR NO KEY UPDATE")
        assert (await claim(node)).next_due_ms == SKIPPED_AGAIN_MS
    assert (await claim(node)).lost == 1
