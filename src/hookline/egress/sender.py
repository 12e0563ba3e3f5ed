"""One attempt: one request out, one `Outcome` back. The receiver's and the network's faults are values.

Never sends a request twice, follows no redirect, keeps no cookie, reads no proxy setting of the machine's.
"""

import asyncio
import re
import ssl
from collections.abc import Collection
from typing import Final

from msgspec import Struct

from hookline.clock import Clock
from hookline.config import EgressProxy
from hookline.credentials import Trust
from hookline.egress.dial import Dialled, Dialler
from hookline.egress.faults import BLOCKED, Fault
from hookline.egress.http1 import Connection, Response
from hookline.egress.pool import IDLE_CONNECTIONS_MAX, Key, Pool
from hookline.egress.resolver import Resolver
from hookline.egress.tls import Contexts
from hookline.egress.url import CallbackUrl, UrlRules
from hookline.model import Answered, ClientAuthentication, Failed, Outcome, Timings

HIDDEN: Final = "hidden"
"""Shown in place of a credential or of a header value that a company set."""

_RETRY_AFTER: Final = re.compile(rb"\r\nretry-after:[ \t]*([^\r]*)", re.IGNORECASE)


class Grant(Struct, frozen=True, kw_only=True):
    """What an access token is asked for with; the token is good for one subscription."""

    subscription_id: int
    revision: int
    token_url: CallbackUrl
    client_id: str
    client_secret: str
    authentication: ClientAuthentication
    scope: str | None


class Call(Struct, frozen=True, kw_only=True):
    """A request to make. Host, Content-Length, Accept-Encoding and Connection are added by us."""

    company_id: int
    """Connections are never shared between companies."""
    url: CallbackUrl
    headers: tuple[tuple[str, str], ...]
    body: bytes
    timeout_seconds: float
    """One deadline over name, connection, TLS, request and response head."""
    method: str = "POST"
    trust: Trust | None = None
    """For the TLS of this callback alone; None: as the installation does it."""
    grant: Grant | None = None
    """Set where the request lacks an `Authorization` that is a token yet to be had (`oauth`)."""
    spent_seconds: float = 0.0
    """Of the deadline, already used up for a token."""


def request_head(call: Call, hidden_names: Collection[str] = frozenset()) -> bytes:
    """Return the head of the request as it is sent; values of `hidden_names` (lower case) read `hidden`. Pure.

    So does a token that is still to be had.

    Raises `ValueError` where a header would break out of its line or is not visible ASCII: our bug, for whatever comes
    from people is checked where it comes in.
    """
    if hidden_names:
        fields = "".join(
            f"{name}: {HIDDEN if name.lower() in hidden_names else value}\r\n" for name, value in call.headers
        )
    else:
        fields = "".join([f"{name}: {value}\r\n" for name, value in call.headers])
    if call.grant is not None:
        fields += f"Authorization: {HIDDEN}\r\n"
    url = call.url
    head = (
        f"{call.method} {url.target} HTTP/1.1\r\nHost: {url.authority}\r\n{fields}Content-Length: {len(call.body)}\r\n"
        "Accept-Encoding: identity\r\nConnection: keep-alive\r\n\r\n"
    )
    lines = len(call.headers) + (6 if call.grant is None else 7)
    if head.count("\n") != lines or head.count("\r") != lines or "\0" in head or not head.isascii():
        raise ValueError("a request header contains a line break, a NUL or a character outside ASCII")
    return head.encode("ascii")


class Sender:
    """The client of all receivers. Make and use it inside one event loop."""

    def __init__(
        self,
        *,
        resolver: Resolver,
        rules: UrlRules,
        clock: Clock,
        trust: ssl.SSLContext,
        idle_connections_max: int = IDLE_CONNECTIONS_MAX,
        proxy: EgressProxy | None = None,
        ca_file: str | None = None,
    ) -> None:
        """`trust` is the installation's TLS, made with the authorities in `ca_file`."""
        self._resolver = resolver
        self._clock = clock
        self._contexts = Contexts(trust, ca_file)
        self._dialler = Dialler(resolver=resolver, rules=rules, clock=clock, proxy=proxy)
        self._pool = Pool(clock, idle_connections_max=idle_connections_max)

    async def send(self, call: Call) -> Outcome:
        """Make one attempt and return what it came to.

        At most one request is written, whatever happens. Cancelled, it drops its connection.
        """
        begun_at = self._clock.monotonic_seconds() - call.spent_seconds
        deadline = asyncio.get_running_loop().time() + call.timeout_seconds - call.spent_seconds
        head = request_head(call)
        url = call.url
        key = (call.company_id, url.scheme, url.host, url.port, call.trust)
        connection = self._pool.take(key)
        dialled: Dialled | None = None
        if connection is None:
            trust = await self._contexts.of(call.trust)
            if isinstance(trust, Fault):
                return self._failed(trust, begun_at, Timings())
            opened = await self._dialler.dial(url, trust, deadline=deadline, timeout_seconds=call.timeout_seconds)
            if not isinstance(opened, Dialled):
                return self._failed(opened.fault, begun_at, opened.timings)
            dialled, connection = opened, opened.connection
        answer = await self._exchange(connection, key, head, call, deadline)
        if isinstance(answer, Fault):
            return self._failed(answer, begun_at, _timings(dialled, None))
        return _answered(answer, begun_at, dialled)

    @property
    def idle_connections(self) -> int:
        """How many connections are kept for a next request."""
        return len(self._pool)

    async def close(self) -> None:
        """Close idle connections and end look-ups. Attempts under way are their callers' to cancel."""
        self._pool.close()
        self._resolver.close()

    async def _exchange(
        self, connection: Connection, key: Key, head: bytes, call: Call, deadline: float
    ) -> Response | Fault:
        try:
            return await connection.exchange(head, call.body, deadline=deadline, timeout_seconds=call.timeout_seconds)
        finally:
            if connection.is_idle:
                self._pool.give(key, connection)
            else:
                connection.close()

    def _failed(self, fault: Fault, begun_at: float, timings: Timings) -> Failed:
        is_blocked = fault is BLOCKED
        duration_ms = 0 if is_blocked else int((self._clock.monotonic_seconds() - begun_at) * 1000)
        return Failed(error=fault.error, detail=fault.detail, duration_ms=duration_ms, timings=timings)


def _answered(response: Response, begun_at: float, dialled: Dialled | None) -> Answered:
    return Answered(
        status=response.status,
        duration_ms=int((response.head_at - begun_at) * 1000),
        timings=_timings(dialled, int((response.head_at - response.written_at) * 1000)),
        head=response.head,
        body=response.body,
        retry_after=_retry_after(response.head) if response.status >= 300 else None,
    )


def _timings(dialled: Dialled | None, wait_ms: int | None) -> Timings:
    if dialled is None:
        return Timings(wait_ms=wait_ms)
    return Timings(dns_ms=dialled.dns_ms, connect_ms=dialled.connect_ms, tls_ms=dialled.tls_ms, wait_ms=wait_ms)


def _retry_after(head: bytes) -> str | None:
    found = _RETRY_AFTER.search(head)
    return found[1].strip().decode("latin-1") if found else None
