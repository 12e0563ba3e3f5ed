"""How attempts prove themselves to receivers, over the whole service."""

import ssl
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest
import trustme

from .harness import Client, Server, until
from .receiver import Arrival, Receiver, Reply

SECRET = "client-secret-of-the-token-server"


def _token(text: str) -> Reply:
    return Reply(body=f'{{"access_token":"{text}","token_type":"Bearer","expires_in":3600}}'.encode())


def _accepting(token: str) -> Callable[[Arrival], Reply]:
    return lambda arrival: Reply(200 if arrival.headers["authorization"] == f"Bearer {token}" else 401)


def _oauth(receiver: Receiver, **members: str) -> dict[str, str]:
    return {
        "type": "OAUTH2_CLIENT_CREDENTIALS",
        "oauth2TokenUrl": receiver.url("/token"),
        "oauth2ClientId": "us",
        "oauth2ClientSecret": SECRET,
        **members,
    }


def _settled(client: Client, subscription_id: int, count: int) -> list[dict[str, Any]]:
    """Wait until the log has so many rows; return them."""
    until(lambda: len(client.log(subscription_id)) >= count, f"{count} attempts in the log")
    return client.log(subscription_id)


def test_a_token_is_fetched_once_and_anew_after_a_401(operator: Client, receiver: Receiver) -> None:
    member = operator.member_of(operator.company())
    receiver.answer("/token", _token("first"), _token("second"))
    receiver.judge("/hook", _accepting("first"))
    body = {
        "callbackUrl": receiver.url("/hook"),
        "callbackAuth": _oauth(receiver, oauth2ClientAuthenticationMethod="CLIENT_SECRET_POST", oauth2Scope="events"),
        "retryDelaysSeconds": [1],
    }
    made = member.made("POST", "/v1/webhooks", body)
    assert made["callbackAuthType"] == "OAUTH2_CLIENT_CREDENTIALS"
    for count in (1, 2):
        operator.publish(made["companyId"])
        receiver.wait_at("/hook", count)
    (asked,) = receiver.at("/token")
    assert parse_qs(asked.body.decode())["scope"] == ["events"]
    receiver.judge("/hook", _accepting("second"))
    operator.publish(made["companyId"])
    arrivals = receiver.wait_at("/hook", 4)
    assert [arrival.headers["authorization"] for arrival in arrivals] == ["Bearer first"] * 3 + ["Bearer second"]
    assert arrivals[3].attempt == 2
    rows = _settled(member, made["id"], 4)
    assert [row["httpStatus"] for row in rows] == [200, 200, 401, 200]
    shown = member.call("GET", f"/v1/webhooks/{made['id']}/deliveries/{rows[3]['deliveryId']}").body
    assert b"Authorization: hidden" in shown
    for secret in (SECRET, "first", "second"):
        assert secret.encode() not in shown


def test_a_failed_token_request_is_a_failed_attempt(operator: Client, receiver: Receiver) -> None:
    member = operator.member_of(operator.company())
    receiver.answer("/token", Reply(400, body=b'{"error":"invalid_client"}'), _token("fine"))
    body = {"callbackUrl": receiver.url("/hook"), "callbackAuth": _oauth(receiver), "retryDelaysSeconds": [1]}
    made = member.made("POST", "/v1/webhooks", body)
    operator.publish(made["companyId"])
    (arrival,) = receiver.wait_at("/hook", 1)
    assert arrival.attempt == 2
    rows = _settled(member, made["id"], 2)
    assert [(row["error"], row["httpStatus"]) for row in rows] == [("oauth", None), (None, 200)]
    assert rows[0]["detail"] == "The token server answered 400 (invalid_client)."


def test_deliveries_go_through_the_proxy(own_server: Callable[..., Server], receiver: Receiver) -> None:
    """The receiver is its own proxy: it answers CONNECT like any request, and is then asked on the same connection."""
    server = own_server(HOOKLINE_EGRESS_PROXY=f"http://ann:s3cret@127.0.0.1:{receiver.port}")
    operator = server.client()
    member = operator.member_of(operator.company())
    made = member.made("POST", "/v1/webhooks", {"callbackUrl": "http://localhost:9009/hook"})
    operator.publish(made["companyId"])
    receiver.wait_at("/hook", 1)
    (asked,) = receiver.at("127.0.0.1:9009")
    assert asked.head.startswith(b"CONNECT 127.0.0.1:9009 HTTP/1.1\r\n")
    assert asked.headers["proxy-authorization"] == "Basic YW5uOnMzY3JldA=="
    assert "s3cret" not in server.log
    operator.close()


AUTHORITY = trustme.CA()
BUNDLE = AUTHORITY.cert_pem.bytes().decode()


@pytest.fixture
def strict_receiver() -> Iterator[Receiver]:
    """Run a receiver whose certificate and whose callers the authority vouches for, and nobody else."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost").configure_cert(tls)
    AUTHORITY.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    receiver = Receiver(tls).start()
    yield receiver
    receiver.close()


def test_a_client_certificate_opens_a_receiver_that_wants_one(operator: Client, strict_receiver: Receiver) -> None:
    member = operator.member_of(operator.company())
    leaf = AUTHORITY.issue_cert("us@example.com")
    key = leaf.private_key_pem.bytes().decode()
    own = {"certificate": leaf.cert_chain_pems[0].bytes().decode(), "privateKey": key}
    body = {"callbackUrl": strict_receiver.url("/hook"), "caCertificate": BUNDLE, "retryDelaysSeconds": [1]}
    made = member.made("POST", "/v1/webhooks", {**body, "clientCertificate": own})
    assert made["clientCertificate"].keys() == {"subject", "expiresAt"}
    assert [each.keys() for each in made["caCertificate"]] == [{"subject", "expiresAt"}]
    operator.publish(made["companyId"])
    strict_receiver.wait_at("/hook", 1)
    path = f"/v1/webhooks/{made['id']}"
    changed = member.made("PATCH", path, {"caCertificate": None})
    assert (changed["caCertificate"], changed["clientCertificate"]) == (None, made["clientCertificate"])
    operator.publish(made["companyId"])
    rows = _settled(member, made["id"], 3)
    assert [row["error"] for row in rows] == [None, "tls", "tls"]
    assert key.encode() not in member.call("GET", path).body
    member.made("PATCH", path, {"clientCertificate": None, "caCertificate": BUNDLE})
    operator.publish(made["companyId"])
    assert len(strict_receiver.at("/hook")) == 1
    assert _settled(member, made["id"], 5)[-1]["success"] is False


def test_what_is_no_certificate_is_refused_with_its_member(operator: Client) -> None:
    member = operator.member_of(operator.company())
    for given, field in (
        ({"clientCertificate": {"certificate": BUNDLE, "privateKey": "s3cret"}}, "clientCertificate.privateKey"),
        ({"clientCertificate": {"certificate": BUNDLE}}, "clientCertificate"),
        ({"caCertificate": "trust me"}, "caCertificate"),
    ):
        answer = member.call("POST", "/v1/webhooks", {"callbackUrl": "https://api.example.com/", **given})
        assert answer.status == 400
        assert answer.json["validationErrors"][0]["field"].startswith(field)
        assert b"s3cret" not in answer.body


def _granting(rate: str = "*", origin: str = "127.0.0.1") -> Callable[[Arrival], Reply]:
    headers = {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": rate}
    return lambda arrival: Reply(headers=headers if arrival.head.startswith(b"OPTIONS ") else {})


def test_nothing_is_sent_before_the_receiver_grants_it(own_server: Callable[..., Server], receiver: Receiver) -> None:
    server = own_server()
    operator = server.client()
    member = operator.member_of(operator.company())
    receiver.answer("/hook", Reply(405))
    body = {
        "callbackUrl": receiver.url("/hook"),
        "validation": "CLOUDEVENTS",
        "ratePerSecond": 50,
        "headers": {"X": "y"},
    }
    made = member.made("POST", "/v1/webhooks", body)
    assert made["validation"] == "CLOUDEVENTS"
    event_id = operator.publish(made["companyId"])
    (asked,) = receiver.wait_at("/hook", 1)
    assert asked.head.startswith(b"OPTIONS /hook HTTP/1.1\r\n")
    assert asked.headers["webhook-request-origin"] == "127.0.0.1"
    assert asked.headers["webhook-request-rate"] == "3000"
    assert asked.headers["x"] == "y"
    (delivery,) = operator.made("GET", f"/v1/events/{event_id}")["deliveries"]
    assert (delivery["state"], delivery["reason"]) == ("pending", "waiting: validation")
    server.kill()
    server.restart()
    (delivery,) = operator.made("GET", f"/v1/events/{event_id}")["deliveries"]
    assert delivery["reason"] == "waiting: validation"
    receiver.judge("/hook", _granting())
    member.made("PATCH", f"/v1/webhooks/{made['id']}", {"active": True})
    until(lambda: len(receiver.of(event_id)) == 1, "the event is delivered")
    assert len(receiver.at("/hook")) == 3
    receiver.judge("/other", _granting(origin="somebody.example.com"))
    member.made("PATCH", f"/v1/webhooks/{made['id']}", {"callbackUrl": receiver.url("/other")})
    waiting = operator.publish(made["companyId"])
    receiver.wait_at("/other", 1)
    assert receiver.of(waiting) == []
    operator.close()
