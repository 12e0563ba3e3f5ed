"""Companies: made, renamed and removed by the operator."""

from typing import Any, Final

from msgspec import UNSET, Struct, UnsetType, structs
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
    query_boolean,
    read_json,
)
from hookline.api.turns import CHANGE_TRIES
from hookline.api.webhooks import nothing_starts
from hookline.errors import Conflict, Invalid, Unavailable
from hookline.model import BUILT_IN_COMPANY_ID, Action, Company, PayloadVersion
from hookline.storage.protocol import CompanyDeletion, Creation
from hookline.storage.views import SubscriptionQuery

RETENTION_DAYS_MAX: Final = 3650
ID_TRIES: Final = 5
"""Random ids of 31 bits are taken at times; five in a row are a fault."""


class NewCompany(Struct, rename="camel", kw_only=True):
    """The body of `POST /v1/companies`."""

    name: str
    retention_days: int | None = None


class CompanyChange(Struct, rename="camel", kw_only=True):
    """The body of `PATCH /v1/companies/{id}`: an absent member stays, null restores the default."""

    name: str | UnsetType = UNSET
    retention_days: int | UnsetType | None = UNSET


async def list_all(request: Request, api: Api) -> Response:
    """Answer the companies by id; the built-in one is not among them."""
    return list_response(await api.storage.companies(list_after_id(request), list_limit(request)), _shown)


async def show(request: Request, api: Api) -> Response:
    """Answer one company."""
    return json_response(_shown(await _found(request, api)))


async def create(request: Request, api: Api) -> Response:
    """Make a company; two may have the same name."""
    body = await read_json(request, NewCompany)
    for _ in range(ID_TRIES):
        company = Company(
            id=tokens.new_id(api.random_bytes),
            name=plain_text(body.name, "name"),
            created_at=api.clock.wall_ms(),
            retention_days=_retention(body.retention_days),
        )
        made = change_of(request, Action.COMPANY_CREATED, company.id, company.id)
        if await api.storage.create_company(company, change=made) is Creation.CREATED:
            return json_response(_shown(company), 201)
    raise Unavailable("No free id was found for the company. Nothing was stored; try again.")


async def change(request: Request, api: Api) -> Response:
    """Rename a company or change how long its events are kept."""
    body = await read_json(request, CompanyChange)
    async with api.turns.of(path_id(request)):
        for _ in range(CHANGE_TRIES):
            before = _changeable(await _found(request, api))
            after = _changed(before, body)
            note = change_of(request, Action.COMPANY_CHANGED, before.id, before.id)
            if await api.storage.replace_company(before, after, change=note):
                return json_response(_shown(after))
    raise Unavailable("The company kept changing under this request. Nothing was changed by it; try again.")


async def delete(request: Request, api: Api) -> Response:
    """Remove a company with its tokens, and with `?cascade=true` its subscriptions: after the answer nothing starts."""
    cascade = query_boolean(request, "cascade")
    company = _changeable(await _found(request, api))
    everything = SubscriptionQuery(company_id=company.id, versions=tuple(PayloadVersion))
    its_subscriptions = await api.storage.subscriptions(everything)
    gone = change_of(request, Action.COMPANY_DELETED, company.id, company.id)
    match await api.storage.delete_company(company.id, cascade=cascade, change=gone):
        case CompanyDeletion.DELETED:
            api.authenticator.forget()
            await nothing_starts([*[each.id for each in its_subscriptions.items], *its_subscriptions.unreadable], api)
            return no_content()
        case CompanyDeletion.NOT_FOUND:
            raise no_such_id()
        case CompanyDeletion.HAS_SUBSCRIPTIONS:
            raise Conflict("The company still has subscriptions. Delete them first, or all at once with ?cascade=true.")


async def _found(request: Request, api: Api) -> Company:
    company = await api.storage.company(path_id(request))
    if company is None:
        raise no_such_id()
    return company


def _changeable(company: Company) -> Company:
    if company.id == BUILT_IN_COMPANY_ID:
        raise Conflict("The company `operator` is built in: it can be neither changed nor deleted.")
    return company


def _changed(company: Company, body: CompanyChange) -> Company:
    """Return the company with what the body names changed in it."""
    if body.name is not UNSET:
        company = structs.replace(company, name=plain_text(body.name, "name"))
    if body.retention_days is not UNSET:
        company = structs.replace(company, retention_days=_retention(body.retention_days))
    return company


def _retention(days: int | None) -> int | None:
    if days is not None and not 1 <= days <= RETENTION_DAYS_MAX:
        raise Invalid.field("retentionDays", f"expected 1 to {RETENTION_DAYS_MAX}, or null for the default.")
    return days


def _shown(company: Company) -> dict[str, Any]:
    return {
        "id": company.id,
        "name": company.name,
        "retentionDays": company.retention_days,
        "createdAt": instant(company.created_at),
    }
