"""Who the bearer of a token is."""

from starlette.requests import Request
from starlette.responses import Response

from hookline.api.answers import json_response
from hookline.api.context import Api
from hookline.api.reading import principal


async def show(request: Request, api: Api) -> Response:
    """Answer `GET /v1/me`; `company` is null for an operator, `user` until people have accounts."""
    who = principal(request)
    company = None if who.company_id is None else await api.storage.company(who.company_id)
    shown = None if company is None else {"id": company.id, "name": company.name}
    return json_response({"company": shown, "user": None, "role": who.role})
