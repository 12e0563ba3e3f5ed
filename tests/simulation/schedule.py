"""What happens in one run, drawn from its seed: who is there, what people do, and what breaks, each at its moment."""

from random import Random
from typing import Any, Final

from msgspec import Struct, structs

from hookline.model import DeliveryState
from simulation.handshakes import MANNERS
from simulation.health import Circuit
from simulation.network import CHARACTERS
from simulation.wanting import DATA, FILTERS

HORIZON: Final = 7.0
"""Seconds in which everything happens; after them faults stop and time runs on."""
TYPES: Final = ("note.created", "note.created", "collaboration-request.created", "collaboration-request.closed")
_CHANGES: Final = (
    *("delete", "pause", "pause", "resume", "resume", "patch", "patch", "look", "redeliver", "redeliver"),
    *("rotate", "rotate", "replay", "replay"),
)
_FAULTS: Final = (
    *("crash", "crash", "stall", "stall", "deafen", "bad weather", "slow", "strangers", "restart", "jump"),
)
V1_NAMES: Final = ("note.created", "collaboration-request.created")


class Step(Struct, frozen=True):
    """Something to do at a moment."""

    at: float
    act: str
    said: dict[str, Any]


class Schedule(Struct, frozen=True):
    """One run."""

    seed: int
    nodes: int
    """1: a process with its own SQLite file; 2: two nodes that share a database which outlives them."""
    skews_ms: tuple[int, ...]
    capacity: int
    host_capacity: int
    circuit: Circuit
    companies: int
    subscriptions: tuple[dict[str, Any], ...]
    steps: tuple[Step, ...]
    days_later: tuple[int, ...]
    """When retention is looked at, each so many days after the one before."""
    hints_share: float = 0.7
    """Of publishes that wake the engine: a hint may be lost."""
    patience_ms: int | None = None
    """The longest that a delivery for a receiver that answers at once may wait; None: that is not looked at."""


def draw(seed: int) -> Schedule:
    """Draw the schedule of a seed."""
    random = Random(seed)
    nodes = random.choice((1, 1, 2))
    companies = random.randint(1, 3)
    subscriptions = tuple(_subscription(random, companies) for _ in range(random.randint(1, 4)))
    asks = random.random() < 0.08
    if asks:
        for said in subscriptions:
            said["policies"]["validation"] = "CLOUDEVENTS"
    steps = [
        *(_publish(random, companies) for _ in range(random.randint(2, 5))),
        *(_change(random, len(subscriptions)) for _ in range(random.choice((0, 1, 2, 4)))),
        *(_fault(random, nodes) for _ in range(random.choice((0, 0, 1, 1, 2)))),
    ]
    if asks:
        moves = [_change(random, len(subscriptions), "patch") for _ in range(4)]
        steps += [structs.replace(each, said=each.said | {"patch": {"url": random.randrange(2)}}) for each in moves]
    if random.random() < 0.12:
        for said in subscriptions:
            said["delays"] = random.choice(((), (1,)))
        steps += [_change(random, len(subscriptions), "replay") for _ in range(4)]
    if random.random() < 0.1:
        steps.append(Step(random.random() * 6, "type", {"name": f"order.{random.choice('ab')}"}))
    if random.random() < 0.3:
        steps.append(Step(random.random() * 6, "create", _subscription(random, companies)))
    return Schedule(
        seed=seed,
        nodes=nodes,
        skews_ms=tuple(random.choice((0, 0, 3_000, -3_000, 86_400_000)) for _ in range(nodes)),
        capacity=random.choice((100, 100, 20, 4)),
        host_capacity=random.choice((50, 50, 5, 2)),
        circuit=Circuit(
            is_on=random.random() < 0.5,
            failures_to_open=random.choice((2, 3, 4)),
            span_ms=random.choice((0, 500, 2_000)),
            probe_ms=random.choice((4_000, 7_000, 40_000_000)),
            deactivate_after_ms=random.choice((None, None, None, None, 1_000, 3_000, 60_000)),
        ),
        companies=companies,
        subscriptions=subscriptions,
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        days_later=random.choice((*[()] * 9, (29, 3), (15, 20), (40,))),
    )


def _subscription(random: Random, companies: int) -> dict[str, Any]:
    version = random.choice(("V1", "V1", "V2", "STANDARD", "RAW"))
    return {
        "company": random.randrange(companies),
        "version": version,
        "types": [random.choice(V1_NAMES)] if version == "V1" and random.random() < 0.3 else None,
        "character": random.choice((*CHARACTERS, "healthy", "healthy", "moody", "moody")),
        "kills": random.choice((1, 2, 3, 6)),
        "delays": random.choice(((1,), (1, 2), (1, 2), (), (2, 3, 5), None if random.random() < 0.2 else (1,))),
        "timeout": random.choice((1, 1, 2, 3)),
        "max_in_flight": random.choice((1, 2, 3, 10)),
        "host": random.choice(("a", "a", "b")),
        "active": random.random() < 0.9,
        "manner": random.choice(MANNERS),
        "policies": _policies(random, version),
    }


def _policies(random: Random, version: str) -> dict[str, Any]:
    """Draw what few subscriptions want."""
    said: dict[str, Any] = {}
    if random.random() < 0.2:
        said["filter"] = random.choice(tuple(FILTERS))
    if version == "V2" and random.random() < 0.4:
        said["case_directions"] = random.choice((["INBOUND"], ["OUTBOUND"], ["INBOUND", "OUTBOUND"]))
    if version == "V2" and random.random() < 0.3:
        said["partner_company_ids"] = random.choice(([7], [7, 8]))
    if random.random() < 0.2:
        said["ordered"] = True
    if random.random() < 0.15:
        said["rate_per_second"] = random.choice((1, 2, 5, 30))
    if random.random() < 0.15:
        said["validation"] = "CLOUDEVENTS"
    return said


def _publish(random: Random, companies: int) -> Step:
    count = random.choice((1, 1, 1, 1, 2, 3, 5))
    said = {
        "events": [
            {
                "type": random.choice(TYPES),
                "companies": random.sample(range(companies), random.randint(1, companies)),
                "entries": random.choice((None, None, _entries(random))),
                "id": random.choice((None, random.randrange(8))),
                "data": random.choice((0, 0, 0, *range(len(DATA)))),
                "is_dated": random.random() < 0.3,
            }
            for _ in range(count)
        ],
        "key": random.choice((None, None, random.randrange(5))),
        "node": random.randrange(2),
        "has_twin": random.random() < 0.2,
        "again": random.choice((0, 0, 1)),
    }
    return Step(random.random() * HORIZON * random.choice((0.3, 1.0)), "publish", said)


def _entries(random: Random) -> list[tuple[str | None, int | None]]:
    return [(random.choice((None, "INBOUND", "OUTBOUND")), random.choice((None, 7, 8))) for _ in range(2)]


def _change(random: Random, subscriptions: int, act: str | None = None) -> Step:
    act = act or random.choice(_CHANGES)
    patch = random.choice(
        (
            {"retry_delays_seconds": random.choice(([1], [2, 2], []))},
            {"max_in_flight": random.choice((1, 2, 5))},
            {"url": random.randrange(2)},
            {"url": random.randrange(2)},
            {"timeout_seconds": random.choice((1, 2))},
            {"filter": random.choice(tuple(FILTERS))},
            {"ordered": random.random() < 0.5},
            {"rate_per_second": random.choice((None, 1, 3))},
            {"validation": random.choice((None, "CLOUDEVENTS"))},
        )
    )
    said = {
        "subscription": random.randrange(subscriptions + 1),
        "node": random.randrange(2),
        "patch": patch,
        "status": random.choice((None, None, DeliveryState.DEAD, DeliveryState.DEAD, DeliveryState.SUCCEEDED)),
        "since_ms": random.choice((500, 86_400_000, 86_400_000)),
        "until_ms": random.choice((-1_000, 60_000, 60_000)),
        "is_whole": random.random() < 0.3,
        "cancel_after": random.choice((None, None, 0.0, 0.1, 1.0, 3.5)),
        "rotations": random.choice((1, 1, 2, 6)),
        "overlap": random.choice((None, 0, 1, 2, 4)),
        "hub": random.choice((None, "new", "old", "old")),
    }
    # What is replayed must have ended before.
    at = random.random() * HORIZON if act != "replay" else HORIZON * (0.3 + random.random())
    return Step(at, act, said)


def _fault(random: Random, nodes: int) -> Step:
    act = random.choice(_FAULTS)
    said = {
        "node": random.randrange(nodes),
        "seconds": random.choice((0.3, 1.0, 2.0, 4.0, 9.0)),
        "past_lease": random.choice((0.1, 0.5, 1.0, 2.0)),
        "down": random.choice((0.0, 0.1, 1.0, 9.0)),
        "slow": random.choice((0.3, 3.0, 6.0)),
        "ms": random.choice((-3_600_000, 3_600_000, 5_000, -5_000)),
    }
    return Step(random.random() * HORIZON, act, said)
