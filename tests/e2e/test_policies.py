"""What a subscription asks for is shown, kept over a restart, and what its receiver sees."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .harness import Answer, Client, Server, until
from .receiver import Arrival, Receiver, Reply

POLICIES: Mapping[str, Any] = {
    "retryDelaysSeconds": [1, 2, 86400],
    "timeoutSeconds": 7,
    "maxInFlight": 3,
    "headers": {"X-Zone": 'eu west; a="b"', "x-trace": "no"},
}
DEFAULTS: Mapping[str, Any] = {
    "retryDelaysSeconds": [10, 60, 300],
    "timeoutSeconds": 30,
    "maxInFlight": 10,
    "headers": [],
    "callbackAuthType": "NONE",
}
CREDENTIALS: Mapping[str, tuple[dict[str, str], str, str]] = {
    "BASIC": (
        {"username": "ann", "password": "päss:word"},
        "authorization",
        "Basic " + base64.b64encode("ann:päss:word".encode()).decode(),
    ),
    "BEARER": ({"token": "abc.DEF-123~+/="}, "authorization", "Bearer abc.DEF-123~+/="),
    "HEADER": ({"headerName": "X-Api-Key", "headerValue": "k e y"}, "x-api-key", "k e y"),
    "a HEADER named Authorization": (
        {"type": "HEADER", "headerName": "Authorization", "headerValue": "Token 1"},
        "authorization",
        "Token 1",
    ),
}
IN_FLIGHT = 3
ANSWER_SECONDS = 0.05
PAGE = 7


def subscribed(operator: Client, receiver: Receiver, path: str, **policies: Any) -> tuple[int, dict[str, Any]]:
    company = operator.company()
    body = {"callbackUrl": receiver.url(path), **policies}
    return company, operator.made("POST", f"/v1/webhooks?companyId={company}", body)


def is_signed(arrival: Arrival, secret: str) -> bool:
    by_hand = hmac.new(secret.encode(), arrival.body, hashlib.sha256).hexdigest()
    return arrival.headers["x-hub-signature-256"] == f"sha256={by_hand}"


def test_policies_are_shown_as_given_and_null_restores_each_default(operator: Client, receiver: Receiver) -> None:
    shown = {**POLICIES, "headers": list(POLICIES["headers"]), "callbackAuthType": "BEARER"}
    auth = {"type": "BEARER", "token": "t"}
    company, made = subscribed(operator, receiver, "/shown", callbackAuth=auth, **POLICIES)
    path = f"/v1/webhooks/{made['id']}"
    member = operator.member_of(company)
    for subscription in (made, member.made("GET", path), member.made("GET", "/v1/webhooks")[0]):
        assert {name: subscription[name] for name in DEFAULTS} == shown
    for name in DEFAULTS:
        member.made("PATCH", path, {"callbackAuth" if name == "callbackAuthType" else name: None})
        shown[name] = DEFAULTS[name]
        now = member.made("GET", path)
        assert {each: now[each] for each in DEFAULTS} == shown, f"after {name}: null"
    operator.publish(company)
    (arrival,) = receiver.wait_at("/shown", 1)
    assert not {"authorization", "x-zone", "x-trace"} & arrival.headers.keys()


@pytest.mark.parametrize("kind", CREDENTIALS)
def test_credentials_and_static_headers_arrive_on_every_attempt(
    operator: Client, receiver: Receiver, kind: str
) -> None:
    credential, name, value = CREDENTIALS[kind]
    company, _ = subscribed(
        operator,
        receiver,
        "/credential",
        callbackAuth={"type": kind} | credential,
        headers=POLICIES["headers"],
        retryDelaysSeconds=[1],
    )
    receiver.answer("/credential", Reply(401), Reply(200))
    operator.publish(company)
    for arrival in receiver.wait_at("/credential", 2):
        assert arrival.headers[name] == value
        assert {each: arrival.headers[each.lower()] for each in POLICIES["headers"]} == POLICIES["headers"]


def test_a_change_counts_from_the_next_attempt_of_what_already_waits(operator: Client, receiver: Receiver) -> None:
    company, made = subscribed(
        operator, receiver, "/before", retryDelaysSeconds=[1], callbackAuth={"type": "BEARER", "token": "old"}
    )
    receiver.answer("/before", Reply(500))
    operator.publish(company)
    (first,) = receiver.wait_at("/before", 1)
    change = {
        "callbackUrl": receiver.url("/after"),
        "callbackAuth": {"type": "BEARER", "token": "new"},
        "headers": {"X-New": "1"},
    }
    operator.made("PATCH", f"/v1/webhooks/{made['id']}", change)
    (second,) = receiver.wait_at("/after", 1)
    assert (second.event_id, second.attempt, second.body) == (first.event_id, 2, first.body)
    assert (second.headers["authorization"], second.headers["x-new"]) == ("Bearer new", "1")
    assert second.at - first.at >= 1.0, "a wait that is set stays"
    assert len(receiver.at("/before")) == 1


def test_secrets_and_credentials_are_readable_after_a_restart_with_a_key_made_at_the_first_start(
    own_server: Callable[..., Server], receiver: Receiver
) -> None:
    server = own_server(HOOKLINE_SECRET_KEY="")
    operator = server.client()
    company, made = subscribed(
        operator, receiver, "/kept", callbackAuth={"type": "BEARER", "token": "kept"}, headers={"X-Kept": "kept too"}
    )
    operator.publish(company)
    receiver.wait_at("/kept", 1)
    assert server.stop() == 0
    server.restart()
    operator.publish(company)
    for arrival in receiver.wait_at("/kept", 2):
        assert is_signed(arrival, made["secret"])
        assert (arrival.headers["authorization"], arrival.headers["x-kept"]) == ("Bearer kept", "kept too")
    operator.close()


def test_no_more_attempts_are_in_flight_than_asked_for(operator: Client, receiver: Receiver) -> None:
    company, _ = subscribed(operator, receiver, "/narrow-gate", maxInFlight=IN_FLIGHT)
    receiver.answer("/narrow-gate", Reply(delay_seconds=ANSWER_SECONDS))
    event = {"eventType": "note.created", "companyIds": [company], "data": {}}
    operator.made("POST", "/v1/events/batch", {"events": [event] * 60})
    arrivals = [arrival.at for arrival in receiver.wait_at("/narrow-gate", 60)]
    # Who has arrived within the time that the receiver takes to answer has no answer yet; its timer counts whole ms.
    open_at = [sum(at - ANSWER_SECONDS + 0.002 < other <= at for other in arrivals) for at in arrivals]
    assert max(open_at) == IN_FLIGHT


def test_walking_by_page_misses_nothing_while_rows_are_added(operator: Client, receiver: Receiver) -> None:
    company, made = subscribed(operator, receiver, "/walked")
    path = f"/v1/webhooks/{made['id']}/deliveries"
    for _ in range(60):
        operator.publish(company)
    until(lambda: operator.made("GET", path)["totalElements"] == 60, "60 rows")
    there = {row["id"] for row in operator.log(made["id"])}
    adder = operator.as_(operator.token)
    seen: set[int] = set()
    number = 0
    with ThreadPoolExecutor(1) as pool:
        while not there <= seen:
            adding = pool.submit(lambda: [adder.publish(company) for _ in range(PAGE - 2)])
            page = operator.made("GET", f"{path}?page={number}&size={PAGE}")
            assert page["content"], "past the end, and rows that were there have not been seen"
            assert page["number"] == number
            assert page["totalPages"] == -(-page["totalElements"] // PAGE)
            assert len(page["content"]) == min(PAGE, page["totalElements"] - PAGE * number)
            seen |= {row["id"] for row in page["content"]}
            number += 1
            adding.result()


@pytest.mark.parametrize("accept", ["", "*/*", "text/html", "application/xml;q=0", "nonsense", "a/b, */*;q=0, ;;,"])
def test_every_member_call_answers_the_same_whatever_the_accept_header_says(
    operator: Client, receiver: Receiver, accept: str
) -> None:
    member = operator.member_of(operator.company())
    headers = {"Accept": accept}

    def ask(method: str, path: str, body: Any = None) -> Answer:
        answer = member.call(method, path, body, headers)
        assert answer.status in {200, 204, 404}, f"{method} {path}: {answer.status}"
        return answer

    made = ask("POST", "/v1/webhooks", {"callbackUrl": receiver.url("/accept")}).json
    path = f"/v1/webhooks/{made['id']}"
    for method, target, body in (
        ("GET", "/v1/webhooks", None),
        ("GET", path, None),
        ("PATCH", path, {}),
        ("GET", f"{path}/deliveries", None),
        ("GET", "/v1/events", None),
    ):
        assert ask(method, target, body).headers["content-type"] == "application/json"
    deleted = ask("DELETE", path)
    assert (deleted.status, deleted.body) == (204, b"")
    again = ask("DELETE", path)
    assert (again.status, again.headers["content-type"]) == (404, "application/problem+json")


def test_of_many_deletes_at_once_one_counts(server: Server, operator: Client, receiver: Receiver) -> None:
    _, made = subscribed(operator, receiver, "/deleted-at-once")

    def delete(_: int) -> int:
        client = server.client()
        try:
            return client.call("DELETE", f"/v1/webhooks/{made['id']}").status
        finally:
            client.close()

    with ThreadPoolExecutor(16) as pool:
        assert sorted(pool.map(delete, range(16))) == [204] + [404] * 15
