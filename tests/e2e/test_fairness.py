"""One receiver that hangs delays nobody else; how little is measured by `bench/fairness.py`."""

import json

from .harness import Client
from .receiver import HANGS, Receiver

COMPANIES = 10
SUBSCRIPTIONS = 5
"""Of each company; every second one over all hangs, so most companies have both."""
EVENTS = 20
PATIENCE_SECONDS = 15.0
"""Half of what an attempt may take: what has arrived by then has not waited for one that hangs."""


def test_half_of_a_hosts_subscriptions_hang_and_the_others_get_everything(operator: Client, receiver: Receiver) -> None:
    healthy, expected = [], 0
    companies = [operator.company(f"Company {number}") for number in range(COMPANIES)]
    for number in range(COMPANIES * SUBSCRIPTIONS):
        path = f"/fair-{number}"
        if (number + number // COMPANIES) % 2:
            receiver.answer(path, HANGS)
        else:
            healthy.append(path)
            expected += EVENTS
        company = companies[number % COMPANIES]
        operator.made("POST", f"/v1/webhooks?companyId={company}", {"callbackUrl": receiver.url(path)})
    for number in range(EVENTS):
        body = {"eventType": "note.created", "companyIds": companies, "data": {"n": number}}
        operator.made("POST", "/v1/events", body)
    receiver.wait(
        lambda _: sum(len(receiver.at(path)) for path in healthy) >= expected,
        f"{expected} deliveries to receivers that answer",
        PATIENCE_SECONDS,
    )
    assert receiver.hanging >= COMPANIES * SUBSCRIPTIONS // 2
    for path in healthy:
        assert sorted(json.loads(arrival.body)["n"] for arrival in receiver.at(path)) == list(range(EVENTS))
    receiver.release()


def test_a_company_with_a_long_queue_does_not_keep_others_waiting(operator: Client, receiver: Receiver) -> None:
    noisy, quiet = operator.company("Noisy"), operator.company("Quiet")
    receiver.answer("/noisy", HANGS)
    for company, path in ((noisy, "/noisy"), (quiet, "/quiet")):
        operator.made("POST", f"/v1/webhooks?companyId={company}", {"callbackUrl": receiver.url(path)})
    event = {"eventType": "note.created", "companyIds": [noisy], "data": {}}
    for _ in range(5):
        operator.made("POST", "/v1/events/batch", {"events": [event] * 1000})
    receiver.wait_at("/noisy", 2)
    event_id = operator.publish(quiet)
    (arrival,) = receiver.wait_at("/quiet", 1, PATIENCE_SECONDS)
    assert arrival.event_id == event_id
    assert receiver.hanging >= 2
    receiver.release()
