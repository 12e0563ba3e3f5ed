"""Links by which a platform lets its customers into their part of the dashboard, without accounts of ours."""

from typing import Final

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from hookline.api.answers import instant, json_response
from hookline.api.context import Api
from hookline.api.reading import no_such_id, path_id, principal, read_json
from hookline.errors import Invalid
from hookline.model import Role

ROLES: Final = (Role.VIEWER, Role.MEMBER)


class NewPortalLink(Struct, rename="camel", kw_only=True):
    """The body of `POST /v1/companies/{id}/portal-links`."""

    role: Role | None = None
    """None: viewer."""


async def create(request: Request, api: Api) -> Response:
    """Make a link that opens one session of a company, once and soon."""
    body = await read_json(request, NewPortalLink, may_be_empty=True)
    role = body.role or Role.VIEWER
    if role not in ROLES:
        raise Invalid.field("role", f"expected {' or '.join(ROLES)}, found {role}.")
    company_id = path_id(request)
    if await api.storage.company(company_id) is None:
        raise no_such_id()
    url, link = await api.links.create_for_company(company_id, role, actor=principal(request).actor)
    return json_response({"url": url, "expiresAt": instant(link.expires_at)}, 201)
