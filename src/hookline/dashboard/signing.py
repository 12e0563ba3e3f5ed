"""Signing in with a token, and out again."""

from hashlib import sha256
from typing import Final

from starlette.responses import RedirectResponse, Response

from hookline.dashboard.context import Dashboard, Visit
from hookline.dashboard.frame import page
from hookline.errors import Unauthenticated
from hookline.model import Role

TOKEN_LENGTH_MAX: Final = 256
REFUSED: Final = "This token is not known here: it may be mistyped, expired or revoked."
NO_FACE: Final = "A publisher's token only publishes. Sign in with one of an operator, a member or a viewer."


async def show(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer the form; whoever has signed in goes on."""
    if visit.principal is not None:
        return RedirectResponse(_next(visit.query("next")), 303)
    visit.cookies.append(dashboard.sessions.cookie(visit.session))
    return page(visit, dashboard, "sign-in.html", next=_next(visit.query("next")), error=None)


async def sign_in(visit: Visit, dashboard: Dashboard) -> Response:
    """Open a session for a token."""
    token = visit.said("token")
    try:
        principal = await dashboard.authenticator.principal_of(token[: TOKEN_LENGTH_MAX + 1].encode())
    except Unauthenticated:
        return _refused(visit, dashboard, REFUSED)
    if principal.role is Role.PUBLISHER:
        return _refused(visit, dashboard, NO_FACE)
    stored = await dashboard.storage.token_by_hash(sha256(token.encode()).digest())
    name = stored.name if stored else "of the environment"
    session = dashboard.sessions.opened(dashboard.clock.wall_ms(), token, name)
    visit.cookies.append(dashboard.sessions.cookie(session))
    return RedirectResponse(_next(visit.said("next")), 303)


async def ask(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer the question whether to end the session."""
    return page(visit, dashboard, "sign-out.html") if visit.principal else RedirectResponse("/sign-in", 303)


async def sign_out(visit: Visit, dashboard: Dashboard) -> Response:
    """End the session in this browser."""
    visit.cookies.extend(dashboard.sessions.ending())
    return RedirectResponse("/sign-in", 303)


def _refused(visit: Visit, dashboard: Dashboard, error: str) -> Response:
    return page(visit, dashboard, "sign-in.html", 400, next=_next(visit.said("next")), error=error)


def _next(path: str) -> str:
    """Return where to go on: a path of ours, never another site, however it is written."""
    is_ours = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if is_ours else "/"
