"""A receiver grants deliveries by the CloudEvents handshake, and by nothing that only looks like it."""

import pytest

from hookline.model import Answered, ErrorClass, Failed, Outcome, Timings
from hookline.validating import Granted, Withheld, handshake_headers, judge

ORIGIN = "hooks.example.com"


def answer(*fields: str, status: int = 200) -> Outcome:
    head = "\r\n".join(["HTTP/1.1 200 OK", *fields]).encode()
    return Answered(status=status, duration_ms=1, timings=Timings(), head=head, body=b"")


def test_origin_is_told_and_a_rate_by_the_minute() -> None:
    assert handshake_headers(ORIGIN, None) == (("WebHook-Request-Origin", ORIGIN),)
    assert handshake_headers(ORIGIN, 2)[1] == ("WebHook-Request-Rate", "120")


@pytest.mark.parametrize(
    ("outcome", "allowed"),
    [
        (answer("WebHook-Allowed-Origin: *"), None),
        (answer(f"webhook-allowed-origin:{ORIGIN} ", status=204), None),
        (answer("WebHook-Allowed-Origin: Hooks.Example.Com", "WebHook-Allowed-Rate: *"), None),
        (answer("WebHook-Allowed-Rate: 120", "WebHook-Allowed-Origin: *"), 2.0),
        (answer("WebHook-Allowed-Origin: *", "WEBHOOK-ALLOWED-RATE: 30"), 0.5),
    ],
)
def test_what_grants(outcome: Outcome, allowed: float | None) -> None:
    assert judge(outcome, ORIGIN) == Granted(allowed)


@pytest.mark.parametrize(
    "outcome",
    [
        answer(),
        answer("WebHook-Allowed-Origin: other.example.com"),
        answer(f"WebHook-Allowed-Origin: evil.{ORIGIN}"),
        answer(f"X-WebHook-Allowed-Origin: {ORIGIN}"),
        answer("WebHook-Allowed-Origin:"),
        answer("WebHook-Allowed-Origin: *", status=405),
        answer("WebHook-Allowed-Origin: *", status=302),
        answer("WebHook-Allowed-Origin: *", "WebHook-Allowed-Rate: 0"),
        answer("WebHook-Allowed-Origin: *", "WebHook-Allowed-Rate: -1"),
        answer("WebHook-Allowed-Origin: *", "WebHook-Allowed-Rate: many"),
        answer("WebHook-Allowed-Origin: *", "WebHook-Allowed-Rate: " + "9" * 5000),
        Failed(
            error=ErrorClass.CONNECT, detail="The receiver refused the connection.", duration_ms=1, timings=Timings()
        ),
    ],
)
def test_what_does_not_grant(outcome: Outcome) -> None:
    assert isinstance(judge(outcome, ORIGIN), Withheld)
