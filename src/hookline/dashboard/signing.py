"""Signing in with a token or an account, and out again: here, or everywhere."""

from hashlib import sha256
from typing import Final

from starlette.responses import RedirectResponse, Response

from hookline.accounts import TOKEN_SECONDS
from hookline.dashboard import acting
from hookline.dashboard.context import Dashboard, Visit
from hookline.dashboard.frame import page
from hookline.errors import Unauthenticated
from hookline.model import Role

TOKEN_LENGTH_MAX: Final = 256
REFUSED: Final = "This token is not known here: it may be mistyped, expired or revoked."
NO_FACE: Final = "A publisher's token only publishes. Sign in with one of an operator, a member or a viewer."
LOGGED_IN, UNKNOWN = 200, 401
"""Of the API. A page asks by its form, not by the header that a 401 would have to name."""


async def show(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer the forms; whoever has signed in goes on."""
    if visit.principal is not None:
        return RedirectResponse(_next(visit.query("next")), 303)
    visit.cookies.append(dashboard.sessions.cookie(visit.session))
    return page(visit, dashboard, "sign-in.html", next=_next(visit.query("next")), error="", account_error="")


async def sign_in(visit: Visit, dashboard: Dashboard) -> Response:
    """Open a session for a token."""
    token = visit.said("token")
    try:
        principal = await dashboard.authenticator.principal_of(token[: TOKEN_LENGTH_MAX + 1].encode())
    except Unauthenticated:
        return _refused(visit, dashboard, error=REFUSED)
    if principal.role is Role.PUBLISHER:
        return _refused(visit, dashboard, error=NO_FACE)
    stored = await dashboard.storage.token_by_hash(sha256(token.encode()).digest())
    name = stored.name if stored else "of the environment"
    session = dashboard.sessions.opened(dashboard.clock.wall_ms(), token, name)
    visit.cookies.append(dashboard.sessions.cookie(session))
    return RedirectResponse(_next(visit.said("next")), 303)


async def sign_in_by_account(visit: Visit, dashboard: Dashboard) -> Response:
    """Open a session for an account: its token lasts an hour, and so does the session."""
    username = visit.said("username")
    answer = await acting.log_in(visit, dashboard, username, visit.form.get("password", [""])[0])
    if answer.status != LOGGED_IN:
        status = 400 if answer.status == UNKNOWN else answer.status
        return _refused(visit, dashboard, status, account_error=answer.detail)
    session = dashboard.sessions.opened(
        dashboard.clock.wall_ms(), answer.body["accessToken"], username, seconds=TOKEN_SECONDS
    )
    visit.cookies.append(dashboard.sessions.cookie(session))
    return RedirectResponse(_next(visit.said("next")), 303)


async def ask(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer the question whether to end the session."""
    return page(visit, dashboard, "sign-out.html") if visit.principal else RedirectResponse("/sign-in", 303)


async def sign_out(visit: Visit, dashboard: Dashboard) -> Response:
    """End the session in this browser, and the pass that was made for it: a copied cookie is worth nothing then."""
    visit.cookies.extend(dashboard.sessions.ending())
    token_id = visit.principal.token_id if visit.principal else None
    if token_id is not None and await dashboard.storage.revoke_pass(token_id):
        dashboard.authenticator.forget()
    return RedirectResponse("/sign-in", 303)


async def sign_out_everywhere(visit: Visit, dashboard: Dashboard) -> Response:
    """End every session of the account, and whatever else it has signed in for."""
    await acting.ask(visit, dashboard, "DELETE", "/v1/me/tokens")
    return await sign_out(visit, dashboard)


def _refused(
    visit: Visit, dashboard: Dashboard, status: int = 400, *, error: str = "", account_error: str = ""
) -> Response:
    next_path = _next(visit.said("next"))
    return page(visit, dashboard, "sign-in.html", status, next=next_path, error=error, account_error=account_error)


def _next(path: str) -> str:
    """Return where to go on: a path of ours, never another site, however it is written."""
    is_ours = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if is_ours else "/"
