"""The delivery log: every attempt of a subscription, and one delivery with all that was sent and answered."""

from typing import Any, Final, assert_never

from starlette.requests import Request
from starlette.responses import Response

from hookline import rendering
from hookline.api.answers import instant, json_response
from hookline.api.context import Api
from hookline.api.reading import (
    ID_MAX,
    change_of,
    company_of_list,
    no_such_id,
    path_id,
    query_instant,
    query_int,
    query_text,
    query_word,
)
from hookline.api.webhooks import subscription_of
from hookline.errors import Conflict, Invalid
from hookline.model import Action, DeliveryState, Timings
from hookline.storage.claims import Redelivery
from hookline.storage.views import AttemptQuery, AttemptRow, DeliveryView, Waiting

INT32_MAX: Final = 2**31 - 1
SIZE: Final = 20
SIZE_MAX: Final = 200
BODY_BYTES_SHOWN: Final = 16 * 1024
"""Of a body in a page of the log; it stands whole with its delivery."""


async def list_attempts(request: Request, api: Api) -> Response:
    """Answer one page of the log, newest first, with the exact total of the same snapshot."""
    subscription = await subscription_of(request, api)
    page = query_int(request, "page", 0, 0, INT32_MAX)
    size = min(query_int(request, "size", SIZE, 1, INT32_MAX), SIZE_MAX)
    found = await api.storage.page_of_attempts(
        AttemptQuery(
            subscription_id=subscription.id,
            company_id=company_of_list(request),
            page=page,
            size=size,
            success=_success(request),
            type_name=query_text(request, "eventType"),
            from_at=query_instant(request, "from"),
            to_at=query_instant(request, "to"),
            before_id=query_int(request, "beforeId", None, 1, ID_MAX),
        )
    )
    return json_response(
        {
            "content": [_shown_row(row) for row in found.rows],
            "totalElements": found.total,
            "totalPages": -(-found.total // size),
            "size": size,
            "number": page,
        }
    )


async def show(request: Request, api: Api) -> Response:
    """Answer one delivery: its state, what happens next, and each attempt with heads, bodies and timings."""
    subscription = await subscription_of(request, api)
    delivery = await api.storage.delivery(
        subscription.id, path_id(request, "deliveryId"), company_id=company_of_list(request)
    )
    if delivery is None:
        raise no_such_id()
    body = _body(delivery)
    return json_response(
        {
            **shown_delivery(delivery, api.clock.schedule_ms()),
            "eventId": delivery.event_id,
            "eventType": delivery.type_name,
            "occurredAt": instant(delivery.occurred_at),
            "acceptedAt": instant(delivery.accepted_at),
            "requestBody": body,
            "erased": delivery.data is None,
            "attempts": [
                {
                    **shown_attempt(attempt),
                    "requestHead": _text(attempt.request_head),
                    "requestBody": body,
                    "responseHead": _text(attempt.response_head),
                    "responseBody": _text(attempt.response_body),
                    "timings": _timings(attempt.timings),
                }
                for attempt in delivery.attempts
            ],
        }
    )


async def redeliver(request: Request, api: Api) -> Response:
    """Answer 202 once the same delivery is open again; one that waits for an attempt anyway stays as it is."""
    subscription = await subscription_of(request, api)
    delivery_id = path_id(request, "deliveryId")
    opened = change_of(request, Action.DELIVERY_REDELIVERED, delivery_id, subscription.company_id)
    found = await api.storage.redeliver(subscription.id, delivery_id, change=opened)
    if found is None:
        raise no_such_id()
    _refuse_redelivery(found)
    api.wake()
    return json_response({"deliveryId": delivery_id, "eventId": found.event_id}, 202)


def _refuse_redelivery(found: Redelivery) -> None:
    match found.state:
        case DeliveryState.HELD:
            raise Conflict(
                f"The delivery is held: its subscription is inactive ({found.reason}). It goes out by itself when the "
                'subscription is activated: PATCH {"active": true}.'
            )
        case DeliveryState.SENDING:
            raise Conflict("An attempt of the delivery is under way. Wait for its end; a failure is retried by itself.")
        case DeliveryState.CANCELLED:
            raise Conflict(f"The delivery was cancelled ({found.reason}); what is cancelled is not sent again.")
        case DeliveryState.SUCCEEDED | DeliveryState.DEAD if found.is_erased:
            raise Conflict("The event's data was erased, so there is nothing left to send.")
        case DeliveryState.PENDING | DeliveryState.SUCCEEDED | DeliveryState.DEAD:
            return
        case _:
            assert_never(found.state)


def _success(request: Request) -> bool | None:
    match query_word(request, "status"):
        case None:
            return None
        case "succeeded":
            return True
        case "failed":
            return False
        case _:
            raise Invalid.field("status", "expected succeeded or failed.")


# --- what is shown ---------------------------------------------------------------------------------------------------


def shown_delivery(delivery: DeliveryView, now: int) -> dict[str, Any]:
    """Show a delivery without its attempts."""
    return {
        "id": delivery.id,
        "subscriptionId": delivery.subscription_id,
        "companyId": delivery.company_id,
        "state": delivery.state,
        "reason": reason(delivery, now),
        "dueAt": instant(delivery.due_at),
        "settledAt": instant(delivery.settled_at),
    }


def reason(delivery: DeliveryView, now: int) -> str | None:
    """Say why a delivery waits or how it ended, None where there is nothing to add to its state."""
    match delivery.state:
        case DeliveryState.HELD:
            return f"held since {instant(delivery.held_since)}: the subscription is inactive ({delivery.reason})"
        case DeliveryState.PENDING:
            return f"waiting: {_awaited(delivery, now)}"
        case _:
            return delivery.reason


def _awaited(delivery: DeliveryView, now: int) -> str:
    if delivery.reason == Waiting.VALIDATION:
        return delivery.reason
    if delivery.reason == Waiting.RECEIVER_FAILING:
        return f"{delivery.reason}, next probe {instant(delivery.due_at)}"
    if delivery.failures:
        return f"retry at {instant(delivery.due_at)}"
    if delivery.due_at is not None and delivery.due_at > now:
        return f"not before {instant(delivery.due_at)}"
    return "its turn"


def shown_attempt(attempt: AttemptRow) -> dict[str, Any]:
    """Show what an attempt came to, without heads and bodies."""
    return {
        "id": attempt.id,
        "attemptNumber": attempt.number,
        "success": attempt.error is None,
        "httpStatus": attempt.http_status,
        "error": attempt.error,
        "detail": attempt.detail,
        "durationMs": attempt.duration_ms,
        "createdAt": instant(attempt.created_at),
        "nextAttemptAt": instant(attempt.next_attempt_at),
        "deadLettered": attempt.dead_lettered,
    }


def _shown_row(row: AttemptRow) -> dict[str, Any]:
    body = None if row.data is None else _rendered(row, row.data)
    response = row.response_body
    return {
        **shown_attempt(row),
        "deliveryId": row.delivery_id,
        "eventId": row.event_id,
        "cloudEventId": row.event_id,
        "eventType": row.type_name,
        "requestBody": None
        if body is None
        else body[:BODY_BYTES_SHOWN].decode("utf-8", "ignore"),  # a cut character goes
        "erased": row.data is None,
        "requestBodyTruncated": body is not None and len(body) > BODY_BYTES_SHOWN,
        "responseBody": None if response is None else _text(response),
    }


def _body(delivery: DeliveryView) -> str | None:
    return None if delivery.data is None else _text(_rendered(delivery, delivery.data))


def _rendered(row: AttemptRow | DeliveryView, data: bytes) -> bytes:
    """Render the body again: the same bytes that were sent, as all that makes them is frozen in the delivery."""
    return rendering.body(
        row.payload_version,
        type_name=row.type_name,
        source=row.source,
        event_id=row.event_id,
        occurred_at=row.occurred_at,
        data=data,
    )


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode("utf-8", "replace")


def _timings(timings: Timings) -> dict[str, int | None]:
    return {
        "dnsMs": timings.dns_ms,
        "connectMs": timings.connect_ms,
        "tlsMs": timings.tls_ms,
        "waitMs": timings.wait_ms,
    }
