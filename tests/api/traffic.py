"""Deliveries without an engine: what it would claim and settle is claimed and settled here, by the storage's verbs."""

from typing import Any

from api.loopback import Server
from hookline.fairness import Flight
from hookline.lifecycle import GiveUp, Reason, Retry, Succeed, Verdict
from hookline.model import ErrorClass, Timings
from hookline.storage.claims import AttemptRecord, Claimed, Fence, Settlement

LEASE_MS = 45_000


def publish(server: Server, *companies: int, **members: Any) -> str:
    """Publish one event; return its id."""
    body = {"eventType": "note.created", "companyIds": companies, "data": {"a": 1}, **members}
    answer = server.call("POST", "/v1/events", body)
    assert answer.status == 202, answer.body
    event_id: str = answer.json["id"]
    return event_id


def claim(server: Server) -> list[Claimed]:
    """Claim whatever is due."""
    flight = Flight(
        capacity=1000,
        host_capacity=1000,
        total=0,
        by_subscription={},
        by_company={},
        by_host={},
        by_company_at_host={},
    )
    found = server.run(
        server.storage.claim_due(flight=flight, rows_max=1000, body_bytes_max=1 << 25, lease_ms=LEASE_MS, known={})
    )
    return list(found.deliveries)


def settle(
    server: Server,
    claimed: Claimed,
    *,
    status: int | None = 200,
    error: ErrorClass | None = None,
    retry_ms: int | None = None,
    hold_ms: int | None = None,
    response_body: bytes | None = b"ok",
) -> None:
    """Settle one attempt: a 2xx succeeds, anything else is retried in `retry_ms`, or ends the delivery."""
    is_success = status is not None and 200 <= status <= 299
    verdict: Verdict = Succeed() if is_success else GiveUp(Reason.EXHAUSTED)
    if retry_ms is not None:
        verdict = Retry(retry_ms)
    fence = Fence(
        delivery_id=claimed.id,
        subscription_id=claimed.subscription_id,
        company_id=claimed.company_id,
        attempt=claimed.attempt,
    )
    record = AttemptRecord(
        http_status=status,
        error=None if is_success else error or ErrorClass.STATUS,
        detail=None,
        duration_ms=12,
        timings=Timings(dns_ms=1, connect_ms=2, tls_ms=3, wait_ms=4),
        request_head=b"POST /hooks HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
        response_head=None if status is None else b"HTTP/1.1 %d Said\r\n\r\n" % status,
        response_body=None if status is None else response_body,
    )
    settlement = Settlement(
        fence=fence,
        subscription_revision=claimed.subscription_revision,
        verdict=verdict,
        record=record,
        answered=True,
        timed_out=False,
        hold_ms=hold_ms,
    )
    (is_settled,) = server.run(server.storage.settle([settlement]))
    assert is_settled
