"""Registering, listing, changing: what existing clients of the member API rely on."""

from .harness import Client
from .receiver import Receiver

PROMISED = {"id", "callbackUrl", "eventTypes", "active", "createdAt", "updatedAt", "callbackAuthType", "payloadVersion"}


def test_creating_answers_200_with_every_promised_member(operator: Client, receiver: Receiver) -> None:
    member = operator.member_of(operator.company())
    answer = member.call("POST", "/v1/webhooks", {"callbackUrl": receiver.url("/a")})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json.keys() >= PROMISED | {"secret"}
    assert answer.json["callbackUrl"] == receiver.url("/a")
    assert answer.json["active"] is True
    assert answer.json["callbackAuthType"] == "NONE"
    assert answer.json["payloadVersion"] == "V1"
    assert answer.json["eventTypes"] == ["collaboration-request.created", "note.created"]
    assert 1 <= answer.json["id"] < 2**31


def test_lists_are_bare_arrays_by_id_and_none_is_an_empty_one(operator: Client, receiver: Receiver) -> None:
    member = operator.member_of(operator.company())
    assert member.call("GET", "/v1/webhooks").body == b"[]"
    made = [member.made("POST", "/v1/webhooks", {"callbackUrl": receiver.url()})["id"] for _ in range(5)]
    listed = member.made("GET", "/v1/webhooks")
    assert [subscription["id"] for subscription in listed] == sorted(made)
    assert all(subscription.keys() >= PROMISED for subscription in listed)


def test_a_secret_is_shown_at_creation_and_never_again(operator: Client, receiver: Receiver) -> None:
    member = operator.member_of(operator.company())
    body = {
        "callbackUrl": receiver.url("/secret"),
        "callbackAuth": {"type": "BEARER", "token": "credential-of-the-receiver"},
        "headers": {"X-Key": "value-of-the-header"},
    }
    made = member.made("POST", "/v1/webhooks", body)
    assert made["secret"].startswith("whsec_")
    event_id = operator.publish(made["companyId"])
    (arrival,) = receiver.wait_at("/secret", 1)
    assert arrival.headers["authorization"] == "Bearer credential-of-the-receiver"
    assert arrival.headers["x-key"] == "value-of-the-header"
    path = f"/v1/webhooks/{made['id']}"
    (delivery,) = operator.made("GET", f"/v1/events/{event_id}")["deliveries"]
    seen = [
        member.call("GET", "/v1/webhooks"),
        member.call("GET", path),
        member.call("PATCH", path, {"timeoutSeconds": 5}),
        member.call("GET", f"{path}/deliveries"),
        member.call("GET", f"{path}/deliveries/{delivery['id']}"),
        operator.call("GET", "/v1/webhooks"),
        operator.call("GET", f"/v1/events/{event_id}"),
    ]
    for answer in seen:
        assert answer.status == 200
        for secret in (made["secret"], "credential-of-the-receiver", "value-of-the-header"):
            assert secret.encode() not in answer.body
            assert secret.removeprefix("whsec_").encode() not in answer.body


def test_one_url_registered_twice_gets_a_delivery_for_each(operator: Client, receiver: Receiver) -> None:
    company = operator.company()
    member = operator.member_of(company)
    made = [member.made("POST", "/v1/webhooks", {"callbackUrl": receiver.url("/twice")}) for _ in range(2)]
    event_id = operator.publish(company)
    arrivals = receiver.wait_at("/twice", 2)
    assert {arrival.event_id for arrival in arrivals} == {event_id}
    assert made[0]["secret"] != made[1]["secret"]
    assert len({arrival.headers["x-hub-signature-256"] for arrival in arrivals}) == 2


def test_only_named_event_types_arrive(operator: Client, receiver: Receiver) -> None:
    company = operator.company()
    member = operator.member_of(company)
    for name, types in {"notes": ["note.created"], "all": None, "every": []}.items():
        member.made("POST", "/v1/webhooks", {"callbackUrl": receiver.url(f"/{name}"), "eventTypes": types})
    other = operator.publish(company, event_type="collaboration-request.created")
    note = operator.publish(company, event_type="note.created")
    for name in ("all", "every"):
        assert {arrival.event_id for arrival in receiver.wait_at(f"/{name}", 2)} == {other, note}
    assert [arrival.event_id for arrival in receiver.wait_at("/notes", 1)] == [note]
    shown = member.made("GET", f"/v1/events/{other}")
    assert [each["reason"] for each in shown["notMatched"]] == ["not matched: event type"]


def test_an_unknown_event_type_is_refused_with_the_remedy(operator: Client, receiver: Receiver) -> None:
    member = operator.member_of(operator.company())
    answer = member.call("POST", "/v1/webhooks", {"callbackUrl": receiver.url(), "eventTypes": ["order.paid"]})
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["validationErrors"][0]["field"].startswith("eventTypes")
    assert "PUT /v1/event-types/order.paid" in answer.json["message"]
    operator.made("PUT", "/v1/event-types/order.paid", {})
    member.made("POST", "/v1/webhooks", {"callbackUrl": receiver.url(), "eventTypes": ["order.paid"]})
