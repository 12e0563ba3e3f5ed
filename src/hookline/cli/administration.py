"""Companies and tokens, through the server where one runs, else in the database itself.

The first token of an installation can only be made the second way; the answers look the same both ways.
"""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol, TypeVar

import msgspec

from hookline import wiring
from hookline.cli.client import Client, all_items
from hookline.cli.console import note
from hookline.cli.failure import EXIT_USAGE, Failure
from hookline.cli.target import DATABASE_URL_DEFAULT, Target, database_file, find, local_server
from hookline.clock import SystemClock, rfc3339
from hookline.config import Settings, from_environment
from hookline.model import Action, Change, Company, Role, Token
from hookline.storage.protocol import Creation, Storage
from hookline.storage.views import Page
from hookline.tokens import hash_of, new_id, new_token

Answer = dict[str, Any]
"""One thing as our API shows it."""
Result = TypeVar("Result")
Item = TypeVar("Item")

PAGE = 200
ACTOR = "command line"
"""Whose a change is that is made on the database itself."""
ID_TRIES = 20
"""Ids are random and 31 bits long; so many collisions in a row do not happen by chance."""


class Administration(Protocol):
    """What both ways can do. Refusals are `Failure`s."""

    def create_company(self, name: str) -> Answer:
        """Make a company."""
        ...

    def companies(self) -> list[Answer]:
        """List all companies, by id."""
        ...

    def create_token(self, name: str, role: Role, company_id: int | None, expires_at: int | None) -> Answer:
        """Make a token; the answer alone holds it."""
        ...

    def tokens(self, company_id: int | None) -> list[Answer]:
        """List the tokens of a company, None: of the installation."""
        ...

    def revoke_token(self, company_id: int | None, token_id: int) -> None:
        """End a token."""
        ...


def administration(
    url: str | None, token: str | None, profile: str | None, database_url: str | None, *, creates: bool = False
) -> Administration:
    """Choose the way: `--database` means the database, `--url` or `--profile` a server, else a local one if it lives.

    Only what `creates` something may create the database itself.
    """
    if database_url is None:
        if url is not None or profile is not None:
            return OverApi(Client(find(url, token, profile=profile)))
        local = local_server(os.environ.get("HOOKLINE_DATABASE_URL") or DATABASE_URL_DEFAULT)
        if local is not None and Client(local).is_answering():
            return OverApi(Client(Target(local.url, token or local.token)))
    settings = settings_of(database_url)
    file = database_file(settings.database_url)
    is_new = file is not None and not file.exists()
    if is_new and not creates:
        raise Failure(
            f"there is no database at {file and file.absolute()}, and no server runs beside it.",
            "Go to its directory, or say --database or --url.",
        )
    if database_url is None:
        note(f"No server runs here: working on {file or 'the database'} itself.")
    return OnDatabase(settings, is_new=is_new)


def settings_of(database_url: str | None) -> Settings:
    """Read the settings for work on the database itself, which opens no sealed secret and so needs no key."""
    environment = dict(os.environ)
    if database_url is not None:
        environment["HOOKLINE_DATABASE_URL"] = database_url
    return from_environment(environment, needs_secret_key=False)


class OverApi:
    """Through a server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create_company(self, name: str) -> Answer:
        made: Answer = self._client.call("POST", "/v1/companies", body=msgspec.json.encode({"name": name}))
        return made

    def companies(self) -> list[Answer]:
        return all_items(self._client, "/v1/companies")

    def create_token(self, name: str, role: Role, company_id: int | None, expires_at: int | None) -> Answer:
        wanted = {"name": name, "role": role, **({} if expires_at is None else {"expiresAt": rfc3339(expires_at)})}
        made: Answer = self._client.call("POST", _tokens_path(company_id), body=msgspec.json.encode(wanted))
        return made

    def tokens(self, company_id: int | None) -> list[Answer]:
        return all_items(self._client, _tokens_path(company_id))

    def revoke_token(self, company_id: int | None, token_id: int) -> None:
        self._client.call("DELETE", f"{_tokens_path(company_id)}/{token_id}")


class OnDatabase:
    """In the database, while no server runs on it (SQLite) or beside those that do (PostgreSQL)."""

    def __init__(self, settings: Settings, *, is_new: bool) -> None:
        self._settings = settings
        self._is_new = is_new
        self._clock = SystemClock()

    def create_company(self, name: str) -> Answer:
        if not name.strip():
            raise Failure("the name is empty.", 'Example: hookline company create "Acme Support"', EXIT_USAGE)

        async def create(storage: Storage) -> Answer:
            for _ in range(ID_TRIES):
                company = Company(id=_random_id(), name=name, created_at=self._clock.wall_ms())
                made = _change(Action.COMPANY_CREATED, company.id, company.id)
                if await storage.create_company(company, change=made) is Creation.CREATED:
                    return _shown_company(company)
            raise Failure("no free id was found.")

        return self._run(create)

    def companies(self) -> list[Answer]:
        async def read(storage: Storage) -> list[Answer]:
            return [_shown_company(company) for company in await _walk(storage.companies)]

        return self._run(read)

    def create_token(self, name: str, role: Role, company_id: int | None, expires_at: int | None) -> Answer:
        shown_once = new_token(role, secrets.token_bytes)

        async def create(storage: Storage) -> Answer:
            for _ in range(ID_TRIES):
                token = Token(
                    id=_random_id(),
                    company_id=company_id,
                    name=name,
                    role=role,
                    hash=hash_of(shown_once),
                    created_at=self._clock.wall_ms(),
                    expires_at=expires_at,
                )
                made = _change(Action.TOKEN_CREATED, token.id, company_id)
                match await storage.create_token(token, change=made):
                    case Creation.CREATED:
                        return {**_shown_token(token), "token": shown_once}
                    case Creation.NO_COMPANY:
                        raise _no_company(company_id)
                    case _:
                        continue
            raise Failure("no free id was found.")

        return self._run(create)

    def tokens(self, company_id: int | None) -> list[Answer]:
        async def read(storage: Storage) -> list[Answer]:
            if company_id is not None and await storage.company(company_id) is None:
                raise _no_company(company_id)
            found = await _walk(lambda after_id, limit: storage.tokens(company_id, after_id, limit))
            return [_shown_token(token) for token in found]

        return self._run(read)

    def revoke_token(self, company_id: int | None, token_id: int) -> None:
        async def revoke(storage: Storage) -> bool:
            revoked = _change(Action.TOKEN_REVOKED, token_id, company_id)
            return await storage.revoke_token(company_id, token_id, change=revoked)

        if not self._run(revoke):
            raise Failure(f"there is no token {token_id} here.", "See `hookline token list [--company ID]`.")

    def _run(self, work: Callable[[Storage], Awaitable[Result]]) -> Result:
        async def run() -> Result:
            if self._is_new:
                await wiring.migrate(self._settings)
            async with wiring.open_storage(self._settings) as storage:
                return await work(storage)

        return asyncio.run(run())


async def _walk(read: Callable[[int, int], Awaitable[Page[Item]]]) -> Iterable[Item]:
    items: list[Item] = []
    after_id: int | None = 0
    while after_id is not None:
        page = await read(after_id, PAGE)
        items += page.items
        after_id = page.next_after_id
    return items


def _tokens_path(company_id: int | None) -> str:
    return "/v1/tokens" if company_id is None else f"/v1/companies/{company_id}/tokens"


def _random_id() -> int:
    return new_id(secrets.token_bytes)


def _change(action: Action, target: int, company_id: int | None) -> Change:
    return Change(actor=ACTOR, action=action, target=str(target), company_id=company_id)


def _no_company(company_id: int | None) -> Failure:
    return Failure(f"there is no company {company_id}.", "See `hookline company list`.")


def _shown_company(company: Company) -> Answer:
    return {"id": company.id, "name": company.name, "createdAt": rfc3339(company.created_at)}


def _shown_token(token: Token) -> Answer:
    return {
        "id": token.id,
        "companyId": token.company_id,
        "name": token.name,
        "role": token.role,
        "createdAt": rfc3339(token.created_at),
        "expiresAt": None if token.expires_at is None else rfc3339(token.expires_at),
    }
