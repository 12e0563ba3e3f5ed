"""Events as a list: what was accepted, newest first, and where each of it is now."""

from typing import Final

from starlette.responses import Response

from hookline.dashboard import telling
from hookline.dashboard.context import Dashboard, Visit
from hookline.dashboard.frame import page, with_query
from hookline.model import DeliveryState
from hookline.storage.protocol import EventQuery, EventView

SHOWN: Final = 50
COMPANIES_OFFERED: Final = 200
SPANS: Final = {
    "1h": ("the last hour", 3_600_000),
    "24h": ("the last 24 hours", 86_400_000),
    "7d": ("the last 7 days", 604_800_000),
}
STATES: Final = (
    (DeliveryState.PENDING, "Pending"),
    (DeliveryState.SENDING, "Sending"),
    (DeliveryState.DEAD, "Dead"),
    (DeliveryState.HELD, "Held"),
    (DeliveryState.SUCCEEDED, "Succeeded"),
)


async def show(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer a page of events."""
    now = dashboard.clock.wall_ms()
    catalogue = await dashboard.storage.catalogue()
    event_type = visit.query("eventType") if visit.query("eventType") in catalogue.types else ""
    state = next((state for state, _ in STATES if state == visit.query("state")), None)
    span = visit.query("span") if visit.query("span") in SPANS else ""
    cursor = visit.query("cursor")
    found = await dashboard.storage.events(
        EventQuery(
            limit=SHOWN + 1,
            before_key=int(cursor) if cursor.isascii() and cursor.isdigit() and len(cursor) < 17 else None,
            company_id=_company(visit),
            event_type=event_type or None,
            state=state,
            from_at=now - SPANS[span][1] if span else None,
        )
    )
    companies = await dashboard.storage.companies(0, COMPANIES_OFFERED) if visit.is_operator else None
    names = {company.id: company.name for company in companies.items} if companies else {}
    shown = found[:SHOWN]
    return page(
        visit,
        dashboard,
        "events.html",
        title="Events",
        rows=[(view.event, _recipients(view, names), telling.counted(dict(view.counts))) for view in shown],
        event_types=sorted(catalogue.types),
        companies=sorted(names.items(), key=lambda each: each[1].casefold()),
        chosen={"eventType": event_type, "companyId": visit.query("companyId"), "span": span, "state": state or ""},
        chips=[
            (text, with_query(visit, **{name: None, "cursor": None}))
            for name, text in (
                ("eventType", event_type),
                ("companyId", names.get(_company(visit) or 0, "") if visit.is_operator else ""),
                ("span", SPANS[span][0] if span else ""),
            )
            if text
        ],
        tabs=[
            ("All", with_query(visit, state=None, cursor=None), state is None),
            *((word, with_query(visit, state=each, cursor=None), each is state) for each, word in STATES),
        ],
        spans=[(name, text) for name, (text, _) in SPANS.items()],
        newest=with_query(visit, cursor=None) if cursor else None,
        older=with_query(visit, cursor=shown[-1].event.key) if len(found) > SHOWN else None,
    )


def _company(visit: Visit) -> int | None:
    if not visit.is_operator:
        return visit.company_id
    text = visit.query("companyId")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None


def _recipients(view: EventView, names: dict[int, str]) -> tuple[str, int]:
    """Return the name of the first recipient and how many more there are."""
    if not view.recipients:
        return "", 0
    first = view.recipients[0].company_id
    return names.get(first, f"company {first}"), len(view.recipients) - 1
