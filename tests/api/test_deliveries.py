"""The delivery log over HTTP: one row per attempt, exact pages while rows are added, one delivery in full."""

from typing import Any

import pytest

from api.loopback import Server
from api.traffic import claim, publish, settle
from api.world import World
from hookline.clock import rfc3339
from hookline.model import ErrorClass

URL = "https://api.example.com/hooks"
ROW = {
    *("id", "deliveryId", "eventId", "cloudEventId", "eventType", "attemptNumber", "success", "httpStatus", "error"),
    *(
        "durationMs",
        "requestBody",
        "requestBodyTruncated",
        "responseBody",
        "createdAt",
        "nextAttemptAt",
        "deadLettered",
    ),
}


class Log:
    """One fresh subscription, and its log as its member reads it."""

    def __init__(self, server: Server, world: World, **members: Any) -> None:
        self.server, self.world = server, world
        self.token = world.tokens["member"]
        answer = server.call("POST", "/v1/webhooks", {"callbackUrl": URL, **members}, token=self.token)
        self.id = answer.json["id"]
        self.path = f"/v1/webhooks/{self.id}/deliveries"

    def attempt(self, *, data: Any = None, event_type: str = "note.created", **ending: Any) -> str:
        """Publish an event and end its one attempt; return the event's id."""
        event = publish(self.server, self.world.company, eventType=event_type, data=data or {})
        for claimed in claim(self.server):
            if claimed.event_id == event:
                settle(self.server, claimed, **ending)
        return event

    def page(self, query: str = "") -> Any:
        answer = self.server.call("GET", self.path + query, token=self.token)
        assert answer.status == 200, answer.body
        return answer.json

    def events(self, query: str = "") -> list[str]:
        return [row["eventId"] for row in self.page(query)["content"]]


@pytest.fixture
def log(server: Server, world: World) -> Log:
    _forget(server)
    return Log(server, world)


def _forget(server: Server) -> None:
    server.clock.advance(60)
    for each in server.call("GET", "/v1/webhooks").json:
        server.call("DELETE", f"/v1/webhooks/{each['id']}")


# --- rows ------------------------------------------------------------------------------------------------------------


def test_an_empty_log_is_a_page_of_nothing(log: Log) -> None:
    assert log.page() == {"content": [], "totalElements": 0, "totalPages": 0, "size": 20, "number": 0}


def test_each_attempt_is_a_row_with_all_that_the_contract_names(log: Log) -> None:
    event = publish(log.server, log.world.company, data={"a": 1.5}, occurredAt="2026-11-23T08:00:00Z")
    (claimed,) = claim(log.server)
    settle(log.server, claimed, status=503, retry_ms=10_000, response_body=b"busy")
    log.server.clock.advance(10)
    (claimed,) = claim(log.server)
    settle(log.server, claimed, status=None, error=ErrorClass.TIMEOUT)
    last, first = log.page()["content"]
    assert set(first) >= ROW
    body = '{"eventType":"note.created","a":1.5,"timestamp":"2026-11-23T08:00:00.000Z"}'
    for row in (first, last):
        assert (row["deliveryId"], row["eventId"], row["cloudEventId"]) == (claimed.id, event, event)
        assert (row["eventType"], row["requestBody"], row["requestBodyTruncated"]) == ("note.created", body, False)
        assert (row["success"], row["durationMs"]) == (False, 12)
    assert (first["attemptNumber"], first["httpStatus"], first["error"], first["responseBody"]) == (
        1,
        503,
        "status",
        "busy",
    )
    assert (first["nextAttemptAt"], first["deadLettered"]) == (rfc3339(log.server.clock.now_ms), False)
    assert (last["attemptNumber"], last["httpStatus"], last["error"], last["responseBody"]) == (
        2,
        None,
        "timeout",
        None,
    )
    assert (last["nextAttemptAt"], last["deadLettered"]) == (None, True)
    assert last["id"] > first["id"]
    assert last["createdAt"] == rfc3339(log.server.clock.now_ms)


def test_a_success_has_no_error(log: Log) -> None:
    log.attempt(status=204, response_body=b"")
    (row,) = log.page()["content"]
    assert (row["success"], row["httpStatus"], row["error"], row["responseBody"]) == (True, 204, None, "")
    assert (row["nextAttemptAt"], row["deadLettered"]) == (None, False)


def test_the_body_is_of_the_shape_of_the_subscription(server: Server, world: World) -> None:
    _forget(server)
    log = Log(server, world, payloadVersion="RAW")
    log.attempt(data={"a": [1, {"b": None}]})
    assert log.page()["content"][0]["requestBody"] == '{"a":[1,{"b":null}]}'


def test_a_body_over_16_kib_is_cut_in_pages_and_whole_with_its_delivery(server: Server, world: World) -> None:
    _forget(server)
    log = Log(server, world, payloadVersion="RAW")
    whole = '{"ab":"' + "é" * 10_000 + '"}'  # characters begin at odd bytes: the cut falls inside of one
    body = f'{{"eventType":"note.created","companyIds":[{world.company}],"data":{whole}}}'
    assert server.call("POST", "/v1/events", body.encode()).status == 202
    settle(server, *claim(server))
    log.attempt(data={"a": "x" * (16 * 1024 - 8)})
    exact, cut = log.page()["content"]
    assert (len(exact["requestBody"]), exact["requestBodyTruncated"]) == (16 * 1024, False)
    assert cut["requestBodyTruncated"]
    assert whole.startswith(cut["requestBody"])
    assert len(cut["requestBody"].encode()) == 16 * 1024 - 1
    detail = server.call("GET", f"{log.path}/{cut['deliveryId']}", token=log.token).json
    assert detail["requestBody"] == detail["attempts"][0]["requestBody"] == whole


def test_what_is_no_utf8_in_an_answer_is_shown_replaced(log: Log) -> None:
    log.attempt(response_body=b"a\xff\x00\xe2\x82b")
    (row,) = log.page()["content"]
    assert row["responseBody"] == "a\ufffd\x00\ufffdb"


# --- pages -----------------------------------------------------------------------------------------------------------


def test_pages_are_newest_first_with_exact_totals(log: Log) -> None:
    events = [log.attempt() for _ in range(7)][::-1]
    page = log.page("?page=1&size=3")
    assert [row["eventId"] for row in page["content"]] == events[3:6]
    assert {name: page[name] for name in ("totalElements", "totalPages", "size", "number")} == {
        "totalElements": 7,
        "totalPages": 3,
        "size": 3,
        "number": 1,
    }
    assert log.events("?page=2&size=3") == events[6:]
    beyond = log.page("?page=3&size=3")
    assert (beyond["content"], beyond["totalElements"], beyond["number"]) == ([], 7, 3)
    assert log.page("?page=2147483647&size=200")["content"] == []


@pytest.mark.parametrize(("asked", "size"), [("201", 200), ("2147483647", 200), ("200", 200), ("1", 1)])
def test_a_size_over_200_counts_as_200(log: Log, asked: str, size: int) -> None:
    assert log.page(f"?size={asked}")["size"] == size


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page=-1", "page"),
        ("page=x", "page"),
        ("page=", "page"),
        ("page=1.0", "page"),
        ("page=2147483648", "page"),
        ("size=0", "size"),
        ("size=-5", "size"),
        ("size=2147483648", "size"),
        ("size=%D9%A3", "size"),
        ("status=maybe", "status"),
        ("from=now", "from"),
        ("to=2026-11-23T08:00:00", "to"),
        ("beforeId=0", "beforeId"),
        ("beforeId=x", "beforeId"),
    ],
)
def test_a_query_that_is_none_is_400(log: Log, query: str, field: str) -> None:
    answer = log.server.call("GET", f"{log.path}?{query}", token=log.token)
    assert (answer.status, answer.json["validationErrors"][0]["field"]) == (400, field)


def test_walking_by_before_id_is_exact_while_rows_are_added(log: Log) -> None:
    for _ in range(10):
        log.attempt()
    expected = [row["id"] for row in log.page()["content"]]
    walked: list[int] = []
    query = "?size=3"
    while rows := log.page(query)["content"]:
        walked += [row["id"] for row in rows]
        query = f"?size=3&beforeId={rows[-1]['id']}"
        log.attempt()
        log.attempt(status=500)
    assert walked == expected


def test_a_total_is_of_the_same_snapshot_as_its_rows(log: Log) -> None:
    for count in range(1, 30):
        log.attempt()
        page = log.page("?size=200")
        assert len(page["content"]) == page["totalElements"] == count


def test_the_log_is_narrowed_by_each_filter_and_by_all(log: Log) -> None:
    server = log.server
    server.call("PUT", "/v1/event-types/order.paid", {"v1Name": "orderPaid"})
    failed = log.attempt(status=500)
    server.clock.advance(10)
    middle = rfc3339(server.clock.now_ms)
    lost = log.attempt(status=None, error=ErrorClass.CONNECT)
    paid = log.attempt(event_type="order.paid")
    server.clock.advance(10)
    end = rfc3339(server.clock.now_ms)
    redirected = log.attempt(status=301)
    assert log.events("?status=succeeded") == [paid]
    assert log.events("?status=failed") == [redirected, lost, failed]
    assert log.events("?eventType=orderPaid") == [paid], "the name that this subscription sees"
    assert log.page("?eventType=orderPaid")["content"][0]["eventType"] == "orderPaid"
    assert log.events("?eventType=order.paid") == []
    assert log.events(f"?from={middle}") == [redirected, paid, lost]
    assert log.events(f"?from={middle}&to={end}") == [paid, lost]
    assert log.events(f"?from={middle}&to={end}&status=failed&eventType=note.created") == [lost]
    assert log.page("?status=failed&size=2")["totalElements"] == 3
    assert log.page("?status=failed&size=2")["totalPages"] == 2


def test_a_log_holds_its_own_subscription_alone(log: Log) -> None:
    other = Log(log.server, log.world)
    event = publish(log.server, log.world.company)
    for claimed in claim(log.server):
        if claimed.subscription_id == log.id:
            settle(log.server, claimed)
    assert log.events() == [event]
    assert other.page()["totalElements"] == 0


# --- one delivery ----------------------------------------------------------------------------------------------------


def test_a_delivery_is_shown_with_every_attempt_in_full(log: Log) -> None:
    event = publish(log.server, log.world.company, data={"a": 1})
    (claimed,) = claim(log.server)
    path = f"{log.path}/{claimed.id}"
    assert log.server.call("GET", path, token=log.token).json["attempts"] == []
    settle(log.server, claimed, status=500, retry_ms=1000, response_body=b"first")
    log.server.clock.advance(1)
    (claimed,) = claim(log.server)
    settle(log.server, claimed, status=200, response_body=b"second")
    shown = log.server.call("GET", path, token=log.token).json
    assert (shown["id"], shown["eventId"], shown["state"]) == (claimed.id, event, "succeeded")
    assert (shown["dueAt"], shown["reason"]) == (None, None)
    first, second = shown["attempts"]
    assert [first["attemptNumber"], second["attemptNumber"]] == [1, 2]
    assert first["timings"] == {"dnsMs": 1, "connectMs": 2, "tlsMs": 3, "waitMs": 4}
    assert first["requestHead"].startswith("POST /hooks HTTP/1.1\r\n")
    assert first["responseHead"] == "HTTP/1.1 500 Said\r\n\r\n"
    assert [first["responseBody"], second["responseBody"]] == ["first", "second"]
    assert first["requestBody"] == second["requestBody"] == shown["requestBody"]


def test_a_delivery_of_another_subscription_is_not_here(log: Log) -> None:
    other = Log(log.server, log.world)
    publish(log.server, log.world.company)
    ids = {claimed.subscription_id: claimed.id for claimed in claim(log.server)}
    own = log.server.call("GET", f"{log.path}/{ids[log.id]}", token=log.token)
    foreign = log.server.call("GET", f"{log.path}/{ids[other.id]}", token=log.token)
    assert (own.status, foreign.status) == (200, 404)
