"""Two verbs at once on PostgreSQL: whatever the order of their statements, the accounts balance."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from itertools import combinations_with_replacement, count
from typing import Any

import asyncpg
import pytest
from interleaving import Rival, gate, orders, play
from msgspec.structs import replace
from rivals import VERBS, Act, World, claims, claims_one, drains, erases, pauses, publishes, settles_late
from storage_samples import HandClock

from hookline import circuit
from hookline.storage.claims import Settlement
from hookline.storage.postgres import PostgresStorage, claiming, lanes, settling
from hookline.storage.postgres.claiming import ClaimRequest
from hookline.storage.postgres.database import Transaction
from hookline.storage.postgres.schema import migrate
from postgres_server import Server

pytestmark = pytest.mark.anyio

ORDERS = int(os.environ.get("HOOKLINE_ORDERS", "2"))
"""Of each pair; `make interleave ORDERS=…` runs more."""

STEPS_MAX = 1_000

PAIRS = list(combinations_with_replacement(VERBS, 2))

Race = Callable[..., Awaitable[tuple[int, int]]]


@pytest.fixture
async def race(postgres_server: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Race]:
    """Runs two verbs in one order; gives how many steps each took."""
    gate(monkeypatch)
    monkeypatch.setattr(claiming, "LEASES_EACH_MS", 0)  # each race is a node's first claim for a while
    async with AsyncExitStack() as stack:
        url = await postgres_server.prepared(migrate)
        clock = HandClock()
        nodes = [PostgresStorage(url, clock=clock) for _ in range(3)]
        for node in nodes:
            await node.open()
            stack.push_async_callback(node.close)
        observer = await asyncpg.connect(postgres_server.as_administrator(url))
        stack.push_async_callback(observer.close)

        numbers = count(1)

        async def run(first: Act, second: Act, order: Sequence[bool], **world_is: Any) -> tuple[int, int]:
            world = World(nodes[2], observer, clock, next(numbers), **world_is)
            await world.begin()
            here, there = Rival("here"), Rival("there")
            here.begin(lambda: first(world, nodes[0]))
            there.begin(lambda: second(world, nodes[1]))
            await play(here, there, order, observer, world.look)
            await world.balance()
            return len(here.steps), len(there.steps)

        yield run


async def race_all(race: Race, first: Act, second: Act, sample: int, **world_is: Any) -> int:
    """Run a pair in many orders; a failure tells the order. Returns how many."""
    # Whoever comes second may find nothing left to do: each is measured where it comes first.
    here, _ = await race(first, second, [], **world_is)
    _, there = await race(first, second, [False] * STEPS_MAX, **world_is)
    count = 0
    for order in orders(here, there, sample, f"{first.__name__} {second.__name__}"):
        try:
            await race(first, second, order, **world_is)
        except BaseException as error:
            error.add_note("order: " + "".join("ht"[not is_here] for is_here in order))
            raise
        count += 1
    return count


@pytest.mark.parametrize(("first", "second"), PAIRS)
async def test_in_any_order_of_their_statements_the_accounts_balance(race: Race, first: str, second: str) -> None:
    assert await race_all(race, VERBS[first], VERBS[second], ORDERS) > 1


# --- planted, to see that it would be noticed ------------------------------------------------------------------------

Plant = Callable[[pytest.MonkeyPatch], None]


def without(module: Any, name: str, text: str) -> Plant:
    """A statement that has lost a piece."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        statement = getattr(module, name)
        assert text in statement
        monkeypatch.setattr(module, name, statement.replace(text, ""))

    return plant


def counted_before_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim counts what is in flight before it holds the lanes."""
    due_lanes, in_flight = claiming._due_lanes, lanes.in_flight
    # Undone with the test: where two claims take their patches off in turn, the second leaves the first one's.
    monkeypatch.setattr(lanes, "in_flight", in_flight)

    async def count_first(transaction: Transaction, request: ClaimRequest) -> Any:
        everyone = [row[0] for row in await transaction.connection.fetch("SELECT subscription_id FROM lanes")]
        early = await in_flight(transaction, everyone)

        async def counted(_transaction: Transaction, _subscription_ids: Any) -> Any:
            return early

        with monkeypatch.context() as patch:
            patch.setattr(lanes, "in_flight", counted)
            return await due_lanes(transaction, request)

    monkeypatch.setattr(claiming, "_due_lanes", count_first)


def settled_by_id_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A settlement is for whatever attempt is under way."""
    settle = settling.settle

    async def settle_any(
        transaction: Transaction, settlements: Sequence[Settlement], rules: circuit.Rules
    ) -> Sequence[bool]:
        ids = [settlement.fence.delivery_id for settlement in settlements]
        rows = await transaction.connection.fetch("SELECT id, attempt FROM deliveries WHERE id = any($1)", ids)
        current = dict(map(tuple, rows))
        return await settle(
            transaction,
            [
                replace(one, fence=replace(one.fence, attempt=current.get(one.fence.delivery_id, one.fence.attempt)))
                for one in settlements
            ],
            rules,
        )

    monkeypatch.setattr(settling, "settle", settle_any)


def nothing_repaired(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hint that a publish could not leave stays lost."""

    async def repair(_transaction: Transaction) -> None:
        pass

    monkeypatch.setattr(lanes, "repair", repair)


def erased_with_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """An erasure waits for lanes, with deliveries in hand that a claim wants."""
    monkeypatch.setattr(lanes, "lock_free", lanes.lock)


UNLOCKED = without(claiming, "_LOCK_DUE", "FOR NO KEY UPDATE SKIP LOCKED")


PLANTED: Sequence[tuple[Plant, tuple[Act, Act], dict[str, Any]]] = [
    (counted_before_the_lock, (claims, claims_one), {"is_idle": True}),
    (UNLOCKED, (claims, claims), {"is_idle": True}),
    (UNLOCKED, (claims, pauses), {"is_idle": True}),
    (settled_by_id_alone, (claims, settles_late), {"events": 2}),
    (erased_with_lanes, (claims, erases), {"is_idle": True}),
    (nothing_repaired, (publishes, drains), {"is_idle": True, "events": 2}),
]


@pytest.mark.parametrize(("plant", "verbs", "world_is"), PLANTED)
async def test_what_is_planted_is_found(
    race: Race, monkeypatch: pytest.MonkeyPatch, plant: Plant, verbs: tuple[Act, Act], world_is: dict[str, Any]
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        await race_all(race, *verbs, 60, **world_is)


@pytest.mark.parametrize(("verbs", "world_is"), [(verbs, world_is) for _, verbs, world_is in PLANTED])
async def test_where_nothing_is_planted_nothing_is_found(
    race: Race, verbs: tuple[Act, Act], world_is: dict[str, Any]
) -> None:
    assert await race_all(race, *verbs, 2 * ORDERS, **world_is) > 1
