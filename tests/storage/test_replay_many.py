"""A hundred thousand deliveries are replayed in bounded steps: none is looked at twice, none is sent twice."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest
from storage_samples import DAY_MS, NOON_MS, HandClock, attempt, populate, published

from hookline import replays
from hookline.model import DeliveryState, ReplayState
from hookline.storage.claims import NewReplay
from hookline.storage.sqlite import SqliteStorage

pytestmark = pytest.mark.anyio

MANY = 100_000
SLOTS = 2_500
"""Of a lane wider than any, so that the disk is waited for some hundreds of times and not some thousands."""
SHARE = SLOTS // replays.LANE_SHARE
STATEMENTS_MAX = 20
"""Of one step that serves one subscription."""

_EVENTS = """
WITH RECURSIVE numbers (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM numbers WHERE value < ?)
INSERT INTO events (key, id, event_type, data, occurred_at, accepted_at, catalogue_revision, deliveries)
SELECT e.key + value, 'evt_' || value, event_type, data, occurred_at, accepted_at, catalogue_revision, 1
FROM numbers, (SELECT * FROM events LIMIT 1) AS e"""
_RECIPIENTS = """
INSERT INTO recipients (company_id, event_key, company_revision)
SELECT 101, key, 1 FROM events WHERE key NOT IN (SELECT event_key FROM recipients)"""
_DELIVERIES = """
INSERT INTO deliveries (id, event_key, subscription_id, company_id, state, attempt, payload_version, type_name,
  settled_at)
SELECT key, key, 1001, 101, CASE key % 2 WHEN 1 THEN 'dead' ELSE 'succeeded' END, 1, 'V1', event_type, accepted_at
FROM events WHERE key NOT IN (SELECT event_key FROM deliveries)"""
_SEND = """
UPDATE deliveries SET state = 'succeeded', due_at = NULL, attempt = attempt + 1, settled_at = ? WHERE state = 'pending'
RETURNING id"""


@contextmanager
def counted(statements: list[str]) -> Iterator[None]:
    """Note what every connection that is made runs."""

    def note(connection: apsw.Connection) -> None:
        connection.trace_v2(apsw.SQLITE_TRACE_STMT, lambda event: statements.append(event["sql"]))

    apsw.connection_hooks.append(note)
    try:
        yield
    finally:
        apsw.connection_hooks.remove(note)


@pytest.fixture
async def path(tmp_path: Path, clock: HandClock) -> str:
    """A database with so many ended deliveries of one subscription, half of them dead."""
    path = str(tmp_path / "many.db")
    storage = SqliteStorage(path, clock=clock)
    await storage.open()
    await populate(storage, {101: [1001]})
    await published(storage)
    await attempt(storage)
    await storage.close()
    connection = apsw.Connection(path)
    with connection:
        connection.execute("UPDATE lanes SET slots = ?", (SLOTS,))
        connection.execute(_EVENTS, (MANY - 1,))
        connection.execute(_RECIPIENTS)
        connection.execute(_DELIVERIES)
    connection.close()
    return path


@pytest.mark.parametrize("status", [DeliveryState.DEAD, None])
async def test_a_hundred_thousand_go_in_bounded_steps(
    path: str, clock: HandClock, status: DeliveryState | None
) -> None:
    clock.now += 60_000
    statements: list[str] = []
    with counted(statements):
        storage = SqliteStorage(path, clock=clock)
        await storage.open()
    receiver = apsw.Connection(path)  # stands for engine and receivers: all that is open succeeds at once
    receiver.execute("PRAGMA synchronous = OFF")
    receiver.set_busy_timeout(10_000)
    replay = await storage.create_replay(
        NewReplay(
            subscription_id=1001, company_id=None, status=status, from_at=NOON_MS - DAY_MS, to_at=NOON_MS + DAY_MS
        )
    )
    assert replay
    assert replay.total == (MANY if status is None else MANY // 2)
    statements.clear()
    sent: list[int] = []
    steps, place = 0, replays.FIRST
    while (step := await storage.step_replays(place)).is_running:
        place, steps = step.place, steps + 1
        sent += [row[0] for row in receiver.execute(_SEND, (clock.wall_ms(),))]
    found = await storage.replay(replay.id)
    assert found
    assert (found.state, found.done) == (ReplayState.DONE, replay.total)
    assert len(sent) == len(set(sent)) == replay.total
    assert steps <= replay.total / SHARE + MANY / replays.EVENTS_LOOKED_AT + 2
    assert len(statements) <= STATEMENTS_MAX * steps
    receiver.close()
    await storage.close()
