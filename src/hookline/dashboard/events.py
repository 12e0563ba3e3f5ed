"""Events: one event with every delivery of it, and every subscription that gets none, with the reason."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from starlette.responses import Response

from hookline import matching, retry
from hookline.dashboard import inert, telling, words
from hookline.dashboard.context import Dashboard, Visit
from hookline.dashboard.frame import page, with_query
from hookline.errors import NotFound
from hookline.filtering import Document
from hookline.model import Route, Subscription
from hookline.storage.views import DeliveryView, EventDetail, EventView

DELIVERIES_SHOWN: Final = 100
ATTEMPTS_SHOWN: Final = 20
NOTHING: Final = "There is nothing under this id, or it is not yours to see."

WHY_NOT: Final = {
    matching.NOT_MATCHED_BY_TYPE: "Event type",
    matching.NOT_MATCHED_BY_DIRECTION: "Case direction",
    matching.NOT_MATCHED_BY_PARTNER: "Partner company",
    matching.NOT_MATCHED_BY_FILTER: "Filter",
}


class Target(NamedTuple):
    """Where something goes: a subscription, which may be deleted by now, and its company's name."""

    company: str
    subscription_id: int
    subscription: Subscription | None

    @property
    def url(self) -> str:
        """Return the callback URL."""
        return self.subscription.callback_url if self.subscription else "a subscription that was deleted"


async def show(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer one event."""
    after = visit.query("cursor")
    detail = await dashboard.storage.event(
        visit.part("eventId"),
        company_id=visit.company_id,
        after_id=int(after) if after.isascii() and after.isdigit() and len(after) < 17 else 0,
        limit=DELIVERIES_SHOWN,
        attempts_max=ATTEMPTS_SHOWN,
    )
    if detail is None:
        raise NotFound(NOTHING)
    routes = _not_matched(detail)
    targets = await targets_of(
        dashboard,
        [(delivery.company_id, delivery.subscription_id) for delivery in detail.deliveries]
        + [(route.company_id, route.subscription_id) for route, _ in routes],
    )
    now = dashboard.clock.schedule_ms()
    return page(
        visit,
        dashboard,
        "event.html",
        event=detail.view.event,
        title=title(detail.view),
        companies=len(detail.view.recipients),
        rows=[
            (
                delivery,
                targets[delivery.subscription_id],
                telling.mark(delivery),
                telling.situation(
                    delivery, schedule_of(targets[delivery.subscription_id].subscription, dashboard), now
                ),
                [telling.mark_of_attempt(attempt) for attempt in delivery.attempts],
                took(delivery, now),
            )
            for delivery in detail.deliveries
        ],
        not_matched=[
            (targets[route.subscription_id], WHY_NOT.get(reason, reason), _explained(route, reason))
            for route, reason in routes
        ],
        more=None if detail.next_after_id is None else with_query(visit, cursor=detail.next_after_id),
        data=inert.body(detail.view.event.data, is_whole=bool(visit.query("whole"))),
        whole=with_query(visit, whole=1),
    )


def title(view: EventView) -> str:
    """Answer where an event is: `2 of 4 deliveries succeeded, 1 is pending, 1 is held`."""
    counts = telling.counted(dict(view.counts))
    total = sum(count for _, count in counts)
    if total == 0:
        return "No subscription matched this event"
    if len(counts) == 1:
        look, count = counts[0]
        what = "The delivery" if total == 1 else f"All {total:,} deliveries"
        return f"{what} {_verb(look, count)}{look.word.lower()}"
    parts = [f"{count:,} {_verb(look, count)}{look.word.lower()}" for look, count in counts]
    first, *rest = parts
    number, _, told = first.partition(" ")
    return ", ".join([f"{number} of {total:,} deliveries {told}", *rest])


def _verb(look: telling.Mark, count: int) -> str:
    if look is telling.SUCCEEDED:
        return ""
    return "is " if count == 1 else "are "


def took(delivery: DeliveryView, now: int) -> str:
    """Say how long a delivery took from acceptance to its end, or has taken so far."""
    return words.span((delivery.settled_at or now) - delivery.accepted_at)


def schedule_of(subscription: Subscription | None, dashboard: Dashboard) -> tuple[int, ...]:
    """Return the waits before the retries of a subscription."""
    policy = subscription.policies.retry_delays_seconds if subscription else None
    return retry.schedule_seconds(policy, dashboard.settings.retry_delays_seconds)


async def targets_of(dashboard: Dashboard, ids: Iterable[tuple[int, int]]) -> dict[int, Target]:
    """Return company and subscription of each pair of ids, by the subscription's."""
    names: dict[int, str] = {}
    targets: dict[int, Target] = {}
    for company_id, subscription_id in ids:
        if company_id not in names:
            company = await dashboard.storage.company(company_id)
            names[company_id] = company.name if company else f"company {company_id}"
        if subscription_id not in targets:
            found = await dashboard.storage.subscription(subscription_id)
            targets[subscription_id] = Target(names[company_id], subscription_id, found)
    return targets


def _not_matched(detail: EventDetail) -> list[tuple[Route, str]]:
    """Return each subscription of the recipients that the event did not match, as things stood then, and why."""
    data = detail.view.event.data
    document = None if data is None else Document(data)
    entries = {recipient.company_id: recipient.entries for recipient in detail.view.recipients}
    reasons = [
        (route, matching.reason_not_matched(detail.matched_type, route, entries[route.company_id], document))
        for route in detail.routes
    ]
    return [(route, reason) for route, reason in reasons if reason is not None]


def _explained(route: Route, reason: str) -> str:
    if reason == matching.NOT_MATCHED_BY_TYPE:
        if route.event_types is None:
            return f"It takes every ordinary type of {route.payload_version}; this one has no name there"
        return f"It takes only {words.listed(list(route.event_types))}" if route.event_types else "It takes no type"
    if reason == matching.NOT_MATCHED_BY_DIRECTION:
        return f"It asks for {words.listed(list(route.case_directions or ()))}"
    if reason == matching.NOT_MATCHED_BY_PARTNER:
        return f"It asks for partner {words.listed([str(each) for each in route.partner_company_ids or ()])}"
    return f"Its filter is {route.filter}"
