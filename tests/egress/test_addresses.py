"""Every dangerous address in every form, and the near misses beside it."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import pytest

from hookline.egress.addresses import Refusal, classify, embedded, judge, translated

DANGEROUS = {
    Refusal.UNSPECIFIED: "0.0.0.0 ::",
    Refusal.LOOPBACK: """
        127.0.0.1 127.0.0.0 127.1.2.3 127.255.255.255 ::1 64:ff9b::127.0.0.1 64:ff9b::7f01:203
    """,
    Refusal.PRIVATE: """
        10.0.0.0 10.4.0.12 10.255.255.255 172.16.0.0 172.20.1.1 172.31.255.255 192.168.0.0 192.168.255.255 fc00::
        fc00::1 fd12:3456:789a::1 fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff fec0:: fec0::1 feff:ffff::1
        64:ff9b::10.0.0.1 64:ff9b::192.168.0.1 64:ff9b::ac10:1
    """,
    Refusal.LINK_LOCAL: """
        169.254.0.0 169.254.1.1 169.254.255.255 fe80:: fe80::1 febf:ffff::1 64:ff9b::169.254.1.1
    """,
    Refusal.CARRIER: "100.64.0.0 100.64.0.1 100.127.255.255 64:ff9b::100.64.0.1",
    Refusal.METADATA: """
        169.254.169.254 100.100.100.200 168.63.129.16 192.0.0.192 fd00:ec2::254 fd20:ce::254
        64:ff9b::169.254.169.254 64:ff9b::168.63.129.16
    """,
    Refusal.MULTICAST: """
        224.0.0.0 224.0.0.1 233.252.0.1 239.255.255.255 ff00:: ff02::1 ff05::2 ff0e::1 ffff:: 64:ff9b::e000:1
    """,
    Refusal.DOCUMENTATION: """
        192.0.2.0 192.0.2.255 198.51.100.7 203.0.113.255 2001:db8:: 2001:db8:ffff::1 3fff:: 3fff:fff::1
        64:ff9b::192.0.2.1
    """,
    Refusal.RESERVED: """
        0.0.0.1 0.255.255.255 192.0.0.0 192.0.0.1 192.0.0.8 192.0.0.9 192.0.0.10 192.0.0.170 192.0.0.171 192.0.0.255
        192.31.196.1 192.52.193.1 192.88.99.1 192.88.99.2 192.175.48.1 198.18.0.0 198.18.0.1 198.19.255.255
        240.0.0.1 250.1.2.3 255.255.255.254 255.255.255.255 100:: 100::1 100:0:0:1::1 2001:1::1 2001:1::2 2001:1::3
        2001:2::1 2001:3::1 2001:4:112::1 2001:10::1 2001:20::1 2001:30::1 2001:1ff:ffff::1 2620:4f:8000::1 3ffe::1
        5f00::1 4000::1 6000::1 8000::1 a000::1 c000::1 e000::1 f000::1 fe00::1 0:1::1 200::1 400::1 1000::1
        1fff:ffff::1 64:ff9a::1 64:ff9b:0:0:0:1:808:808 64:ff9b:2::1 64:ff9b::255.255.255.255
    """,
    Refusal.DISGUISED: """
        ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1 ::127.0.0.1
        ::8.8.8.8 ::2 ::10.0.0.1 64:ff9b:1::1 64:ff9b:1::127.0.0.1 64:ff9b:1:7f00:0:100:: 2002:7f00:1::
        2002:a00:1::1 2002:c0a8:1:: 2002:a9fe:a9fe::1 2002:808:808::1 2001:0:7f00:1:: 2001::1
        2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:0:808:808::80ff:fffe 2a00:1450::5efe:10.0.0.1
        2a00:1450::200:5efe:127.0.0.1 2a00:1450::5efe:8.8.8.8
    """,
}
CASES = [(text, refusal) for refusal, texts in DANGEROUS.items() for text in texts.split()]

PUBLIC = """
    1.0.0.0 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
    168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0
    192.0.3.0 192.31.195.255 192.31.197.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 198.17.255.255
    198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255 2000::1 2001:200::1
    2001:db7:ffff::1 2001:db9::1 2003::1 2606:4700:4700::1111 2620:4f:7fff::1 2620:4f:8001::1 2a00:1450:4001::200e
    3ffd::1 3fff:1000::1 64:ff9b::8.8.8.8 2a00:1450::5eff:808:808 2a00:1450::100:5efe:808:808
"""


@pytest.mark.parametrize(("text", "refusal"), CASES)
def test_dangerous_address_is_refused(text: str, refusal: Refusal) -> None:
    assert classify(ip_address(text)) is refusal
    assert judge(ip_address(text)) is refusal


@pytest.mark.parametrize("text", PUBLIC.split())
def test_public_address_is_open(text: str) -> None:
    assert classify(ip_address(text)) is None
    assert judge(ip_address(text), allow_loopback=True) is None


def test_the_platforms_own_judgement_would_let_dangerous_addresses_through() -> None:
    """Why this table exists: should the platform ever catch up, this says so."""
    let_through = [text for text, _ in CASES if ip_address(text).is_global]
    assert len(CASES) >= 96
    assert len(let_through) >= 30


def test_scoped_address_is_refused_even_in_open_space() -> None:
    assert classify(IPv6Address("2606:4700::1%eth0")) is Refusal.RESERVED


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("::ffff:1.2.3.4", ["1.2.3.4"]),
        ("::ffff:0:1.2.3.4", ["1.2.3.4"]),
        ("::1.2.3.4", ["1.2.3.4"]),
        ("64:ff9b::1.2.3.4", ["1.2.3.4"]),
        ("64:ff9b:1:102:3:400::", ["1.2.3.4"]),
        ("64:ff9b:1::1.2.3.4", ["1.2.3.4"]),
        ("64:ff9b:1:102:3:400:506:708", ["1.2.3.4", "5.6.7.8"]),
        ("2002:102:304::9", ["1.2.3.4"]),
        ("2001:0:102:304:8000:1:fafb:fcfd", ["1.2.3.4", "5.4.3.2"]),
        ("2a00::5efe:1.2.3.4", ["1.2.3.4"]),
        ("2a00::200:5efe:1.2.3.4", ["1.2.3.4"]),
        ("::", []),
        ("::1", []),
        ("2a00::102:304", []),
    ],
)
def test_embedded_addresses_are_found(text: str, inside: list[str]) -> None:
    assert embedded(IPv6Address(text)) == tuple(map(IPv4Address, inside))


def test_deny_beats_allow_beats_table() -> None:
    address = ip_address("10.1.2.3")
    network, host = ip_network("10.0.0.0/8"), ip_network("10.1.2.3/32")
    assert judge(address) is Refusal.PRIVATE
    assert judge(address, allow=[network]) is None
    assert judge(address, allow=[network], deny=[host]) is Refusal.DENIED
    assert judge(ip_address("10.1.2.4"), allow=[network], deny=[host]) is None
    assert judge(ip_address("8.8.8.8"), deny=[ip_network("8.0.0.0/8")]) is Refusal.DENIED


def test_development_opens_loopback_and_nothing_else() -> None:
    for text in ("127.0.0.1", "127.9.9.9", "::1"):
        assert judge(ip_address(text), allow_loopback=True) is None
        assert judge(ip_address(text), allow_loopback=True, deny=[ip_network(text)]) is Refusal.DENIED
    for text in ("10.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "2002:7f00:1::"):
        assert judge(ip_address(text), allow_loopback=True) is not None


def test_allowing_the_outside_does_not_allow_the_address_inside() -> None:
    nat64 = ip_network("64:ff9b:1::/48")
    assert judge(ip_address("64:ff9b:1::8.8.8.8"), allow=[nat64]) is None
    assert judge(ip_address("64:ff9b:1::10.0.0.1"), allow=[nat64]) is Refusal.PRIVATE
    assert judge(ip_address("64:ff9b:1:a00:0:100::"), allow=[nat64]) is Refusal.PRIVATE
    assert judge(ip_address("64:ff9b::10.0.0.1"), allow=[ip_network("64:ff9b::/96")]) is Refusal.PRIVATE
    assert judge(ip_address("64:ff9b::10.0.0.1"), allow=[ip_network("10.0.0.0/8")]) is None
    assert judge(ip_address("::ffff:10.0.0.1"), allow=[ip_network("10.0.0.0/8")]) is Refusal.DISGUISED


def test_denying_an_address_denies_it_inside_another() -> None:
    assert judge(ip_address("64:ff9b::8.8.8.8"), deny=[ip_network("8.8.8.8/32")]) is Refusal.DENIED


@pytest.mark.parametrize(
    ("prefix", "text"),  # the examples of RFC 6052, 2.4
    [
        ("2001:db8::/32", "2001:db8:c000:221::"),
        ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
        ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
        ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
        ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
    ],
)
def test_translated_address_is_found_by_the_length_of_the_prefix(prefix: str, text: str) -> None:
    assert translated(ip_address(text), IPv6Network(prefix)) == IPv4Address("192.0.2.33")
    assert judge(ip_address(text), nat64_prefix=IPv6Network(prefix)) is Refusal.DOCUMENTATION


@pytest.mark.parametrize("prefix", ["2a00:64::/96", "64:ff9b:1:fffe::/96", "fd00:64::/96"])
def test_behind_the_networks_own_prefix_the_inside_alone_is_judged(prefix: str) -> None:
    own = IPv6Network(prefix)

    def judged(inside: str, *, deny: Sequence[str] = (), allow: Sequence[str] = ()) -> Refusal | None:
        return judge(
            own[int(IPv4Address(inside))],
            nat64_prefix=own,
            allow_loopback=True,
            allow=[ip_network(each) for each in allow],
            deny=[ip_network(each) for each in deny],
        )

    assert judged("8.8.8.8") is None
    assert judged("10.0.0.1") is Refusal.PRIVATE
    assert judged("127.0.0.1") is Refusal.LOOPBACK
    assert judged("169.254.169.254") is Refusal.METADATA
    assert judged("10.0.0.1", allow=["10.0.0.0/8"]) is None
    assert judged("10.0.0.1", allow=[prefix]) is Refusal.PRIVATE
    assert judged("8.8.8.8", deny=["8.8.8.8/32"]) is Refusal.DENIED
    assert judged("8.8.8.8", deny=[prefix]) is Refusal.DENIED


def test_other_addresses_are_judged_as_without_a_prefix() -> None:
    for text, refusal in CASES:
        assert judge(ip_address(text), nat64_prefix=IPv6Network("2a00:64::/96")) is refusal
