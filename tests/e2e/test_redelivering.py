"""Ping, rotation and redelivery as a receiver sees them, signatures checked by code that is not ours."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from functools import partial
from typing import Any

from .harness import Client, Server, until
from .receiver import Arrival, Receiver, Reply


def subscribe(operator: Client, receiver: Receiver, path: str, **policies: Any) -> tuple[int, dict[str, Any]]:
    company = operator.company()
    body = {"callbackUrl": receiver.url(path), **policies}
    return company, operator.made("POST", f"/v1/webhooks?companyId={company}", body)


def standard_signature(arrival: Arrival, secret: str) -> str:
    signed = f"{arrival.event_id}.{arrival.headers['webhook-timestamp']}.".encode() + arrival.body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def hub_signature(arrival: Arrival, secret: str) -> str:
    return "sha256=" + hmac.new(secret.encode(), arrival.body, hashlib.sha256).hexdigest()


def test_a_ping_arrives_signed_and_is_logged(operator: Client, receiver: Receiver) -> None:
    company, made = subscribe(operator, receiver, "/ping", eventTypes=["note.created"])
    operator.made("POST", f"/v1/webhooks?companyId={company}", {"callbackUrl": receiver.url("/not-pinged")})
    ping = operator.member_of(company).made("POST", f"/v1/webhooks/{made['id']}/ping")
    (arrival,) = receiver.wait_at("/ping", 1)
    assert arrival.event_id == ping["eventId"]
    assert b'"eventType":"webhook.ping"' in arrival.body
    assert b'"requestToken":"' in arrival.body
    assert arrival.headers["x-hub-signature-256"] == hub_signature(arrival, made["secret"])
    until(lambda: len(operator.log(made["id"])) == 1, "the ping is logged")
    assert operator.log(made["id"])[0]["deliveryId"] == ping["deliveryId"]
    assert receiver.at("/not-pinged") == []


def test_both_secrets_sign_during_the_overlap_and_the_new_one_alone_after_it(
    operator: Client, receiver: Receiver
) -> None:
    company, made = subscribe(operator, receiver, "/rotated")
    old = made["secret"]
    operator.publish(company)
    (before,) = receiver.wait_at("/rotated", 1)
    assert before.headers["webhook-signature"] == standard_signature(before, old)

    path = f"/v1/webhooks/{made['id']}/secret"
    new = operator.made("POST", path, {"overlapSeconds": 2, "hubSignature": "old"})["secret"]
    operator.publish(company)
    both = receiver.wait_at("/rotated", 2)[-1]
    assert both.headers["webhook-signature"].split(" ") == [
        standard_signature(both, new),
        standard_signature(both, old),
    ]
    assert both.headers["x-hub-signature-256"] == hub_signature(both, old)

    def is_over() -> bool:
        count = len(receiver.at("/rotated"))
        operator.publish(company)
        arrival = receiver.wait_at("/rotated", count + 1)[-1]
        return arrival.headers["webhook-signature"] == standard_signature(arrival, new) and arrival.headers[
            "x-hub-signature-256"
        ] == hub_signature(arrival, new)

    until(is_over, "the old secret has expired, with nothing changed meanwhile")


def test_rotation_counts_for_retries_that_wait(operator: Client, receiver: Receiver) -> None:
    company, made = subscribe(operator, receiver, "/retried", retryDelaysSeconds=[1])
    receiver.answer("/retried", Reply(503), Reply(200))
    operator.publish(company)
    receiver.wait_at("/retried", 1)
    new = operator.made("POST", f"/v1/webhooks/{made['id']}/secret", {"overlapSeconds": 0})["secret"]
    retry = receiver.wait_at("/retried", 2)[-1]
    assert retry.attempt == 2
    assert retry.headers["webhook-signature"] == standard_signature(retry, new)
    assert retry.headers["x-hub-signature-256"] == hub_signature(retry, new)


def test_a_redelivery_sends_the_same_bytes_under_the_same_id_with_a_new_number(
    operator: Client, receiver: Receiver
) -> None:
    company, made = subscribe(operator, receiver, "/again", retryDelaysSeconds=[])
    receiver.answer("/again", Reply(500), Reply(200))
    event_id = operator.publish(company, {"n": 1})
    until(lambda: len(operator.log(made["id"])) == 1, "the failure is logged")
    (row,) = operator.log(made["id"])
    assert row["deadLettered"]
    path = f"/v1/webhooks/{made['id']}/deliveries/{row['deliveryId']}"

    def came(count: int) -> bool:
        return len(operator.made("GET", path)["attempts"]) == count

    for attempts in (2, 3):
        assert operator.made("POST", f"{path}/redeliver") == {"deliveryId": row["deliveryId"], "eventId": event_id}
        until(partial(came, attempts), "it was sent again")
    first, second, third = receiver.of(event_id)
    assert first.body == second.body == third.body
    assert [arrival.attempt for arrival in (first, second, third)] == [1, 2, 3]
    shown = operator.made("GET", path)
    assert (shown["state"], [attempt["success"] for attempt in shown["attempts"]]) == (
        "succeeded", [False, True, True]
    )  # fmt: skip


def test_a_redelivery_outlives_the_process(own_server: Callable[..., Server], receiver: Receiver) -> None:
    server = own_server()
    operator = server.client()
    company, made = subscribe(operator, receiver, "/kept")
    operator.publish(company)
    until(lambda: len(operator.log(made["id"])) == 1, "the first attempt is logged")
    (row,) = operator.log(made["id"])
    server.stop()
    server.set(HOOKLINE_ROLES="api").restart()
    path = f"/v1/webhooks/{made['id']}/deliveries/{row['deliveryId']}"
    operator.made("POST", f"{path}/redeliver")
    assert operator.made("GET", path)["state"] == "pending"
    server.kill()
    server.set(HOOKLINE_ROLES="api,engine").restart()
    assert [arrival.attempt for arrival in receiver.wait_at("/kept", 2)] == [1, 2]
    operator.close()
