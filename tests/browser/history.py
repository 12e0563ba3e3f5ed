"""A day behind the pages: what a service has done since yesterday, told to the storage by its own verbs, hour by hour.

Nothing of it went over a network: the clock is set by hand, and receivers are chances. Charts need such a day.
"""

import asyncio
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import pi, sin
from pathlib import Path
from random import Random
from time import time
from typing import Final, Self

from msgspec.structs import replace

from e2e.harness import Client, Server
from hookline.lifecycle import GiveUp, Reason, Retry, Succeed
from hookline.model import ErrorClass
from hookline.storage.claims import Claimed, Settlement
from hookline.storage.publications import Published
from hookline.storage.sqlite import SqliteStorage
from hookline.tallies import DAY_MS, HOUR_MS, MINUTE_MS

sys.path.insert(0, str(Path(__file__).parents[1] / "storage"))
from storage_samples import HandClock, a_publication, a_settlement, an_event, claim

STEP_MS: Final = 5 * MINUTE_MS
PER_STEP: Final = 9
PLACES: Final = {
    "Acme Corp": ["https://api.acme.example/webhooks/collaboration-events", "https://archive.acme.example/in"],
    "Cedar Systems": ["https://hooks.cedar.example/v2/inbound/hookline/collaboration-requests"],
    "Blue Harbor": ["https://blueharbor.example/hooks/support"],
    "Granite Cloud": ["https://ingest.granite.example/events"],
    "Delta Support": ["https://delta.example/webhooks", "https://staging.delta.example/webhooks"],
}
FAILS_SINCE_MS: Final = {"hooks.cedar.example": HOUR_MS, "ingest.granite.example": 3 * HOUR_MS}
"""Before now; the second by its certificate."""
PACE_MS: Final = {"archive.acme.example": 900, "ingest.granite.example": 70, "delta.example": 60}


@dataclass(frozen=True)
class Day:
    """A server that sends nothing, on the database of a day."""

    server: Server
    operator: Client
    companies: dict[str, int]
    subscriptions: dict[str, int]
    """By host."""

    @classmethod
    def made(cls, directory: Path) -> Self:
        """Make companies and subscriptions over the API, then the day, then start again."""
        path = f"{directory}/hookline.db"
        server = Server(directory, f"sqlite:///{path}", {"HOOKLINE_ROLES": "api"}).start()
        operator = server.client()
        companies = {name: operator.company(name) for name in PLACES}
        subscriptions = {
            url.split("/")[2]: _subscribe(operator, companies[name], url)
            for name, urls in PLACES.items()
            for url in urls
        }
        server.stop()
        targets = {companies[name]: [subscriptions[url.split("/")[2]] for url in urls] for name, urls in PLACES.items()}
        living = _live(path, targets, {number: host for host, number in subscriptions.items()})
        with ThreadPoolExecutor(1) as elsewhere:  # a driver of a browser keeps a loop running in this thread
            elsewhere.submit(asyncio.run, living).result()
        server.restart()
        operator.made("PATCH", f"/v1/webhooks/{subscriptions['blueharbor.example']}", {"active": False})
        return cls(server, operator, companies, subscriptions)

    def close(self) -> None:
        """End everything."""
        self.operator.close()
        self.server.close()


def _subscribe(operator: Client, company: int, url: str) -> int:
    number: int = operator.made("POST", f"/v1/webhooks?companyId={company}", {"callbackUrl": url})["id"]
    return number


async def _live(path: str, targets: dict[int, list[int]], hosts: dict[int, str]) -> None:
    """Publish, attempt and count through a day that ends now."""
    random, now = Random(7), int(time() * 1000)
    clock = HandClock(now - DAY_MS)
    storage = SqliteStorage(path, clock=clock)
    await storage.open()
    receivers = Receivers(random, hosts, now)
    while clock.now < now - STEP_MS:
        busy = 1 + sin((clock.now % DAY_MS) / DAY_MS * 2 * pi - pi / 2)
        events = [
            await an_event(
                storage,
                {company: targets[company] for company in random.sample(sorted(targets), random.randint(1, 3))},
                data=b'{"requestToken":"%016x","noteToken":"a1b2c3"}' % random.getrandbits(64),
            )
            for _ in range(2 + round(PER_STEP * busy))
        ]
        assert isinstance(await storage.publish(await a_publication(storage, *events)), Published)
        clock.now += random.choice((2, 2, 3, 3, 4, 5, 9)) * (8 if 13 < clock.now // HOUR_MS % 24 < 16 else 1)
        while claimed := (await claim(storage)).deliveries:
            clock.now += 40
            await storage.settle(receivers.answers(claimed, clock.now))
        while await storage.tally(1_000):
            pass
        await storage.tally_backlog(random.choice((0, 300, 700, 1_100)))
        clock.now += STEP_MS
    await storage.close()


class Receivers:
    """How each receiver answers, by chance and by the hour."""

    def __init__(self, random: Random, hosts: dict[int, str], now: int) -> None:
        self._random = random
        self._hosts = hosts
        self._now = now

    def answers(self, claimed: Sequence[Claimed], at: int) -> list[Settlement]:
        """Return what came of these attempts."""
        return [self._answer(each, self._hosts[each.subscription_id], at) for each in claimed]

    def _answer(self, claimed: Claimed, host: str, at: int) -> Settlement:
        took = round(PACE_MS.get(host, 180) * self._random.lognormvariate(0, 0.45))
        is_failing = at > self._now - FAILS_SINCE_MS.get(host, 0)
        if not is_failing and self._random.random() > 0.006:
            return self._with(a_settlement(claimed, Succeed()), took)
        waits = (10_000, 60_000, 300_000)
        verdict = Retry(waits[claimed.failures]) if claimed.failures < len(waits) else GiveUp(Reason.EXHAUSTED)
        failed = self._with(a_settlement(claimed, verdict), took)
        if host != "ingest.granite.example" or not is_failing:
            return failed
        record = replace(
            failed.record,
            http_status=None,
            error=ErrorClass.TLS,
            detail="The receiver's certificate expired on 24 Nov 2026.",
            response_head=None,
            response_body=None,
        )
        return replace(failed, record=record, answered=False)

    def _with(self, settlement: Settlement, took: int) -> Settlement:
        return replace(settlement, record=replace(settlement.record, duration_ms=took))
