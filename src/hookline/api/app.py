"""The ASGI application: one explicit table of routes, and what happens to every request on its way through.

Order: who asks (401, before anything under /v1 and /v2 is known to exist), which route (404, 405), may this role (403),
then its handler. What a handler raises becomes a problem here and nowhere else.
"""

import logging
import re
from collections.abc import Iterable
from itertools import count
from math import ceil
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hookline.api import (
    accounts,
    answers,
    audit,
    companies,
    deliveries,
    event_types,
    events,
    health,
    login,
    me,
    openapi,
    portal,
    problem,
    replays,
    tokens,
    webhooks,
)
from hookline.api.context import Api, Handler
from hookline.api.reading import Disconnected, shown_path
from hookline.authentication import Principal
from hookline.errors import Forbidden, HooklineError, NotFound, TooManyRequests
from hookline.model import Role
from hookline.throttling import Rates

log = logging.getLogger("hookline.api")

PROCESS_ID_BYTES: Final = 4
"""Of the random part that a process's request ids share; a number follows. They join an answer to its line in our log;
an id that the caller sends is not taken over."""
LAST: Final = (b"connection", b"close")
"""On every answer of a node that is ending: its clients leave in order, and send into no connection that closes."""

OPERATOR: Final = frozenset({Role.OPERATOR})
PUBLISHERS: Final = frozenset({Role.OPERATOR, Role.PUBLISHER})
WRITERS: Final = frozenset({Role.OPERATOR, Role.MEMBER})
READERS: Final = frozenset({Role.OPERATOR, Role.MEMBER, Role.VIEWER})
LOGIN: Final = "/v1/login"
"""Where whoever has no token comes for one."""
ANYONE: Final = None
"""Without a token."""


class Route(NamedTuple):
    """One method of one path. `{name}` in a path stands for one segment."""

    method: str
    path: str
    handler: Handler
    roles: frozenset[Role] | None


HEALTH: Final = (
    Route("GET", "/healthz", health.live, ANYONE),
    Route("GET", "/readyz", health.ready, ANYONE),
    Route("GET", "/metrics", health.metrics, ANYONE),  # asks for a token itself where others than this machine can come
)
ROUTES: Final = (
    *HEALTH,
    Route("GET", "/openapi.json", openapi.description, ANYONE),
    Route("POST", LOGIN, login.log_in, ANYONE),
    Route("POST", "/oauth2/token", login.token, ANYONE),
    Route("GET", "/v1/me", me.show, READERS),
    Route("DELETE", "/v1/me/tokens", me.sign_out, READERS),
    Route("GET", "/v1/companies", companies.list_all, OPERATOR),
    Route("POST", "/v1/companies", companies.create, OPERATOR),
    Route("GET", "/v1/companies/{id}", companies.show, OPERATOR),
    Route("PATCH", "/v1/companies/{id}", companies.change, OPERATOR),
    Route("DELETE", "/v1/companies/{id}", companies.delete, OPERATOR),
    Route("GET", "/v1/companies/{id}/accounts", accounts.list_all, OPERATOR),
    Route("POST", "/v1/companies/{id}/accounts", accounts.create, OPERATOR),
    Route("GET", "/v1/companies/{id}/accounts/{accountId}", accounts.show, OPERATOR),
    Route("DELETE", "/v1/companies/{id}/accounts/{accountId}", accounts.delete, OPERATOR),
    Route("POST", "/v1/companies/{id}/portal-links", portal.create, OPERATOR),
    Route("GET", "/v1/companies/{id}/tokens", tokens.list_of_company, OPERATOR),
    Route("POST", "/v1/companies/{id}/tokens", tokens.create_for_company, OPERATOR),
    Route("DELETE", "/v1/companies/{id}/tokens/{tokenId}", tokens.revoke_of_company, OPERATOR),
    Route("GET", "/v1/tokens", tokens.list_of_installation, OPERATOR),
    Route("POST", "/v1/tokens", tokens.create_for_installation, OPERATOR),
    Route("DELETE", "/v1/tokens/{tokenId}", tokens.revoke_of_installation, OPERATOR),
    Route("GET", "/v1/audit", audit.list_all, OPERATOR),
    Route("POST", "/v1/events", events.publish, PUBLISHERS),
    Route("POST", "/v1/events/batch", events.publish_batch, PUBLISHERS),
    Route("GET", "/v1/events", events.list_all, READERS),
    Route("GET", "/v1/events/{eventId}", events.show, READERS),
    Route("DELETE", "/v1/events/{eventId}/data", events.erase, OPERATOR),
    Route("GET", "/v1/webhooks", webhooks.list_all, READERS),
    Route("POST", "/v1/webhooks", webhooks.create, WRITERS),
    Route("GET", "/v2/webhooks", webhooks.list_version_2, READERS),
    Route("POST", "/v2/webhooks", webhooks.create_version_2, WRITERS),
    Route("GET", "/v1/webhooks/{id}", webhooks.show, READERS),
    Route("PATCH", "/v1/webhooks/{id}", webhooks.change, WRITERS),
    Route("DELETE", "/v1/webhooks/{id}", webhooks.delete, WRITERS),
    Route("POST", "/v1/webhooks/{id}/secret", webhooks.rotate, WRITERS),
    Route("POST", "/v1/webhooks/{id}/ping", webhooks.ping, WRITERS),
    Route("GET", "/v1/webhooks/{id}/deliveries", deliveries.list_attempts, READERS),
    Route("GET", "/v1/webhooks/{id}/deliveries/{deliveryId}", deliveries.show, READERS),
    Route("POST", "/v1/webhooks/{id}/deliveries/{deliveryId}/redeliver", deliveries.redeliver, WRITERS),
    Route("POST", "/v1/webhooks/{id}/replay", replays.create, WRITERS),
    Route("POST", "/v1/replays", replays.create_over_all, OPERATOR),
    Route("GET", "/v1/replays/{id}", replays.show, READERS),
    Route("DELETE", "/v1/replays/{id}", replays.cancel, WRITERS),
    Route("GET", "/v1/event-types", event_types.list_all, READERS),
    Route("GET", "/v1/event-types/{name}", event_types.show, READERS),
    Route("PUT", "/v1/event-types/{name}", event_types.put, OPERATOR),
    Route("DELETE", "/v1/event-types/{name}", event_types.delete, OPERATOR),
)
"""Everything that an API node answers; `openapi` describes exactly this."""


def create_app(api: Api) -> ASGIApp:
    """Make the application; a node without the role `api` answers only for its health."""
    return _App(api, ROUTES if "api" in api.settings.roles else HEALTH)


_Methods = dict[str, Route]


class _App:
    def __init__(self, api: Api, routes: Iterable[Route]) -> None:
        self._api = api
        self._static, self._patterns = _compile(routes)
        self._process_id = api.random_bytes(PROCESS_ID_BYTES).hex()
        self._numbers = count(1)
        rate = api.settings.rate_token_per_second
        self._rates = None if rate is None else Rates(rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(
                f"expected an HTTP request, found {scope['type']}: serve without lifespan and websockets"
            )
        started_at = self._api.clock.monotonic_seconds()
        request_id = f"{self._process_id}{next(self._numbers):08x}"
        try:
            response = await self._answer(scope, receive)
        except HooklineError as error:
            response = problem.respond(error, shown_path(scope))
        except Disconnected:
            return
        except Exception as error:
            log.exception("request %s failed", request_id)
            response = problem.respond(error, shown_path(scope))
        response.raw_headers += [(b"x-request-id", request_id.encode()), *answers.ALWAYS]
        if self._api.readiness.is_draining():
            response.raw_headers.append(LAST)
        if scope["method"] == "HEAD":
            response.body = b""
        await response(scope, receive, send)
        route: Route | None = scope.get("hookline.route")
        self._api.telemetry.request_served(
            method=scope["method"] if route else "other",
            route=route.path if route else "none",
            status=response.status_code,
            seconds=self._api.clock.monotonic_seconds() - started_at,
            request_id=request_id,
        )

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        path: str = scope["path"]
        if _needs_token(path) and "principal" not in scope:  # a page of the dashboard has asked already
            scope["principal"] = principal = await self._api.authenticator.authenticate(scope["headers"])
            if self._rates:
                self._hold_back(principal, self._rates)
        route = self._route(path, scope)
        scope["hookline.route"] = route
        if route.roles is not None and scope["principal"].role not in route.roles:
            raise Forbidden(f"A {scope['principal'].role} token may not do this; {_either(route.roles)} may.")
        return await route.handler(Request(scope, receive), self._api)

    def _hold_back(self, principal: Principal, rates: Rates) -> None:
        """Refuse what a token asks beyond its rate; an account has one rate for all of its tokens."""
        key = (principal.token_id, None) if principal.account_id is None else (None, principal.account_id)
        if wait_seconds := rates.take(key, self._api.clock.monotonic_seconds()):
            limit = self._api.settings.rate_token_per_second
            raise TooManyRequests(
                f"This token asks more often than {limit} times a second (HOOKLINE_RATE_TOKEN_PER_SECOND). "
                "Wait, and ask more slowly.",
                ceil(wait_seconds),
            )

    def _route(self, path: str, scope: Scope) -> Route:
        methods = self._static.get(path) or self._match(path, scope)
        method = scope["method"]
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            raise problem.MethodNotAllowed([*methods, "HEAD"] if "GET" in methods else [*methods])
        return route

    def _match(self, path: str, scope: Scope) -> _Methods:
        for pattern, methods in self._patterns:
            match = pattern.fullmatch(path)
            if match:
                scope["path_params"] = match.groupdict()
                return methods
        raise NotFound("There is no such path. `GET /openapi.json` lists those that exist.")


def _compile(routes: Iterable[Route]) -> tuple[dict[str, _Methods], list[tuple[re.Pattern[str], _Methods]]]:
    by_path: dict[str, _Methods] = {}
    for route in routes:
        by_path.setdefault(route.path, {})[route.method] = route
    static = {path: methods for path, methods in by_path.items() if "{" not in path}
    patterns = [
        (re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)), methods)
        for path, methods in by_path.items()
        if "{" in path
    ]
    return static, patterns


def _needs_token(path: str) -> bool:
    return path != LOGIN and (path.startswith(("/v1/", "/v2/")) or path in {"/v1", "/v2"})


def _either(roles: frozenset[Role]) -> str:
    return " or ".join(sorted(roles))
