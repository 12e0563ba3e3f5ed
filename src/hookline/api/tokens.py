"""Tokens: made and revoked by the operator, shown once, stored as a hash."""

from typing import Any

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from hookline import tokens
from hookline.api.answers import instant, json_response, list_response, no_content
from hookline.api.companies import ID_TRIES
from hookline.api.context import Api
from hookline.api.reading import (
    Instant,
    change_of,
    list_after_id,
    list_limit,
    milliseconds,
    no_such_id,
    path_id,
    plain_text,
    read_json,
)
from hookline.errors import Invalid, Unavailable
from hookline.model import Action, Role, Token
from hookline.storage.protocol import Creation

OF_COMPANY = (Role.MEMBER, Role.VIEWER)
OF_INSTALLATION = (Role.OPERATOR, Role.PUBLISHER)


class NewToken(Struct, rename="camel", kw_only=True):
    """The body of both ways to make a token."""

    name: str
    role: Role
    expires_at: Instant | None = None


async def list_of_company(request: Request, api: Api) -> Response:
    """Answer the tokens of one company, without what makes them work."""
    return await _list(request, api, await _company_id(request, api))


async def list_of_installation(request: Request, api: Api) -> Response:
    """Answer the operator and publisher tokens."""
    return await _list(request, api, None)


async def create_for_company(request: Request, api: Api) -> Response:
    """Make a member or viewer token."""
    body = await read_json(request, NewToken)
    return await _create(request, body, api, await _company_id(request, api), OF_COMPANY)


async def create_for_installation(request: Request, api: Api) -> Response:
    """Make an operator or publisher token."""
    return await _create(request, await read_json(request, NewToken), api, None, OF_INSTALLATION)


async def revoke_of_company(request: Request, api: Api) -> Response:
    """Revoke a token of one company."""
    return await _revoke(request, api, path_id(request))


async def revoke_of_installation(request: Request, api: Api) -> Response:
    """Revoke an operator or publisher token; it may be the one that asks."""
    return await _revoke(request, api, None)


async def _list(request: Request, api: Api, company_id: int | None) -> Response:
    return list_response(await api.storage.tokens(company_id, list_after_id(request), list_limit(request)), _shown)


async def _create(
    request: Request, body: NewToken, api: Api, company_id: int | None, roles: tuple[Role, ...]
) -> Response:
    if body.role not in roles:
        raise Invalid.field("role", f"expected {' or '.join(roles)} here, found {body.role}.")
    name = plain_text(body.name, "name")
    now = api.clock.wall_ms()
    expires_at = None if body.expires_at is None else milliseconds(body.expires_at, "expiresAt")
    if expires_at is not None and expires_at <= now:
        raise Invalid.field("expiresAt", "expected an instant in the future.")
    text = tokens.new_token(body.role, api.random_bytes)
    for _ in range(ID_TRIES):
        token = Token(
            id=tokens.new_id(api.random_bytes),
            company_id=company_id,
            name=name,
            role=body.role,
            hash=tokens.hash_of(text),
            created_at=now,
            expires_at=expires_at,
        )
        made = change_of(request, Action.TOKEN_CREATED, token.id, company_id)
        match await api.storage.create_token(token, change=made):
            case Creation.CREATED:
                api.authenticator.forget()
                return json_response({**_shown(token), "token": text}, 201)
            case Creation.NO_COMPANY:
                raise no_such_id()
            case _:
                continue
    raise Unavailable("No free id was found for the token. Nothing was stored; try again.")


async def _revoke(request: Request, api: Api, company_id: int | None) -> Response:
    token_id = path_id(request, "tokenId")
    revoked = change_of(request, Action.TOKEN_REVOKED, token_id, company_id)
    if not await api.storage.revoke_token(company_id, token_id, change=revoked):
        raise no_such_id()
    api.authenticator.forget()
    return no_content()


async def _company_id(request: Request, api: Api) -> int:
    company_id = path_id(request)
    if await api.storage.company(company_id) is None:
        raise no_such_id()
    return company_id


def _shown(token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "companyId": token.company_id,
        "name": token.name,
        "role": token.role,
        "createdAt": instant(token.created_at),
        "expiresAt": instant(token.expires_at),
    }
