"""What an operator keeps: companies, tokens, the catalogue of event types, and who changed what."""

from typing import Any, Final

from starlette.responses import RedirectResponse, Response

from hookline import matching
from hookline.dashboard.acting import INVALID, Answer, ask
from hookline.dashboard.changing import Question
from hookline.dashboard.context import Dashboard, Visit
from hookline.dashboard.deliveries import path_id
from hookline.dashboard.events import NOTHING
from hookline.dashboard.frame import page, with_query
from hookline.errors import NotFound
from hookline.model import PayloadVersion, Role

SHOWN: Final = 100
OF_INSTALLATION: Final = (Role.OPERATOR, Role.PUBLISHER)
OF_COMPANY: Final = (Role.MEMBER, Role.VIEWER)
REVOKE: Final = Question(
    "Revoke this token?",
    "Whoever uses it is refused from now on, on every node within a second, and its sessions here end. "
    "This cannot be undone.",
    "Keep it",
    "Revoke",
    is_danger=True,
)


async def companies(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer the companies."""
    return await _companies(visit, dashboard, None)


async def _companies(visit: Visit, dashboard: Dashboard, refused: Answer | None) -> Response:
    found = await dashboard.storage.companies(_number(visit.query("after")), SHOWN)
    return page(
        visit,
        dashboard,
        "companies.html",
        400 if refused else 200,
        title="Companies",
        companies=found.items,
        more=None if found.next_after_id is None else with_query(visit, after=found.next_after_id),
        refused=refused.detail if refused else "",
    )


async def create_company(visit: Visit, dashboard: Dashboard) -> Response:
    """Create a company and go to it."""
    answer = await ask(visit, dashboard, "POST", "/v1/companies", {"name": visit.said("name")})
    if answer.status == INVALID:
        return await _companies(visit, dashboard, answer)
    return RedirectResponse(f"/companies/{answer.body['id']}", 303)


async def company(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer one company with its tokens."""
    return await _company(visit, dashboard, "")


async def _company(visit: Visit, dashboard: Dashboard, refused: str) -> Response:
    found = await dashboard.storage.company(path_id(visit, "id"))
    if found is None:
        raise NotFound(NOTHING)
    tokens_found = await dashboard.storage.tokens(found.id, 0, SHOWN)
    health = await dashboard.storage.troubled(found.id, SHOWN)
    return page(
        visit,
        dashboard,
        "company.html",
        400 if refused else 200,
        title=found.name,
        company=found,
        tokens=tokens_found.items,
        roles=OF_COMPANY,
        troubled=len(health),
        refused=refused,
    )


async def create_token_of_company(visit: Visit, dashboard: Dashboard) -> Response:
    """Create a token of a company and show it, once."""
    body = {"name": visit.said("name"), "role": visit.said("role")}
    answer = await ask(visit, dashboard, "POST", f"/v1/companies/{path_id(visit, 'id')}/tokens", body)
    if answer.status == INVALID:
        return await _company(visit, dashboard, answer.detail)
    return _made(visit, dashboard, answer, f"/companies/{path_id(visit, 'id')}")


async def tokens(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer the tokens of the installation."""
    return await _tokens(visit, dashboard, "")


async def _tokens(visit: Visit, dashboard: Dashboard, refused: str) -> Response:
    found = await dashboard.storage.tokens(None, _number(visit.query("after")), SHOWN)
    return page(
        visit,
        dashboard,
        "tokens.html",
        400 if refused else 200,
        title="Tokens",
        tokens=found.items,
        roles=OF_INSTALLATION,
        more=None if found.next_after_id is None else with_query(visit, after=found.next_after_id),
        refused=refused,
    )


async def create_token(visit: Visit, dashboard: Dashboard) -> Response:
    """Create a token of the installation and show it, once."""
    body = {"name": visit.said("name"), "role": visit.said("role")}
    answer = await ask(visit, dashboard, "POST", "/v1/tokens", body)
    return (
        await _tokens(visit, dashboard, answer.detail)
        if answer.status == INVALID
        else _made(visit, dashboard, answer, "/tokens")
    )


def _made(visit: Visit, dashboard: Dashboard, answer: Answer, back: str) -> Response:
    return page(visit, dashboard, "token-made.html", title="Token created", made=answer.body, back=back)


async def ask_revocation(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer the question before a token is revoked."""
    _, _, back = _token_path(visit)
    return page(
        visit,
        dashboard,
        "confirm.html",
        title=REVOKE.title,
        question=REVOKE,
        text=REVOKE.text,
        action=with_query(visit),
        back=back,
    )


async def revoke(visit: Visit, dashboard: Dashboard) -> Response:
    """Revoke a token."""
    _, path, back = _token_path(visit)
    await ask(visit, dashboard, "DELETE", path)
    return RedirectResponse(back, 303)


def _token_path(visit: Visit) -> tuple[int, str, str]:
    """Return the token's id, its path in the API, and the page it is listed on."""
    token_id, company_id = path_id(visit, "tokenId"), _number(visit.query("companyId"))
    if company_id:
        return token_id, f"/v1/companies/{company_id}/tokens/{token_id}", f"/companies/{company_id}"
    return token_id, f"/v1/tokens/{token_id}", "/tokens"


async def event_types(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer the catalogue."""
    catalogue = await dashboard.storage.catalogue()
    rows: list[tuple[Any, dict[str, str | None]]] = [
        (each, {shape: matching.seen_name(each, shape) for shape in (PayloadVersion.V1, PayloadVersion.V2)})
        for each in sorted(catalogue.types.values(), key=lambda each: each.name)
    ]
    return page(visit, dashboard, "event-types.html", title="Event types", rows=rows)


async def audit(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer who changed what, newest first."""
    before = _number(visit.query("before"))
    found = await dashboard.storage.audit(before or None, SHOWN + 1)
    entries = found[:SHOWN]
    return page(
        visit,
        dashboard,
        "audit.html",
        title="Audit",
        entries=entries,
        older=with_query(visit, before=entries[-1].id) if len(found) > SHOWN else None,
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 16 else 0
