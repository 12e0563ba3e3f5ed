"""A crowd at one host, half of whom never answer: how long the others wait for their first attempt."""

from random import Random
from typing import Any, Final

from simulation.health import Circuit
from simulation.schedule import Schedule, Step

SECONDS: Final = 4.0
PATIENCE_MS: Final = 250
"""The longest that one who answers may wait, where those who hang do so for 3 s."""
_CLOSED: Final = Circuit(is_on=False, failures_to_open=99, span_ms=0, probe_ms=4_000, deactivate_after_ms=None)


def crowd(seed: int) -> Schedule:
    """Draw a crowd: every company has a receiver that answers at once and one that hangs to its deadline."""
    random = Random(seed)
    companies = random.choice((5, 10))
    subscriptions = [
        _subscription(company, character) for company in range(companies) for character in ("prompt", "mute")
    ]
    random.shuffle(subscriptions)
    between = random.choice((0.1, 0.3))
    return Schedule(
        seed=seed,
        nodes=random.choice((1, 2)),
        skews_ms=(0, 0),
        capacity=random.choice((100, 200)),
        host_capacity=companies * random.choice((2, 3, 5)),
        circuit=_CLOSED,
        companies=companies,
        subscriptions=tuple(subscriptions),
        steps=tuple(_publish(random, turn * between, companies) for turn in range(int(SECONDS / between))),
        days_later=(),
        hints_share=1.0,
        patience_ms=PATIENCE_MS,
    )


def _subscription(company: int, character: str) -> dict[str, Any]:
    return {
        "company": company,
        "version": "V1",
        "types": None,
        "character": character,
        "kills": 0,
        "delays": (1, 2),
        "timeout": 3,
        "max_in_flight": 10,
        "host": "a",
        "active": True,
        "manner": "us",
        "policies": {},
    }


def _publish(random: Random, at: float, companies: int) -> Step:
    event = {"type": "note.created", "companies": list(range(companies)), "entries": None, "id": None}
    said = {"events": [event | {"data": 0, "is_dated": False}], "key": None, "has_twin": False, "again": 0}
    return Step(at + 0.05 * random.random(), "publish", said | {"node": random.randrange(2)})
