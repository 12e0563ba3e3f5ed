"""Connections to receivers are reset and stall: retries by schedule, and every request is in the log."""

import time

from e2e.harness import until
from e2e.receiver import Receiver

from .books import balanced
from .load import World
from .stage import Stage

STALL_SECONDS = 1.5
"""Longer than the timeout of an attempt."""


def test_connections_to_receivers_that_are_reset_or_stall_balance(stage: Stage, receiver: Receiver) -> None:
    proxy = stage.proxy(receiver.port)
    node = stage.node(stage.database("sqlite")).start()
    operator = stage.client(node)
    world = World.made(operator, receiver, through=proxy)
    world.errors |= {"timeout", "connect", "protocol"}
    with world.load([node]), world.fault():
        for _ in range(10):
            receiver.wait_for_total(len(receiver.arrivals) + 30)
            proxy.reset()
        proxy.stall()
        stalled_at = time.monotonic()
        until(lambda: time.monotonic() > stalled_at + STALL_SECONDS, "attempts time out")
        proxy.is_refusing = True
        proxy.go_on()
        proxy.reset()
        until(lambda: proxy.refused > 10, "connections were refused")
        proxy.is_refusing = False
        receiver.wait_for_total(len(receiver.arrivals) + 30)
    account = balanced(operator, world)
    assert account.repeated > 0
    assert account.lost == 0
