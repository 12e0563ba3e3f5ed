"""From a parsed URL to an open connection: look up, judge every answer, connect, prove who it is.

The only place that opens sockets. Connects to judged addresses and to nothing else, or has the operator's proxy connect
to them; a name never reaches `connect`, nor the proxy.
"""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from hookline.clock import Clock
from hookline.config import EgressProxy
from hookline.egress import faults
from hookline.egress.addresses import Address
from hookline.egress.faults import BLOCKED, NO_ROUTE, NO_ROUTE_NUMBERS, PROXY_UNREACHED, Fault
from hookline.egress.http1 import Connection
from hookline.egress.resolver import Resolver
from hookline.egress.tunnel import Tunnel, connect_request
from hookline.egress.url import CallbackUrl, UrlRules, judge_destination
from hookline.model import Timings

CONNECT_SECONDS: Final = 5.0
"""For one address."""
TLS_SECONDS: Final = 5.0
ADDRESSES_TRIED_MAX: Final = 2

NUMERIC_ONLY: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
"""Even a bug must not make the platform look a name up."""


class Dialled(Struct, frozen=True):
    """An open connection, verified where it is TLS, and what opening it took."""

    connection: Connection
    dns_ms: int | None
    connect_ms: int
    tls_ms: int | None


class Undialled(Struct, frozen=True):
    """No connection, and how far it came."""

    fault: Fault
    timings: Timings


class Dialler:
    """Open connections under the rules, through the proxy where there is one."""

    def __init__(self, *, resolver: Resolver, rules: UrlRules, clock: Clock, proxy: EgressProxy | None = None) -> None:
        self._resolver = resolver
        self._rules = rules
        self._clock = clock
        self._proxy = proxy

    async def dial(
        self, url: CallbackUrl, trust: ssl.SSLContext, *, deadline: float, timeout_seconds: float
    ) -> Dialled | Undialled:
        """Open a connection by `deadline` (loop time), or tell why there is none. Never raises."""
        steps = _Steps(self._clock)
        try:
            async with asyncio.timeout_at(deadline):
                opened = await self._open(url, trust, steps)
        except TimeoutError:
            opened = faults.unconnected(timeout_seconds)
        if isinstance(opened, Connection):
            return Dialled(opened, steps.dns_ms, steps.connect_ms or 0, steps.tls_ms)
        if opened is BLOCKED:
            return Undialled(opened, Timings())  # how fast it was refused would tell what is inside
        return Undialled(opened, Timings(dns_ms=steps.dns_ms, connect_ms=steps.connect_ms, tls_ms=steps.tls_ms))

    async def _open(self, url: CallbackUrl, trust: ssl.SSLContext, steps: "_Steps") -> Connection | Fault:
        addresses = await self._addresses(url, steps)
        if isinstance(addresses, Fault):
            return addresses
        connection = await self._connect(addresses, url.port)
        steps.connect_ms = steps.lap_ms()
        if isinstance(connection, Fault) or url.scheme == "http":
            return connection
        secured = await _secure(connection, url, trust)
        steps.tls_ms = steps.lap_ms()
        return secured

    async def _addresses(self, url: CallbackUrl, steps: "_Steps") -> Sequence[Address] | Fault:
        if url.address is not None:
            answer: Sequence[Address] | Fault = (url.address,)
        else:
            answer = await self._resolver.resolve(url.host)
            steps.dns_ms = steps.lap_ms()
        if isinstance(answer, Fault) or all(self._may_call(address, url.port) for address in answer):
            return answer
        return BLOCKED

    def _may_call(self, address: Address, port: int) -> bool:
        if judge_destination(address, port, self._rules) is not None:
            return False
        is_ours = self._rules.listens_everywhere and port == self._rules.own_port and _is_of_this_machine(address)
        return not is_ours

    async def _connect(self, addresses: Sequence[Address], port: int) -> Connection | Fault:
        """Try two addresses, one of each family where both exist; a family that has no route does not count."""
        waiting = _in_order(addresses)
        fault = NO_ROUTE
        tried = 0
        while waiting and tried < ADDRESSES_TRIED_MAX:
            address = waiting.pop(0)
            result = await self._connect_to(address, port)
            if isinstance(result, Connection):
                return result
            if result is NO_ROUTE:
                waiting = [each for each in waiting if each.version != address.version]
                continue
            fault = result
            tried += 1
        return fault

    async def _connect_to(self, address: Address, port: int) -> Connection | Fault:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if self._proxy is not None:
                    return await self._connect_through(self._proxy, address, port)
                _, connection = await loop.create_connection(
                    lambda: Connection(self._clock), str(address), port, flags=NUMERIC_ONLY
                )
                return connection
        except TimeoutError:
            return faults.connect_slow(CONNECT_SECONDS)
        except OSError as error:
            return NO_ROUTE if error.errno in NO_ROUTE_NUMBERS else faults.connect_failed(error)

    async def _connect_through(self, proxy: EgressProxy, address: Address, port: int) -> Connection | Fault:
        """Have the proxy connect to an address; where the proxy itself is, is the operator's word and not judged."""
        connection = Connection(self._clock)
        tunnel = await self._reach(proxy, connect_request(proxy, address, port), connection)
        if isinstance(tunnel, Fault):
            return tunnel
        fault: Fault | None = PROXY_UNREACHED
        try:
            fault = await tunnel.opened
        finally:
            if fault is not None:
                tunnel.close()
        return fault or connection

    async def _reach(self, proxy: EgressProxy, request: bytes, inner: Connection) -> Tunnel | Fault:
        found = (proxy.address,) if proxy.address is not None else await self._resolver.resolve(proxy.host)
        addresses = () if isinstance(found, Fault) else _in_order(found)[:ADDRESSES_TRIED_MAX]
        for address in addresses:
            try:
                _, tunnel = await asyncio.get_running_loop().create_connection(
                    lambda: Tunnel(request, inner), str(address), proxy.port, flags=NUMERIC_ONLY
                )
            except OSError:
                continue
            return tunnel
        return PROXY_UNREACHED


async def _secure(connection: Connection, url: CallbackUrl, trust: ssl.SSLContext) -> Connection | Fault:
    is_secure = False
    try:
        async with asyncio.timeout(TLS_SECONDS):
            await connection.start_tls(trust, url.host)
            is_secure = True
    except TimeoutError:
        return faults.tls_slow(TLS_SECONDS)
    except OSError as error:
        return faults.tls_failed(error, url.host, url.port)
    finally:
        if not is_secure:
            connection.close()
    return connection


class _Steps:
    """The time of each step so far; None for one that was not reached."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begun_at = clock.monotonic_seconds()
        self.dns_ms: int | None = None
        self.connect_ms: int | None = None
        self.tls_ms: int | None = None

    def lap_ms(self) -> int:
        """Return the milliseconds since the last lap and begin the next."""
        begun_at, self._begun_at = self._begun_at, self._clock.monotonic_seconds()
        return int((self._begun_at - begun_at) * 1000)


def _in_order(addresses: Sequence[Address]) -> list[Address]:
    """Alternate between the families, IPv4 first: a broken IPv6 path is far commoner, and costs 5 s on each attempt."""
    places: dict[int, int] = {}
    order: list[tuple[int, int, Address]] = []
    for address in dict.fromkeys(addresses):
        place = places[address.version] = places.get(address.version, -1) + 1
        order.append((place, address.version, address))
    return [address for _, _, address in sorted(order, key=lambda each: each[:2])]


def _is_of_this_machine(address: Address) -> bool:
    """Tell whether what is sent to `address` stays on this machine.

    Connecting a datagram socket sends nothing, and the kernel picks as source of its own address that address itself.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))
        except OSError:
            return False
        return bool(probe.getsockname()[0] == str(address))
