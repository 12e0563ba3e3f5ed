"""Deleting, deactivating and shutting down: what must not start any more, and what must not be lost by it."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from .harness import CLEAN, PATIENCE_SECONDS, Client, Server, until
from .receiver import Arrival, Receiver, Reply

SUBSCRIPTIONS = 8


@contextmanager
def load(server: Server, company: int, threads: int = 2) -> Iterator[None]:
    """Publish for a company as fast as it goes, until the block ends."""
    stop = threading.Event()
    failures: list[AssertionError] = []

    def publish() -> None:
        client = server.client()
        try:
            while not stop.is_set():
                client.publish(company)
        except AssertionError as error:
            failures.append(error)
        finally:
            client.close()

    publishers = [threading.Thread(target=publish) for _ in range(threads)]
    for publisher in publishers:
        publisher.start()
    try:
        yield
    finally:
        stop.set()
        for publisher in publishers:
            publisher.join()
    assert not failures


def fails_at_first(arrival: Arrival) -> Reply:
    """Fail half of the first attempts, so that retries wait at any moment; be slow, so that some are in flight."""
    if arrival.attempt == 1 and ord(arrival.event_id[-1]) % 2:
        return Reply(503)
    return Reply(200, delay_seconds=0.02)


def subscriptions_of(operator: Client, receiver: Receiver, company: int) -> list[tuple[int, str]]:
    made = []
    for number in range(SUBSCRIPTIONS):
        path = f"/ending-{company}-{number}"
        receiver.judge(path, fails_at_first)
        body = {"callbackUrl": receiver.url(path), "retryDelaysSeconds": [1, 1, 1]}
        made.append((operator.made("POST", f"/v1/webhooks?companyId={company}", body)["id"], path))
    operator.made("POST", f"/v1/webhooks?companyId={company}", {"callbackUrl": receiver.url(f"/stays-{company}")})
    return made


def after_ending_each(
    server: Server, receiver: Receiver, company: int, made: list[tuple[int, str]], end: Callable[[int], Any]
) -> list[tuple[str, int, list[float]]]:
    """End the subscriptions one after another under load; return for each what came after the answer."""
    answered_at: dict[str, float] = {}
    with load(server, company):
        for subscription_id, path in made:
            receiver.wait_at(path, 20)
            end(subscription_id)
            answered_at[path] = time.monotonic()
        last = time.monotonic()
        # Longer than a retry waits, and with new events all the while: whatever would start had its chance.
        receiver.wait(
            lambda arrivals: arrivals[-1].at > last + 1.5 and arrivals[-1].path == f"/stays-{company}",
            "events for the subscription that stays",
        )
    return [
        (path, len(receiver.at(path)), [arrival.at - at for arrival in receiver.at(path) if arrival.at > at])
        for path, at in answered_at.items()
    ]


def test_after_a_delete_has_answered_no_attempt_starts(server: Server, operator: Client, receiver: Receiver) -> None:
    company = operator.company()
    made = subscriptions_of(operator, receiver, company)

    def delete(subscription_id: int) -> None:
        answer = operator.call("DELETE", f"/v1/webhooks/{subscription_id}", headers={"Accept": "text/plain"})
        assert (answer.status, answer.body) == (204, b"")

    for path, count, late in after_ending_each(server, receiver, company, made, delete):
        assert count >= 20
        assert late == [], path
    for subscription_id, _ in made:
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/deliveries")):
            assert operator.call(method, f"/v1/webhooks/{subscription_id}{path}").status == 404
    deleted = {subscription_id for subscription_id, _ in made}
    assert deleted.isdisjoint(each["id"] for each in operator.made("GET", f"/v1/webhooks?companyId={company}"))
    newest, oldest = _events(operator, company, 1), _events(operator, company, 200)[-1:]
    for event in newest + oldest:
        for delivery in operator.made("GET", f"/v1/events/{event['id']}")["deliveries"]:
            if delivery["subscriptionId"] in deleted:
                assert delivery["state"] in {"succeeded", "cancelled"}


def test_a_deleted_subscriptions_waiting_deliveries_show_as_cancelled(operator: Client, receiver: Receiver) -> None:
    company = operator.company()
    receiver.answer("/cancelled", Reply(500))
    made = operator.made("POST", f"/v1/webhooks?companyId={company}", {"callbackUrl": receiver.url("/cancelled")})
    event_id = operator.publish(company)
    until(lambda: len(operator.log(made["id"])) == 1, "the failure is logged")
    operator.made("DELETE", f"/v1/webhooks/{made['id']}")
    (delivery,) = operator.made("GET", f"/v1/events/{event_id}")["deliveries"]
    assert (delivery["state"], delivery["reason"]) == ("cancelled", "deleted")


def test_after_a_deactivation_has_answered_no_attempt_starts(
    server: Server, operator: Client, receiver: Receiver
) -> None:
    company = operator.company()
    made = subscriptions_of(operator, receiver, company)

    def deactivate(subscription_id: int) -> None:
        shown = operator.made("PATCH", f"/v1/webhooks/{subscription_id}", {"active": False})
        assert shown["active"] is False

    for path, count, late in after_ending_each(server, receiver, company, made, deactivate):
        assert count >= 20
        assert late == [], path


def test_held_deliveries_are_shown_and_go_out_oldest_first(operator: Client, receiver: Receiver) -> None:
    company = operator.company()
    body = {"callbackUrl": receiver.url("/held"), "maxInFlight": 1}
    made = operator.made("POST", f"/v1/webhooks?companyId={company}", body)
    path = f"/v1/webhooks/{made['id']}"
    operator.made("PATCH", path, {"active": False})
    events = [operator.publish(company) for _ in range(40)]
    for event_id in events[:2]:
        (delivery,) = operator.made("GET", f"/v1/events/{event_id}")["deliveries"]
        assert delivery["state"] == "held"
        assert delivery["reason"].startswith("held since 20")
    held = operator.made("GET", f"/v1/events?companyId={company}&state=held&limit=200")["items"]
    assert [event["id"] for event in held] == events[::-1]
    assert not receiver.at("/held")
    operator.made("PATCH", path, {"active": True})
    receiver.wait_at("/held", 40)
    later = operator.publish(company)
    arrivals = receiver.wait_at("/held", 41)
    assert [arrival.event_id for arrival in arrivals] == [*events, later]


# --- the end of the process ------------------------------------------------------------------------------------------


def test_on_sigterm_requests_are_served_while_attempts_in_flight_end(
    own_server: Callable[..., Server], receiver: Receiver
) -> None:
    server = own_server(HOOKLINE_DRAIN_SECONDS="2")
    operator = server.client()
    company = operator.company()
    receiver.answer("/drain", Reply(200, delay_seconds=4))
    made = operator.made("POST", f"/v1/webhooks?companyId={company}", {"callbackUrl": receiver.url("/drain")})
    event_id = operator.publish(company)
    receiver.wait_at("/drain", 1)
    assert operator.call("GET", "/readyz").status == 200
    server.terminate()
    until(lambda: operator.call("GET", "/readyz").status == 503, "not ready any more", patience_seconds=1.5)
    assert operator.call("GET", "/healthz").status == 200
    late = operator.publish(company)
    assert server.wait() == 0
    server.restart()
    receiver.answer("/drain", Reply(200))
    until(lambda: len(operator.log(made["id"])) == 2, "both attempts are logged")
    assert {row["eventId"]: (row["attemptNumber"], row["success"]) for row in operator.log(made["id"])} == {
        event_id: (1, True),
        late: (1, True),
    }
    assert len(receiver.at("/drain")) == 2
    operator.close()


def test_a_second_signal_ends_at_once_and_loses_nothing(own_server: Callable[..., Server], receiver: Receiver) -> None:
    server = own_server(HOOKLINE_DRAIN_SECONDS="20", HOOKLINE_TIMEOUT_SECONDS_MAX="1", HOOKLINE_LEASE_SECONDS="14")
    operator = server.client()
    company = operator.company()
    receiver.answer("/twice-signalled", Reply(never=True), Reply(200))
    made = operator.made("POST", f"/v1/webhooks?companyId={company}", {"callbackUrl": receiver.url("/twice-signalled")})
    operator.publish(company)
    receiver.wait_at("/twice-signalled", 1)
    server.terminate()
    until(lambda: operator.call("GET", "/readyz").status == 503, "the first signal has counted")
    asked_at = time.monotonic()
    server.terminate()
    assert server.wait() == 130
    assert time.monotonic() - asked_at < 5
    server.restart()
    receiver.wait_at("/twice-signalled", 2)
    until(lambda: len(operator.log(made["id"])) == 2, "both attempts are logged")
    lost, succeeded = operator.log(made["id"])
    assert (lost["error"], lost["attemptNumber"], lost["durationMs"], lost["deadLettered"]) == ("lost", 1, 0, False)
    assert (succeeded["success"], succeeded["attemptNumber"]) == (True, 2)
    operator.close()


def test_a_second_process_on_the_same_file_is_refused_in_words(
    own_server: Callable[..., Server], database: str
) -> None:
    server = own_server()
    if database != "sqlite":
        pytest.skip("PostgreSQL takes any number of nodes")
    second = subprocess.run(
        [sys.executable, "-m", "hookline", "serve", "--dev", "--port", "0", "--database", server.database_url],
        env=CLEAN,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert second.returncode not in {0, None}
    said = second.stdout + second.stderr
    assert "Traceback" not in said
    assert "hookline.db" in said
    client = server.client()
    assert client.call("GET", "/readyz").status == 200
    client.close()


def _events(operator: Client, company: int, limit: int) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = operator.made("GET", f"/v1/events?companyId={company}&limit={limit}")["items"]
    return items
