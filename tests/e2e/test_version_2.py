"""What a subscription of version 2 receives, and that filters decide what arrives at all."""

import hashlib
import hmac
import json
from typing import Any

from .harness import Client, Server
from .receiver import Receiver

NOTE = "org.tsanet.connect.collaboration-request.note.created"


def subscribed(operator: Client, receiver: Receiver, company: int, path: str, version: str = "v2", **more: Any) -> Any:
    body = {"callbackUrl": receiver.url(path), **more}
    return operator.made("POST", f"/{version}/webhooks?companyId={company}", body)


def test_a_cloudevent_arrives_signed_with_every_attribute(server: Server, operator: Client, receiver: Receiver) -> None:
    company = operator.company()
    made = subscribed(operator, receiver, company, "/cloudevents", eventTypes=[NOTE])
    plain = subscribed(operator, receiver, company, "/as-json", contentType="application/json")
    data = {"requestToken": "deadbeef", "number": 1, "text": "ü"}
    event_id = operator.publish(company, data, occurredAt="2026-11-23T09:00:00+01:00", id="note-1")
    (arrival,) = receiver.wait_at("/cloudevents", 1)
    assert json.loads(arrival.body) == {
        "specversion": "1.0",
        "id": event_id,
        "source": server.url,
        "type": NOTE,
        "time": "2026-11-23T08:00:00.000Z",
        "datacontenttype": "application/json",
        "subject": "deadbeef",
        "data": data,
    }
    assert arrival.headers["content-type"] == "application/cloudevents+json"
    by_hand = hmac.new(made["secret"].encode(), arrival.body, hashlib.sha256).hexdigest()
    assert arrival.headers["x-hub-signature-256"] == f"sha256={by_hand}"
    (other,) = receiver.wait_at("/as-json", 1)
    assert (other.headers["content-type"], other.body) == ("application/json", arrival.body)
    assert operator.made("GET", f"/v1/webhooks/{plain['id']}")["contentType"] == "application/json"


def test_only_what_meets_every_demand_arrives(operator: Client, receiver: Receiver) -> None:
    company = operator.company()
    subscribed(operator, receiver, company, "/inbound", caseDirections=["INBOUND"], filter={"amount": {"gte": 1.1}})
    subscribed(operator, receiver, company, "/partner", partnerCompanyIds=[7])
    subscribed(operator, receiver, company, "/all", "v1")

    def publish(amount: str, **entry: Any) -> str:
        recipients = json.dumps([{"companyId": company, **entry}])
        body = f'{{"eventType":"note.created","recipients":{recipients},"data":{{"amount":{amount}}}}}'
        event_id: str = operator.made("POST", "/v1/events", body.encode())["id"]
        return event_id

    inbound = publish("1.10", caseDirection="INBOUND")
    little = publish("1.09", caseDirection="INBOUND")
    partner = publish("2", caseDirection="OUTBOUND", partnerCompanyId=7)
    last = publish("1.1000000000000000000001", caseDirection="INBOUND", partnerCompanyId=7)
    assert {each.event_id for each in receiver.wait_at("/all", 4)} == {inbound, little, partner, last}
    assert {each.event_id for each in receiver.wait_at("/inbound", 2)} == {inbound, last}
    assert {each.event_id for each in receiver.wait_at("/partner", 2)} == {partner, last}
    reasons = {each["reason"] for each in operator.made("GET", f"/v1/events/{little}")["notMatched"]}
    assert reasons == {"not matched: filter", "not matched: partner company"}
