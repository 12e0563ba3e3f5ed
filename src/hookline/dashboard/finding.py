"""Where is my event: from what somebody has at hand to the page that answers, or to why there is none."""

from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from hookline.dashboard.context import Dashboard, Visit
from hookline.dashboard.frame import page


async def find(visit: Visit, dashboard: Dashboard) -> Response:
    """Go to the event or the delivery that is asked for; say what was looked for where there is none."""
    text = visit.query("q")
    if not text:
        return RedirectResponse("/events", 303)
    if await dashboard.storage.event(text, company_id=visit.company_id, after_id=0, limit=1, attempts_max=0):
        return RedirectResponse(f"/events/{text}", 303)
    catalogue = await dashboard.storage.catalogue()
    if text in catalogue.types:
        return RedirectResponse(f"/events?{urlencode({'eventType': text})}", 303)
    return page(visit, dashboard, "not-found.html", 404, title="No event has this id", looked_for=text[:200])
