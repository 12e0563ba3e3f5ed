"""Changes beside a stream of events: whoever was answered sees the change in the very next request, and no event falls
between the old state and the new.
"""

import time
from collections import Counter

from .harness import Client, Server, until
from .receiver import Receiver, Reply
from .test_ending import load

CHANGES = 12
ARRIVALS_BETWEEN = 5


def test_the_next_event_goes_to_what_was_registered_changed_or_deleted_just_before(
    server: Server, operator: Client, receiver: Receiver
) -> None:
    company = operator.company()
    event = {"eventType": "note.created", "companyIds": [company], "data": {}}

    def deliveries() -> int:
        count: int = operator.made("POST", "/v1/events", event)["deliveries"]
        return count

    assert deliveries() == 0
    made: list[str] = []
    with load(server, company):
        for number in range(CHANGES):
            body = {"callbackUrl": receiver.url(f"/change-{number}")}
            subscription = operator.made("POST", f"/v1/webhooks?companyId={company}", body)
            made.append(f"/v1/webhooks/{subscription['id']}")
            assert deliveries() == len(made)
        for path in made:
            operator.made("PATCH", path, {"eventTypes": ["collaboration-request.created"]})
            assert deliveries() == len(made) - 1
            operator.made("PATCH", path, {"eventTypes": None})
            assert deliveries() == len(made)
        while made:
            operator.made("DELETE", made.pop())
            assert deliveries() == len(made)


def test_a_type_may_be_used_as_soon_as_it_is_made(server: Server, operator: Client, receiver: Receiver) -> None:
    company = operator.company()
    operator.made("POST", f"/v1/webhooks?companyId={company}", {"callbackUrl": receiver.url("/every")})
    with load(server, company):
        for number in range(CHANGES):
            name = f"made.{company}.{number}"
            event = {"eventType": name, "companyIds": [company], "data": {}}
            assert operator.call("POST", "/v1/events", event).status == 400
            operator.made("PUT", f"/v1/event-types/{name}", {})
            assert operator.made("POST", "/v1/events", event)["deliveries"] == 1
            operator.made("PUT", f"/v1/event-types/{name}", {"v1Name": None})
            assert operator.made("POST", "/v1/events", event)["deliveries"] == 0
            operator.made("DELETE", f"/v1/event-types/{name}")
            assert operator.call("POST", "/v1/events", event).status == 400


def test_switching_on_and_off_under_load_loses_nothing_and_repeats_nothing(
    server: Server, operator: Client, receiver: Receiver
) -> None:
    company = operator.company()
    receiver.answer("/switched", Reply(delay_seconds=0.005))
    made = operator.made("POST", f"/v1/webhooks?companyId={company}", {"callbackUrl": receiver.url("/switched")})
    operator.made("POST", f"/v1/webhooks?companyId={company}", {"callbackUrl": receiver.url("/steady")})
    path = f"/v1/webhooks/{made['id']}"
    off: list[tuple[float, float]] = []
    with load(server, company):
        for _ in range(CHANGES):
            receiver.wait_at("/switched", len(receiver.at("/switched")) + ARRIVALS_BETWEEN)
            operator.made("PATCH", path, {"active": False})
            began_at = time.monotonic()
            receiver.wait_at("/steady", len(receiver.at("/steady")) + ARRIVALS_BETWEEN)
            off.append((began_at, time.monotonic()))
            operator.made("PATCH", path, {"active": True})
    published = {event["id"] for event in all_events(operator, company)}
    assert len(published) > CHANGES * ARRIVALS_BETWEEN
    until(lambda: len(operator.log(made["id"])) >= len(published), "everything is delivered")
    arrivals = receiver.at("/switched")
    assert Counter(arrival.event_id for arrival in arrivals) == Counter(published)
    for began_at, ended_at in off:
        assert not [arrival for arrival in arrivals if began_at < arrival.at < ended_at]


def all_events(operator: Client, company: int) -> list[dict[str, object]]:
    events: list[dict[str, object]] = []
    cursor = ""
    while True:
        page = operator.made("GET", f"/v1/events?companyId={company}&limit=200{cursor}")
        events += page["items"]
        if page["next"] is None:
            return events
        cursor = f"&cursor={page['next']}"
