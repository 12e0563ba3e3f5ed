"""What a visitor prefers in this browser: theme and time zone, in cookies, signed in or not."""

import asyncio
from typing import Final

from starlette.responses import RedirectResponse, Response

from hookline.dashboard import zones
from hookline.dashboard.context import Dashboard, Visit
from hookline.dashboard.frame import THEMES, page

SYSTEM: Final = "system"


async def show(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer the form."""
    if visit.principal is None:
        visit.cookies.append(dashboard.sessions.cookie(visit.session))
    return await _shown(visit, dashboard)


async def save(visit: Visit, dashboard: Dashboard) -> Response:
    """Keep what was chosen in this browser."""
    theme, zone = visit.said("theme"), visit.said("zone")
    if theme not in {SYSTEM, *THEMES} or not await asyncio.to_thread(zones.is_offered, zone):
        return await _shown(visit, dashboard, 400)
    for name, value in (("theme", theme), (zones.COOKIE, zone)):
        visit.cookies.append(dashboard.sessions.preference(visit.session, name, value))
    return RedirectResponse("/preferences?done=preferred", 303)


async def _shown(visit: Visit, dashboard: Dashboard, status: int = 200) -> Response:
    regions = await asyncio.to_thread(zones.offered)  # 70 ms of a disk's directories, the first time
    return page(visit, dashboard, "preferences.html", status, title="Preferences", regions=regions, zone=zones.name())
