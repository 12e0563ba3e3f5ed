"""Nodes say that they live, by the database's clock, and are forgotten when they are long gone."""

import pytest
from msgspec.structs import replace
from storage_samples import DAY_MS, NOON_MS, HandClock

from hookline.storage.protocol import Storage
from hookline.storage.views import NodeBeat

pytestmark = pytest.mark.anyio


def a_beat(node_id: str = "a", **changes: object) -> NodeBeat:
    plain = NodeBeat(
        id=node_id,
        name=f"node-{node_id}",
        version="1.2.3",
        roles=("api", "engine"),
        started_at=NOON_MS,
        wall_ms=NOON_MS,
        in_flight=3,
        max_in_flight=1_000,
        attempts_per_second=6.1,
        since_claim_ms=200,
    )
    return replace(plain, **changes)


async def test_a_node_is_known_from_its_first_beat_and_by_its_last(storage: Storage, clock: HandClock) -> None:
    await storage.beat(a_beat())
    clock.now += 5_000
    await storage.beat(a_beat(in_flight=7, since_claim_ms=None, wall_ms=clock.now + 40))
    (node,) = await storage.nodes(10)
    assert (node.name, node.version, node.roles) == ("node-a", "1.2.3", ("api", "engine"))
    assert (node.started_at, node.seen_at, node.skew_ms) == (NOON_MS, NOON_MS + 5_000, 40)
    assert (node.in_flight, node.max_in_flight, node.attempts_per_second, node.since_claim_ms) == (7, 1_000, 6.1, None)


async def test_a_node_that_ends_is_forgotten_at_once(storage: Storage) -> None:
    await storage.beat(a_beat("a"))
    await storage.beat(a_beat("b"))
    await storage.forget_node("a")
    await storage.forget_node("a")
    assert [node.id for node in await storage.nodes(10)] == ["b"]
    assert len(await storage.nodes(1)) == 1


async def test_a_silent_node_is_seen_for_a_day(storage: Storage, clock: HandClock) -> None:
    await storage.beat(a_beat("a"))
    clock.now += DAY_MS
    await storage.beat(a_beat("b"))
    assert [node.id for node in await storage.nodes(10)] == ["a", "b"]
    clock.now += 1
    await storage.beat(a_beat("b"))
    assert [node.id for node in await storage.nodes(10)] == ["b"]
