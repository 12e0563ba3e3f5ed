"""The dashboard as an ASGI application: its table of pages, who may see which, and what every answer carries.

No page is shown to somebody unknown, no form is believed that does not come from a page of ours in the same session,
and no answer may run, load or be framed by anything that is not ours.
"""

import logging
import re
from collections.abc import Iterable
from itertools import count
from typing import Final, NamedTuple
from urllib.parse import parse_qs, quote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hookline.authentication import Principal
from hookline.dashboard import (
    accounts,
    assets,
    changing,
    deliveries,
    events,
    finding,
    frame,
    installation,
    listing,
    nodes,
    overview,
    portal,
    preferences,
    reference,
    replaying,
    signing,
    subscriptions,
    zones,
)
from hookline.dashboard.context import Dashboard, Page, Visit
from hookline.dashboard.sessions import Session
from hookline.errors import Forbidden, HooklineError, Invalid, NotFound, TooLarge, Unauthenticated, UnsupportedMediaType
from hookline.model import Role

log = logging.getLogger("hookline.dashboard")

FORM_BYTES_MAX: Final = 256 * 1024
FIELDS_MAX: Final = 1_000
FORM: Final = "application/x-www-form-urlencoded"
FORM_KEY: Final = "form_key"

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors "
)
"""Behind it stand those who may frame a page."""
ALWAYS: Final = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""On every answer. The policy forbids inline code and every stranger; a referrer to ourselves keeps `Origin` honest."""
FRAMES: Final = frozenset({"iframe", "frame", "embed", "object"})
"""Of `Sec-Fetch-Dest`: the page is shown inside another."""
PAGE_CACHE: Final = "no-store"
ASSET_CACHE: Final = "public, max-age=31536000, immutable"

OPERATOR: Final = frozenset({Role.OPERATOR})
WRITERS: Final = frozenset({Role.OPERATOR, Role.MEMBER})
READERS: Final = frozenset({Role.OPERATOR, Role.MEMBER, Role.VIEWER})
ANYONE: Final = None
"""Signed in or not."""


class Route(NamedTuple):
    """One method of one path, for those of the roles."""

    method: str
    path: str
    page: Page
    roles: frozenset[Role] | None


ROUTES: Final = (
    Route("GET", "/sign-in", signing.show, ANYONE),
    Route("POST", "/sign-in", signing.sign_in, ANYONE),
    Route("POST", "/sign-in/account", signing.sign_in_by_account, ANYONE),
    Route("GET", "/sign-out", signing.ask, ANYONE),
    Route("POST", "/sign-out", signing.sign_out, ANYONE),
    Route("POST", "/sign-out/everywhere", signing.sign_out_everywhere, READERS),
    Route("GET", "/portal", portal.show, ANYONE),
    Route("POST", "/portal", portal.enter, ANYONE),
    Route("GET", "/preferences", preferences.show, ANYONE),
    Route("POST", "/preferences", preferences.save, ANYONE),
    Route("GET", "/docs", reference.show, ANYONE),
    Route("GET", "/", overview.show, READERS),
    Route("GET", "/find", finding.find, READERS),
    Route("GET", "/events", listing.show, READERS),
    Route("GET", "/events/{eventId}", events.show, READERS),
    Route("GET", "/subscriptions", subscriptions.show_all, READERS),
    Route("GET", "/subscriptions/new", changing.new, WRITERS),
    Route("POST", "/subscriptions/new", changing.create, WRITERS),
    Route("GET", "/subscriptions/{id}", subscriptions.show, READERS),
    Route("GET", "/subscriptions/{id}/edit", changing.edit, WRITERS),
    Route("POST", "/subscriptions/{id}/edit", changing.change, WRITERS),
    Route("GET", "/subscriptions/{id}/replay", replaying.ask, WRITERS),
    Route("POST", "/subscriptions/{id}/replay", replaying.start, WRITERS),
    Route("GET", "/replays/{id}", replaying.show, READERS),
    Route("POST", "/replays/{id}/cancel", replaying.cancel, WRITERS),
    Route("GET", "/subscriptions/{id}/{action}", changing.question, WRITERS),
    Route("POST", "/subscriptions/{id}/{action}", changing.act, WRITERS),
    Route("GET", "/subscriptions/{id}/deliveries/{deliveryId}", deliveries.show, READERS),
    Route("GET", "/subscriptions/{id}/deliveries/{deliveryId}/redeliver", changing.ask_redelivery, WRITERS),
    Route("POST", "/subscriptions/{id}/deliveries/{deliveryId}/redeliver", changing.redeliver, WRITERS),
    Route("GET", "/companies", installation.companies, OPERATOR),
    Route("POST", "/companies", installation.create_company, OPERATOR),
    Route("GET", "/companies/{id}", installation.company, OPERATOR),
    Route("POST", "/companies/{id}/tokens", installation.create_token_of_company, OPERATOR),
    Route("GET", "/companies/{id}/accounts", accounts.show_all, OPERATOR),
    Route("POST", "/companies/{id}/accounts", accounts.create, OPERATOR),
    Route("GET", "/companies/{id}/accounts/{accountId}/delete", accounts.ask_deletion, OPERATOR),
    Route("POST", "/companies/{id}/accounts/{accountId}/delete", accounts.delete, OPERATOR),
    Route("GET", "/tokens", installation.tokens, OPERATOR),
    Route("POST", "/tokens", installation.create_token, OPERATOR),
    Route("GET", "/tokens/{tokenId}/revoke", installation.ask_revocation, OPERATOR),
    Route("POST", "/tokens/{tokenId}/revoke", installation.revoke, OPERATOR),
    Route("GET", "/event-types", installation.event_types, READERS),
    Route("GET", "/nodes", nodes.show, OPERATOR),
    Route("GET", "/audit", installation.audit, OPERATOR),
)
"""Every page."""


class App:
    """The application; `serves` tells which paths are its own."""

    def __init__(self, dashboard: Dashboard) -> None:
        self._dashboard = dashboard
        self._routes = _compile(ROUTES)
        self._first_segments = frozenset(route.path[1:].partition("/")[0] for route in ROUTES) | {"static"}
        self._process_id = dashboard.random_bytes(4).hex()
        self._numbers = count(1)
        self._always = _always(dashboard.settings.portal_origins)

    def serves(self, path: str) -> bool:
        """Tell whether a path is the dashboard's, whether or not there is a page."""
        return path[1:].partition("/")[0] in self._first_segments

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        dashboard = self._dashboard
        started_at = dashboard.clock.monotonic_seconds()
        request_id = f"{self._process_id}{next(self._numbers):08x}"
        route, response = await self._answer(scope, receive, request_id)
        for name, value in self._always.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("cache-control", PAGE_CACHE)
        response.headers["x-request-id"] = request_id
        if dashboard.is_draining():
            response.headers["connection"] = "close"
        if scope["method"] == "HEAD":
            response.body = b""
        await response(scope, receive, send)
        dashboard.telemetry.request_served(
            method=scope["method"] if route else "other",
            route=route or "none",
            status=response.status_code,
            seconds=dashboard.clock.monotonic_seconds() - started_at,
            request_id=request_id,
        )

    async def _answer(self, scope: Scope, receive: Receive, request_id: str) -> tuple[str | None, Response]:
        """Return the pattern that the path belongs to, and the answer; what a page raises becomes a page here alone."""
        if scope["path"].startswith(assets.PREFIX):
            return f"{assets.PREFIX}{{name}}", self._asset(scope)
        request = Request(scope, receive)
        zones.use(request.cookies)
        route, visit = None, None
        try:
            route = self._route(scope)
            visit = await self._visit(request, needs_key=route.page is not portal.enter)
            response = await self._page(route, visit)
        except HooklineError as error:
            response = await frame.refusal(error, request, visit, self._dashboard)
        except Exception as error:
            log.exception("request %s failed", request_id)
            response = await frame.refusal(error, request, None, self._dashboard)
        for cookie in visit.cookies if visit else ():
            response.headers.append("set-cookie", cookie)
        return route.path if route else None, response

    def _asset(self, scope: Scope) -> Response:
        asset = self._dashboard.assets.at(scope["path"])
        if asset is None or scope["method"] not in {"GET", "HEAD"}:
            return Response("There is no such file.", 404, media_type="text/plain")
        return Response(asset.content, headers={"cache-control": ASSET_CACHE}, media_type=asset.media_type)

    def _route(self, scope: Scope) -> Route:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        for pattern, route in self._routes:
            match = pattern.fullmatch(scope["path"])
            if match and route.method == method:
                scope["path_params"] = match.groupdict()
                return route
        raise NotFound("There is no such page.")

    async def _visit(self, request: Request, *, needs_key: bool) -> Visit:
        """Find out who asks; a token that is no longer valid is as good as none."""
        dashboard = self._dashboard
        now = dashboard.clock.wall_ms()
        session = dashboard.sessions.read(request.cookies, now)
        principal = await self._principal(session)
        if session is None or (principal is None and session.token is not None):
            session = dashboard.sessions.opened(now)
        visit = Visit(request=request, session=session, principal=principal)
        if request.method == "POST":
            visit.form = await _read_form(request)
            _check_origin(request)
            if needs_key and not session.is_form_key(visit.said(FORM_KEY)):
                raise Forbidden(
                    "This form was opened in another session, or too long ago. Go back, reload and try again."
                )
        return visit

    async def _principal(self, session: Session | None) -> Principal | None:
        if session is None or session.token is None:
            return None
        try:
            return await self._dashboard.authenticator.principal_of(session.token.encode())
        except Unauthenticated:
            return None

    async def _page(self, route: Route, visit: Visit) -> Response:
        if route.roles is not None and visit.principal is None:
            if visit.request.headers.get("sec-fetch-dest") in FRAMES:
                return portal.ended(visit, self._dashboard)
            if visit.request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}:
                return frame.crossing(self._dashboard)
            query = visit.request.url.query
            here = visit.request.url.path + (f"?{query}" if query else "")
            return RedirectResponse(f"/sign-in?next={quote(here, safe='/')}", 303)
        if route.roles is not None and visit.who.role not in route.roles:
            raise NotFound("There is no such page, or it is not yours to see.")
        return await route.page(visit, self._dashboard)


def with_dashboard(api: ASGIApp, dashboard: App) -> ASGIApp:
    """Put the dashboard beside the API: each path is one of theirs alone."""

    async def both(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope.get("path", "")
        app = api if path.startswith("/v1/") or not dashboard.serves(path) else dashboard
        await app(scope, receive, send)

    return both


def _always(portal_origins: Iterable[str]) -> dict[str, str]:
    """Return the headers of every answer: where somebody may frame us, without the older one that knows no origins."""
    framed_by = " ".join(portal_origins)
    if framed_by:
        return {"content-security-policy": CONTENT_SECURITY_POLICY + framed_by, **ALWAYS}
    return {"content-security-policy": f"{CONTENT_SECURITY_POLICY}'none'", "x-frame-options": "DENY", **ALWAYS}


def _compile(routes: Iterable[Route]) -> list[tuple[re.Pattern[str], Route]]:
    return [(re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path)), route) for route in routes]


async def _read_form(request: Request) -> dict[str, list[str]]:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise UnsupportedMediaType("Only forms of the dashboard are understood here; programs use the API.")
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > FORM_BYTES_MAX:
            raise TooLarge(f"The form is over {FORM_BYTES_MAX:,} bytes.")
        chunks.append(chunk)
    try:
        return parse_qs(b"".join(chunks).decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        raise Invalid("This is no form.") from None


def _check_origin(request: Request) -> None:
    """Refuse a form that a browser says is sent from elsewhere; whoever says nothing still needs the form's key."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    if site not in {"same-origin", "none"} or (
        origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    ):
        raise Forbidden("This form was sent from another site. Open the page here and try again.")
