"""Which addresses may be called: our own table, refusing by default. Pure.

Never ask `ipaddress.is_global`: of 96 dangerous addresses it lets 34 through. In IPv6 only the space that is handed
out to sites is open; in IPv4, where nearly all is handed out, the exceptions are listed. Sources: the registries of
special-purpose addresses at IANA, and the RFC beside each line.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Refusal(StrEnum):
    """Why an address is never called, as a noun phrase that completes "10.4.0.12 is ..."."""

    UNSPECIFIED = "an unspecified address"
    LOOPBACK = "a loopback address"
    PRIVATE = "a private address"
    LINK_LOCAL = "a link-local address"
    CARRIER = "an address inside a carrier's network"
    METADATA = "an address of a cloud's metadata service"
    MULTICAST = "a multicast address"
    DOCUMENTATION = "an address for documentation"
    RESERVED = "a reserved address"
    DISGUISED = "an IPv4 address inside IPv6"
    OWN = "an address of this service"
    DENIED = "an address that the operator has ruled out"


_V4: Final = (
    ("0.0.0.0/32", Refusal.UNSPECIFIED),  # RFC 1122, 3.2.1.3
    ("0.0.0.0/8", Refusal.RESERVED),  # RFC 791, "this network"; Linux connects some of it to itself
    ("10.0.0.0/8", Refusal.PRIVATE),  # RFC 1918
    ("100.100.100.200/32", Refusal.METADATA),  # Alibaba Cloud, inside RFC 6598
    ("100.64.0.0/10", Refusal.CARRIER),  # RFC 6598
    ("127.0.0.0/8", Refusal.LOOPBACK),  # RFC 1122, 3.2.1.3
    ("168.63.129.16/32", Refusal.METADATA),  # Azure's host service: a public address that ends inside the machine
    ("169.254.169.254/32", Refusal.METADATA),  # most clouds, inside RFC 3927
    ("169.254.0.0/16", Refusal.LINK_LOCAL),  # RFC 3927
    ("172.16.0.0/12", Refusal.PRIVATE),  # RFC 1918
    ("192.0.0.192/32", Refusal.METADATA),  # Oracle Cloud, inside RFC 6890
    ("192.0.0.0/24", Refusal.RESERVED),  # RFC 6890, IETF protocol assignments
    ("192.0.2.0/24", Refusal.DOCUMENTATION),  # RFC 5737
    ("192.31.196.0/24", Refusal.RESERVED),  # RFC 7535, AS112: a sink for private reverse DNS
    ("192.52.193.0/24", Refusal.RESERVED),  # RFC 7450, AMT
    ("192.88.99.0/24", Refusal.RESERVED),  # RFC 7526, 6to4 relays, given up
    ("192.168.0.0/16", Refusal.PRIVATE),  # RFC 1918
    ("192.175.48.0/24", Refusal.RESERVED),  # RFC 7534, AS112
    ("198.18.0.0/15", Refusal.RESERVED),  # RFC 2544, benchmarks
    ("198.51.100.0/24", Refusal.DOCUMENTATION),  # RFC 5737
    ("203.0.113.0/24", Refusal.DOCUMENTATION),  # RFC 5737
    ("224.0.0.0/4", Refusal.MULTICAST),  # RFC 5771; 233.252.0.0/24 (RFC 6676) lies inside
    ("240.0.0.0/4", Refusal.RESERVED),  # RFC 1112, 4; the limited broadcast 255.255.255.255 (RFC 919) lies inside
)

_V6: Final = (
    ("::/128", Refusal.UNSPECIFIED),  # RFC 4291, 2.5.2
    ("::1/128", Refusal.LOOPBACK),  # RFC 4291, 2.5.3
    ("::ffff:0:0/96", Refusal.DISGUISED),  # RFC 4291, 2.5.5.2, IPv4-mapped
    ("::ffff:0:0:0/96", Refusal.DISGUISED),  # RFC 2765, 2.1, IPv4-translated
    ("::/96", Refusal.DISGUISED),  # RFC 4291, 2.5.5.1, IPv4-compatible
    ("64:ff9b:1::/48", Refusal.DISGUISED),  # RFC 8215, NAT64 for local use
    ("100::/64", Refusal.RESERVED),  # RFC 6666, discard only
    ("100:0:0:1::/64", Refusal.RESERVED),  # RFC 9780, dummy prefix
    ("2001::/32", Refusal.DISGUISED),  # RFC 4380, Teredo
    ("2001:db8::/32", Refusal.DOCUMENTATION),  # RFC 3849
    ("2001::/23", Refusal.RESERVED),  # RFC 2928, protocol assignments: benchmarks, AMT, AS112, ORCHID, DET
    ("2002::/16", Refusal.DISGUISED),  # RFC 3056, 6to4
    ("2620:4f:8000::/48", Refusal.RESERVED),  # RFC 7534, AS112
    ("3ffe::/16", Refusal.RESERVED),  # RFC 3701, 6bone, returned
    ("3fff::/20", Refusal.DOCUMENTATION),  # RFC 9637
    ("5f00::/16", Refusal.RESERVED),  # RFC 9602, SRv6 segments
    ("fd00:ec2::254/128", Refusal.METADATA),  # AWS, inside RFC 4193
    ("fd20:ce::254/128", Refusal.METADATA),  # Google Cloud, inside RFC 4193
    ("fc00::/7", Refusal.PRIVATE),  # RFC 4193
    ("fe80::/10", Refusal.LINK_LOCAL),  # RFC 4291, 2.5.6
    ("fec0::/10", Refusal.PRIVATE),  # RFC 3879, site-local, given up
    ("ff00::/8", Refusal.MULTICAST),  # RFC 4291, 2.7
)

_V6_OPEN: Final = (
    "2000::/3",  # RFC 4291, 2.4: all that is handed out for global unicast
    "64:ff9b::/96",  # RFC 6052, NAT64: leads to the IPv4 address inside, which is judged as well
)

Span = tuple[int, int, Refusal]


def _spans(table: Sequence[tuple[str, Refusal]], network: type[IPv4Network] | type[IPv6Network]) -> tuple[Span, ...]:
    """Lay the table out as number ranges, the first match winning, so that an address costs no object per line."""
    networks = [(network(text), refusal) for text, refusal in table]
    return tuple((int(each[0]), int(each[-1]), refusal) for each, refusal in networks)


_V4_SPANS: Final = _spans(_V4, IPv4Network)
_V6_SPANS: Final = _spans(_V6, IPv6Network)
_V6_OPEN_SPANS: Final = tuple((int(network[0]), int(network[-1])) for network in map(IPv6Network, _V6_OPEN))


def classify(address: Address) -> Refusal | None:
    """Judge an address by the table alone, and every IPv4 address it carries; None: it may be called."""
    return _first(_by_table(each) for each in _faces(address))


def judge(
    address: Address,
    *,
    allow: Sequence[Network] = (),
    deny: Sequence[Network] = (),
    allow_loopback: bool = False,
    nat64_prefix: IPv6Network | None = None,
) -> Refusal | None:
    """Judge an address by the operator's lists and the table: deny beats allow beats table.

    An IPv4 address inside an IPv6 one is judged as well: what leads to a refused address is refused, however it is
    written, and to allow the outside does not allow the inside. Behind the network's own `nat64_prefix` stands the
    IPv4 address inside and nothing else: the outside is only denied by name.
    """
    inside = translated(address, nat64_prefix) if nat64_prefix is not None and address in nat64_prefix else None
    faces = _faces(address) if inside is None else (address, inside)
    if any(each in network for each in faces for network in deny):
        return Refusal.DENIED
    judged = faces if inside is None else (inside,)
    refused = [each for each in judged if not any(each in network for network in allow)]
    refusal = _first(_by_table(each) for each in refused)
    return None if refusal is Refusal.LOOPBACK and allow_loopback and len(faces) == 1 else refusal


def embedded(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses that an IPv6 address carries, in every form that some machine unpacks."""
    number = int(address)
    low = number & 0xFFFF_FFFF
    top_96 = number >> 32
    # In the low 32 bits: IPv4-compatible, -mapped, -translated, NAT64, ISATAP
    is_compatible = top_96 == 0 and low > 1  # :: and ::1 are themselves
    if is_compatible or top_96 in {0xFFFF, 0xFFFF_0000, 0x64_FF9B << 64} or _is_isatap(number):
        return (IPv4Address(low),)
    if number >> 80 == 0x64_FF9B_0001:  # local NAT64: RFC 6052, 2.2 places it by the length of the prefix, /48 or /96
        return tuple(IPv4Address(each) for each in ((number >> 64 & 0xFFFF) << 16 | number >> 40 & 0xFFFF, low) if each)
    if number >> 112 == 0x2002:  # 6to4
        return (IPv4Address(number >> 80 & 0xFFFF_FFFF),)
    if number >> 96 == 0x2001_0000:  # Teredo: the server, and the client with all bits turned over
        return (IPv4Address(number >> 64 & 0xFFFF_FFFF), IPv4Address(low ^ 0xFFFF_FFFF))
    return ()


def translated(address: Address, prefix: IPv6Network) -> IPv4Address:
    """Return the IPv4 address that NAT64 under `prefix` leads to: RFC 6052, 2.2, which leaves bits 64 to 71 out."""
    number = int(address)
    if prefix.prefixlen == 96:
        return IPv4Address(number & 0xFFFF_FFFF)
    without_gap = (number >> 64) << 56 | number & (1 << 56) - 1
    return IPv4Address(without_gap >> (88 - prefix.prefixlen) & 0xFFFF_FFFF)


def _faces(address: Address) -> tuple[Address, ...]:
    return (address, *embedded(address)) if isinstance(address, IPv6Address) else (address,)


def _by_table(address: Address) -> Refusal | None:
    number = int(address)
    if isinstance(address, IPv4Address):
        return _within(number, _V4_SPANS)
    if refusal := _within(number, _V6_SPANS):
        return refusal
    if _is_isatap(number):
        return Refusal.DISGUISED
    is_open = any(first <= number <= last for first, last in _V6_OPEN_SPANS)
    return None if is_open and address.scope_id is None else Refusal.RESERVED


def _is_isatap(number: int) -> bool:
    """RFC 5214, 6.1: the interface part is 0000:5efe or 0200:5efe, then the IPv4 address."""
    return number >> 32 & 0xFDFF_FFFF == 0x5EFE


def _within(number: int, spans: tuple[Span, ...]) -> Refusal | None:
    for first, last, refusal in spans:
        if first <= number <= last:
            return refusal
    return None


def _first(refusals: Iterable[Refusal | None]) -> Refusal | None:
    return next((refusal for refusal in refusals if refusal), None)
