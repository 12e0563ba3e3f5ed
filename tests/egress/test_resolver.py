"""Names, against a scripted name server on a loopback socket."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from receivers import LOOPS, descriptors, until

from hookline.egress import resolver
from hookline.egress.addresses import Address
from hookline.egress.faults import Fault
from hookline.egress.resolver import LOCALHOST, Answer, DnsResolver
from hookline.model import ErrorClass

A, AAAA, CNAME = 1, 28, 5
NXDOMAIN, SERVFAIL, NOERROR = 3, 2, 0
Zone = dict[tuple[str, int], list[str] | int | None]
"""Answers by name and type: addresses, an error code, or None for silence. Absent: no such name."""


class NameServer(asyncio.DatagramProtocol):
    """Answers queries from a zone and remembers them. RFC 1035, 4.1."""

    def __init__(self, zone: Zone) -> None:
        self.asked: list[tuple[str, int]] = []
        self._zone = zone
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, sender: Any) -> None:
        labels, at = [], 12
        while length := data[at]:
            labels.append(data[at + 1 : at + 1 + length].decode())
            at += length + 1
        kind = int.from_bytes(data[at + 1 : at + 3], "big")
        question = (".".join(labels).lower(), kind)
        self.asked.append(question)
        found = self._zone.get(question, NXDOMAIN)
        if found is None:
            return
        code, texts = (found, []) if isinstance(found, int) else (NOERROR, found)
        records = b"".join(
            b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 300, len(packed)) + packed
            for packed in (ip_address(text).packed for text in texts)
        )
        header = data[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(texts), 0, 0)
        self._transport.sendto(header + data[12 : at + 5] + records, sender)


@asynccontextmanager
async def name_server(zone: Zone, **settings: Any) -> AsyncIterator[tuple[DnsResolver, NameServer]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(zone), local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    before = descriptors()
    asking = DnsResolver(servers=[f"127.0.0.1:{port}"], **settings)
    try:
        yield asking, server
    finally:
        asking.close()
        await until(lambda: descriptors() == before)
        transport.close()


def resolved(zone: Zone, host: str, **settings: Any) -> Answer:
    async def scenario() -> Answer:
        async with name_server(zone, **settings) as (asking, _):
            return await asking.resolve(host)

    answer: Answer = LOOPS["uvloop"](scenario())
    return answer


def addresses(*texts: str) -> set[Address]:
    return set(map(ip_address, texts))


def failure(answer: Answer) -> str:
    assert isinstance(answer, Fault), answer
    assert answer.error is ErrorClass.DNS
    return answer.detail


@pytest.mark.parametrize("loop", LOOPS)
def test_all_addresses_of_both_families_are_returned(loop: str) -> None:
    async def scenario() -> None:
        zone: Zone = {("api.example.com", A): ["8.8.8.8", "10.0.0.1"], ("api.example.com", AAAA): ["2a00::1", "::1"]}
        async with name_server(zone) as (asking, server):
            answer = await asking.resolve("api.example.com")
            assert set(answer if isinstance(answer, tuple) else ()) == addresses(
                "8.8.8.8", "10.0.0.1", "2a00::1", "::1"
            )
            assert sorted(server.asked) == [("api.example.com", A), ("api.example.com", AAAA)]

    LOOPS[loop](scenario())


def test_name_with_one_family_has_its_addresses() -> None:
    assert resolved({("a.example", A): ["8.8.8.8"], ("a.example", AAAA): []}, "a.example") == (ip_address("8.8.8.8"),)
    assert resolved({("a.example", A): [], ("a.example", AAAA): ["2a00::1"]}, "a.example") == (ip_address("2a00::1"),)
    assert resolved({("a.example", A): ["8.8.8.8"], ("a.example", AAAA): SERVFAIL}, "a.example") == (
        ip_address("8.8.8.8"),
    )


def test_name_is_asked_as_absolute_and_nothing_is_appended() -> None:
    async def scenario() -> None:
        async with name_server({}) as (asking, server):
            assert failure(await asking.resolve("absent.example")) == "absent.example has no address."
            assert {name for name, _ in server.asked} == {"absent.example"}

    LOOPS["uvloop"](scenario())


def test_name_without_records_has_no_address() -> None:
    assert (
        failure(resolved({("a.example", A): [], ("a.example", AAAA): []}, "a.example")) == "a.example has no address."
    )


def test_broken_name_servers_are_told_apart_from_an_absent_name() -> None:
    zone: Zone = {("a.example", A): SERVFAIL, ("a.example", AAAA): SERVFAIL}
    assert failure(resolved(zone, "a.example")) == "The name servers of a.example gave no usable answer."


def test_silent_name_ends_at_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "DNS_SECONDS", 0.1)
    zone: Zone = {("a.example", A): None, ("a.example", AAAA): None}
    assert failure(resolved(zone, "a.example")) == "No name server answered for a.example within 0.1 s."


def test_silent_family_does_not_hold_up_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "SECOND_FAMILY_SECONDS", 0.05)
    zone: Zone = {("a.example", A): ["8.8.8.8"], ("a.example", AAAA): None}
    assert resolved(zone, "a.example") == (ip_address("8.8.8.8"),)


def test_silent_names_hold_up_nobody() -> None:
    async def scenario() -> None:
        zone: Zone = {(f"silent-{number}.example", kind): None for number in range(60) for kind in (A, AAAA)}
        zone |= {("a.example", A): ["8.8.8.8"], ("a.example", AAAA): []}
        async with name_server(zone) as (asking, _):
            waiting = [asyncio.create_task(asking.resolve(f"silent-{number}.example")) for number in range(60)]
            await asyncio.sleep(0)
            assert await asking.resolve("a.example") == (ip_address("8.8.8.8"),)
            assert not any(each.done() for each in waiting)
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    LOOPS["uvloop"](scenario())


def test_burst_to_one_name_asks_once_and_one_who_leaves_disturbs_nobody() -> None:
    async def scenario() -> None:
        zone: Zone = {("a.example", A): ["8.8.8.8"], ("a.example", AAAA): []}
        async with name_server(zone) as (asking, server):
            tasks = [asyncio.create_task(asking.resolve("a.example")) for _ in range(50)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(answers[0], asyncio.CancelledError)
            assert answers[1:] == [(ip_address("8.8.8.8"),)] * 49
            assert len(server.asked) == 2

    LOOPS["uvloop"](scenario())


def test_answer_is_kept_for_a_moment_and_then_forgotten_whatever_its_ttl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "CACHE_SECONDS", 0.1)

    async def scenario() -> None:
        zone: Zone = {("a.example", A): ["8.8.8.8"], ("a.example", AAAA): ["2a00::1"]}
        async with name_server(zone) as (asking, server):
            for _ in range(20):
                assert await asking.resolve("a.example")
            assert len(server.asked) == 2
            end = asyncio.get_running_loop().time() + 2
            while len(server.asked) < 4:
                assert asyncio.get_running_loop().time() < end
                assert await asking.resolve("a.example")

    LOOPS["uvloop"](scenario())


def test_flood_of_addresses_is_refused() -> None:
    zone: Zone = {
        ("a.example", A): [f"8.8.{n}.8" for n in range(30)],
        ("a.example", AAAA): [f"2a00::{n}" for n in range(35)],
    }
    assert failure(resolved(zone, "a.example")) == "a.example has more than 64 addresses."


def test_lookups_at_once_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "LOOKUPS_MAX", 1)

    async def scenario() -> None:
        zone: Zone = {("silent.example", A): None, ("silent.example", AAAA): None}
        async with name_server(zone) as (asking, _):
            waiting = asyncio.create_task(asking.resolve("silent.example"))
            await asyncio.sleep(0)
            assert failure(await asking.resolve("b.example")) == "Too many names are being looked up at this moment."
            waiting.cancel()

    LOOPS["uvloop"](scenario())


def test_localhost_is_asked_of_nobody() -> None:
    async def scenario() -> None:
        async with name_server({}) as (asking, server):
            assert await asking.resolve("localhost") == LOCALHOST
            assert server.asked == []

    LOOPS["uvloop"](scenario())


def _name_in_hosts_file() -> str | None:
    lines = (line.partition("#")[0].split() for line in Path("/etc/hosts").read_text(encoding="utf-8").splitlines())
    names = [name for fields in lines for name in fields[1:]]
    return next((name for name in names if not name.startswith(("localhost", "ip6-"))), None)


@pytest.mark.skipif(_name_in_hosts_file() is None, reason="the hosts file of this machine names nothing but localhost")
def test_hosts_file_counts_for_allowed_names_only() -> None:
    host = _name_in_hosts_file()
    assert host is not None
    zone: Zone = {(host.lower(), A): ["8.8.8.8"], (host.lower(), AAAA): []}
    assert resolved(zone, host) == (ip_address("8.8.8.8"),)
    assert resolved(zone, host, hosts_file_names=["other"]) == (ip_address("8.8.8.8"),)
    answer = resolved(zone, host, hosts_file_names=[host])
    assert isinstance(answer, tuple)
    assert ip_address("8.8.8.8") not in answer


def test_allowed_name_outside_the_hosts_file_is_asked_of_dns() -> None:
    zone: Zone = {("billing", A): ["10.0.0.9"], ("billing", AAAA): []}
    assert resolved(zone, "billing", hosts_file_names=["billing"]) == (ip_address("10.0.0.9"),)


def test_close_answers_who_still_waits_and_leaves_nothing_open() -> None:
    async def scenario() -> None:
        zone: Zone = {("silent.example", A): None, ("silent.example", AAAA): None}
        async with name_server(zone) as (asking, _):
            waiting = asyncio.create_task(asking.resolve("silent.example"))
            await asyncio.sleep(0)
        assert failure(await waiting)

    LOOPS["uvloop"](scenario())
