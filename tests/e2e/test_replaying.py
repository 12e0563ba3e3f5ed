"""Replays as receivers see them, with the engine at work: all of it, at its pace, over restarts."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from .harness import Client, Server, until
from .receiver import Arrival, Receiver, Reply

EVENTS = 40


def this_hour() -> dict[str, str]:
    now = datetime.now(UTC)
    return {"from": (now - timedelta(minutes=30)).isoformat(), "to": (now + timedelta(minutes=30)).isoformat()}


def subscribe(operator: Client, company: int, url: str, **policies: Any) -> int:
    made = operator.made("POST", f"/v1/webhooks?companyId={company}", {"callbackUrl": url, **policies})
    subscription_id: int = made["id"]
    return subscription_id


def publish(operator: Client, company: int, count: int = EVENTS) -> list[str]:
    events = [{"eventType": "note.created", "companyIds": [company], "data": {"n": n}} for n in range(count)]
    return [event["id"] for event in operator.made("POST", "/v1/events/batch", {"events": events})["events"]]


def await_done(client: Client, replay: dict[str, Any]) -> dict[str, Any]:
    path = f"/v1/replays/{replay['id']}"
    until(lambda: client.made("GET", path)["state"] == "done", "the replay is done")
    found: dict[str, Any] = client.made("GET", path)
    return found


def test_what_died_while_a_receiver_was_down_arrives_after_it(operator: Client, receiver: Receiver) -> None:
    company = operator.company()
    receiver.answer("/down", Reply(503))
    subscription = subscribe(operator, company, receiver.url("/down"), retryDelaysSeconds=[])
    ids = publish(operator, company)
    until(lambda: len(operator.log(subscription)) == EVENTS, "every delivery is dead")
    receiver.answer("/down", Reply(200))
    member = operator.member_of(company)
    replay = member.made("POST", f"/v1/webhooks/{subscription}/replay", {**this_hour(), "status": "failed"})
    assert (replay["total"], replay["state"]) == (EVENTS, "running")
    finished = await_done(member, replay)
    assert finished["done"] == EVENTS
    until(lambda: len(operator.log(subscription, status="succeeded")) == EVENTS, "every delivery has succeeded")
    again = receiver.at("/down")[EVENTS:]
    assert [arrival.event_id for arrival in again] == ids, "one after the other, oldest first"
    assert {arrival.attempt for arrival in again} == {2}
    first = {arrival.event_id: arrival.body for arrival in receiver.at("/down")[:EVENTS]}
    assert {arrival.event_id: arrival.body for arrival in again} == first


def test_a_subscription_made_after_the_events_gets_what_it_missed(operator: Client, receiver: Receiver) -> None:
    company = operator.company()
    ids = publish(operator, company, 10)
    subscription = subscribe(operator, company, receiver.url("/late"), payloadVersion="STANDARD")
    replay = operator.made("POST", f"/v1/webhooks/{subscription}/replay", this_hour())
    assert replay["total"] == 10
    assert await_done(operator, replay)["done"] == 10
    assert [arrival.event_id for arrival in receiver.wait_at("/late", 10)] == ids
    assert len({row["deliveryId"] for row in operator.log(subscription)}) == 10


def test_a_replay_outlives_the_process_and_sends_nothing_twice(
    own_server: Callable[..., Server], receiver: Receiver
) -> None:
    server = own_server()
    operator = server.client()
    company = operator.company()
    subscription = subscribe(operator, company, receiver.url("/outlived"))
    publish(operator, company)
    until(lambda: len(operator.log(subscription)) == EVENTS, "all is delivered")
    replay = operator.made("POST", f"/v1/webhooks/{subscription}/replay", this_hour())
    for share in (1, 2):
        receiver.wait_at("/outlived", EVENTS + EVENTS // 3 * share)
        server.stop()
        server.restart()
    assert await_done(operator, replay)["done"] == EVENTS
    until(lambda: len(operator.log(subscription)) == 2 * EVENTS, "all is delivered again")
    assert sorted(arrival.attempt for arrival in receiver.at("/outlived")) == [1] * EVENTS + [2] * EVENTS
    operator.close()


def test_a_cancelled_replay_sends_nothing_more(operator: Client, receiver: Receiver) -> None:
    company = operator.company()
    subscription = subscribe(operator, company, receiver.url("/stopped"))
    ids = publish(operator, company)
    until(lambda: len(operator.log(subscription)) == EVENTS, "all is delivered")
    receiver.judge("/stopped", lambda _: Reply(200, delay_seconds=0.05))
    replay = operator.made("POST", f"/v1/webhooks/{subscription}/replay", this_hour())
    receiver.wait_at("/stopped", EVENTS + 3)
    operator.made("DELETE", f"/v1/replays/{replay['id']}")
    cancelled = operator.made("GET", f"/v1/replays/{replay['id']}")
    assert cancelled["state"] == "cancelled"
    later = publish(operator, company, 1)
    until(lambda: len(receiver.of(later[0])) == 1, "what is published afterwards arrives")
    states = [operator.made("GET", f"/v1/events/{event_id}")["counts"] for event_id in ids]
    assert not [counts for counts in states if counts["pending"]]
    assert len(receiver.at("/stopped")) <= EVENTS + cancelled["done"] + 2


def test_an_operator_replays_an_outage_to_every_company(operator: Client, receiver: Receiver) -> None:
    receiver.judge("/outage", lambda arrival: Reply(500 if arrival.attempt == 1 else 200))
    companies = [operator.company() for _ in range(3)]
    subscriptions = [
        subscribe(operator, company, receiver.url("/outage"), retryDelaysSeconds=[]) for company in companies
    ]
    for company in companies:
        publish(operator, company, 5)
    until(lambda: all(len(operator.log(each)) == 5 for each in subscriptions), "every delivery is dead")
    begin = this_hour()
    replay = operator.made("POST", "/v1/replays", {**begin, "status": "failed", "companyId": companies[0]})
    assert (replay["total"], replay["subscriptionId"]) == (5, None)
    assert await_done(operator, replay)["done"] == 5
    replay = operator.made("POST", "/v1/replays", {**begin, "status": "failed"})
    assert replay["total"] >= 10, "other tests share the server"
    await_done(operator, replay)
    until(lambda: all(len(operator.log(each, status="succeeded")) == 5 for each in subscriptions), "it came through")


def test_what_is_published_meanwhile_goes_on_beside_it(operator: Client, receiver: Receiver) -> None:
    """The share of a lane: never more than a fifth of the slots are taken by the replay."""
    company = operator.company()
    slow: set[str] = set()

    def judge(arrival: Arrival) -> Reply:
        return Reply(200, delay_seconds=0.2 if arrival.event_id in slow and arrival.attempt == 2 else 0)

    receiver.judge("/beside", judge)
    subscription = subscribe(operator, company, receiver.url("/beside"))
    slow.update(publish(operator, company, 20))
    until(lambda: len(operator.log(subscription)) == 20, "all is delivered")
    replay = operator.made("POST", f"/v1/webhooks/{subscription}/replay", this_hour())
    receiver.wait_at("/beside", 22)
    fresh = publish(operator, company, 20)
    receiver.wait(
        lambda arrivals: {arrival.event_id for arrival in arrivals} >= set(fresh), "fresh events arrive meanwhile"
    )
    assert operator.made("GET", f"/v1/replays/{replay['id']}")["state"] == "running"
    operator.made("DELETE", f"/v1/replays/{replay['id']}")
