"""Deaths of a node under load: at a named point of its work, or at any moment."""

import subprocess
import threading
import time
from random import Random

from e2e.harness import PATIENCE_SECONDS, Client, Server

from .books import Account, balanced
from .load import World
from .stage import Stage

AT_RANDOM = "at random"
PASSAGES = {
    "after_claim": 20,
    "after_connect": 4,
    "after_request": 150,
    "after_head": 150,
    "before_commit": 100,
    "commit_sent": 100,
    "after_commit": 100,
}
"""By fault point of the launcher: a life ends at the latest when it has passed so often."""
POINTS = {
    "sqlite": [point for point in PASSAGES if point != "commit_sent"],
    "postgres": list(PASSAGES),
}
"""What there is to pass: in SQLite nobody can die between sending a commit and its end but by chance."""
FUSE_SECONDS = 20.0
"""A node that has not come by its point after so long is killed all the same."""
NOTICE_SECONDS = 0.1
"""A death is noticed within so long."""


def killed(stage: Stage, engine: str, points: list[str], moments: Random) -> tuple[Account, dict[str, int]]:
    """Let a node die once at each of these points, one life after another; return the books, and the deaths by point.

    Through it all events are published, and a subscription is deleted in every second life.
    """
    node = stage.node(stage.database(engine)).start()
    operator = stage.client(node)
    world = World.made(operator, stage.receiver())
    deaths: dict[str, int] = {}
    with world.load([node]):
        _kill(node, world)
        for number, point in enumerate(points):
            died_at = _life(node, world, point, moments)
            deaths[died_at] = deaths.get(died_at, 0) + 1
            if number % 2:
                node.set(CHAOS_FAULT="").start()
                _pass_by(operator, world, f"-{number}")
                _kill(node, world)
        node.set(CHAOS_FAULT="").start()
    return balanced(operator, world), deaths


def _life(node: Server, world: World, point: str, moments: Random) -> str:
    """Start the node and see it die; return where it died."""
    if point == AT_RANDOM:
        node.set(CHAOS_FAULT="").start()
        world.receiver.wait_for_total(len(world.receiver.arrivals) + moments.randint(1, 300))
        threading.Event().wait(moments.uniform(0, 0.05))
        _kill(node, world)
        return AT_RANDOM
    node.set(CHAOS_FAULT=f"{point}:{moments.randint(1, PASSAGES[point])}").launch()
    try:
        code = node.wait(FUSE_SECONDS)
    except subprocess.TimeoutExpired:
        _kill(node, world)
        return AT_RANDOM
    assert code == -9, f"the node ended by itself: {code}\n{node.log[-4000:]}"
    _note(world)
    return point


def _pass_by(operator: Client, world: World, name: str) -> None:
    """Subscribe, wait for events to come, and delete the subscription."""
    passing = world.subscribed(operator, world.companies[0], "passing", name)
    world.subscriptions.append(passing)
    world.receiver.wait_at(passing.path, 5, PATIENCE_SECONDS)
    world.delete(operator, passing)


def _kill(node: Server, world: World) -> None:
    node.kill()
    _note(world)


def _note(world: World) -> None:
    now = time.monotonic()
    world.faults.append((now - NOTICE_SECONDS, now + NOTICE_SECONDS))
