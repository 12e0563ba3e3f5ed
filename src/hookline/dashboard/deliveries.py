"""One delivery: the line, each attempt with what was sent and answered, and what happens next."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from markupsafe import Markup
from starlette.responses import Response

from hookline import rendering
from hookline.dashboard import inert, line, telling, words
from hookline.dashboard.context import Dashboard, Visit
from hookline.dashboard.events import NOTHING, schedule_of, took
from hookline.dashboard.frame import page, with_query
from hookline.errors import NotFound
from hookline.lifecycle import REOPENABLE
from hookline.model import DeliveryState, ErrorClass, Subscription
from hookline.storage.views import AttemptRow, DeliveryView

ID_DIGITS_MAX: Final = 16
FOLD_OVER: Final = 6
"""Attempts shown one by one; of more the middle folds."""
FOLD_KEPT: Final = 3
"""At the beginning; at the end as many less one."""


class Told(NamedTuple):
    """One attempt as its page tells it."""

    attempt: AttemptRow
    look: telling.Mark
    sentence: Markup
    advice: Markup
    waited: str
    """Before it; empty for the first."""
    started_at: int
    request: inert.Head | None
    response: inert.Head | None
    body: inert.Body
    curl: str | None


async def subscription_of(visit: Visit, dashboard: Dashboard) -> Subscription:
    """Return the subscription of the path, or raise `NotFound` where it is not this visitor's to see."""
    found = await dashboard.storage.subscription(path_id(visit, "id"))
    if found is None or visit.company_id not in {None, found.company_id}:
        raise NotFound(NOTHING)
    return found


def path_id(visit: Visit, name: str) -> int:
    """Return an id of the path; what is none answers as what nobody has."""
    text = visit.part(name)
    if not (text.isascii() and text.isdigit() and len(text) <= ID_DIGITS_MAX):
        raise NotFound(NOTHING)
    return int(text)


async def delivery_of(subscription: Subscription, visit: Visit, dashboard: Dashboard) -> DeliveryView:
    """Return the delivery of the path, or raise `NotFound`."""
    delivery = await dashboard.storage.delivery(subscription.id, path_id(visit, "deliveryId"))
    if delivery is None:
        raise NotFound(NOTHING)
    return delivery


async def show(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer one delivery."""
    subscription = await subscription_of(visit, dashboard)
    delivery = await delivery_of(subscription, visit, dashboard)
    company = await dashboard.storage.company(subscription.company_id)
    schedule = schedule_of(subscription, dashboard)
    now = dashboard.clock.schedule_ms()
    sent = sent_body(delivery)
    scheme = subscription.callback_url.partition(":")[0]
    told = [
        _told(attempt, before, sent, scheme)
        for attempt, before in zip(delivery.attempts, (None, *delivery.attempts), strict=False)
    ]
    return page(
        visit,
        dashboard,
        "delivery.html",
        delivery=delivery,
        subscription=subscription,
        company=company.name if company else str(subscription.company_id),
        look=telling.mark(delivery),
        title=telling.headline(delivery),
        summary=_summary(delivery, schedule, company.name if company else "", now),
        situation=telling.situation(delivery, schedule, now),
        next_step=telling.next_step(delivery, schedule, now),
        bars=line.drawn(delivery.accepted_at, [_span(attempt) for attempt in delivery.attempts]),
        attempts=_folded(told),
        body=inert.body(sent, is_whole=bool(visit.query("whole"))),
        is_erased=sent is None,
        whole=with_query(visit, whole=1),
        media_type=rendering.media_type(delivery.payload_version, subscription.policies.content_type),
        schedule=schedule,
        done=visit.query("done"),
        can_redeliver=visit.may_write and delivery.state in REOPENABLE and sent is not None,
    )


def sent_body(delivery: DeliveryView) -> bytes | None:
    """Render the body again: the same bytes that were sent; None once the event's data is erased."""
    if delivery.data is None:
        return None
    return rendering.body(
        delivery.payload_version,
        type_name=delivery.type_name,
        source=delivery.source,
        event_id=delivery.event_id,
        occurred_at=delivery.occurred_at,
        data=delivery.data,
    )


def _summary(delivery: DeliveryView, schedule: Sequence[int], company: str, now: int) -> Markup:
    if delivery.state is not DeliveryState.SUCCEEDED:
        return telling.situation(delivery, schedule, now)
    answers = [telling.answered(attempt) for attempt in delivery.attempts[-FOLD_KEPT:]]
    return Markup("{} reached {} {} after acceptance. The receiver: {}.").format(
        delivery.type_name, company, took(delivery, now), ", then ".join(answers) or "answered"
    )


def _told(attempt: AttemptRow, before: AttemptRow | None, sent: bytes | None, scheme: str) -> Told:
    waited = _started_at(attempt) - before.created_at if before else 0
    return Told(
        attempt=attempt,
        look=telling.mark_of_attempt(attempt),
        sentence=telling.sentence(attempt),
        advice=telling.advice(attempt),
        waited=words.span(waited) if before else "",
        started_at=_started_at(attempt),
        request=inert.head(attempt.request_head),
        response=inert.head(attempt.response_head),
        body=inert.body(attempt.response_body),
        curl=inert.curl(attempt.request_head, sent, scheme),
    )


def _started_at(attempt: AttemptRow) -> int:
    return attempt.created_at - attempt.duration_ms


def _span(attempt: AttemptRow) -> line.Span:
    if attempt.error is None:
        look = "m-ok"
    elif attempt.error is ErrorClass.LOST:
        look = "m-quiet"
    else:
        look = "m-dead" if attempt.dead_lettered else "m-hollow"
    return line.Span(_started_at(attempt), attempt.created_at, telling.in_line(attempt), look)


def _folded(told: list[Told]) -> tuple[list[Told], list[Told], list[Told]]:
    """Split attempts into those shown first, those folded away, and those shown last."""
    if len(told) <= FOLD_OVER:
        return told, [], []
    return told[:FOLD_KEPT], told[FOLD_KEPT : 1 - FOLD_KEPT], told[1 - FOLD_KEPT :]
