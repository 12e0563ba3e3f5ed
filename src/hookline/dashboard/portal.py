"""Signing in by a link: the code stands behind its `#`, so a page takes it from there and posts it to itself.

Whoever has the link may come in, once; so the form asks for no key of ours, only that no other site sends it.
"""

from typing import Final

from starlette.responses import RedirectResponse, Response

from hookline.dashboard.context import Dashboard, Visit
from hookline.dashboard.frame import page

SPENT: Final = (
    "This link has been used, or its time is over. Go back to where you got it, and open a new one from there."
)
ENDED: Final = "This session has ended. Go back to the page that you came from, and open this one again from there."
SPENT_STATUS: Final = 410
ENDED_STATUS: Final = 403


async def show(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer the page that exchanges a code."""
    return page(visit, dashboard, "portal.html", refusal="", may_retry=True)


async def enter(visit: Visit, dashboard: Dashboard) -> Response:
    """Exchange a code for a session."""
    opened = await dashboard.links.redeem(visit.said("code"))
    if opened is None:
        return page(visit, dashboard, "portal.html", SPENT_STATUS, refusal=SPENT, may_retry=True)
    session = dashboard.sessions.opened_by_link(dashboard.clock.wall_ms(), *opened)
    visit.cookies.append(dashboard.sessions.cookie(session))
    return RedirectResponse("/", 303)


def ended(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer in a frame instead of a form to sign in, whose session no browser would keep there."""
    return page(visit, dashboard, "portal.html", ENDED_STATUS, refusal=ENDED, may_retry=False)
