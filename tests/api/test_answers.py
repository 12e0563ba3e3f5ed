"""Real answers, with real deliveries and attempts in them, have the described shape."""

from typing import Any

import jsonschema_rs
import pytest

from api.loopback import Server
from api.world import World
from hookline.api.openapi import document
from hookline.fairness import Flight
from hookline.lifecycle import Retry, Succeed, Verdict
from hookline.model import ErrorClass, Timings
from hookline.storage.claims import AttemptRecord, Claimed, Fence, Settlement

IDLE = Flight(
    capacity=10, host_capacity=10, total=0, by_subscription={}, by_company={}, by_host={}, by_company_at_host={}
)


def _check(method: str, path: str, status: int, answer: Any) -> None:
    said = document()
    schema = said["paths"][path][method]["responses"][str(status)]["content"]["application/json"]["schema"]
    jsonschema_rs.validator_for({**schema, "components": said["components"]}).validate(answer)


def _settlement(claimed: Claimed, verdict: Verdict, *, answered: bool) -> Settlement:
    return Settlement(
        fence=Fence(
            delivery_id=claimed.id,
            subscription_id=claimed.subscription_id,
            company_id=claimed.company_id,
            attempt=claimed.attempt,
        ),
        subscription_revision=claimed.subscription_revision,
        verdict=verdict,
        record=AttemptRecord(
            http_status=200 if answered else None,
            error=None if answered else ErrorClass.CONNECT,
            detail=None if answered else "The receiver refused the connection.",
            duration_ms=12,
            timings=Timings(connect_ms=3),
            request_head=b"POST / HTTP/1.1",
            response_head=b"HTTP/1.1 200 OK" if answered else None,
            response_body=b"\xff done" if answered else None,
        ),
        answered=answered,
        timed_out=False,
    )


def _attempt(server: Server, verdict: Verdict, *, answered: bool) -> None:
    async def run() -> None:
        claim = await server.storage.claim_due(flight=IDLE, rows_max=1, body_bytes_max=1 << 20, lease_ms=1000, known={})
        (claimed,) = claim.deliveries
        assert all(await server.storage.settle([_settlement(claimed, verdict, answered=answered)]))

    server.run(run())


@pytest.mark.parametrize("version", ["V1", "STANDARD", "RAW"])
def test_answers_are_as_they_are_described(server: Server, world: World, version: str) -> None:
    member = world.tokens["member"]
    made = server.call(
        "POST",
        "/v1/webhooks",
        {"callbackUrl": "https://api.example.com/a", "payloadVersion": version, "headers": {"X-A": "b"}},
        token=member,
    )
    _check("post", "/v1/webhooks", 200, made.json)
    path = f"/v1/webhooks/{made.json['id']}"
    body = {"eventType": "note.created", "companyIds": [world.company], "data": {"noteToken": "ä"}}
    accepted = server.call("POST", "/v1/events", body)
    _check("post", "/v1/events", 202, accepted.json)
    _attempt(server, Retry(0), answered=False)
    _attempt(server, Succeed(), answered=True)

    log = server.call("GET", f"{path}/deliveries", token=member).json
    _check("get", "/v1/webhooks/{id}/deliveries", 200, log)
    assert [row["success"] for row in log["content"]] == [True, False]
    delivery = server.call("GET", f"{path}/deliveries/{log['content'][0]['deliveryId']}", token=member).json
    _check("get", "/v1/webhooks/{id}/deliveries/{deliveryId}", 200, delivery)
    assert len(delivery["attempts"]) == 2
    for token in (member, world.tokens["operator"]):
        event = server.call("GET", f"/v1/events/{accepted.json['id']}", token=token).json
        _check("get", "/v1/events/{eventId}", 200, event)
        _check("get", "/v1/events", 200, server.call("GET", "/v1/events", token=token).json)
        _check("get", "/v1/webhooks", 200, server.call("GET", "/v1/webhooks", token=token).json)
        _check("get", "/v1/webhooks/{id}", 200, server.call("GET", path, token=token).json)
    changed = server.call("PATCH", path, {"active": False}, token=member)
    _check("patch", "/v1/webhooks/{id}", 200, changed.json)
    assert server.call("DELETE", path, token=member).status == 204


def test_a_batch_is_as_it_is_described(server: Server, world: World) -> None:
    event = {"eventType": "note.created", "recipients": [{"companyId": world.company}], "data": {}}
    answer = server.call("POST", "/v1/events/batch", {"events": [event, event]})
    _check("post", "/v1/events/batch", 202, answer.json)
    assert len(answer.json["events"]) == 2
