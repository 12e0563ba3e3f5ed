"""Subscriptions: all of them, and one with its health, its log and its settings."""

from collections.abc import Sequence
from typing import Final

from starlette.responses import Response

from hookline import matching
from hookline.circuit import HEALTHY
from hookline.dashboard import health, telling, words
from hookline.dashboard.context import Dashboard, Visit
from hookline.dashboard.deliveries import subscription_of
from hookline.dashboard.events import schedule_of, targets_of
from hookline.dashboard.frame import page, with_query
from hookline.model import PayloadVersion, Subscription
from hookline.retry import PRESETS
from hookline.storage.publications import Catalogue
from hookline.storage.views import AttemptQuery, SubscriptionQuery

SHOWN: Final = 50
LOG_SHOWN: Final = 20
PAGES_MAX: Final = 2**31 - 1
SHAPES: Final = {
    PayloadVersion.V1: ("V1", "Type, data and time in one flat object"),
    PayloadVersion.V2: ("CloudEvents (V2)", "The CloudEvents 1.0 envelope"),
    PayloadVersion.STANDARD: ("Standard Webhooks", "type, timestamp, data"),
    PayloadVersion.RAW: ("Raw", "The data alone"),
}


async def show_all(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer the subscriptions, those that fail or are inactive first."""
    after = visit.query("after")
    company = visit.query("companyId") if visit.is_operator else ""
    company_id = int(company) if company.isascii() and company.isdigit() and len(company) <= 10 else visit.company_id
    found = await dashboard.storage.subscriptions(
        SubscriptionQuery(
            company_id=company_id,
            versions=tuple(PayloadVersion),
            after_id=int(after) if after.isascii() and after.isdigit() and len(after) <= 10 else 0,
            limit=SHOWN,
        )
    )
    in_trouble = await dashboard.storage.health([each.id for each in found.items])
    strips = await health.strips(dashboard, [each.id for each in found.items])
    targets = await targets_of(dashboard, [(each.company_id, each.id) for each in found.items])
    marks = {each.id: telling.mark_of_subscription(each, in_trouble.get(each.id, HEALTHY)) for each in found.items}
    worst_first = sorted(found.items, key=lambda each: telling.URGENCY.index(marks[each.id]))
    now = dashboard.clock.schedule_ms()
    return page(
        visit,
        dashboard,
        "subscriptions.html",
        title=_title(list(marks.values())),
        rows=[
            (
                targets[each.id],
                marks[each.id],
                telling.health(each, in_trouble.get(each.id, HEALTHY), now),
                strips[each.id],
            )
            for each in worst_first
        ],
        more=None if found.next_after_id is None else with_query(visit, after=found.next_after_id),
    )


def _title(marks: Sequence[telling.Mark]) -> str:
    total = len(marks)
    if total == 0:
        return "No subscription yet"
    wrong = [
        f"{count:,} {'is' if count == 1 else 'are'} {mark.word.lower()}"
        for mark in telling.URGENCY[:-1]
        if (count := marks.count(mark))
    ]
    if not wrong:
        return "The subscription is healthy" if total == 1 else f"All {total:,} subscriptions are healthy"
    return f"Of {words.counted(total, 'subscription')} {words.listed(wrong)}"


async def show(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer one subscription with a page of its log."""
    subscription = await subscription_of(visit, dashboard)
    number = visit.query("page")
    at = int(number) if number.isascii() and number.isdigit() and int(number) <= PAGES_MAX else 0
    success = {"succeeded": True, "failed": False}.get(visit.query("status"))
    type_name = visit.query("eventType")
    log = await dashboard.storage.page_of_attempts(
        AttemptQuery(
            subscription_id=subscription.id,
            page=at,
            size=LOG_SHOWN,
            success=success,
            type_name=type_name or None,
        )
    )
    lately = (await dashboard.storage.health([subscription.id])).get(subscription.id, HEALTHY)
    catalogue = await dashboard.storage.catalogue()
    targets = await targets_of(dashboard, [(subscription.company_id, subscription.id)])
    now = dashboard.clock.schedule_ms()
    return page(
        visit,
        dashboard,
        "subscription.html",
        subscription=subscription,
        target=targets[subscription.id],
        title=host_of(subscription),
        mark=telling.mark_of_subscription(subscription, lately),
        health=telling.health(subscription, lately, now),
        rows=[(row, telling.mark_of_attempt(row), telling.answered(row), telling.advice(row)) for row in log.rows],
        total=log.total,
        pages=max(1, -(-log.total // LOG_SHOWN)),
        at=at,
        newer=with_query(visit, page=at - 1) if at else None,
        older=with_query(visit, page=at + 1) if (at + 1) * LOG_SHOWN < log.total else None,
        tabs=[
            (word, with_query(visit, status=status, page=None), (status or "") == visit.query("status"))
            for status, word in ((None, "All"), ("succeeded", "Succeeded"), ("failed", "Failed"))
        ],
        receives=_receives(subscription, catalogue),
        shape=SHAPES[subscription.payload_version][0],
        schedule=[words.wait(each) for each in schedule_of(subscription, dashboard)],
        done=visit.query("done"),
        **await health.of_subscription(visit, dashboard, subscription.id),
    )


def host_of(subscription: Subscription) -> str:
    """Return the host of the callback URL: what people call the subscription by."""
    return subscription.callback_url.partition("://")[2].partition("/")[0]


def names_of(catalogue: Catalogue, shape: PayloadVersion) -> list[str]:
    """Return the names that a subscription of the shape may ask for."""
    return sorted(matching.known_names(catalogue.types.values(), shape))


def preset_of(subscription: Subscription | None) -> str:
    """Return the name of the retry schedule; `custom` where it has none."""
    delays = subscription.policies.retry_delays_seconds if subscription else None
    if delays is None or isinstance(delays, str):
        return delays or "standard"
    return next((name for name, waits in PRESETS.items() if waits == tuple(delays)), "custom")


def _receives(subscription: Subscription, catalogue: Catalogue) -> str:
    if subscription.event_types is not None:
        return words.listed(list(subscription.event_types)) or "no event type"
    count = len(matching.effective_types(catalogue.types.values(), subscription.payload_version))
    return f"every event type, later ones too ({count:,} now)"
