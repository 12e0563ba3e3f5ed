"""What a process that ends, is killed or stands still leaves behind, and what the next one makes of it."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

from .harness import Client, Server, Unanswered, until
from .receiver import Receiver, Reply

PUBLISHERS = 4
RETRY_SECONDS = 2
STANDSTILL_SECONDS = 4.0
"""Longer than the 3 s within which a claimed attempt must start, shorter than any lease."""


def subscribed(operator: Client, receiver: Receiver, path: str, **policies: Any) -> tuple[int, int]:
    """Make a company with one subscription to the path; return the ids of both."""
    company = operator.company()
    body = {"callbackUrl": receiver.url(path), **policies}
    return company, operator.made("POST", f"/v1/webhooks?companyId={company}", body)["id"]


def test_a_retry_that_waits_keeps_its_time_over_a_restart(
    own_server: Callable[..., Server], receiver: Receiver
) -> None:
    server = own_server()
    operator = server.client()
    company, subscription = subscribed(operator, receiver, "/waits", retryDelaysSeconds=[RETRY_SECONDS] * 2)
    receiver.answer("/waits", Reply(500), Reply(500), Reply(200))
    operator.publish(company)
    until(lambda: len(operator.log(subscription)) == 1, "the first failure is logged")
    server.stop()
    server.restart()
    until(lambda: len(operator.log(subscription)) == 2, "the second failure is logged")
    server.kill()
    server.restart()
    arrivals = receiver.wait_at("/waits", 3)
    assert [arrival.attempt for arrival in arrivals] == [1, 2, 3]
    for earlier, later in pairwise(arrivals):
        assert later.at - earlier.at >= RETRY_SECONDS
    until(lambda: len(operator.log(subscription)) == 3, "all attempts are logged")
    assert [row["error"] for row in operator.log(subscription)] == ["status", "status", None]
    operator.close()


def test_everything_that_was_answered_is_there_after_a_kill(
    own_server: Callable[..., Server], receiver: Receiver
) -> None:
    server = own_server()
    operator = server.client()
    company, subscription = subscribed(operator, receiver, "/there", timeoutSeconds=7)
    operator.made("PATCH", f"/v1/webhooks/{subscription}", {"active": False})
    member = operator.member_of(company)
    operator.made("PUT", "/v1/event-types/order.paid", {"description": "Paid."})
    shown = member.made("GET", "/v1/webhooks")
    catalogue = operator.made("GET", "/v1/event-types")
    body = {"eventType": "note.created", "companyIds": [company], "data": {"n": 1}}
    key = {"Idempotency-Key": "before-the-kill"}
    first = operator.call("POST", "/v1/events", body, key)
    server.kill()
    server.restart()

    assert member.made("GET", "/v1/webhooks") == shown
    assert operator.made("GET", "/v1/event-types") == catalogue
    again = operator.call("POST", "/v1/events", body, key)
    assert (again.status, again.body) == (202, first.body)
    assert operator.call("POST", "/v1/events", {**body, "data": {"n": 2}}, key).status == 409
    (event,) = operator.made("GET", f"/v1/events?companyId={company}")["items"]
    assert (event["id"], event["counts"]["held"]) == (first.json["id"], 1)
    assert not receiver.at("/there")
    operator.made("PATCH", f"/v1/webhooks/{subscription}", {"active": True})
    assert [arrival.event_id for arrival in receiver.wait_at("/there", 1)] == [event["id"]]
    operator.close()


def test_without_the_role_of_the_engine_all_is_accepted_and_nothing_sent(
    own_server: Callable[..., Server], receiver: Receiver
) -> None:
    server = own_server(HOOKLINE_ROLES="api")
    operator = server.client()
    company, subscription = subscribed(operator, receiver, "/roles")
    events = [operator.publish(company) for _ in range(5)]
    for event_id in events:
        (delivery,) = operator.made("GET", f"/v1/events/{event_id}")["deliveries"]
        assert delivery["state"] == "pending"
    assert not receiver.at("/roles")
    assert server.stop() == 0
    server.set(HOOKLINE_ROLES="api,engine").restart()
    arrivals = receiver.wait_at("/roles", 5)
    assert {arrival.event_id for arrival in arrivals} == set(events)
    until(lambda: len(operator.log(subscription)) == 5, "all attempts are logged")
    operator.close()


def test_ending_in_order_under_load_loses_no_attempt_and_repeats_none(
    own_server: Callable[..., Server], receiver: Receiver
) -> None:
    server = own_server()
    operator = server.client()
    company, subscription = subscribed(operator, receiver, "/in-order", maxInFlight=50)
    receiver.answer("/in-order", Reply(delay_seconds=0.02))
    published: list[str] = []

    def publish() -> None:
        client = server.client()
        with suppress(Unanswered):
            while True:
                published.append(client.publish(company))
        client.close()

    publishers = [threading.Thread(target=publish) for _ in range(PUBLISHERS)]
    for publisher in publishers:
        publisher.start()
    receiver.wait_at("/in-order", 100)
    assert server.stop() == 0
    for publisher in publishers:
        publisher.join()
    server.restart()
    receiver.wait_at("/in-order", len(published))
    until(lambda: len(operator.log(subscription)) >= len(published), "all attempts are logged")
    times = Counter(arrival.event_id for arrival in receiver.at("/in-order"))
    assert times.keys() >= set(published)
    assert len(times) <= len(published) + PUBLISHERS, "more than what was published, and what had no answer any more"
    assert set(times.values()) == {1}
    assert all(row["success"] for row in operator.log(subscription))
    operator.close()


def test_a_process_that_stood_still_loses_nothing_and_repeats_nothing(
    own_server: Callable[..., Server], receiver: Receiver
) -> None:
    server = own_server()
    operator = server.client()
    company, subscription = subscribed(operator, receiver, "/still", maxInFlight=50)
    receiver.answer("/still", Reply(delay_seconds=0.01))
    is_over = threading.Event()
    published: list[str] = []

    def publish() -> None:
        client = server.client()
        while not is_over.is_set():
            event_id = f"still-{len(published)}"
            event = {"eventType": "note.created", "companyIds": [company], "data": {}, "id": event_id}
            # What was on its way to a database when time stood still may be unconfirmed: that is asked again.
            while (status := client.call("POST", "/v1/events", event).status) == 503:
                pass
            assert status == 202
            published.append(event_id)
        client.close()

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        receiver.wait_at("/still", 50)
        server.signal(signal.SIGSTOP)
        continues_at = time.monotonic() + STANDSTILL_SECONDS
        until(lambda: time.monotonic() > continues_at, "time goes by")
        server.signal(signal.SIGCONT)
        receiver.wait_at("/still", 150)
    finally:
        is_over.set()
        publisher.join()
    until(lambda: len(operator.log(subscription)) >= len(published), "all attempts are logged")
    times = Counter(arrival.event_id for arrival in receiver.at("/still"))
    assert times == Counter(published)
    assert all(row["success"] for row in operator.log(subscription))
    operator.close()
