"""Somebody sets the wall clock: no retry comes early or hours late, and what is signed says the new time."""

import signal
from itertools import pairwise

import pytest

from e2e.harness import until
from e2e.receiver import Arrival, Receiver

from .books import balanced
from .load import FAILS_FIRST, World
from .stage import Stage

RETRY_SECONDS = 1.0
LATE_SECONDS = 5.0
HOUR_SECONDS = 3600


@pytest.mark.parametrize("engine", ["sqlite", pytest.param("postgres", marks=pytest.mark.thorough)])
def test_a_wall_clock_that_is_set_sends_nothing_early_and_nothing_late(
    stage: Stage, receiver: Receiver, engine: str
) -> None:
    node = stage.node(stage.database(engine), CHAOS_CLOCK="signals").start()
    operator = stage.client(node)
    world = World.made(operator, receiver)
    with world.load([node]):
        for hours, number in ((1, signal.SIGUSR1), (0, signal.SIGUSR2), (-1, signal.SIGUSR2)):
            receiver.wait_for_total(len(receiver.arrivals) + 50)
            node.signal(number)
            until(lambda: round(set_by(receiver.arrivals[-1]) / HOUR_SECONDS) == hours, "requests carry the new time")  # noqa: B023
        receiver.wait_for_total(len(receiver.arrivals) + 50)
    account = balanced(operator, world)
    assert account.lost == account.repeated == 0
    retries = [
        pair for each in world.subscriptions if each.kind == FAILS_FIRST for pair in by_event(receiver, each.path)
    ]
    assert retries
    for first, second in retries:
        assert RETRY_SECONDS <= second.at - first.at < RETRY_SECONDS + LATE_SECONDS


def set_by(arrival: Arrival) -> float:
    """Return by how many seconds the sender's clock differs from ours."""
    return int(arrival.headers["webhook-timestamp"]) - arrival.wall


def by_event(receiver: Receiver, path: str) -> list[tuple[Arrival, Arrival]]:
    """Return the requests of each event that came twice."""
    arrivals: dict[str, list[Arrival]] = {}
    for arrival in receiver.at(path):
        arrivals.setdefault(arrival.event_id, []).append(arrival)
    return [pair for each in arrivals.values() for pair in pairwise(each)]
