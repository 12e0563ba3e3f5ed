"""Whether the process lives, whether it should get requests, and what it counts."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from hookline.api import problem
from hookline.api.answers import json_response
from hookline.api.context import Api
from hookline.api.reading import shown_path
from hookline.errors import Forbidden
from hookline.model import Role

PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"


async def live(_request: Request, _api: Api) -> Response:
    """Answer `GET /healthz`: the process runs its loop, and nothing else is asked."""
    return json_response({"status": "alive"})


async def ready(request: Request, api: Api) -> Response:
    """Answer `GET /readyz`: 200 where an event can be made durable now, else 503 with the reason."""
    why_not = await api.readiness.why_not()
    if why_not is None:
        return json_response({"status": "ready"})
    return problem.problem(problem.UNAVAILABLE, why_not, shown_path(request.scope), {"Retry-After": "1"})


async def metrics(request: Request, api: Api) -> Response:
    """Answer `GET /metrics` in the Prometheus text format; to others than this machine only for an operator."""
    if not api.settings.is_loopback_only:
        principal = await api.authenticator.authenticate(request.scope["headers"])
        if principal.role is not Role.OPERATOR:
            raise Forbidden(f"A {principal.role} token may not read metrics; operator may.")
    return Response(api.telemetry.exposition(), headers={"Content-Type": PROMETHEUS})
