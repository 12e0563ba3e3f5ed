"""The first page: is everything healthy, what is not and since when, and where is my event."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from starlette.responses import Response

from hookline.circuit import Health
from hookline.dashboard import health, nodes, series, telling, words
from hookline.dashboard.context import Dashboard, Visit
from hookline.dashboard.events import Target, targets_of
from hookline.dashboard.frame import page
from hookline.dashboard.health import LATE_MS, WAITING_COUNTED_MAX
from hookline.dashboard.searching import LOOKED_AT_MAX
from hookline.model import DeliveryState, Subscription
from hookline.storage.claims import Backlog
from hookline.storage.views import EventQuery
from hookline.tallies import Level

TROUBLED_SHOWN: Final = 50
DEAD_SHOWN: Final = 5
RECENT_SHOWN: Final = 8
COUNTED_MAX: Final = 100_000
"""Of what is open; the database counts no further."""
DEAD_SPAN_MS: Final = 7 * words.DAY_MS


async def show(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer the overview of the installation, or of the member's company."""
    wall = dashboard.clock.wall_ms()
    in_trouble = await dashboard.storage.troubled(visit.company_id, TROUBLED_SHOWN)
    troubled = await _read(dashboard, in_trouble)
    dead_query = EventQuery(
        limit=DEAD_SHOWN, company_id=visit.company_id, state=DeliveryState.DEAD, from_at=wall - DEAD_SPAN_MS
    )
    dead = (await dashboard.storage.search_events(dead_query, LOOKED_AT_MAX)).events
    recent = await dashboard.storage.events(EventQuery(limit=RECENT_SHOWN, company_id=visit.company_id))
    backlog = await dashboard.storage.backlog() if visit.is_operator else None
    company = await dashboard.storage.company(visit.company_id) if visit.company_id is not None else None
    marks = {each.id: telling.mark_of_subscription(each, in_trouble[each.id]) for each in troubled}
    title, look = _title(list(marks.values()), len(dead), backlog)
    charts = await health.of_visit(visit, dashboard)
    return page(
        visit,
        dashboard,
        "overview.html",
        title=title,
        look=look,
        company=company.name if company else None,
        backlog=backlog,
        open_count=_open(backlog),
        is_late=backlog is not None and backlog.oldest_due_ms >= LATE_MS,
        troubled=await _troubled(dashboard, in_trouble, troubled, marks),
        nodes=await nodes.rows(dashboard) if visit.is_operator else [],
        clocks=nodes.clocks,
        companies=await health.companies(dashboard, charts["range"]) if visit.is_operator else [],
        dead=[(view.event, telling.counted(dict(view.counts))) for view in dead],
        recent=[(view.event, telling.counted(dict(view.counts))) for view in recent],
        **charts,
    )


class Row(NamedTuple):
    """One subscription that needs attention."""

    target: Target
    mark: telling.Mark
    trouble: telling.Trouble
    waiting: str


async def _troubled(
    dashboard: Dashboard,
    in_trouble: Mapping[int, Health],
    troubled: Sequence[Subscription],
    marks: Mapping[int, telling.Mark],
) -> list[Row]:
    """Return those that need attention, the most urgent first and of these the one for which most waits."""
    now, ids = dashboard.clock.schedule_ms(), [each.id for each in troubled]
    targets = await targets_of(dashboard, [(each.company_id, each.id) for each in troubled])
    waiting = await dashboard.storage.waiting(ids, WAITING_COUNTED_MAX)
    lately = await health.series_of(dashboard, Level.SUBSCRIPTION, ids, series.SMALL, spreads=False)
    rows = [
        Row(
            targets[each.id],
            marks[each.id],
            telling.trouble(each, in_trouble[each.id], health.last_error_of(lately[each.id]), now),
            words.at_most(waiting[each.id], WAITING_COUNTED_MAX),
        )
        for each in troubled
    ]
    return sorted(rows, key=lambda row: (telling.URGENCY.index(row.mark), -waiting[row.target.subscription_id]))


async def _read(dashboard: Dashboard, in_trouble: Mapping[int, Health]) -> list[Subscription]:
    found = [await dashboard.storage.subscription(each) for each in in_trouble]
    return [subscription for subscription in found if subscription is not None]


def _open(backlog: Backlog | None) -> str:
    if backlog is None:
        return ""
    return words.at_most(backlog.open, COUNTED_MAX)


def _title(marks: list[telling.Mark], dead: int, backlog: Backlog | None) -> tuple[str, telling.Mark]:
    wrong = [
        f"{words.counted(count, 'subscription')} {'is' if count == 1 else 'are'} {mark.word.lower()}"
        for mark in telling.URGENCY[:-1]
        if (count := marks.count(mark))
    ]
    if dead:
        wrong.append("deliveries are dead")
    if backlog is not None and backlog.oldest_due_ms >= LATE_MS:
        wrong.append(f"the oldest due delivery is {words.span(backlog.oldest_due_ms)} late")
    if not wrong:
        return "Everything arrives", telling.HEALTHY
    said = words.listed(wrong)
    return f"{said[:1].upper()}{said[1:]}", telling.FAILING if set(marks) - {
        telling.INACTIVE
    } or dead else telling.INACTIVE
