"""Six faults of PostgreSQL's primary under load: nothing that was acknowledged may be lost.

python -m failover PATH/TO/patroni
"""

import asyncio
import math
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg

from e2e.harness import Server, until
from e2e.receiver import Receiver

from .cluster import Cluster, Node, running
from .load import TIMELINE, Book, Watch, publishing

NEEDS = """\
Needs: Linux, three minutes, about 1 GiB in the temporary folder, nothing else on this machine that wants all of it.
PostgreSQL and Patroni come from packages and run on loopback; as root, they run as the user nobody (setpriv)."""

STEADY_EVENTS = 50
"""Acknowledged before a fault, and again after it, before it counts as over."""
GO_ON_SECONDS = 5.0
"""After a new primary confirms writes, publishes must succeed again."""
FAILOVER_SECONDS = 60.0
DELIVERED_SECONDS = 90.0
TOLD_MAX = 60
"""Lines of the log, where an answer was none that a publisher should see."""


Strike = Callable[[Node], None]


def killed(node: Node) -> None:
    node.send(signal.SIGKILL, patroni=True, postgres=True)


def postgres_killed(node: Node) -> None:
    node.send(signal.SIGKILL, patroni=False, postgres=True)


def switched(node: Node) -> None:
    candidate = next(member["name"] for member in node.members() if member["role"] == "sync_standby")
    node.ask("POST", "/switchover", {"leader": node.name, "candidate": candidate})


def frozen(node: Node) -> None:
    node.send(signal.SIGSTOP, patroni=True, postgres=True)


def patroni_frozen(node: Node) -> None:
    node.send(signal.SIGSTOP, patroni=True, postgres=False)


def postgres_frozen(node: Node) -> None:
    node.send(signal.SIGSTOP, patroni=False, postgres=True)


FAULTS: Sequence[tuple[str, Strike]] = (
    ("kill -9 of Patroni and PostgreSQL", killed),
    ("kill -9 of PostgreSQL alone", postgres_killed),
    ("switchover", switched),
    ("the whole node frozen", frozen),
    ("Patroni frozen, PostgreSQL lives on", patroni_frozen),
    ("PostgreSQL frozen, Patroni lives on", postgres_frozen),
)


@dataclass(frozen=True)
class Result:
    """What one fault came to."""

    fault: str
    acknowledged: int
    lost: int
    refused: int
    surprises: Sequence[str]
    gap_seconds: float
    """Without an acknowledged publish."""
    accepting_seconds: float
    """From the fault until the new primary confirmed a write."""
    going_on_seconds: float
    """From then until a publish was acknowledged."""
    longest_seconds: float
    """That a publisher waited for an answer."""

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.surprises) and self.going_on_seconds <= GO_ON_SECONDS


def suffered(cluster: Cluster, receiver: Receiver, fault: str, strike: Strike) -> Result:
    """Run the service on a sound cluster, strike its primary, wait until publishes go on, and count."""
    primary = cluster.primary()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="hookline-failover-load-")))
        servers = []
        for role in ("api", "engine"):
            (folder / role).mkdir()
            server = Server(folder / role, cluster.url(primary), {"HOOKLINE_ROLES": role})
            stack.callback(server.close)
            servers.append(server.start())
        operator = servers[0].client()
        stack.callback(operator.close)
        company = operator.company(fault)
        member = operator.member_of(company)
        member.made("POST", "/v1/webhooks", {"callbackUrl": receiver.url("/")})
        watch = stack.enter_context(Watch(cluster))
        with publishing([operator], company, strike.__name__) as book:
            until(lambda: len(book.acknowledged) >= STEADY_EVENTS and watch.timeline > 0, "events before the fault")
            timeline, began = watch.timeline, time.monotonic()
            strike(primary)
            until(lambda: watch.accepting(timeline) is not None, "a new primary", FAILOVER_SECONDS)
            accepting = watch.accepting(timeline)
            assert accepting is not None

            def goes_on() -> bool:
                return sum(at > accepting for at in list(book.acknowledged.values())) >= STEADY_EVENTS

            try:
                until(goes_on, "publishes that are acknowledged again", FAILOVER_SECONDS)
            except AssertionError as error:
                book.surprises.append(str(error))
        cluster.heal()
        lost = set(book.acknowledged) - asyncio.run(stored(cluster.url(cluster.primary()), watch.timeline))
        until(
            lambda: all(receiver.of(event) for event in book.acknowledged), "every event delivered", DELIVERED_SECONDS
        )
        if book.surprises:
            told = [line for line in servers[0].log.splitlines() if ": 202 in " not in line and ": 503 in " not in line]
            print(*told[:TOLD_MAX], sep="\n")
        return judged(fault, book, lost, began, accepting)


def judged(fault: str, book: Book, lost: set[str], began: float, accepting: float) -> Result:
    """Work out the figures."""
    times = sorted(book.acknowledged.values())
    return Result(
        fault=fault,
        acknowledged=len(times),
        lost=len(lost),
        refused=len(book.refusals),
        surprises=book.surprises,
        gap_seconds=max(after - before for before, after in pairwise(times)),
        accepting_seconds=accepting - began,
        going_on_seconds=next((at for at in times if at > accepting), math.inf) - accepting,
        longest_seconds=book.longest_seconds,
    )


async def stored(url: str, timeline: int) -> set[str]:
    """The ids of all events that the primary knows; it is the first of the address, and of this timeline at least."""
    connection = await asyncpg.connect(url)
    try:
        assert await connection.fetchval(TIMELINE) >= timeline, "an old primary was asked"
        return {row[0] for row in await connection.fetch("SELECT id FROM event_keys")}
    finally:
        await connection.close()


async def create_database(node: Node) -> None:
    """Make the service's database."""
    connection = await asyncpg.connect(host="127.0.0.1", port=node.port, user="postgres", database="postgres")
    try:
        await connection.execute("CREATE DATABASE hookline")
    finally:
        await connection.close()


def main() -> int:
    """Suffer all faults, or those whose name is given; say what happened."""
    print(NEEDS, flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever ends us early must not leave a cluster behind
        signal.signal(number, lambda *_: sys.exit(1))
    patroni, wanted = Path(sys.argv[1]).absolute(), set(sys.argv[2:])
    results = []
    with running(patroni) as cluster:
        receiver = Receiver().start()
        asyncio.run(create_database(cluster.primary()))
        print(
            f"{'fault':38}{'acked':>7}{'lost':>6}{'503':>6}{'gap':>8}{'primary':>9}{'go on':>7}{'longest':>9}",
            flush=True,
        )
        for fault, strike in FAULTS:
            if wanted and strike.__name__ not in wanted:
                continue
            result = suffered(cluster, receiver, fault, strike)
            results.append(result)
            print(
                f"{fault:38}{result.acknowledged:7}{result.lost:6}{result.refused:6}{result.gap_seconds:7.1f}s"
                f"{result.accepting_seconds:8.1f}s{result.going_on_seconds:6.1f}s{result.longest_seconds:8.1f}s",
                *result.surprises[:5],
                sep="\n  ",
                flush=True,
            )
        receiver.close()
    bad = sum(not result.is_good for result in results)
    print(f"{len(results) - bad} passed, {bad} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
