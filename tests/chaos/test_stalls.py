"""A worker that stood still for longer than its lease wakes up and reports: it changes nothing."""

import signal

import pytest

from e2e.harness import Client, until
from e2e.receiver import HANGS, OK, Receiver, Reply

from .books import balanced
from .load import PLAIN, World
from .stage import LEASE_SECONDS, Stage

FENCED = "hookline_fenced_settlements_total"


@pytest.mark.thorough
def test_a_worker_that_slept_past_its_lease_settles_nothing(stage: Stage, receiver: Receiver) -> None:
    database = stage.database("postgres")
    api = stage.node(database, HOOKLINE_ROLES="api").start()
    engine = {"HOOKLINE_ROLES": "engine", "HOOKLINE_TIMEOUT_SECONDS_MAX": "3", "HOOKLINE_LEASE_SECONDS": "10"}
    sleeper = stage.node(database, **engine).start()
    operator = stage.client(api)
    world = World.made(operator, receiver)
    paths = {each.path for each in world.subscriptions if each.kind == PLAIN}
    # The second attempt is still under way when the first is reported: only the fence tells them apart.
    receiver.answer("chaos-0-1", HANGS, Reply(delay_seconds=2.5), OK)

    def slow_one_at_plain() -> list[int]:
        return [arrival.attempt for arrival in receiver.of("chaos-0-1") if arrival.path in paths]

    with world.load([api]):
        until(lambda: slow_one_at_plain() == [1], "an attempt hangs")
        with world.fault():
            sleeper.signal(signal.SIGSTOP)
            stage.node(database, **engine).start()
            until(lambda: slow_one_at_plain() == [1, 2], "another node has made it again", LEASE_SECONDS + 5)
            sleeper.signal(signal.SIGCONT)
            client = stage.client(sleeper)
            until(lambda: metric(client, FENCED) > 0, "the late report was refused")
    account = balanced(operator, world)
    assert account.lost >= 1
    assert account.repeated >= 1


@pytest.mark.thorough
def test_a_process_alone_on_its_file_that_slept_past_its_leases_balances(stage: Stage, receiver: Receiver) -> None:
    node = stage.node(stage.database("sqlite")).start()
    operator = stage.client(node)
    world = World.made(operator, receiver)
    world.errors.add("timeout")
    with world.load([node]):
        with world.fault():
            node.signal(signal.SIGSTOP)
            try:
                receiver.wait(lambda _: False, "nobody", LEASE_SECONDS + 1)
            except AssertionError:
                node.signal(signal.SIGCONT)
        receiver.wait_for_total(len(receiver.arrivals) + 100)
    balanced(operator, world)


def metric(client: Client, name: str) -> float:
    """Read one number of a node."""
    lines = client.call("GET", "/metrics").body.decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))
