"""Accounts: how people and programs of a company come to a short-lived member token of their own.

Passwords are stretched in threads, few at a time, never on the event loop. A wrong name and a wrong secret are told
apart by nothing: neither by the words nor by the time. Who fails too often waits, by name and address, on each node.
"""

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import sha256
from hmac import compare_digest
from typing import Final, TypeVar

from hookline import passwords, tokens
from hookline.clock import Clock
from hookline.errors import Conflict, NotFound, TooManyRequests, Unavailable, WrongCredentials
from hookline.model import Account, Action, Change, Role, Token
from hookline.storage.protocol import AccountCreation, Creation, Storage
from hookline.throttling import Failures

Result = TypeVar("Result")

TOKEN_SECONDS: Final = 3_600
FAILURES_MAX: Final = 10
FAILURES_SECONDS: Final = 60.0
STRETCHED_AT_ONCE: Final = 2
"""Passwords: each takes a core and 16 MiB while it lasts."""
WAITING_MAX: Final = 50
"""For a password's turn; five seconds' worth."""
ID_TRIES: Final = 5
"""Random ids of 31 bits are taken at times; five in a row are a fault."""

NO_SECRET: Final = bytes(32)
"""Is no secret's hash that anybody could find."""


class Accounts:
    """Make accounts and let their owners in, for one node."""

    def __init__(self, *, storage: Storage, clock: Clock, random_bytes: Callable[[int], bytes]) -> None:
        self._storage = storage
        self._clock = clock
        self._random_bytes = random_bytes
        self._turns = asyncio.Semaphore(STRETCHED_AT_ONCE)
        self._waiting = 0
        self._failed_logins = Failures(FAILURES_MAX, FAILURES_SECONDS)
        self._failed_clients = Failures(FAILURES_MAX, FAILURES_SECONDS)
        """Apart: guessing at clients costs little, and must not push out what is remembered of logins."""

    async def create(self, company_id: int, username: str, password: str | None, *, actor: str) -> tuple[Account, str]:
        """Store a new account; return it with its client secret, which is shown once.

        Raises `NotFound` where there is no such company, `Conflict` where another account has the name.
        """
        stored = None if password is None else await self._stretch(password)
        secret = tokens.new_client_secret(self._random_bytes)
        for _ in range(ID_TRIES):
            account = Account(
                id=tokens.new_id(self._random_bytes),
                company_id=company_id,
                username=username,
                password=stored,
                secret_hash=tokens.hash_of(secret),
                created_at=self._clock.wall_ms(),
            )
            made = Change(actor=actor, action=Action.ACCOUNT_CREATED, target=str(account.id), company_id=company_id)
            match await self._storage.create_account(account, change=made):
                case AccountCreation.CREATED:
                    return account, secret
                case AccountCreation.NO_COMPANY:
                    raise NotFound("There is no such company.")
                case AccountCreation.USERNAME_TAKEN:
                    raise Conflict("An account has this username already; it is known by it in the whole installation.")
                case AccountCreation.ID_TAKEN:
                    continue
        raise Unavailable("No free id was found for the account. Nothing was stored; try again.")

    async def log_in(self, username: str, password: str, address: str) -> str:
        """Return a new token for the owner of the name; raise `WrongCredentials` or `TooManyRequests`."""
        key = _key(username, address)
        _refuse_if_many(self._failed_logins, key, self._clock.monotonic_seconds())

        async def prove() -> Account | None:
            account = await self._storage.account_by_username(username)
            stored = (account and account.password) or passwords.of_nobody()
            is_right = await asyncio.to_thread(passwords.is_right, password, stored)
            return account if is_right else None

        return await self._in_turn(lambda: self._let_in(self._failed_logins, key, prove))

    async def token_for_client(self, client_id: str, client_secret: str, address: str) -> str:
        """Return a new token for a client; raise `WrongCredentials` or `TooManyRequests`."""

        async def prove() -> Account | None:
            account_id = tokens.account_of(client_id)
            account = None if account_id is None else await self._storage.account(account_id)
            expected = account.secret_hash if account else NO_SECRET
            return account if compare_digest(tokens.hash_of(client_secret), expected) else None

        return await self._let_in(self._failed_clients, _key(client_id, address), prove)

    async def _let_in(self, failures: Failures, key: bytes, prove: Callable[[], Awaitable[Account | None]]) -> str:
        """Make a token for the account that is proved; many wrong tries at once come no further than one by one."""
        _refuse_if_many(failures, key, self._clock.monotonic_seconds())
        account = await prove()
        token = None if account is None else await self._new_token(account)
        if token is None:
            now = self._clock.monotonic_seconds()
            _refuse_if_many(failures, key, now)
            failures.note(key, now)
            raise WrongCredentials
        return token

    async def _new_token(self, account: Account) -> str | None:
        """Store a new token; None where the account has gone meanwhile."""
        text = tokens.new_token(Role.MEMBER, self._random_bytes)
        now = self._clock.wall_ms()
        for _ in range(ID_TRIES):
            token = Token(
                id=tokens.new_id(self._random_bytes),
                company_id=account.company_id,
                account_id=account.id,
                name=account.username,
                role=Role.MEMBER,
                hash=tokens.hash_of(text),
                created_at=now,
                expires_at=now + TOKEN_SECONDS * 1000,
                is_pass=True,
            )
            match await self._storage.create_token(token):
                case Creation.CREATED:
                    return text
                case Creation.NO_COMPANY:
                    return None
                case _:
                    continue
        raise Unavailable("No free id was found for the token. Nothing was stored; try again.")

    async def _stretch(self, password: str) -> str:
        salt = self._random_bytes(passwords.SALT_BYTES)
        return await self._in_turn(lambda: asyncio.to_thread(passwords.hash_of, password, salt))

    async def _in_turn(self, work: Callable[[], Awaitable[Result]]) -> Result:
        if self._waiting >= WAITING_MAX:
            raise TooManyRequests("Too many people sign in at this moment. Try again.", 1)
        self._waiting += 1
        try:
            async with self._turns:
                return await work()
        finally:
            self._waiting -= 1


def _key(name: str, address: str) -> bytes:
    """Make what failures are counted by: short, however long the name that was tried."""
    return sha256(f"{address} {name}".encode("utf-8", "surrogatepass")).digest()


def _refuse_if_many(failures: Failures, key: bytes, now: float) -> None:
    seconds = failures.wait_seconds(key, now)
    if seconds:
        raise TooManyRequests(f"Too many attempts with wrong credentials. Wait {seconds} s, then try again.", seconds)
