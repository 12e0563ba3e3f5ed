"""A way through an HTTP proxy (CONNECT, RFC 9110 9.3.6), up to the moment when the connection behind it takes over.

Opens nothing itself: `dial` connects to the proxy and names the address, which it has judged. The proxy is the
operator's, and still none of its bytes reach the connection's parser, but those that came behind its answer.
"""

import asyncio
import base64
from typing import Final, cast

from hookline.config import EgressProxy
from hookline.egress.addresses import Address
from hookline.egress.faults import PROXY_CLOSED, PROXY_REFUSED, PROXY_REFUSES_US, PROXY_UNREADABLE, Fault
from hookline.egress.http1 import HEAD_BYTES_MAX, Connection, Malformed, status_of

_HEAD_END: Final = b"\r\n\r\n"


def connect_request(proxy: EgressProxy, address: Address, port: int) -> bytes:
    """Return the request for a tunnel to an address. Pure."""
    target = f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.credential is not None:
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(proxy.credential.encode()).decode()}")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


class Tunnel(asyncio.Protocol):
    """Ask a proxy for a way to one address; once it is there, `inner` has the transport."""

    def __init__(self, request: bytes, inner: Connection) -> None:
        self.opened: Final[asyncio.Future[Fault | None]] = asyncio.get_running_loop().create_future()
        """None: `inner` is connected. Never an exception."""
        self._request = request
        self._inner = inner
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def close(self) -> None:
        """Drop the connection to the proxy, whoever has it by now."""
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(_HEAD_END)
        if not end and len(self._received) <= HEAD_BYTES_MAX:
            return
        try:
            status = status_of(head + end)
        except Malformed:
            self._end(PROXY_UNREADABLE)
            return
        if 200 <= status <= 299:
            self._hand_over(rest)
        else:
            self._end(PROXY_REFUSES_US if status in {401, 403, 407} else PROXY_REFUSED)

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self._end(PROXY_CLOSED)

    def _hand_over(self, rest: bytes) -> None:
        """Give the transport away at once, so that no byte that comes next is taken here."""
        if self._transport is None or self.opened.done():
            return
        self._transport.set_protocol(self._inner)
        self._inner.connection_made(self._transport)
        self.opened.set_result(None)
        if rest:
            self._inner.data_received(rest)

    def _end(self, fault: Fault) -> None:
        if not self.opened.done():
            self.opened.set_result(fault)
        self.close()
