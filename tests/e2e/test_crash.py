"""The process is killed under load, again and again: nothing acknowledged is lost, nothing dies of it, and what comes
twice is what was in flight.

`HOOKLINE_CRASH_CYCLES` sets how many times (5), `HOOKLINE_CRASH_SEED` which moments.
"""

import os
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

from .harness import Client, Server, Unanswered, until
from .receiver import Arrival, Receiver, Reply

CYCLES = {"sqlite": int(os.environ.get("HOOKLINE_CRASH_CYCLES", "5"))}
CYCLES["postgres"] = max(2, CYCLES["sqlite"] // 5)
"""Where leases must pass, a crash takes a quarter of a minute to get over."""
SEED = int(os.environ.get("HOOKLINE_CRASH_SEED", "1"))
COMPANIES = 3
PUBLISHERS = 3
FAILS_FIRST, SLOW, PLAIN, HELD = "fails-first", "slow", "plain", "held"
KINDS = (FAILS_FIRST, SLOW, PLAIN, HELD)
EVENTS_A_KILL = 50
"""Acknowledged at least, or there was hardly a load."""
LOST_AT_MOST = 3
"""So many losses in a row are made good within a minute or so; a fourth waits five, and may still wait at the end."""

_LEASES: dict[str, dict[str, str]] = {
    "sqlite": {},
    "postgres": {"HOOKLINE_TIMEOUT_SECONDS_MAX": "1", "HOOKLINE_LEASE_SECONDS": "14"},
}
"""On SQLite a start frees the leases of the process before; elsewhere they must pass, so they are short here."""


class Subscribed(NamedTuple):
    """One subscription, and how its receiver behaves."""

    id: int
    company: int
    kind: str
    path: str


class Publisher(threading.Thread):
    """Publishes one event after another, a known id each; repeats what was not answered until it is."""

    def __init__(self, number: int, client: Client, companies: list[int], is_over: threading.Event) -> None:
        super().__init__()
        self.acknowledged: dict[str, tuple[int, int]] = {}
        """By event id: its company, and how many deliveries the answer spoke of."""
        self.abandoned: set[str] = set()
        """Events that were never answered and not repeated."""
        self.failures: list[str] = []
        self._number = number
        self._client = client
        self._companies = companies
        self._is_over = is_over

    def run(self) -> None:
        count = 0
        while not self._is_over.is_set():
            count += 1
            self._publish(f"crash-{self._number}-{count}", self._companies[count % len(self._companies)], count)
        self._client.close()

    def _publish(self, event_id: str, company: int, count: int) -> None:
        body = {"eventType": "note.created", "companyIds": [company], "data": {"n": count}, "id": event_id}
        while True:
            try:
                answer = self._client.call("POST", "/v1/events", body)
            except Unanswered:
                if count % 3 == 0 or self._is_over.is_set():
                    self.abandoned.add(event_id)
                    return
                self._is_over.wait(0.05)
                continue
            if answer.status == 202:
                self.acknowledged[event_id] = (company, answer.json["deliveries"])
                return
            if answer.status != 503:
                self.failures.append(f"{event_id}: {answer.status} {answer.body!r}")
                return


def test_whatever_was_acknowledged_survives_being_killed(
    own_server: Callable[..., Server], receiver: Receiver, database: str
) -> None:
    moments = random.Random(SEED)
    server = own_server(**_LEASES[database])
    operator = server.client()
    companies = [operator.company(f"Company {number}") for number in range(COMPANIES)]
    subscriptions = [_subscribed(operator, receiver, company, kind) for company in companies for kind in KINDS]

    is_over = threading.Event()
    publishers = [Publisher(number, server.client(), companies, is_over) for number in range(PUBLISHERS)]
    for publisher in publishers:
        publisher.start()
    kills = []
    try:
        for _ in range(CYCLES[database]):
            wanted = len(receiver.arrivals) + moments.randint(1, 600)
            receiver.wait_for_total(wanted)
            threading.Event().wait(moments.uniform(0, 0.05))
            server.kill()
            kills.append(time.monotonic())
            server.restart()
        until(
            lambda: sum(len(publisher.acknowledged) for publisher in publishers) > EVENTS_A_KILL * len(kills),
            "there was a load to kill",
            patience_seconds=60,
        )
    finally:
        is_over.set()
        for publisher in publishers:
            publisher.join()

    acknowledged: dict[str, tuple[int, int]] = {}
    for publisher in publishers:
        assert not publisher.failures
        acknowledged |= publisher.acknowledged
    abandoned = set().union(*(publisher.abandoned for publisher in publishers))
    assert len(acknowledged) > EVENTS_A_KILL * len(kills)

    until(lambda: _is_settled(operator), "all that can be delivered is delivered", patience_seconds=120)
    events = {event["id"]: event for event in _all_events(operator)}
    _check_events(events, acknowledged, abandoned)
    lost = 0
    for subscription in subscriptions:
        expected = {event_id for event_id, event in events.items() if subscription.company in event["companyIds"]}
        if subscription.kind == HELD:
            assert not receiver.at(subscription.path)
        else:
            lost += _check_deliveries(operator.log(subscription.id), receiver.at(subscription.path), expected, kills)
    print(f"{len(kills)} kills, {len(events)} events, {len(receiver.arrivals)} requests, {lost} attempts lost")  # noqa: T201 - shown with -s
    operator.close()


def _subscribed(operator: Client, receiver: Receiver, company: int, kind: str) -> Subscribed:
    path = f"/{kind}-{company}"
    if kind == FAILS_FIRST:
        receiver.judge(path, lambda arrival: Reply(503 if arrival.attempt == 1 else 200))
    if kind == SLOW:
        receiver.judge(path, lambda _: Reply(200, delay_seconds=0.03))
    body = {"callbackUrl": receiver.url(path), "retryDelaysSeconds": [1] * 20, "maxInFlight": 50}
    made = operator.made("POST", f"/v1/webhooks?companyId={company}", body)
    if kind == HELD:
        operator.made("PATCH", f"/v1/webhooks/{made['id']}", {"active": False})
    return Subscribed(made["id"], company, kind, path)


def _is_settled(operator: Client) -> bool:
    """Tell whether every delivery has ended or is held, but for those that a fourth loss in a row put off."""
    if operator.made("GET", "/v1/events?state=sending&limit=1")["items"]:
        return False
    if not all(_is_put_off(operator, event["id"]) for event in _all_events(operator, "&state=pending")):
        return False
    # Between two questions a delivery may go from one state to the other; one that has ended stays as it is.
    unfinished = [event for event in _all_events(operator) if event["counts"]["sending"] + event["counts"]["pending"]]
    return all(_is_put_off(operator, event["id"]) for event in unfinished)


def _is_put_off(operator: Client, event_id: str) -> bool:
    deliveries = operator.made("GET", f"/v1/events/{event_id}")["deliveries"]
    return all(
        each["state"] == "pending"
        and len(each["attempts"]) > LOST_AT_MOST
        and all(attempt["error"] == "lost" for attempt in each["attempts"][-LOST_AT_MOST - 1 :])
        for each in deliveries
        if each["state"] in {"pending", "sending"}
    )


def _all_events(operator: Client, query: str = "") -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = operator.made("GET", f"/v1/events?limit=200{query}{cursor}")
        events += page["items"]
        if page["next"] is None:
            return events
        cursor = f"&cursor={page['next']}"


def _check_events(
    events: dict[str, dict[str, Any]], acknowledged: dict[str, tuple[int, int]], abandoned: set[str]
) -> None:
    assert acknowledged.keys() <= events.keys(), "an acknowledged event is gone"
    assert events.keys() <= acknowledged.keys() | abandoned, "an event that nobody published"
    for event_id, event in events.items():
        counts = event["counts"]
        assert sum(counts.values()) == len(KINDS), f"{event_id} exists in part: {counts}"
        assert counts["dead"] == counts["cancelled"] == 0, f"{event_id} died of a crash: {counts}"
        assert counts["held"] == 1, f"{event_id}: {counts}"
        assert counts["succeeded"] + counts["pending"] == len(KINDS) - 1
        if event_id in acknowledged:
            assert (event["companyIds"], len(KINDS)) == ([acknowledged[event_id][0]], acknowledged[event_id][1])


def _check_deliveries(
    rows: list[dict[str, Any]], arrivals: list[Arrival], expected: set[str], kills: list[float]
) -> int:
    """Hold one subscription's log against what its receiver saw; return how many attempts were lost."""
    logged: defaultdict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for row in rows:
        assert row["attemptNumber"] not in logged[row["eventId"]], f"two rows for one attempt: {row}"
        logged[row["eventId"]][row["attemptNumber"]] = row
    seen: defaultdict[str, list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        seen[arrival.event_id].append(arrival)

    assert seen.keys() == logged.keys() == expected
    lost = 0
    for event_id, attempts in logged.items():
        assert len({arrival.body for arrival in seen[event_id]}) == 1
        by_attempt = Counter(arrival.attempt for arrival in seen[event_id])
        assert max(by_attempt.values()) == 1, f"{event_id}: one attempt, two requests: {by_attempt}"
        assert by_attempt.keys() <= attempts.keys(), f"{event_id}: a request that the log does not know"
        assert sum(row["success"] for row in attempts.values()) <= 1
        for number, row in attempts.items():
            if row["error"] == "lost":
                lost += 1
            else:
                assert by_attempt[number] == 1
                assert row["error"] in {None, "status"}
        _check_repeats(seen[event_id], attempts, kills)
    return lost


def _check_repeats(arrivals: list[Arrival], attempts: dict[int, dict[str, Any]], kills: list[float]) -> None:
    """A request that is followed by another was refused by the receiver, or was in flight at a kill."""
    for arrival, later in pairwise(arrivals):
        row = attempts[arrival.attempt]
        if row["error"] == "lost":
            assert any(arrival.at <= kill <= later.at for kill in kills), "lost without a kill"
        else:
            assert (row["httpStatus"], row["success"]) == (503, False), "a second request after a success"
