"""Who the bearer of a token is, and how an account ends all that it has signed in for."""

from starlette.requests import Request
from starlette.responses import Response

from hookline.api.answers import json_response, no_content
from hookline.api.context import Api
from hookline.api.reading import change_of, principal
from hookline.errors import Conflict
from hookline.model import Action


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


async def sign_out(request: Request, api: Api) -> Response:
    """Revoke every token that this one's account has signed in for, this one too, on every node within a second."""
    who = principal(request)
    if who.account_id is None:
        raise Conflict("No account signed in for this token. Whoever made it revokes it.")
    ended = change_of(request, Action.ACCOUNT_SIGNED_OUT, who.account_id, who.company_id)
    await api.storage.revoke_passes(who.account_id, change=ended)
    api.authenticator.forget()
    return no_content()
