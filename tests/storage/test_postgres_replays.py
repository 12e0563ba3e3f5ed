"""Nodes that let replays go on at once: a part that one serves is left alone by the others."""

import asyncpg
import pytest
from storage_samples import HandClock, attempt, populate, published

from hookline.replays import FIRST
from hookline.storage.claims import NewReplay
from hookline.storage.postgres import PostgresStorage

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("held", ["replays", "subscriptions"])
async def test_what_another_node_serves_is_left_to_it(postgres_url: str, clock: HandClock, held: str) -> None:
    storage = PostgresStorage(postgres_url, clock=clock)
    await storage.open()
    node = await asyncpg.connect(postgres_url)
    try:
        await populate(storage, {101: [1001]})
        await published(storage)
        await attempt(storage)
        clock.now += 1_000
        replay = NewReplay(
            subscription_id=1001, company_id=None, from_at=clock.now - 60_000, to_at=clock.now, status=None
        )
        assert await storage.create_replay(replay)
        async with node.transaction():
            await node.execute("SELECT set_config('hookline.all', 'on', true)")
            await node.execute(f"SELECT FROM {held} FOR NO KEY UPDATE")
            step = await storage.step_replays(FIRST)
            assert (step.has_moved, step.is_running) == (False, True)
        assert (await storage.step_replays(FIRST)).has_moved
    finally:
        await node.close()
        await storage.close()
