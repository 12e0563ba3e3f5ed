"""Events as a list: what was accepted, newest first, and where each of it is now."""

from typing import Final

from starlette.responses import RedirectResponse, Response

from hookline.clock import rfc3339
from hookline.dashboard import searching, telling, words, zones
from hookline.dashboard.context import Dashboard, Visit
from hookline.dashboard.frame import page, with_query
from hookline.dashboard.searching import Found
from hookline.errors import Invalid
from hookline.model import DeliveryState
from hookline.storage.views import EventQuery, EventView

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
    since, until = _instant(visit.query("from")), _instant(visit.query("to"))
    if fixed := _fixed(visit, since, until):
        return RedirectResponse(fixed, 303)
    now = dashboard.clock.wall_ms()
    catalogue = await dashboard.storage.catalogue()
    event_type = visit.query("eventType") if visit.query("eventType") in catalogue.types else ""
    state = next((state for state, _ in STATES if state == visit.query("state")), None)
    span = visit.query("span") if visit.query("span") in SPANS else ""
    cursor, text = visit.query("cursor"), visit.query("q")
    try:
        wanted, refused = searching.wanted(text), ""
    except Invalid as error:
        wanted, refused = searching.wanted(""), str(error)
    query = EventQuery(
        limit=SHOWN + 1,
        before_key=int(cursor) if cursor.isascii() and cursor.isdigit() and len(cursor) < 17 else None,
        company_id=_company(visit),
        event_type=event_type or None,
        state=state,
        from_at=now - SPANS[span][1] if span else since,
        to_at=until,
    )
    found = Found([], None, is_cut=False) if refused else await searching.search(dashboard, query, wanted)
    companies = await dashboard.storage.companies(0, COMPANIES_OFFERED) if visit.is_operator else None
    names = {company.id: company.name for company in companies.items} if companies else {}
    return page(
        visit,
        dashboard,
        "events.html",
        title="Events",
        rows=[(view.event, _recipients(view, names), telling.counted(dict(view.counts))) for view in found.views],
        event_types=sorted(catalogue.types),
        companies=sorted(names.items(), key=lambda each: each[1].casefold()),
        chosen={
            "q": text,
            "eventType": event_type,
            "companyId": visit.query("companyId"),
            "span": span,
            "from": words.field(since) if since is not None else "",
            "to": words.field(until) if until is not None else "",
            "state": state or "",
        },
        refused=refused,
        is_cut=found.is_cut,
        looked_at_max=found.looked_at_max,
        chips=[
            (text, with_query(visit, **{name: None, "cursor": None}))
            for name, text in (
                ("eventType", event_type),
                ("companyId", names.get(_company(visit) or 0, "") if visit.is_operator else ""),
                ("span", SPANS[span][0] if span else ""),
                ("q", text),
                ("from", f"from {words.full(since)}" if since is not None and not span else ""),
                ("to", f"before {words.full(until)}" if until is not None else ""),
            )
            if text
        ],
        tabs=[
            ("All", with_query(visit, state=None, cursor=None), state is None),
            *((word, with_query(visit, state=each, cursor=None), each is state) for each, word in STATES),
        ],
        spans=[(name, text) for name, (text, _) in SPANS.items()],
        newest=with_query(visit, cursor=None) if cursor else None,
        older=None if found.next_before_key is None else with_query(visit, cursor=found.next_before_key),
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


def _instant(text: str) -> int | None:
    """Read an instant, as a browser's field sends it or with its offset; None for any other text."""
    try:
        return zones.read_field(text)
    except ValueError:
        return None


def _fixed(visit: Visit, since: int | None, until: int | None) -> str | None:
    """Return the address that means the same to readers in other zones; None where this one does."""
    if zones.name() == zones.UTC_NAME:
        return None
    fixed = {name: rfc3339(at) for name, at in (("from", since), ("to", until)) if at is not None}
    is_loose = any(not visit.query(name).endswith("Z") for name in fixed)
    return with_query(visit, **fixed) if is_loose else None
