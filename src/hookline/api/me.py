"""Who the bearer of a token is."""

from starlette.requests import Request
from starlette.responses import Response

from hookline.api.answers import json_response
from hookline.api.context import Api
from hookline.api.reading import principal


async def show(request: Request, api: Api) -> Response:
    """Answer `GET /v1/me`; `company` is null for an operator, `user` where no account signed in for the token."""
    who = principal(request)
    company = None if who.company_id is None else await api.storage.company(who.company_id)
    account = None if who.account_id is None else await api.storage.account(who.account_id)
    return json_response(
        {
            "company": None if company is None else {"id": company.id, "name": company.name},
            "user": None if account is None else {"id": account.id, "username": account.username},
            "role": who.role,
        }
    )
