"""Accounts of a company: made and removed by the operator; the client secret is shown once."""

from typing import Any, Final

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from hookline import tokens
from hookline.api.answers import instant, json_response, list_response, no_content
from hookline.api.context import Api
from hookline.api.reading import (
    change_of,
    list_after_id,
    list_limit,
    no_such_id,
    path_id,
    plain_text,
    principal,
    read_json,
)
from hookline.errors import Invalid
from hookline.model import Account, Action

PASSWORD_LENGTH_MAX: Final = 1_024


class NewAccount(Struct, rename="camel", kw_only=True):
    """The body of `POST /v1/companies/{id}/accounts`."""

    username: str
    password: str | None = None


async def list_all(request: Request, api: Api) -> Response:
    """Answer the accounts of one company by id, without what lets anybody in."""
    company_id = await _company_id(request, api)
    return list_response(await api.storage.accounts(company_id, list_after_id(request), list_limit(request)), _shown)


async def show(request: Request, api: Api) -> Response:
    """Answer one account."""
    account = await api.storage.account(path_id(request, "accountId"))
    if account is None or account.company_id != path_id(request):
        raise no_such_id()
    return json_response(_shown(account))


async def create(request: Request, api: Api) -> Response:
    """Make an account; without a password it is a program's, and cannot log in by name."""
    body = await read_json(request, NewAccount)
    username = plain_text(body.username, "username")
    if body.password is not None and not 1 <= len(body.password) <= PASSWORD_LENGTH_MAX:
        raise Invalid.field("password", f"expected 1 to {PASSWORD_LENGTH_MAX:,} characters, or none at all.")
    account, secret = await api.accounts.create(
        await _company_id(request, api), username, body.password, actor=principal(request).actor
    )
    return json_response({**_shown(account), "clientSecret": secret}, 201)


async def delete(request: Request, api: Api) -> Response:
    """Delete an account; its tokens are revoked with it, on every node within a second."""
    company_id, account_id = path_id(request), path_id(request, "accountId")
    gone = change_of(request, Action.ACCOUNT_DELETED, account_id, company_id)
    if not await api.storage.delete_account(company_id, account_id, change=gone):
        raise no_such_id()
    api.authenticator.forget()
    return no_content()


async def _company_id(request: Request, api: Api) -> int:
    company_id = path_id(request)
    if await api.storage.company(company_id) is None:
        raise no_such_id()
    return company_id


def _shown(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "companyId": account.company_id,
        "username": account.username,
        "clientId": tokens.client_id_of(account.id),
        "hasPassword": account.password is not None,
        "createdAt": instant(account.created_at),
    }
