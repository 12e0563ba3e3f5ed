"""What is accepted, once and only once, and what is refused without harm."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .harness import Answer, Client, Server, until
from .receiver import Receiver

PARALLEL = 100


def at_once(server: Server, count: int, ask: Callable[[Client, int], Answer]) -> list[Answer]:
    """Ask `count` times at once, each over a connection of its own."""

    def one(number: int) -> Answer:
        client = server.client()
        try:
            return ask(client, number)
        finally:
            client.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def receiving_company(operator: Client, receiver: Receiver, path: str) -> int:
    company = operator.company()
    operator.made("POST", f"/v1/webhooks?companyId={company}", {"callbackUrl": receiver.url(path)})
    return company


def test_a_hundred_parallel_repeats_of_a_key_store_one_event(
    server: Server, operator: Client, receiver: Receiver
) -> None:
    company = receiving_company(operator, receiver, "/key")
    body = {"eventType": "note.created", "companyIds": [company], "data": {"a": 1}}
    key = {"Idempotency-Key": f"key of {company}".replace(" ", "-")}
    answers = at_once(server, PARALLEL, lambda client, _: client.call("POST", "/v1/events", body, key))
    assert {answer.status for answer in answers} == {202}
    assert len({answer.body for answer in answers}) == 1
    assert answers[0].json["deliveries"] == 1
    events = operator.made("GET", f"/v1/events?companyId={company}")["items"]
    assert [event["id"] for event in events] == [answers[0].json["id"]]
    receiver.wait_at("/key", 1)
    until(lambda: operator.made("GET", f"/v1/events/{events[0]['id']}")["counts"]["succeeded"] == 1, "delivered")
    assert len(receiver.at("/key")) == 1
    other = operator.call("POST", "/v1/events", {**body, "data": {"a": 2}}, key)
    assert (other.status, other.json["status"]) == (409, 409)


def test_a_hundred_parallel_repeats_of_an_id_store_one_event(
    server: Server, operator: Client, receiver: Receiver
) -> None:
    company = receiving_company(operator, receiver, "/id")
    body = {"eventType": "note.created", "companyIds": [company], "data": {"a": 1}, "id": f"order-{company}"}

    def publish(client: Client, number: int) -> Answer:
        if number % 2:
            return client.call("POST", "/v1/events/batch", {"events": [body]})
        return client.call("POST", "/v1/events", body)

    answers = at_once(server, PARALLEL, publish)
    assert {answer.status for answer in answers} == {202}
    assert len({answer.body for answer in answers}) == 2
    assert len(operator.made("GET", f"/v1/events?companyId={company}")["items"]) == 1
    receiver.wait_at("/id", 1)
    until(lambda: operator.made("GET", f"/v1/events/order-{company}")["counts"]["succeeded"] == 1, "delivered")
    assert len(receiver.at("/id")) == 1
    assert operator.call("POST", "/v1/events", {**body, "data": {"a": 2}}).status == 409


def test_of_parallel_requests_that_contradict_each_other_one_wins(
    server: Server, operator: Client, receiver: Receiver
) -> None:
    company = receiving_company(operator, receiver, "/race")

    def publish(client: Client, number: int) -> Answer:
        body = {"eventType": "note.created", "companyIds": [company], "data": {"n": number}, "id": f"race-{company}"}
        return client.call("POST", "/v1/events", body)

    answers = at_once(server, 20, publish)
    assert sorted(answer.status for answer in answers) == [202] + [409] * 19
    winner = next(number for number, answer in enumerate(answers) if answer.status == 202)
    (arrival,) = receiver.wait_at("/race", 1)
    assert json.loads(arrival.body)["n"] == winner


def test_a_batch_is_accepted_wholly_or_not_at_all(operator: Client, receiver: Receiver) -> None:
    company = receiving_company(operator, receiver, "/batch")
    good = [{"eventType": "note.created", "companyIds": [company], "data": {"n": n}} for n in range(50)]
    bad = operator.call("POST", "/v1/events/batch", {"events": [*good, {**good[0], "eventType": "order.lost"}]})
    assert bad.status == 400
    assert "50" in bad.json["validationErrors"][0]["field"]
    assert operator.made("GET", f"/v1/events?companyId={company}")["items"] == []
    made = operator.made("POST", "/v1/events/batch", {"events": good})["events"]
    assert [event["deliveries"] for event in made] == [1] * 50
    arrivals = receiver.wait_at("/batch", 50)
    assert {arrival.event_id for arrival in arrivals} == {event["id"] for event in made}


def test_repeated_companies_get_one_delivery_and_unknown_ones_are_named_by_index(
    operator: Client, receiver: Receiver
) -> None:
    company, other = (receiving_company(operator, receiver, f"/merged-{name}") for name in "ab")
    body: dict[str, Any] = {"eventType": "note.created", "companyIds": [company, other, company], "data": {}}
    assert operator.made("POST", "/v1/events", body)["deliveries"] == 2
    refused = operator.call("POST", "/v1/events", {**body, "companyIds": [company, 2**31 - 2]})
    assert (refused.status, "1" in refused.json["validationErrors"][0]["field"]) == (400, True)
    refused = operator.call("POST", "/v1/events", {**body, "recipients": [{"companyId": company}]})
    assert refused.status == 400


REFUSED = {
    "NaN": (b'{"a":NaN}', 400),
    "infinity": (b'{"a":-Infinity}', 400),
    "a raw control character": (b'{"a":"\x01"}', 400),
    "a raw line break in a string": (b'{"a":"\n"}', 400),
    "invalid UTF-8": (b'{"a":"\xff"}', 400),
    "an overlong form": (b'{"a":"\xc0\xaf"}', 400),
    "a surrogate in UTF-8": (b'{"a":"\xed\xa0\x80"}', 400),
    "a lone escaped surrogate": (rb'{"a":"\ud800"}', 400),
    "nesting over 512": (b'{"a":' + b"[" * 600 + b"]" * 600 + b"}", 400),
    "very deep nesting": (b'{"a":' + b"[" * 100_000, 400),
    "a trailing comma": (b'{"a":1,}', 400),
    "a leading zero": (b'{"a":01}', 400),
    "an array": (b"[]", 400),
    "a string": (b'"a"', 400),
    "null": (b"null", 400),
    "a reserved member": (b'{"eventType":1}', 400),
    "a reserved member, escaped": (rb'{"time\u0073tamp":1}', 400),
    "data over 256 KiB": (b'{"a":"' + b"x" * 262_144 + b'"}', 400),
    "a request over 1 MiB": (b'{"a":"' + b"x" * 1_100_000 + b'"}', 413),
}


@pytest.mark.parametrize("attack", REFUSED)
def test_hostile_data_is_refused_and_nothing_stored(operator: Client, receiver: Receiver, attack: str) -> None:
    data, status = REFUSED[attack]
    company = receiving_company(operator, receiver, "/attack")
    body = b'{"eventType":"note.created","companyIds":[%d],"data":%s}' % (company, data)
    answer = operator.call("POST", "/v1/events", body)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert operator.made("GET", f"/v1/events?companyId={company}")["items"] == []


def test_a_byte_order_mark_and_a_foreign_media_type_are_refused(operator: Client) -> None:
    body = json.dumps({"eventType": "note.created", "companyIds": [operator.company()], "data": {}}).encode()
    assert operator.call("POST", "/v1/events", b"\xef\xbb\xbf" + body).status == 400
    assert operator.call("POST", "/v1/events", body, {"Content-Type": "text/plain"}).status == 415
    assert operator.call("POST", "/v1/events", b"").status == 400


def test_large_but_allowed_data_arrives_whole(operator: Client, receiver: Receiver) -> None:
    company = receiving_company(operator, receiver, "/large")
    text = "ü" * 131_000
    body = {"eventType": "note.created", "companyIds": [company], "data": {"text": text}}
    operator.made("POST", "/v1/events", json.dumps(body, ensure_ascii=False).encode())
    (arrival,) = receiver.wait_at("/large", 1)
    assert json.loads(arrival.body)["text"] == text
