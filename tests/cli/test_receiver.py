import http.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from hookline.cli.forwarding import Forwarder
from hookline.cli.receiver import BODY_BYTES_MAX, Forward, Received, Receiver
from hookline.clock import SystemClock


@contextmanager
def receiving(
    fail_first: int = 0, delay_seconds: float = 0, forward: Forward | None = None
) -> Iterator[tuple[Receiver, list[Received]]]:
    received: list[Received] = []
    receiver = Receiver(
        host="127.0.0.1",
        port=0,
        secret=None,
        fail_first=fail_first,
        delay_seconds=delay_seconds,
        clock=SystemClock(),
        on_request=received.append,
        forward=forward,
    )
    receiver.start()
    try:
        yield receiver, received
    finally:
        receiver.close()


def send(receiver: Receiver, webhook_id: str, body: bytes = b"{}", **headers: str) -> int:
    connection = http.client.HTTPConnection(receiver.url.removeprefix("http://").rstrip("/"), timeout=10)
    try:
        connection.request("POST", "/in?x=1", body, {"webhook-id": webhook_id, "Hookline-Attempt": "1", **headers})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def test_the_first_requests_of_each_webhook_id_fail_and_later_ones_pass() -> None:
    with receiving(fail_first=2) as (receiver, _):
        assert [send(receiver, name) for name in "aababb"] == [503, 503, 503, 200, 503, 200]


def test_request_is_reported_as_it_came_with_what_was_answered() -> None:
    with receiving() as (receiver, received):
        send(receiver, "evt_1", b'{"amount":1.10}')

    assert [(each.path, each.webhook_id, each.attempt, each.body, each.status) for each in received] == [
        ("/in?x=1", "evt_1", "1", b'{"amount":1.10}', 200)
    ]


def test_each_answer_is_signalled_once() -> None:
    with receiving() as (receiver, _):
        send(receiver, "a")
        send(receiver, "b")

        assert [receiver.answered.acquire(timeout=5) for _ in range(2)] == [True, True]
        assert not receiver.answered.acquire(blocking=False)


def test_body_over_the_limit_is_refused_before_it_is_read() -> None:
    with receiving() as (receiver, received):
        connection = http.client.HTTPConnection(receiver.url.removeprefix("http://").rstrip("/"), timeout=10)
        connection.putrequest("POST", "/")
        connection.putheader("Content-Length", str(BODY_BYTES_MAX + 1))
        connection.endheaders()

        assert connection.getresponse().status == 413
        connection.close()
        assert received == []


def test_question_whether_somebody_listens_is_answered_and_counts_as_no_delivery() -> None:
    with receiving(fail_first=1) as (receiver, received):
        connection = http.client.HTTPConnection(receiver.url.removeprefix("http://").rstrip("/"), timeout=10)
        connection.request("GET", "/")

        assert connection.getresponse().status == 200
        connection.close()
        assert received == []
        assert not receiver.answered.acquire(blocking=False)


def test_what_is_not_genuine_is_never_handed_on() -> None:
    handed: list[bytes] = []

    def forward(_headers: Mapping[str, str], body: bytes) -> int:
        handed.append(body)
        return 200

    with receiving(forward=forward) as (receiver, _):
        receiver.secret = "whsec_AAAA"
        assert send(receiver, "evt_1", b"{}") == 401
        receiver.secret = None
        assert send(receiver, "evt_1", b"[1]") == 200

    assert handed == [b"[1]"]


def test_program_that_does_not_answer_is_a_bad_gateway() -> None:
    with receiving(forward=Forwarder("http://127.0.0.1:9/")) as (receiver, _):
        assert send(receiver, "evt_1") == 502
