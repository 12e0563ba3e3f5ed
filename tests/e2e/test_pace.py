"""Rate, order and operational events, as a receiver and a member see them."""

import json
from typing import Any

from .harness import Client
from .receiver import Arrival, Receiver, Reply

RATE = 5
ORDERED = 12


def subscribed(client: Client, receiver: Receiver, path: str, company: int, **policies: Any) -> dict[str, Any]:
    body = {"callbackUrl": receiver.url(path), **policies}
    made: dict[str, Any] = client.made("POST", f"/v1/webhooks?companyId={company}", body)
    return made


def test_a_rate_is_kept_over_a_backlog(operator: Client, receiver: Receiver) -> None:
    company = operator.company()
    made = subscribed(operator, receiver, "/rated", company, ratePerSecond=RATE, maxInFlight=20)
    assert made["ratePerSecond"] == RATE
    for _ in range(2 * RATE + 1):
        operator.publish(company)
    arrived = [arrival.at for arrival in receiver.wait_at("/rated", 2 * RATE + 1)]
    # A claim may be late and the next one on time, never early: two seconds hold no more than two rates and one.
    assert arrived[-1] - arrived[0] >= 1.5


def test_an_ordered_subscription_gets_its_events_in_order_whatever_fails(operator: Client, receiver: Receiver) -> None:
    def fails_first(arrival: Arrival) -> Reply:
        return Reply(503) if arrival.attempt == 1 and json.loads(arrival.body)["n"] % 4 == 0 else Reply(200)

    receiver.judge("/ordered", fails_first)
    company = operator.company()
    subscribed(operator, receiver, "/ordered", company, ordered=True, retryDelaysSeconds=[1])
    events = [{"eventType": "note.created", "companyIds": [company], "data": {"n": n}} for n in range(ORDERED)]
    operator.made("POST", "/v1/events/batch", {"events": events[: ORDERED // 2]})
    for event in events[ORDERED // 2 :]:
        operator.made("POST", "/v1/events", event)
    arrived = receiver.wait_at("/ordered", ORDERED + ORDERED // 4)
    numbers = [json.loads(arrival.body)["n"] for arrival in arrived]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(ORDERED))


def test_a_death_is_told_to_the_company_and_to_the_operator_and_to_nobody_else(
    operator: Client, receiver: Receiver
) -> None:
    company, other = operator.company(), operator.company("Other")
    member = operator.member_of(company)
    receiver.answer("/dies", Reply(500))
    dies = subscribed(operator, receiver, "/dies", company, retryDelaysSeconds=[])
    told = {"eventTypes": ["delivery.dead"], "retryDelaysSeconds": []}
    subscribed(operator, receiver, "/told-member", company, **told)
    subscribed(operator, receiver, "/told-operator", 1, payloadVersion="STANDARD", **told)
    subscribed(operator, receiver, "/told-other", other, **told)
    event_id = operator.publish(company)
    (to_member,) = receiver.wait_at("/told-member", 1)
    (to_operator,) = receiver.wait_at("/told-operator", 1)
    said = json.loads(to_member.body)
    assert (said["eventType"], said["subscriptionId"], said["companyId"]) == ("delivery.dead", dies["id"], company)
    assert (said["eventId"], said["reason"]) == (event_id, "exhausted")
    assert json.loads(to_operator.body)["data"]["deliveryId"] == said["deliveryId"]
    assert to_member.event_id == to_operator.event_id
    assert receiver.at("/told-other") == []
    shown = member.made("GET", f"/v1/events/{to_member.event_id}")
    assert [delivery["companyId"] for delivery in shown["deliveries"]] == [company]


def test_operational_events_cause_none(operator: Client, receiver: Receiver) -> None:
    company = operator.company()
    receiver.judge("/fails-always", lambda _: Reply(500))
    wanted = ["delivery.dead", "note.created"]
    subscribed(operator, receiver, "/fails-always", company, eventTypes=wanted, retryDelaysSeconds=[])
    subscribed(operator, receiver, "/told-once", company, eventTypes=["delivery.dead"])
    operator.publish(company)
    receiver.wait_at("/fails-always", 2)
    receiver.wait_at("/told-once", 1)
    operator.publish(company)
    receiver.wait_at("/told-once", 2)
    assert len(receiver.at("/told-once")) == 2
