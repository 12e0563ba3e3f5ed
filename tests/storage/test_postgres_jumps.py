"""A database whose clock jumps starts nothing for one lease: what is in flight is not taken for lost."""

import logging
from collections.abc import AsyncIterator

import pytest
from storage_samples import LEASE_MS, HandClock, claim, claim_one, populate, publish, settle

from hookline.storage.postgres import PostgresStorage
from hookline.storage.postgres.jumps import JUMP_MS_MIN, Jumps

pytestmark = pytest.mark.anyio


class Seconds:
    """A process's own time, set by hand."""

    def __init__(self) -> None:
        self.value = 1_000.0

    def __call__(self) -> float:
        return self.value


@pytest.fixture
def own() -> Seconds:
    return Seconds()


@pytest.fixture
async def storage(postgres_url: str, clock: HandClock, own: Seconds) -> AsyncIterator[PostgresStorage]:
    """Its database's clock is `clock`, and its process's time `own`."""
    storage = PostgresStorage(postgres_url, clock=clock, monotonic_seconds=own)
    await storage.open()
    await populate(storage, {101: [1001]})
    yield storage
    await storage.close()


@pytest.mark.parametrize("jump_ms", [LEASE_MS + 1, -3_600_000])
async def test_after_a_jump_nothing_is_claimed_for_a_lease_and_nothing_is_lost(
    storage: PostgresStorage, clock: HandClock, own: Seconds, jump_ms: int, caplog: pytest.LogCaptureFixture
) -> None:
    await publish(storage)
    flying = await claim_one(storage)
    clock.now += jump_ms
    await publish(storage)
    with caplog.at_level(logging.ERROR):
        quiet = await claim(storage)
    assert (quiet.deliveries, quiet.lost, quiet.next_due_ms) == ((), 0, LEASE_MS)
    assert "clock jumped" in caplog.text
    assert await settle(storage, flying), "what was in flight ends as ever"
    clock.now += LEASE_MS - 1
    own.value += (LEASE_MS - 1) / 1000
    assert (await claim(storage)).next_due_ms == 1
    clock.now += 1
    own.value += 0.001
    await claim_one(storage)


async def test_time_that_passes_for_both_is_no_jump(storage: PostgresStorage, clock: HandClock, own: Seconds) -> None:
    await claim(storage)
    clock.now += 3_600_000
    own.value += 3_600
    await publish(storage)
    await claim_one(storage)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_clock_that_drifts_is_followed(own: Seconds, sign: int) -> None:
    jumps, now = Jumps(own), 10**12
    for _ in range(10):
        assert jumps.note(now, own.value, 1_000) == 0
        now += sign * JUMP_MS_MIN
    assert jumps.note(now + sign, own.value, 1_000) == 1_000


def test_an_answer_that_is_slow_is_no_jump(own: Seconds) -> None:
    jumps, now = Jumps(own), 10**12
    assert jumps.note(now, own.value, 1_000) == 0
    asked_at = own.value
    own.value += 20
    assert jumps.note(now, asked_at, 1_000) == 0, "read at once, and answered late"
    asked_at = own.value
    own.value += 20
    assert jumps.note(now + 40_000, asked_at, 1_000) == 0, "asked early, and read late"
    assert jumps.note(now + 40_000, own.value, 1_000) == 0
    assert jumps.note(now + 40_000 + JUMP_MS_MIN + 1, own.value, 1_000) == 1_000
