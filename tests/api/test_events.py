"""Events over HTTP: what an attacker may publish, what is said twice, and what everybody sees of it afterwards."""

import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from api.loopback import Answer, Server
from api.traffic import claim, publish, settle
from api.world import OPERATOR_TOKEN, World
from hookline.clock import rfc3339
from hookline.errors import Unavailable

URL = "https://api.example.com/hooks"
KIB = 1024


@pytest.fixture
def subscribe(server: Server, world: World) -> Callable[..., int]:
    """Subscribe for a company that has no subscriptions yet."""
    server.clock.advance(60)
    while left := server.call("GET", "/v1/webhooks").json:
        for each in left:
            server.call("DELETE", f"/v1/webhooks/{each['id']}")

    def make(company: int | None = None, **members: Any) -> int:
        path = f"/v1/webhooks?companyId={company or world.company}"
        answer = server.call("POST", path, {"callbackUrl": URL, **members})
        assert answer.status == 200, answer.body
        subscription_id: int = answer.json["id"]
        return subscription_id

    return make


def post(server: Server, world: World, data: bytes, extra: bytes = b"", **more: Any) -> Answer:
    """Publish `data` as it stands."""
    body = b'{"eventType":"note.created","companyIds":[%d],"data":%b%b}' % (world.company, data, extra)
    return server.call("POST", "/v1/events", body, **more)


# --- publishing ------------------------------------------------------------------------------------------------------


def test_publishing_answers_202_with_the_count(server: Server, world: World, subscribe: Callable[..., int]) -> None:
    subscribe()
    subscribe(payloadVersion="RAW")
    answer = post(server, world, b'{"a":1}')
    assert answer.status == 202
    assert set(answer.json) == {"id", "eventType", "acceptedAt", "deliveries"}
    assert (answer.json["eventType"], answer.json["deliveries"]) == ("note.created", 2)
    assert answer.json["id"].startswith("evt_")


def test_an_event_for_nobody_is_accepted(server: Server, world: World, subscribe: Callable[..., int]) -> None:
    del subscribe
    assert post(server, world, b"{}").json["deliveries"] == 0


def test_publishing_wakes_the_engine(server: Server, world: World, woken: list[None]) -> None:
    post(server, world, b"[]")
    assert not woken
    post(server, world, b"{}")
    assert woken


def test_a_publisher_publishes_and_nothing_else(server: Server, world: World) -> None:
    publisher = world.tokens["publisher"]
    assert post(server, world, b"{}", token=publisher).status == 202
    batch = {"events": [{"eventType": "note.created", "companyIds": [world.company], "data": {}}]}
    assert server.call("POST", "/v1/events/batch", batch, token=publisher).status == 202
    for path in ("/v1/events", "/v1/events/evt_1", "/v1/webhooks", "/v1/event-types", "/v1/me", "/v1/companies"):
        assert server.call("GET", path, token=publisher).status == 403
    for role in ("member", "viewer"):
        assert post(server, world, b"{}", token=world.tokens[role]).status == 403


def test_a_batch_is_all_or_nothing(server: Server, world: World, subscribe: Callable[..., int]) -> None:
    subscribe()
    good = {"eventType": "note.created", "companyIds": [world.company], "data": {}}
    answer = server.call("POST", "/v1/events/batch", {"events": [{**good, "id": "b1"}, {**good, "id": "b2"}]})
    assert (answer.status, answer.json) == (
        202,
        {"events": [{"id": "b1", "deliveries": 1}, {"id": "b2", "deliveries": 1}]},
    )
    bad = {"events": [{**good, "id": "b3"}, {**good, "companyIds": [world.company, 5]}]}
    answer = server.call("POST", "/v1/events/batch", bad)
    assert answer.status == 400
    assert answer.json["validationErrors"] == [
        {"field": "events[1].companyIds[1]", "message": "there is no company 5."}
    ]
    assert server.call("GET", "/v1/events/b3").status == 404


def test_what_could_not_be_made_durable_is_503(server: Server, world: World) -> None:
    post(server, world, b"{}")
    server.faults.failing = Unavailable("The database did not confirm.")
    answer = post(server, world, b"{}", token=OPERATOR_TOKEN)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


# --- attacks ---------------------------------------------------------------------------------------------------------

EXOTIC = {
    "numbers as written": b'{"a":1.10,"b":18446744073709551616,"c":1E400,"d":-0,"e":0.1e-7}',
    "a long number": b'{"a":' + b"9" * 5000 + b"}",
    "escapes as written": b'{"a":"\\u0041\\/\\"\\u00e9","\\u0062":1}',
    "a NUL that is escaped": b'{"a":"\\u0000","\\u0000":1}',
    "repeated members": b'{"a":1,"a":2,"b":{"c":1,"c":[]},"a":3}',
    "an order of its own": b'{"z":1,"a":2,"10":3,"9":4}',
    "all of Unicode": '{"a":"é\u2028\U0001f600\ufeff"}'.encode(),
    "an escaped pair": b'{"a":"\\ud83d\\ude00"}',
    "nothing": b"{}",
    "names of JavaScript": b'{"__proto__":{"a":1},"constructor":null}',
    "as deep as may be": b'{"a":' * 511 + b"[]" + b"}" * 511,
    "brackets in strings": b'{"a":"' + b"[{" * 2000 + b'"}',
}


@pytest.mark.parametrize("data", EXOTIC.values(), ids=EXOTIC.keys())
def test_exotic_json_is_kept_byte_for_byte(
    server: Server, world: World, subscribe: Callable[..., int], data: bytes
) -> None:
    subscribe(payloadVersion="RAW")
    spaced = data.replace(b"{", b"{ \n", 1)
    answer = post(server, world, spaced)
    assert answer.status == 202, answer.body
    (claimed,) = [each for each in claim(server) if each.event_id == answer.json["id"]]
    assert claimed.data == data
    assert data in server.call("GET", f"/v1/events/{answer.json['id']}").body


ATTACKS = {
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":-Infinity}',
    "a raw control character": b'{"a":"\x01"}',
    "a raw newline in a string": b'{"a":"\n"}',
    "a raw NUL": b'{"a":"\x00"}',
    "invalid UTF-8": b'{"a":"\xff"}',
    "an overlong form": b'{"a":"\xc0\xaf"}',
    "an encoded surrogate": b'{"a":"\xed\xa0\x80"}',
    "cut-off UTF-8": b'{"a":"\xe2\x82"}',
    "a BOM in front of data": b'\xef\xbb\xbf{"a":1}',
    "a lone high surrogate": b'{"a":"\\ud800"}',
    "a lone low surrogate": b'{"a":"\\udc00"}',
    "a lone surrogate in a name": b'{"\\ud800":1}',
    "two high surrogates": b'{"a":"\\ud800\\ud800"}',
    "a bad escape": b'{"a":"\\x41"}',
    "a number with a leading zero": b'{"a":01}',
    "a number with a plus": b'{"a":+1}',
    "a hexadecimal number": b'{"a":0x1}',
    "a trailing comma": b'{"a":1,}',
    "a comment": b'{"a":1/**/}',
    "single quotes": b"{'a':1}",
    "a name without quotes": b"{a:1}",
    "too deep": b'{"a":' * 512 + b"[]" + b"}" * 512,
    "far too deep": b"[" * 100_000 + b"]" * 100_000,
    "deep and cut off": b'{"a":' * 100_000,
    "over 256 KiB": b'{"a":"' + b"x" * (256 * KIB) + b'"}',
    "an array": b"[]",
    "null": b"null",
    "nothing at all": b"",
}


@pytest.mark.parametrize("data", ATTACKS.values(), ids=ATTACKS.keys())
def test_an_attack_is_400_and_stores_nothing(server: Server, world: World, data: bytes) -> None:
    before = server.call("GET", "/v1/events?limit=1").json["items"]
    answer = post(server, world, data)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    batch = b'{"events":[{"eventType":"note.created","companyIds":[%d],"data":%b}]}' % (world.company, data)
    assert server.call("POST", "/v1/events/batch", batch).status == 400
    assert server.call("GET", "/v1/events?limit=1").json["items"] == before


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/v1/events", 1024 * KIB + 1, 413),
        ("/v1/events/batch", 16 * 1024 * KIB + 1, 413),
        ("/v1/events/batch", 2 * 1024 * KIB, 400),
    ],
)
def test_a_request_over_its_limit_is_413(server: Server, path: str, size: int, status: int) -> None:
    assert server.call("POST", path, b" " * size).status == status


def test_white_space_does_not_count_against_data(server: Server, world: World) -> None:
    assert post(server, world, b"{" + b" " * (300 * KIB) + b"}").status == 202


def test_the_last_of_repeated_members_counts(server: Server, world: World) -> None:
    answer = post(server, world, b"[]", b',"data":{"last":1},"id":"first","id":"repeated-last"')
    assert (answer.status, answer.json["id"]) == (202, "repeated-last")
    assert server.call("GET", "/v1/events/repeated-last").json["data"] == {"last": 1}


@pytest.mark.parametrize(
    "members",
    [
        {"companyIds": "5"},
        {"companyIds": [1.5]},
        {"companyIds": ["5"]},
        {"companyIds": [None]},
        {"companyIds": [2**53]},
        {"companyIds": [10**400]},
        {"companyIds": {"a": 1}},
        {"recipients": [5], "companyIds": None},
        {"eventType": 5},
        {"eventType": None},
        {"id": 5},
        {"occurredAt": "yesterday"},
        {"occurredAt": "2026-11-23T08:00:00"},
        {"occurredAt": 1_795_420_800},
        {"occurredAt": "10000-01-01T00:00:00Z"},
    ],
)
def test_a_member_of_another_type_is_400(server: Server, world: World, members: dict[str, Any]) -> None:
    body = {"eventType": "note.created", "companyIds": [world.company], "data": {}, **members}
    answer = server.call("POST", "/v1/events", body)
    assert answer.status == 400
    assert answer.json["validationErrors"][0]["field"].startswith(next(iter(members)))


def test_a_type_typed_wrong_says_which_was_meant(server: Server, world: World) -> None:
    body = {"eventType": "note.craeted", "companyIds": [world.company], "data": {}}
    problem = server.call("POST", "/v1/events", body).json
    assert problem["detail"] == problem["message"]
    assert "Did you mean note.created?" in problem["detail"]
    assert "`PUT /v1/event-types/note.craeted` {}" in problem["detail"]


def test_members_that_v1_writes_itself_are_refused_however_escaped(server: Server, world: World) -> None:
    for data in (b'{"eventType":1}', b'{"a":1,"timestamp":2}', b'{"\\u0065ventType":1}'):
        answer = post(server, world, data)
        assert (answer.status, answer.json["validationErrors"][0]["field"]) == (400, "data")
        assert "v1Name" in answer.json["detail"]


# --- saying it twice -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("extra", "key"), [(b"", "key-of-100"), (b',"id":"id-of-100"', None)], ids=["key", "id"])
def test_a_hundred_at_once_are_one(
    server: Server, world: World, subscribe: Callable[..., int], extra: bytes, key: str | None
) -> None:
    subscribe()
    headers = {"Idempotency-Key": key} if key else {}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: post(server, world, b'{"one":1}', extra, headers=headers), range(100)))
    assert {(answer.status, answer.body) for answer in answers} == {(202, answers[0].body)}
    assert answers[0].json["deliveries"] == 1
    assert [each.event_id for each in claim(server)] == [answers[0].json["id"]]


def test_a_key_with_other_bytes_is_409(server: Server, world: World) -> None:
    headers = {"Idempotency-Key": "key-of-two"}
    first = post(server, world, b"{}", headers=headers)
    assert post(server, world, b"{ }", headers=headers).status == 409
    batch = {"events": [{"eventType": "note.created", "companyIds": [world.company], "data": {}}]}
    assert server.call("POST", "/v1/events/batch", batch, headers=headers).status == 409
    assert post(server, world, b"{}", headers=headers).body == first.body


def test_a_key_lives_72_hours(server: Server, world: World) -> None:
    headers = {"Idempotency-Key": "key-of-age"}
    first = post(server, world, b"{}", headers=headers)
    server.clock.advance(72 * 3600 - 1)
    assert post(server, world, b"{}", headers=headers).body == first.body
    server.clock.advance(2)
    assert post(server, world, b"{}", headers=headers).json["id"] != first.json["id"]


@pytest.mark.parametrize("key", ["", "a" * 256, "a b", "caf\xe9"])
def test_a_key_that_is_none_is_400(server: Server, world: World, key: str) -> None:
    answer = post(server, world, b"{}", headers={"Idempotency-Key": key})
    assert (answer.status, answer.json["validationErrors"][0]["field"]) == (400, "Idempotency-Key")


def test_a_request_has_one_key(server: Server, world: World) -> None:
    body = b'{"eventType":"note.created","companyIds":[%d],"data":{}}' % world.company
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {OPERATOR_TOKEN}\r\nConnection: close\r\n"
        f"Idempotency-Key: a\r\nIdempotency-Key: a\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    assert server.exchange(head.encode() + body).startswith(b"HTTP/1.1 400 ")


def test_an_id_in_a_conflict_refuses_its_whole_batch(server: Server, world: World) -> None:
    good = {"eventType": "note.created", "companyIds": [world.company], "data": {}}
    assert server.call("POST", "/v1/events", {**good, "id": "taken"}).status == 202
    batch = {"events": [{**good, "id": "free"}, {**good, "id": "taken", "data": {"a": 1}}]}
    answer = server.call("POST", "/v1/events/batch", batch)
    assert answer.status == 409
    assert answer.json["detail"].startswith("events[1].id belongs to an event that differs")
    alone = server.call("POST", "/v1/events", batch["events"][1])
    assert alone.status == 409
    assert alone.json["detail"].startswith("id belongs to an event that differs")
    assert server.call("GET", "/v1/events/free").status == 404
    again = {"events": [{**good, "id": "free"}, {**good, "id": "taken"}]}
    assert [each["id"] for each in server.call("POST", "/v1/events/batch", again).json["events"]] == ["free", "taken"]


def test_a_publisher_that_leaves_in_the_middle_stores_nothing(server: Server, world: World) -> None:
    body = b'{"id":"left","eventType":"note.created","companyIds":[%d],"data":{}}' % world.company
    head = f"POST /v1/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {OPERATOR_TOKEN}\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-1])
    assert server.call("GET", "/v1/events/left").status == 404


# --- looking ---------------------------------------------------------------------------------------------------------


def _walk(server: Server, query: str, **more: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = server.call("GET", f"/v1/events?limit=3{query}{cursor}", **more).json
        items += page["items"]
        if page["next"] is None:
            return items
        cursor = f"&cursor={page['next']}"


def test_the_list_is_walked_newest_first_while_events_come(
    server: Server, world: World, subscribe: Callable[..., int]
) -> None:
    subscribe()
    server.clock.advance(1)
    start = server.clock.now_ms
    ids = [publish(server, world.company) for _ in range(7)]
    query = f"&from={rfc3339(start)}"
    page = server.call("GET", f"/v1/events?limit=3{query}").json
    late = publish(server, world.company)
    rest = _walk(server, f"{query}&cursor={page['next']}")
    assert [each["id"] for each in [*page["items"], *rest]] == ids[::-1]
    assert _walk(server, query)[0]["id"] == late


def test_the_list_is_narrowed_by_all_its_filters(server: Server, world: World, subscribe: Callable[..., int]) -> None:
    subscribe()
    server.clock.advance(10)
    start = rfc3339(server.clock.now_ms)
    note = publish(server, world.company)
    (claimed,) = claim(server)
    settle(server, claimed, status=500)
    closed = publish(server, world.company, eventType="collaboration-request.closed")
    other = publish(server, world.other_company)
    server.clock.advance(1)
    middle = rfc3339(server.clock.now_ms)
    waiting = publish(server, world.company, world.other_company)
    since = f"&from={start}"

    def found(query: str) -> list[str]:
        return [each["id"] for each in _walk(server, since + query)]

    assert found("") == [waiting, other, closed, note]
    assert found("&eventType=note.created") == [waiting, other, note]
    assert found(f"&companyId={world.other_company}") == [waiting, other]
    assert found("&state=dead") == [note]
    assert found("&state=pending") == [waiting]
    assert found(f"&state=pending&companyId={world.other_company}") == []
    assert found(f"&to={middle}") == [other, closed, note]
    assert [each["id"] for each in _walk(server, f"&from={middle}")] == [waiting]
    counts = _walk(server, f"{since}&state=dead")[0]["counts"]
    assert counts == {"pending": 0, "sending": 0, "succeeded": 0, "dead": 1, "cancelled": 0, "held": 0}
    mine = [each["id"] for each in _walk(server, since, token=world.tokens["viewer"])]
    assert mine == [waiting, closed, note]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=lost", "state"),
        ("from=yesterday", "from"),
        ("to=2026-01-01", "to"),
        ("limit=0", "limit"),
        ("cursor=abc", "cursor"),
        ("companyId=x", "companyId"),
    ],
)
def test_a_filter_that_is_none_is_400(server: Server, query: str, field: str) -> None:
    answer = server.call("GET", f"/v1/events?{query}")
    assert (answer.status, answer.json["validationErrors"][0]["field"]) == (400, field)


def test_an_event_shows_its_deliveries_in_parts_of_200(
    server: Server, world: World, subscribe: Callable[..., int]
) -> None:
    ids = [subscribe(company) for company in (world.company, world.other_company) for _ in range(100)]
    event = publish(server, world.company, world.other_company)
    assert server.call("GET", f"/v1/events/{event}").json["next"] is None
    third = server.call("POST", "/v1/companies", {"name": "Third"}).json["id"]
    ids.append(subscribe(third))
    event = publish(server, world.company, world.other_company, third)
    first = server.call("GET", f"/v1/events/{event}").json
    second = server.call("GET", f"/v1/events/{event}?cursor={first['next']}").json
    assert (len(first["deliveries"]), len(second["deliveries"]), second["next"]) == (200, 1, None)
    assert first["counts"] == second["counts"]
    assert first["counts"]["pending"] == 201
    assert {each["subscriptionId"] for each in first["deliveries"] + second["deliveries"]} == set(ids)


def test_an_event_shows_the_last_20_attempts_without_bodies(
    server: Server, world: World, subscribe: Callable[..., int]
) -> None:
    subscribe(retryDelaysSeconds=[1] * 20)
    event = publish(server, world.company, data={"a": "the-request"})
    for number in range(1, 22):
        (claimed,) = claim(server)
        settle(server, claimed, status=500, retry_ms=1000 if number < 21 else None, response_body=b"the-response")
        server.clock.advance(1)
    answer = server.call("GET", f"/v1/events/{event}")
    (delivery,) = answer.json["deliveries"]
    assert [each["attemptNumber"] for each in delivery["attempts"]] == list(range(2, 22))
    assert (delivery["state"], delivery["reason"], delivery["dueAt"]) == ("dead", "exhausted", None)
    assert delivery["attempts"][-1]["deadLettered"]
    assert b"the-response" not in answer.body
    assert answer.body.count(b"the-request") == 1, "the event's own data"


def test_a_delivery_says_why_it_waits(server: Server, world: World, subscribe: Callable[..., int]) -> None:
    subscription = subscribe()
    event = publish(server, world.company)

    def shown() -> dict[str, Any]:
        (delivery,) = server.call("GET", f"/v1/events/{event}", token=world.tokens["member"]).json["deliveries"]
        return {name: delivery[name] for name in ("state", "reason")}

    assert shown() == {"state": "pending", "reason": "waiting: its turn"}
    (claimed,) = claim(server)
    assert shown() == {"state": "sending", "reason": None}
    settle(server, claimed, status=500, retry_ms=10_000)
    retry_at = rfc3339(server.clock.now_ms + 10_000)
    assert shown() == {"state": "pending", "reason": f"waiting: retry at {retry_at}"}
    server.clock.advance(1)
    server.call("PATCH", f"/v1/webhooks/{subscription}", {"active": False})
    since = rfc3339(server.clock.now_ms)
    assert shown() == {"state": "held", "reason": f"held since {since}: the subscription is inactive (paused)"}


def test_a_retry_after_shows_in_all_that_it_holds_up(
    server: Server, world: World, subscribe: Callable[..., int]
) -> None:
    subscription = subscribe()
    first = publish(server, world.company)
    (claimed,) = claim(server)
    settle(server, claimed, status=429, retry_ms=10_000, hold_ms=60_000)
    second = publish(server, world.company)
    asked = rfc3339(server.clock.now_ms + 60_000)

    def shown(event: str) -> tuple[str, str]:
        (delivery,) = server.call("GET", f"/v1/events/{event}", token=world.tokens["member"]).json["deliveries"]
        return delivery["reason"], delivery["dueAt"]

    (row,) = server.call("GET", f"/v1/webhooks/{subscription}/deliveries").json["content"]
    assert row["nextAttemptAt"] == asked
    assert shown(first) == (f"waiting: retry at {asked}", asked)
    assert shown(second) == (f"waiting: not before {asked}", asked)
    retry_at, accepted_at = rfc3339(server.clock.now_ms + 10_000), rfc3339(server.clock.now_ms)
    server.call("PATCH", f"/v1/webhooks/{subscription}", {"active": True})
    assert shown(first) == (f"waiting: retry at {retry_at}", retry_at)
    assert shown(second) == ("waiting: its turn", accepted_at)


def test_not_matched_is_told_as_things_stood_then(server: Server, world: World, subscribe: Callable[..., int]) -> None:
    matched = subscribe(eventTypes=["note.created"])
    by_type = subscribe(eventTypes=["collaboration-request.created"])
    event = publish(server, world.company)
    server.call("PATCH", f"/v1/webhooks/{by_type}", {"eventTypes": None})
    subscribe()
    for token in (OPERATOR_TOKEN, world.tokens["member"]):
        shown = server.call("GET", f"/v1/events/{event}", token=token).json
        assert [each["subscriptionId"] for each in shown["deliveries"]] == [matched]
        assert shown["notMatched"] == [{"subscriptionId": by_type, "reason": "not matched: event type"}]


def test_the_data_of_an_event_is_shown_as_published(server: Server, world: World) -> None:
    answer = post(server, world, b'{ "a" : 1.10 }', b',"id":"shown","occurredAt":"2026-11-23T09:00:00+01:00"')
    assert answer.status == 202
    shown = server.call("GET", "/v1/events/shown")
    assert b'"data":{"a":1.10}' in shown.body
    event = json.loads(shown.body)
    assert (event["occurredAt"], event["erased"]) == ("2026-11-23T08:00:00.000Z", False)
    assert event["companyIds"] == [world.company]
