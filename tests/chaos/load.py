"""A platform that publishes while things break, and the subscriptions that its events are for."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from e2e.harness import Client, Server, Unanswered, until
from e2e.receiver import Receiver, Reply

from .balancer import Balancer
from .proxy import Proxy

FAILS_FIRST, SLOW, PLAIN, HELD = "fails-first", "slow", "plain", "held"
KINDS = (FAILS_FIRST, SLOW, PLAIN, HELD)
COMPANIES = 2
PUBLISHERS = 3
PAUSE_SECONDS = 0.02
"""Between two events of one publisher: enough of a load, and books that can be checked in seconds."""
AGAIN_SECONDS = 0.05
"""Before an event that was refused or not answered is published again."""


@dataclass(frozen=True)
class Subscribed:
    """One subscription, and how its receiver behaves."""

    id: int
    company: int
    kind: str
    path: str


@dataclass
class World:
    """Companies and subscriptions on one database, and what happened to them from outside."""

    receiver: Receiver
    port: int
    """Where the receiver is called: its own port, or that of a proxy before it."""
    companies: list[int] = field(default_factory=list)
    subscriptions: list[Subscribed] = field(default_factory=list)
    publishers: "list[Publisher]" = field(default_factory=list)
    faults: list[tuple[float, float]] = field(default_factory=list)
    """From when to when something was broken, by `time.monotonic()`: then, an attempt may have been lost."""
    errors: set[str] = field(default_factory=set)
    """Classes of errors that an attempt may have ended with, where the network was broken on purpose."""
    deleted: list[tuple[Subscribed, float]] = field(default_factory=list)
    """And when the DELETE answered."""

    @classmethod
    def made(cls, operator: Client, receiver: Receiver, through: Proxy | None = None) -> "World":
        """Make companies, each with one subscription of a kind."""
        world = cls(receiver, through.port if through else receiver.port)
        for number in range(COMPANIES):
            company = operator.company(f"Company {number}")
            world.companies.append(company)
            world.subscriptions += [world.subscribed(operator, company, kind) for kind in KINDS]
        return world

    def subscribed(self, operator: Client, company: int, kind: str, name: str = "") -> Subscribed:
        """Make a subscription."""
        path = f"/{kind}-{company}{name}"
        if kind == FAILS_FIRST:
            self.receiver.judge(path, lambda arrival: Reply(503 if arrival.attempt == 1 else 200))
        if kind == SLOW:
            self.receiver.judge(path, lambda _: Reply(200, delay_seconds=0.03))
        body = {"callbackUrl": f"http://127.0.0.1:{self.port}{path}", "retryDelaysSeconds": [1] * 20, "maxInFlight": 50}
        made = operator.made("POST", f"/v1/webhooks?companyId={company}", body)
        if kind == HELD:
            operator.made("PATCH", f"/v1/webhooks/{made['id']}", {"active": False})
        return Subscribed(made["id"], company, kind, path)

    @contextmanager
    def load(self, nodes: Sequence[Server | Balancer]) -> Iterator[None]:
        """Publish through these nodes in turn until the block ends."""
        is_over = threading.Event()
        first = len(self.publishers)
        clients = [nodes[number % len(nodes)].client() for number in range(PUBLISHERS)]
        started = [Publisher(first + number, client, self.companies, is_over) for number, client in enumerate(clients)]
        self.publishers += started
        for publisher in started:
            publisher.start()
        try:
            until(lambda: all(publisher.acknowledged for publisher in started), "the load has begun")
            yield
        finally:
            is_over.set()
            for publisher in started:
                publisher.join()

    @contextmanager
    def fault(self) -> Iterator[None]:
        """Note that something is broken during the block, and a little longer: the receiver's thread may lag."""
        begun_at = time.monotonic()
        try:
            yield
        finally:
            self.faults.append((begun_at, time.monotonic() + 0.5))

    def delete(self, client: Client, subscription: Subscribed) -> None:
        """Delete a subscription and note when that was answered, whatever happens to the node meanwhile."""
        while True:
            try:
                answer = client.call("DELETE", f"/v1/webhooks/{subscription.id}")
            except Unanswered:
                continue
            if answer.status in {204, 404}:  # not found: it was this, unanswered
                break
            assert answer.status == 503, answer
        self.deleted.append((subscription, time.monotonic()))

    @property
    def acknowledged(self) -> dict[str, tuple[int, int]]:
        """Every event that was answered with 202: its company, and how many deliveries the answer spoke of."""
        return {
            event_id: what for publisher in self.publishers for event_id, what in publisher.acknowledged.copy().items()
        }

    @property
    def abandoned(self) -> set[str]:
        """Events that were never answered and not repeated: there or not there, but whole."""
        return set().union(*(publisher.abandoned for publisher in self.publishers))


class Publisher(threading.Thread):
    """Publishes one event after another, a known id each; repeats what was not answered, or gives up every third."""

    def __init__(self, number: int, client: Client, companies: list[int], is_over: threading.Event) -> None:
        super().__init__()
        self.acknowledged: dict[str, tuple[int, int]] = {}
        self.abandoned: set[str] = set()
        self.failures: list[str] = []
        """Answers that nothing excuses."""
        self.unanswered = 0
        self.refused = 0
        self.longest_seconds = 0.0
        """Until any answer, or until the connection broke."""
        self._number = number
        self._client = client
        self._companies = companies
        self._is_over = is_over

    def run(self) -> None:
        count = 0
        while not self._is_over.is_set():
            count += 1
            self._publish(f"chaos-{self._number}-{count}", self._companies[count % len(self._companies)], count)
            self._is_over.wait(PAUSE_SECONDS)
        self._client.close()

    def _publish(self, event_id: str, company: int, count: int) -> None:
        body = {"eventType": "note.created", "companyIds": [company], "data": {"n": count}, "id": event_id}
        while True:
            asked_at = time.monotonic()
            try:
                answer = self._client.call("POST", "/v1/events", body)
            except Unanswered:
                answer = None
            self.longest_seconds = max(self.longest_seconds, time.monotonic() - asked_at)
            if answer is not None and answer.status == 202:
                self.acknowledged[event_id] = (company, answer.json["deliveries"])
                return
            if answer is None:
                self.unanswered += 1
            elif answer.status == 503:
                self.refused += 1
                if "retry-after" not in answer.headers:
                    self.failures.append(f"{event_id}: 503 without Retry-After")
            else:
                self.failures.append(f"{event_id}: {answer.status} {answer.body!r}")
                return
            if self._is_over.is_set() or (answer is None and count % 3 == 0):
                self.abandoned.add(event_id)
                return
            self._is_over.wait(AGAIN_SECONDS)
