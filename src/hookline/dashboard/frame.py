"""The frame around each page: navigation, who is signed in, theme; and the pages that say no."""

from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from hookline import errors
from hookline.dashboard.context import Dashboard, Visit
from hookline.errors import HooklineError

HTML: Final = "text/html; charset=utf-8"
LIVE: Final = "live"
"""In the query: a page that is open asks for what is in its frame once more."""
THEMES: Final = frozenset({"light", "dark"})

STATUSES: Final = {
    errors.Invalid: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.TooManyRequests: 429,
    errors.Unavailable: 503,
}
TITLES: Final = {
    403: "This was not done",
    404: "There is nothing here",
    409: "This cannot be done now",
    429: "Wait a moment",
    503: "The database did not answer",
}
OURS: Final = "Something failed on our side, and was logged under the request id of this answer. Try again."


def page(visit: Visit, dashboard: Dashboard, template: str, status: int = 200, /, **facts: Any) -> Response:
    """Answer a page in its frame."""
    shell = "bare.html" if visit.query(LIVE) else "base.html"
    content = dashboard.pages.render(template, shell=shell, **_around(visit.request, visit, dashboard), **facts)
    return Response(content, status, media_type=HTML)


def crossing(dashboard: Dashboard) -> Response:
    """Answer a page that asks for itself once more: then the browser sends the cookie that it held back."""
    return Response(dashboard.pages.render("crossing.html"), media_type=HTML)


async def refusal(error: Exception, request: Request, visit: Visit | None, dashboard: Dashboard) -> Response:
    """Answer a page that says what was wrong and what to do; of our own faults it says nothing else."""
    status = next((STATUSES[sort] for sort in type(error).__mro__ if sort in STATUSES), 500)
    content = dashboard.pages.render(
        "refusal.html",
        **_around(request, visit, dashboard),
        title=TITLES.get(status, HTTPStatus(status).phrase),
        message=str(error) if isinstance(error, HooklineError) else OURS,
    )
    return Response(content, status, media_type=HTML)


def with_query(visit: Visit, **changes: str | int | None) -> str:
    """Return this page's address with some of its query changed; None or an empty text leaves one out."""
    query = {**visit.request.query_params, **changes}
    kept = {name: value for name, value in query.items() if value not in {None, ""} and name != LIVE}
    return visit.request.url.path + (f"?{urlencode(kept)}" if kept else "")


def _around(request: Request, visit: Visit | None, dashboard: Dashboard) -> dict[str, Any]:
    theme = request.cookies.get("theme", "")
    return {
        "theme": theme if theme in THEMES else None,
        "path": request.url.path,
        "visit": visit,
        "form_key": visit.session.form_key if visit else "",
        "is_framed": visit is not None and dashboard.sessions.is_framed(visit.session),
        "now": dashboard.clock.wall_ms(),
        "is_development": dashboard.settings.is_development,
    }
