"""From a host name to its addresses, within a budget and without ever holding up another name.

Judges nothing: whoever dials judges every answer. The default resolver of the platform is never used, because a few
silent names fill its threads and stall everybody (measured: six names, 10 s).
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Protocol

import pycares

from hookline.egress.addresses import Address
from hookline.egress.faults import Fault
from hookline.model import ErrorClass

DNS_SECONDS: Final = 3.0
"""The budget of one name, both families together."""
SECOND_FAMILY_SECONDS: Final = 0.5
"""Once one family has answered, so long for the other: some name servers never answer AAAA, and the wait would be paid
on each attempt (RFC 8305, 3, says 50 ms)."""
TRY_SECONDS: Final = 1.0
TRIES: Final = 2
LOOKUPS_MAX: Final = 1000
"""Names being looked up at once; as many as a node has attempts in flight, so only a misuse meets it."""
ADDRESSES_MAX: Final = 64
"""Of one name. More serves nobody, and each would have to be judged."""
CACHE_SECONDS: Final = 5.0
"""c-ares keeps answers as their TTL allows, up to an hour and without a bound on their number. So it is made to forget
all of them this long after the first: a burst to one host asks once, memory is bounded by the names of five seconds,
and a failover is followed at once."""

LOCALHOST: Final = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
"""RFC 6761, 6.3: `localhost` is never asked of a name server."""

_ABSENT: Final = frozenset({pycares.errno.ARES_ENODATA, pycares.errno.ARES_ENOTFOUND})
_SILENT: Final = frozenset({pycares.errno.ARES_ETIMEOUT, pycares.errno.ARES_ECONNREFUSED})

Answer = tuple[Address, ...] | Fault


class Resolver(Protocol):
    """Names to addresses: the network's, or a script's in tests and simulation."""

    async def resolve(self, host: str) -> Answer:
        """Return all addresses of an absolute name (at least one), or why there is none."""
        ...

    def close(self) -> None:
        """End what is under way."""
        ...


class DnsResolver:
    """Ask the name servers of this machine through c-ares.

    Names in `hosts_file_names` may also stand in the hosts file, which comes first for them. `servers`
    (`address:port`) replaces those of `/etc/resolv.conf`.
    """

    def __init__(self, *, hosts_file_names: Iterable[str] = (), servers: Sequence[str] = ()) -> None:
        self._hosts_file_names = frozenset(hosts_file_names)
        self._dns = pycares.Channel(timeout=TRY_SECONDS, tries=TRIES, servers=servers or None)
        self._hosts_file = pycares.Channel(lookups="f") if self._hosts_file_names else None
        self._lookups: dict[str, _Lookup] = {}
        self._forgetting: asyncio.TimerHandle | None = None

    async def resolve(self, host: str) -> Answer:
        if host == "localhost":
            return LOCALHOST
        lookup = self._lookups.get(host)
        if lookup is None:
            if known := self._from_hosts_file(host):
                return known
            if len(self._lookups) >= LOOKUPS_MAX:
                return Fault(ErrorClass.DNS, "Too many names are being looked up at this moment.")
            lookup = self._start(host)
        return await asyncio.shield(lookup.answer)

    def close(self) -> None:
        if self._forgetting is not None:
            self._forgetting.cancel()
        for lookup in list(self._lookups.values()):
            lookup.end()
        self._dns.close()
        if self._hosts_file is not None:
            self._hosts_file.close()

    def _start(self, host: str) -> "_Lookup":
        loop = asyncio.get_running_loop()
        if self._forgetting is None:
            self._forgetting = loop.call_later(CACHE_SECONDS, self._forget_answers)
        lookup = self._lookups[host] = _Lookup(host, loop, lambda: self._lookups.pop(host, None))
        # The dot makes the name absolute; and `query` neither adds a domain nor reads the hosts file.
        for kind in (pycares.QUERY_TYPE_A, pycares.QUERY_TYPE_AAAA):
            self._dns.query(f"{host}.", kind, callback=_in_loop(loop, lookup.receive))
        return lookup

    def _forget_answers(self) -> None:
        self._forgetting = None
        self._dns.reinit()

    def _from_hosts_file(self, host: str) -> tuple[Address, ...]:
        if self._hosts_file is None or host not in self._hosts_file_names:
            return ()
        found: list[Address] = []

        def receive(result: pycares.AddrInfoResult | None, _error: int | None) -> None:
            if result is not None:
                found.extend(ip_address(node.addr[0].decode("ascii")) for node in result.nodes)

        # Reading a file, c-ares calls back before it returns.
        self._hosts_file.getaddrinfo(host, None, callback=receive)
        return tuple(dict.fromkeys(found))


class _Lookup:
    """Both families of one name, shared by everybody who asks for it meanwhile. Lives in the loop's thread."""

    def __init__(self, host: str, loop: asyncio.AbstractEventLoop, forget: Callable[[], object]) -> None:
        self.answer: Final[asyncio.Future[Answer]] = loop.create_future()
        self._host = host
        self._loop = loop
        self._forget = forget
        self._missing = 2
        self._addresses: list[Address] = []
        self._errors: set[int] = set()
        self._end_at = loop.time() + DNS_SECONDS
        self._timer = loop.call_at(self._end_at, self.end)

    def receive(self, result: pycares.DNSResult | None, error: int | None) -> None:
        if self.answer.done():
            return
        self._missing -= 1
        if result is None:
            self._errors.add(error or 0)
        else:
            self._addresses += map(ip_address, _addresses(result))
        if self._missing == 0:
            self.end()
        elif self._addresses:
            self._timer.cancel()
            self._timer = self._loop.call_at(min(self._end_at, self._loop.time() + SECOND_FAMILY_SECONDS), self.end)

    def end(self) -> None:
        """Answer with what has arrived."""
        self._timer.cancel()
        self._forget()
        if not self.answer.done():
            self.answer.set_result(self._answer())

    def _answer(self) -> Answer:
        if len(self._addresses) > ADDRESSES_MAX:
            return Fault(ErrorClass.DNS, f"{self._host} has more than {ADDRESSES_MAX} addresses.")
        if self._addresses:
            return tuple(self._addresses)
        if self._missing or self._errors & _SILENT:
            return Fault(ErrorClass.DNS, f"No name server answered for {self._host} within {DNS_SECONDS:g} s.")
        if self._errors <= _ABSENT:
            return Fault(ErrorClass.DNS, f"{self._host} has no address.")
        return Fault(ErrorClass.DNS, f"The name servers of {self._host} gave no usable answer.")


def _addresses(result: pycares.DNSResult) -> list[str]:
    return [
        record.data.addr
        for record in result.answer
        if isinstance(record.data, pycares.ARecordData | pycares.AAAARecordData)
    ]


def _in_loop(
    loop: asyncio.AbstractEventLoop, receive: Callable[[pycares.DNSResult | None, int | None], None]
) -> Callable[[pycares.DNSResult | None, int | None], None]:
    """Carry an answer from the thread of c-ares into the loop; a loop that has ended meanwhile needs none."""

    def carry(result: pycares.DNSResult | None, error: int | None) -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(receive, result, error)

    return carry
