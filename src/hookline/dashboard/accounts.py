"""Accounts of a company, as its operator keeps them: made, shown once with what lets them in, and deleted."""

from typing import Any, Final

from starlette.responses import RedirectResponse, Response

from hookline.dashboard.acting import INVALID, ask
from hookline.dashboard.changing import Question
from hookline.dashboard.context import Dashboard, Visit
from hookline.dashboard.deliveries import path_id
from hookline.dashboard.events import NOTHING
from hookline.dashboard.frame import page, with_query
from hookline.errors import Conflict, NotFound
from hookline.model import Account, Company
from hookline.tokens import client_id_of

SHOWN: Final = 100
DELETE: Final = Question(
    "Delete this account?",
    "{} is signed out on every node within a second, and what uses its client id and secret is refused from then on. "
    "This cannot be undone; the name is free again.",
    "Keep it",
    "Delete",
    is_danger=True,
)


async def show_all(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer the accounts of a company."""
    return await _shown(visit, dashboard, "")


async def create(visit: Visit, dashboard: Dashboard) -> Response:
    """Make an account and show its client secret, once."""
    body: dict[str, Any] = {"username": visit.said("username")}
    password = visit.form.get("password", [""])[0]
    if password:
        body["password"] = password
    path = f"/companies/{path_id(visit, 'id')}/accounts"
    try:
        answer = await ask(visit, dashboard, "POST", f"/v1{path}", body)
    except Conflict as error:
        return await _shown(visit, dashboard, str(error), 409)
    if answer.status == INVALID:
        return await _shown(visit, dashboard, answer.detail, INVALID)
    return page(visit, dashboard, "account-made.html", title="Account created", made=answer.body, back=path)


async def ask_deletion(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer the question before an account is deleted."""
    company, account = await _found(visit, dashboard)
    return page(
        visit,
        dashboard,
        "confirm.html",
        title=DELETE.title,
        question=DELETE,
        text=DELETE.text.format(account.username),
        action=with_query(visit),
        back=f"/companies/{company.id}/accounts",
    )


async def delete(visit: Visit, dashboard: Dashboard) -> Response:
    """Delete an account."""
    path = f"/companies/{path_id(visit, 'id')}/accounts"
    await ask(visit, dashboard, "DELETE", f"/v1{path}/{path_id(visit, 'accountId')}")
    return RedirectResponse(path, 303)


async def _shown(visit: Visit, dashboard: Dashboard, refused: str, status: int = 200) -> Response:
    company = await _company(visit, dashboard)
    after = visit.query("after")
    after_id = int(after) if after.isascii() and after.isdigit() and len(after) <= 16 else 0
    found = await dashboard.storage.accounts(company.id, after_id, SHOWN)
    return page(
        visit,
        dashboard,
        "accounts.html",
        status,
        title=f"Accounts of {company.name}",
        company=company,
        accounts=[(account, client_id_of(account.id)) for account in found.items],
        more=None if found.next_after_id is None else with_query(visit, after=found.next_after_id),
        typed=visit.said("username") if refused else "",
        refused=refused,
    )


async def _company(visit: Visit, dashboard: Dashboard) -> Company:
    company = await dashboard.storage.company(path_id(visit, "id"))
    if company is None:
        raise NotFound(NOTHING)
    return company


async def _found(visit: Visit, dashboard: Dashboard) -> tuple[Company, Account]:
    company = await _company(visit, dashboard)
    account = await dashboard.storage.account(path_id(visit, "accountId"))
    if account is None or account.company_id != company.id:
        raise NotFound(NOTHING)
    return company, account
