"""Events: published by the platform, and looked for by everybody who asks where theirs is."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Raw
from starlette.requests import Request
from starlette.responses import Response

from hookline import matching, publishing
from hookline.api.answers import instant, items_response, json_response, no_content
from hookline.api.context import Api
from hookline.api.deliveries import shown_attempt, shown_delivery
from hookline.api.reading import (
    BODY_BYTES_MAX,
    ID_MAX,
    change_of,
    company_of_list,
    decode,
    list_after_id,
    list_limit,
    no_such_id,
    path_text,
    query_instant,
    query_int,
    query_text,
    query_word,
    read_body,
)
from hookline.drafting import BatchRequest, EventRequest
from hookline.errors import Conflict, Invalid
from hookline.filtering import Document
from hookline.model import Action, DeliveryState
from hookline.storage.publications import Accepted, IdConflict, IdempotencyKey, KeyConflict, Published
from hookline.storage.views import EventDetail, EventQuery, EventView

BATCH_BYTES_MAX: Final = 16 * 1024 * 1024
DELIVERIES_SHOWN: Final = 200
ATTEMPTS_SHOWN: Final = 20

# --- publishing ------------------------------------------------------------------------------------------------------


async def publish(request: Request, api: Api) -> Response:
    """Answer 202 once the event and its deliveries are on disk."""
    body = await read_body(request, BODY_BYTES_MAX)
    result = await api.publisher.publish(decode(body, EventRequest), _key(request, body))
    (event,) = _published(result, api, "id")
    return json_response(
        {
            "id": event.id,
            "eventType": event.event_type,
            "acceptedAt": instant(event.accepted_at),
            "deliveries": event.deliveries,
        },
        202,
    )


async def publish_batch(request: Request, api: Api) -> Response:
    """Answer 202 once all events and their deliveries are on disk; refuse all where one is refused."""
    body = await read_body(request, BATCH_BYTES_MAX)
    result = await api.publisher.publish_batch(decode(body, BatchRequest).events, _key(request, body))
    events = _published(result, api, "events[{}].id")
    return json_response({"events": [{"id": event.id, "deliveries": event.deliveries} for event in events]}, 202)


def _key(request: Request, body: bytes) -> IdempotencyKey | None:
    values = [value for name, value in request.scope["headers"] if name == b"idempotency-key"]
    if not values:
        return None
    if len(values) > 1:
        raise Invalid.field("Idempotency-Key", "is given twice; one request has one key.")
    return publishing.key_of(values[0].decode("latin-1"), request.scope["path"], body)


def _published(result: Published | KeyConflict | IdConflict, api: Api, id_place: str) -> Sequence[Accepted]:
    """Return what was accepted; `id_place` says where in the body the id of the event number `{}` stands."""
    match result:
        case Published(events=events):
            api.wake()
            api.telemetry.published(events=len(events), deliveries=sum([event.deliveries for event in events]))
            return events
        case KeyConflict():
            raise Conflict("This Idempotency-Key was used with another request. Take a new key for a new request.")
        case IdConflict(index=index):
            raise Conflict(
                f"{id_place.format(index)} belongs to an event that differs from this one. "
                "Take a new id for a new event; the same event may be repeated under its id."
            )


# --- looking ---------------------------------------------------------------------------------------------------------


async def list_all(request: Request, api: Api) -> Response:
    """Answer events, newest first; for a member those for its company, and of their deliveries only its own."""
    limit = list_limit(request)
    events = await api.storage.events(
        EventQuery(
            limit=limit + 1,
            before_key=query_int(request, "cursor", None, 1, ID_MAX),
            company_id=company_of_list(request),
            event_type=query_text(request, "eventType"),
            state=_state(request),
            from_at=query_instant(request, "from"),
            to_at=query_instant(request, "to"),
        )
    )
    cursor = events[limit - 1].event.key if len(events) > limit else None
    return items_response([_shown(view) for view in events[:limit]], cursor)


async def show(request: Request, api: Api) -> Response:
    """Answer one event, its deliveries, and for each subscription that got none the reason."""
    detail = await api.storage.event(
        path_text(request, "eventId"),
        company_id=company_of_list(request),
        after_id=list_after_id(request),
        limit=DELIVERIES_SHOWN,
        attempts_max=ATTEMPTS_SHOWN,
    )
    if detail is None:
        raise no_such_id()
    now = api.clock.schedule_ms()
    return json_response(
        {
            **_shown(detail.view),
            "data": _data(detail.view),
            "deliveries": [
                {
                    **shown_delivery(delivery, now),
                    "attempts": [shown_attempt(attempt) for attempt in delivery.attempts],
                }
                for delivery in detail.deliveries
            ],
            "next": None if detail.next_after_id is None else str(detail.next_after_id),
            "notMatched": _not_matched(detail),
        }
    )


async def erase(request: Request, api: Api) -> Response:
    """Erase what an event said; that it was, and what became of it, stays."""
    event_id = path_text(request, "eventId")
    if not await api.storage.erase(event_id, change=change_of(request, Action.EVENT_ERASED, event_id)):
        raise no_such_id()
    return no_content()


def _state(request: Request) -> DeliveryState | None:
    text = query_word(request, "state")
    if text is None:
        return None
    try:
        return DeliveryState(text)
    except ValueError:
        raise Invalid.field("state", f"expected one of {', '.join(DeliveryState)}.") from None


def _shown(view: EventView) -> dict[str, Any]:
    event = view.event
    return {
        "id": event.id,
        "eventType": event.event_type,
        "occurredAt": instant(event.occurred_at),
        "acceptedAt": instant(event.accepted_at),
        "companyIds": [recipient.company_id for recipient in view.recipients],
        "counts": _counts(view.counts),
        "erased": event.data is None,
    }


def _counts(counts: Mapping[DeliveryState, int]) -> dict[str, int]:
    return {state: counts.get(state, 0) for state in DeliveryState}


def _data(view: EventView) -> Any:
    return None if view.event.data is None else Raw(view.event.data)


def _not_matched(detail: EventDetail) -> list[dict[str, Any]]:
    """Explain each subscription of the recipients that the event did not match, as things stood then."""
    data = detail.view.event.data
    document = None if data is None else Document(data)
    entries = {recipient.company_id: recipient.entries for recipient in detail.view.recipients}
    reasons = [
        (route, matching.reason_not_matched(detail.matched_type, route, entries[route.company_id], document))
        for route in detail.routes
    ]
    return [
        {"subscriptionId": route.subscription_id, "reason": f"not matched: {reason}"}
        for route, reason in reasons
        if reason is not None
    ]
