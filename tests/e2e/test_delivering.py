"""What arrives at a callback URL, and what the log says of it, for attempts that succeed and attempts that fail."""

import base64
import hashlib
import hmac
import re
from datetime import datetime
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from .harness import Client, until
from .receiver import CLOSES, Arrival, Receiver, Reply

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ROW = {
    "id",
    "deliveryId",
    "eventId",
    "cloudEventId",
    "eventType",
    "attemptNumber",
    "success",
    "httpStatus",
    "error",
    "durationMs",
    "requestBody",
    "responseBody",
    "createdAt",
    "nextAttemptAt",
    "deadLettered",
}
JITTER_MAX = 1.2
"""A wait is lengthened by at most a fifth."""


def seconds(instant: str) -> float:
    assert INSTANT.fullmatch(instant)
    return datetime.fromisoformat(instant).timestamp()


def subscribed(operator: Client, receiver: Receiver, path: str, **policies: Any) -> tuple[int, dict[str, Any]]:
    """Make a company with one subscription to the path; return its id and the subscription."""
    company = operator.company()
    body = {"callbackUrl": receiver.url(path), **policies}
    return company, operator.made("POST", f"/v1/webhooks?companyId={company}", body)


# --- one request -----------------------------------------------------------------------------------------------------


def test_both_signatures_verify_with_independent_code(operator: Client, receiver: Receiver) -> None:
    company, subscription = subscribed(operator, receiver, "/signed")
    event_id = operator.publish(company, {"noteToken": "a1b2c3", "text": "grüße"})
    (arrival,) = receiver.wait_at("/signed", 1)
    secret = subscription["secret"]

    by_hand = hmac.new(secret.encode(), arrival.body, hashlib.sha256).hexdigest()
    assert arrival.headers["x-hub-signature-256"] == f"sha256={by_hand}"

    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    assert len(key) == 32
    timestamp = arrival.headers["webhook-timestamp"]
    signed = f"{event_id}.{timestamp}.".encode() + arrival.body
    expected = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    assert arrival.headers["webhook-signature"] == f"v1,{expected}"
    assert abs(int(timestamp) - arrival.wall) < 2


def test_the_standardwebhooks_package_accepts_it_and_refuses_it_changed(operator: Client, receiver: Receiver) -> None:
    company, subscription = subscribed(operator, receiver, "/standard", payloadVersion="STANDARD")
    operator.publish(company, {"a": 1})
    (arrival,) = receiver.wait_at("/standard", 1)
    verified = Webhook(subscription["secret"]).verify(arrival.body.decode(), dict(arrival.headers))
    assert verified == {"type": "note.created", "timestamp": verified["timestamp"], "data": {"a": 1}}
    with pytest.raises(WebhookVerificationError):
        Webhook(subscription["secret"]).verify(arrival.body.decode() + " ", dict(arrival.headers))


def test_a_request_says_what_the_contract_lists_and_no_more(operator: Client, receiver: Receiver) -> None:
    company, _ = subscribed(operator, receiver, "/head")
    event_id = operator.publish(company)
    (arrival,) = receiver.wait_at("/head", 1)
    assert arrival.head.startswith(b"POST /head HTTP/1.1\r\n")
    assert set(arrival.headers) <= {
        "host",
        "content-type",
        "content-length",
        "connection",
        "user-agent",
        "accept-encoding",
        "x-hub-signature-256",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "hookline-attempt",
    }
    assert arrival.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert arrival.headers["content-type"] == "application/json"
    assert re.fullmatch(r"Hookline/\S+", arrival.headers["user-agent"])
    assert arrival.headers["accept-encoding"] == "identity"
    assert arrival.headers["webhook-id"] == event_id
    assert arrival.headers["hookline-attempt"] == "1"


def test_a_version_1_body_is_flat_and_byte_for_byte_as_documented(operator: Client, receiver: Receiver) -> None:
    company, _ = subscribed(operator, receiver, "/flat")
    data = {"requestToken": "deadbeefdeadbeef", "noteToken": "a1b2c3"}
    operator.publish(company, data, occurredAt="2026-11-23T09:00:00+01:00")
    operator.publish(company, {}, occurredAt="2026-11-23T08:00:00Z")
    bodies = {arrival.body for arrival in receiver.wait_at("/flat", 2)}
    assert bodies == {
        b'{"eventType":"note.created",%s,"timestamp":"2026-11-23T08:00:00.000Z"}'
        % b'"requestToken":"deadbeefdeadbeef","noteToken":"a1b2c3"',
        b'{"eventType":"note.created","timestamp":"2026-11-23T08:00:00.000Z"}',
    }


EXOTIC = {
    "a number's digits": (b'{"n": 1.10}', b'{"n":1.10}'),
    "a number over 64 bits": (b'{"n":18446744073709551616}', b'{"n":18446744073709551616}'),
    "an exponent": (b'{"n":-0.0E+400}', b'{"n":-0.0E+400}'),
    "escapes": (rb'{"a":"\u0000\u00e9\/\ud83d\ude00\n"}', rb'{"a":"\u0000\u00e9\/\ud83d\ude00\n"}'),
    "characters as they are": ('{"ä":"😀\u2028"}'.encode(), '{"ä":"😀\u2028"}'.encode()),
    "an escaped name": (rb'{"\u0061": 1}', rb'{"\u0061":1}'),
    "the order of members": (b'{"z":1,"a":2,"m":3}', b'{"z":1,"a":2,"m":3}'),
    "duplicate members": (b'{"a":1,"a":2,"a":[]}', b'{"a":1,"a":2,"a":[]}'),
    "white space in a string": (b'{ "a" : " \\t  x " ,\r\n\t"b":[ ] }', b'{"a":" \\t  x ","b":[]}'),
    "nesting": (b'{"a":' + b"[" * 400 + b"]" * 400 + b"}", b'{"a":' + b"[" * 400 + b"]" * 400 + b"}"),
}


@pytest.mark.parametrize("version", ["V1", "STANDARD", "RAW"])
def test_exotic_json_arrives_byte_for_byte_on_every_attempt(operator: Client, receiver: Receiver, version: str) -> None:
    company, subscription = subscribed(
        operator, receiver, f"/exotic-{version}", payloadVersion=version, retryDelaysSeconds=[1]
    )
    expected: dict[str, bytes] = {}
    for number, (sent, compact) in enumerate(EXOTIC.values()):
        event_id = f"exotic-{version}-{company}-{number}"
        receiver.answer(event_id, Reply(503), Reply(200))
        body = b'{"eventType":"note.created","companyIds":[%d],"id":"%s","data":%s}' % (
            company,
            event_id.encode(),
            sent,
        )
        operator.made("POST", "/v1/events", body)
        expected[event_id] = compact
    receiver.wait_at(f"/exotic-{version}", 2 * len(EXOTIC))
    for event_id, compact in expected.items():
        first, second = receiver.of(event_id)
        assert first.body == second.body
        match version:
            case "RAW":
                assert first.body == compact
            case "STANDARD":
                assert re.fullmatch(
                    rb'\{"type":"note.created","timestamp":"[0-9T:.-]+Z","data":' + re.escape(compact) + rb"\}",
                    first.body,
                )
            case _:
                inner = re.escape(compact[1:-1])
                assert re.fullmatch(
                    rb'\{"eventType":"note.created",' + inner + rb',"timestamp":"[0-9T:.-]+Z"\}', first.body
                )
        by_hand = hmac.new(subscription["secret"].encode(), second.body, hashlib.sha256).hexdigest()
        assert second.headers["x-hub-signature-256"] == f"sha256={by_hand}"
    until(lambda: len(operator.log(subscription["id"])) == 2 * len(EXOTIC), "both attempts of each in the log")
    for row in operator.log(subscription["id"]):
        assert row["requestBody"].encode() == receiver.of(row["eventId"])[0].body


# --- failing ---------------------------------------------------------------------------------------------------------


def test_after_three_retries_a_delivery_is_dead_and_no_attempt_came_early(operator: Client, receiver: Receiver) -> None:
    company, subscription = subscribed(operator, receiver, "/dead", retryDelaysSeconds=[1, 1, 1])
    receiver.answer("/dead", Reply(500, body=b"no"), Reply(302, headers={"Location": "/elsewhere"}), CLOSES, Reply(404))
    event_id = operator.publish(company)
    arrivals = receiver.wait_at("/dead", 4)
    until(lambda: len(operator.log(subscription["id"])) == 4, "four rows in the log")
    rows = operator.log(subscription["id"])

    assert [arrival.attempt for arrival in arrivals] == [1, 2, 3, 4]
    assert {arrival.event_id for arrival in arrivals} == {event_id}
    assert len({arrival.body for arrival in arrivals}) == 1
    for arrival in arrivals:
        assert abs(int(arrival.headers["webhook-timestamp"]) - arrival.wall) < 2
        _verify(arrival, subscription["secret"])

    assert all(row.keys() >= ROW for row in rows)
    assert [row["attemptNumber"] for row in rows] == [1, 2, 3, 4]
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert [row["success"] for row in rows] == [False] * 4
    assert [row["httpStatus"] for row in rows] == [500, 302, None, 404]
    assert [row["error"] for row in rows] == ["status", "status", "protocol", "status"]
    assert [row["deadLettered"] for row in rows] == [False, False, False, True]
    assert rows[0]["responseBody"] == "no"
    assert {row["eventId"] for row in rows} == {row["cloudEventId"] for row in rows} == {event_id}
    assert {row["eventType"] for row in rows} == {"note.created"}
    assert len({row["deliveryId"] for row in rows}) == 1
    assert {row["requestBody"].encode() for row in rows} == {arrivals[0].body}

    assert rows[3]["nextAttemptAt"] is None
    for row, arrival, later in zip(rows, arrivals, arrivals[1:], strict=False):
        waits_until = seconds(row["nextAttemptAt"])
        assert 1.0 <= waits_until - seconds(row["createdAt"]) <= JITTER_MAX + 0.002
        assert later.at - arrival.at >= 1.0
        assert later.wall >= waits_until - 0.001
        assert later.wall < waits_until + 1.5
    assert not receiver.at("/elsewhere")

    (delivery,) = operator.made("GET", f"/v1/events/{event_id}")["deliveries"]
    assert delivery["state"] == "dead"
    assert delivery["dueAt"] is None
    assert len(delivery["attempts"]) == 4


def test_a_delivery_that_recovers_ends_succeeded(operator: Client, receiver: Receiver) -> None:
    company, subscription = subscribed(operator, receiver, "/recovers", retryDelaysSeconds=[1, 1, 1])
    receiver.answer("/recovers", Reply(503), Reply(204))
    event_id = operator.publish(company)
    receiver.wait_at("/recovers", 2)
    until(lambda: len(operator.log(subscription["id"])) == 2, "two rows in the log")
    failed, succeeded = operator.log(subscription["id"])
    assert (failed["success"], failed["httpStatus"], failed["deadLettered"]) == (False, 503, False)
    assert (succeeded["success"], succeeded["httpStatus"], succeeded["error"]) == (True, 204, None)
    assert succeeded["nextAttemptAt"] is None
    (delivery,) = operator.made("GET", f"/v1/events/{event_id}")["deliveries"]
    assert (delivery["state"], delivery["reason"]) == ("succeeded", None)
    detail = operator.made("GET", f"/v1/webhooks/{subscription['id']}/deliveries/{delivery['id']}")
    assert [attempt["attemptNumber"] for attempt in detail["attempts"]] == [1, 2]
    for attempt in detail["attempts"]:
        assert attempt["requestHead"].startswith("POST /recovers HTTP/1.1")
        assert attempt["responseHead"].startswith("HTTP/1.1 ")
        assert attempt["timings"].keys() == {"dnsMs", "connectMs", "tlsMs", "waitMs"}


def test_the_receivers_wish_to_be_left_alone_is_kept(operator: Client, receiver: Receiver) -> None:
    company, _ = subscribed(operator, receiver, "/later", retryDelaysSeconds=[1])
    receiver.answer("/later", Reply(429, headers={"Retry-After": "3"}), Reply(200))
    operator.publish(company)
    (refused,) = receiver.wait_at("/later", 1)
    operator.publish(company)
    for arrival in receiver.wait_at("/later", 3)[1:]:
        assert arrival.at - refused.at >= 2.9


def test_an_answer_of_gone_at_the_end_makes_the_subscription_inactive(operator: Client, receiver: Receiver) -> None:
    company, subscription = subscribed(operator, receiver, "/gone", retryDelaysSeconds=[])
    receiver.answer("/gone", Reply(410))
    operator.publish(company)
    path = f"/v1/webhooks/{subscription['id']}"
    until(lambda: not operator.made("GET", path)["active"], "the subscription is inactive")
    event_id = operator.publish(company)
    (delivery,) = operator.made("GET", f"/v1/events/{event_id}")["deliveries"]
    assert delivery["state"] == "held"
    assert len(receiver.at("/gone")) == 1


def test_a_receiver_that_does_not_answer_in_time_fails_with_timeout(operator: Client, receiver: Receiver) -> None:
    company, subscription = subscribed(operator, receiver, "/slow", timeoutSeconds=1, retryDelaysSeconds=[])
    receiver.answer("/slow", Reply(delay_seconds=20))
    operator.publish(company)
    until(lambda: bool(operator.log(subscription["id"])), "the attempt is in the log")
    (row,) = operator.log(subscription["id"])
    assert (row["error"], row["httpStatus"], row["deadLettered"]) == ("timeout", None, True)
    assert 950 <= row["durationMs"] < 2000


# --- the log ---------------------------------------------------------------------------------------------------------


def test_paging_is_exact_while_rows_are_added(operator: Client, receiver: Receiver) -> None:
    company, subscription = subscribed(operator, receiver, "/paged")
    path = f"/v1/webhooks/{subscription['id']}/deliveries"
    for _ in range(45):
        operator.publish(company)
    until(lambda: operator.made("GET", path)["totalElements"] == 45, "45 rows")
    there = [row["id"] for row in operator.log(subscription["id"])][::-1]
    seen: list[int] = []
    totals: list[int] = []
    before = ""
    for pages in range(5):
        page = operator.made("GET", f"{path}?size=10{before}")
        assert (page["size"], page["number"]) == (10, 0)
        seen += [row["id"] for row in page["content"]]
        totals.append(page["totalElements"])
        before = f"&beforeId={seen[-1]}"
        for _ in range(7):
            operator.publish(company)
        receiver.wait_at("/paged", 45 + 7 * (pages + 1))
    assert seen == there
    assert totals == [45, 35, 25, 15, 5]

    until(lambda: operator.made("GET", path)["totalElements"] == 80, "80 rows")
    numbered = [operator.made("GET", f"{path}?page={number}&size=30") for number in range(4)]
    assert [len(page["content"]) for page in numbered] == [30, 30, 20, 0]
    assert {(page["totalElements"], page["totalPages"]) for page in numbered} == {(80, 3)}
    everything = [row["id"] for page in numbered for row in page["content"]]
    assert everything == sorted(everything, reverse=True)
    assert len(set(everything)) == 80


def test_every_page_agrees_with_its_own_total_while_rows_are_added(operator: Client, receiver: Receiver) -> None:
    company, subscription = subscribed(operator, receiver, "/growing")
    path = f"/v1/webhooks/{subscription['id']}/deliveries?size=200"
    total = 0
    while total < 150:
        operator.publish(company)
        page = operator.made("GET", path)
        assert len(page["content"]) == page["totalElements"] >= total
        total = page["totalElements"]


def test_the_log_narrows_by_outcome_type_and_time(operator: Client, receiver: Receiver) -> None:
    company, subscription = subscribed(operator, receiver, "/narrow", retryDelaysSeconds=[])
    receiver.answer("/narrow", *[Reply(500)] * 3, Reply(200))
    for _ in range(3):
        operator.publish(company)
    receiver.wait_at("/narrow", 3)
    for _ in range(2):
        operator.publish(company, event_type="collaboration-request.created")
    until(lambda: len(operator.log(subscription["id"])) == 5, "five rows")
    rows = operator.log(subscription["id"])
    boundary = rows[3]["createdAt"]
    assert len(operator.log(subscription["id"], status="failed")) == 3
    assert len(operator.log(subscription["id"], status="succeeded")) == 2
    assert len(operator.log(subscription["id"], eventType="note.created")) == 3
    before = [row["id"] for row in rows if row["createdAt"] < boundary]
    assert [row["id"] for row in operator.log(subscription["id"], to=boundary)] == before
    since = [row["id"] for row in rows if row["createdAt"] >= boundary]
    assert [row["id"] for row in operator.log(subscription["id"], **{"from": boundary})] == since
    for bad in ("page=-1", "page=x", "size=0", "size=-5", "status=ok", "from=yesterday", "beforeId=x"):
        assert operator.call("GET", f"/v1/webhooks/{subscription['id']}/deliveries?{bad}").status == 400
    assert operator.made("GET", f"/v1/webhooks/{subscription['id']}/deliveries?size=100000")["size"] == 200


def _verify(arrival: Arrival, secret: str) -> None:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{arrival.event_id}.{arrival.headers['webhook-timestamp']}.".encode() + arrival.body
    assert arrival.headers["webhook-signature"] == f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}"
