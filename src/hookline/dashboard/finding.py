"""Where is my event: from what somebody has at hand to the page that answers, or to why there is none."""

from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from hookline.dashboard.context import Dashboard, Visit
from hookline.dashboard.deliveries import ID_DIGITS_MAX
from hookline.dashboard.frame import page


async def find(visit: Visit, dashboard: Dashboard) -> Response:
    """Go to the event or the delivery that is asked for, or to a search; say what was looked for where nothing is."""
    text = visit.query("q")
    if not text:
        return RedirectResponse("/events", 303)
    if await dashboard.storage.event(text, company_id=visit.company_id, after_id=0, limit=1, attempts_max=0):
        return RedirectResponse(f"/events/{text}", 303)
    if "=" in text:
        return RedirectResponse(f"/events?{urlencode({'q': text})}", 303)
    if text.isascii() and text.isdigit() and len(text) <= ID_DIGITS_MAX:
        owner = await dashboard.storage.subscription_of_delivery(int(text), company_id=visit.company_id)
        if owner is not None:
            return RedirectResponse(f"/subscriptions/{owner}/deliveries/{text}", 303)
    catalogue = await dashboard.storage.catalogue()
    if text in catalogue.types:
        return RedirectResponse(f"/events?{urlencode({'eventType': text})}", 303)
    return page(
        visit,
        dashboard,
        "not-found.html",
        404,
        title="No event has this id",
        looked_for=text[:200],
        search=urlencode({"q": text[:200]}),
    )
