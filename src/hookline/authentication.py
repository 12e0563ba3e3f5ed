"""Who is asking: from the `Authorization` header to a `Principal`, in microseconds, never trusting a cache for long.

Tokens are known by their SHA-256 alone, here too. What is cached is dropped when the database's change counter moves,
so that a revocation works on every node within a second; a node that cannot read the counter stops believing.
Never says why a token was refused: missing, malformed, unknown, expired and revoked look the same.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from msgspec import Struct

from hookline import tokens
from hookline.clock import Clock
from hookline.errors import Unauthenticated, Unavailable
from hookline.model import Role, Token
from hookline.storage.protocol import Storage

log = logging.getLogger("hookline.authentication")

RECHECK_SECONDS: Final = 0.5
"""After so long the change counter is read again, while requests go on."""
BELIEVED_SECONDS: Final = 1.0
"""After so long without having read it, no request goes on."""
CACHE_MAX: Final = 10_000
"""Tokens remembered, unknown ones too; then all are forgotten. About 3 MB."""


class Principal(Struct, frozen=True, kw_only=True):
    """The bearer of a valid token. `company_id` is None for operator and publisher."""

    role: Role
    company_id: int | None
    token_id: int | None
    """None for a token that is in no database."""
    account_id: int | None = None
    """Who signed in for the token, where somebody did."""
    name: str = ""
    """The token's, or the username of the account."""

    @property
    def actor(self) -> str:
        """Say who this is to whoever reads the audit."""
        if self.account_id is not None:
            return f"account {self.account_id} ({self.name})"
        return "operator token" if self.token_id is None else f"token {self.token_id} ({self.name})"


class _Known(Struct, frozen=True):
    principal: Principal
    expires_at: int | None


class Authenticator:
    """Judge tokens. `operator_tokens` are valid while this process runs: the environment's, and those of its own."""

    def __init__(self, storage: Storage, clock: Clock, operator_tokens: Sequence[str]) -> None:
        self._storage = storage
        self._clock = clock
        self._operator_hashes = [sha256(token.encode()).digest() for token in operator_tokens]
        self._operator = Principal(role=Role.OPERATOR, company_id=None, token_id=None)
        self._cache: dict[bytes, _Known | None] = {}
        self._counter = -1
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def authenticate(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        """Return whose token the request shows; raise `Unauthenticated`, or `Unavailable` where nobody can know.

        `headers` are raw and lower-case, as ASGI has them.
        """
        token = _bearer(headers)
        if token is None:
            raise Unauthenticated
        return await self.principal_of(token)

    async def principal_of(self, token: bytes) -> Principal:
        """Return whose token this is, for whoever does not come with a header; raises as `authenticate`."""
        token_hash = sha256(token).digest()
        for operator_hash in self._operator_hashes:
            if compare_digest(token_hash, operator_hash):
                return self._operator
        if self._clock.monotonic_seconds() - self._read_at >= RECHECK_SECONDS:
            await self._recheck()
        known = self._cache.get(token_hash) or await self._look_up(token, token_hash)
        if known is None or (known.expires_at is not None and known.expires_at <= self._clock.wall_ms()):
            raise Unauthenticated
        return known.principal

    def forget(self) -> None:
        """Believe nothing cached any more: after a revocation on this node it works at once."""
        self._read_at = float("-inf")
        self._counter = -1
        self._cache = {}

    async def _look_up(self, token: bytes, token_hash: bytes) -> _Known | None:
        if token_hash in self._cache or not tokens.is_well_formed(token.decode("utf-8", "replace")):
            return None
        counter = self._counter
        stored = await self._storage.token_by_hash(token_hash)
        known = None if stored is None else _known(stored)
        if counter == self._counter:  # else what was read may be older than the change that emptied the cache
            if len(self._cache) >= CACHE_MAX:
                self._cache = {}
            self._cache[token_hash] = known
        return known

    async def _recheck(self) -> None:
        """Start reading the counter, once for all who ask; wait for it only where the last reading is too old."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_counter())
        if not self._is_believed():
            await asyncio.shield(self._reading)
            if not self._is_believed():
                raise Unavailable("The database did not answer, so no token can be checked. Try again.")

    async def _read_counter(self) -> None:
        started_at = self._clock.monotonic_seconds()
        try:
            async with asyncio.timeout(BELIEVED_SECONDS):
                counter = await self._storage.change_counter()
        except (Unavailable, TimeoutError) as error:
            log.warning("tokens cannot be checked: %s", error)
            return
        if counter != self._counter:
            self._cache = {}
            self._counter = counter
        self._read_at = started_at

    def _is_believed(self) -> bool:
        return self._clock.monotonic_seconds() - self._read_at < BELIEVED_SECONDS


def _known(token: Token) -> _Known:
    principal = Principal(
        role=token.role,
        company_id=token.company_id,
        token_id=token.id,
        account_id=token.account_id,
        name=token.name,
    )
    return _Known(principal, token.expires_at)


def _bearer(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Take the token out of `Bearer <token>`, the scheme in any case (RFC 9110, 11.1).

    None where it has another form; two `Authorization` headers are as good as none.
    """
    values = [value for name, value in headers if name == b"authorization"]
    if len(values) != 1 or values[0][:7].lower() != b"bearer ":
        return None
    token = values[0][7:].strip(b" ")
    return token if token and token.isascii() else None
