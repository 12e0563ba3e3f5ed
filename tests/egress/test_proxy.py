"""Attempts through an HTTP proxy: it is asked for judged addresses alone, and whatever it does is an outcome."""

import asyncio
import ssl
from ipaddress import IPv4Address, ip_address

import pytest
import trustme
from receivers import (
    LOOPS,
    RULES,
    Peer,
    Receiver,
    Script,
    ScriptedResolver,
    answered,
    call,
    failed,
    nothing_left,
    sender,
    trusting,
)

from hookline.config import EgressProxy
from hookline.egress import dial, faults
from hookline.egress.addresses import Address
from hookline.egress.faults import Fault
from hookline.egress.tunnel import connect_request
from hookline.egress.url import UrlRules
from hookline.model import ErrorClass

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"
LOOPBACK = IPv4Address("127.0.0.1")


async def polite(peer: Peer) -> None:
    while True:
        await peer.answer(OK)


async def relaying(peer: Peer) -> None:
    """Be a proxy."""
    target = (await peer.head()).split(b" ")[1].decode()
    await peer.send(OPENED)
    host, _, port = target.rpartition(":")
    await peer.relay(host, int(port))


def proxy_at(port: int, *, address: Address | None = LOOPBACK, credential: str | None = None) -> EgressProxy:
    host = "proxy.example.net" if address is None else str(address)
    return EgressProxy(host=host, port=port, address=address, credential=credential)


@pytest.mark.parametrize(
    ("text", "port", "target"), [("93.184.215.14", 443, "93.184.215.14:443"), ("2a00::1", 80, "[2a00::1]:80")]
)
def test_proxy_is_asked_for_an_address(text: str, port: int, target: str) -> None:
    asked = connect_request(proxy_at(1, credential="ann:p w"), ip_address(text), port)
    assert asked.decode() == (
        f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic YW5uOnAgdw==\r\n\r\n"
    )


@pytest.mark.parametrize("loop", LOOPS)
def test_attempts_go_through_the_proxy_and_reuse_the_way(loop: str) -> None:
    async def scenario() -> None:
        async with (
            Receiver(polite).listening() as receiver,
            Receiver(relaying).listening() as proxy,
            nothing_left(proxy),
            nothing_left(receiver),
        ):
            client = sender(proxy=proxy_at(proxy.port), resolver=ScriptedResolver("127.0.0.1"))
            for _ in range(3):
                made = call(f"http://localhost:{receiver.port}/", headers=[("X-Key", "s3cret")])
                assert answered(await client.send(made)).status == 200
            await client.close()
        asked = f"127.0.0.1:{receiver.port}".encode()
        assert proxy.requests == [b"CONNECT " + asked + b" HTTP/1.1\r\nHost: " + asked + b"\r\n\r\n"]
        assert len(receiver.requests) == 3
        assert all(b"roxy" not in request for request in receiver.requests)

    LOOPS[loop](scenario())


@pytest.mark.parametrize("loop", LOOPS)
def test_receiver_proves_itself_through_the_proxy(loop: str) -> None:
    authority, stranger = trustme.CA(), trustme.CA()

    async def scenario() -> None:
        for issuer, is_trusted in ((authority, True), (stranger, False)):
            served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            issuer.issue_cert("localhost").configure_cert(served)
            async with Receiver(polite).listening(tls=served) as receiver, Receiver(relaying).listening() as proxy:
                async with nothing_left(proxy), nothing_left(receiver):
                    client = sender(proxy=proxy_at(proxy.port), trust=trusting(authority))
                    outcomes = [await client.send(call(f"https://localhost:{receiver.port}/")) for _ in range(2)]
                    await client.close()
                if is_trusted:
                    assert [answered(outcome).status for outcome in outcomes] == [200, 200]
                    assert len(proxy.requests) == 1
                else:
                    assert {failed(outcome).error for outcome in outcomes} == {ErrorClass.TLS}
                    assert receiver.requests == []

    LOOPS[loop](scenario())


def test_proxy_with_a_name_is_looked_up_and_not_judged() -> None:
    async def scenario() -> None:
        async with Receiver(polite).listening() as receiver, Receiver(relaying).listening() as proxy:
            resolver = ScriptedResolver("127.0.0.1")
            client = sender(proxy=proxy_at(proxy.port, address=None), resolver=resolver)
            assert answered(await client.send(call(f"http://127.0.0.1:{receiver.port}/"))).status == 200
            await client.close()
        assert resolver.asked == ["proxy.example.net"]

    LOOPS["uvloop"](scenario())


def test_refused_address_is_never_asked_of_the_proxy() -> None:
    async def scenario() -> None:
        async with Receiver(relaying).listening() as proxy:
            for rules, answers in ((RULES, ["10.0.0.1"]), (UrlRules(allow_http=True), ["93.184.215.14", "127.0.0.1"])):
                client = sender(proxy=proxy_at(proxy.port), resolver=ScriptedResolver(*answers), rules=rules)
                outcome = failed(await client.send(call("http://api.example.com/", rules=rules)))
                await client.close()
                assert outcome.error is ErrorClass.BLOCKED
        assert proxy.connections == 0

    LOOPS["uvloop"](scenario())


def test_second_address_is_tried_through_the_proxy() -> None:
    async def scenario() -> None:
        async def refusing_ipv4(peer: Peer) -> None:
            head = await peer.head()
            if b"CONNECT 93.184.215.14:80 " in head:
                await peer.send(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            else:
                await peer.send(OPENED)
                await peer.answer(OK)

        async with Receiver(refusing_ipv4).listening() as proxy, nothing_left(proxy):
            client = sender(proxy=proxy_at(proxy.port), resolver=ScriptedResolver("93.184.215.14", "2a00:1450::1"))
            assert answered(await client.send(call("http://api.example.com/"))).status == 200
            await client.close()
        assert [request.split(b" ")[1] for request in proxy.requests if request.startswith(b"CONNECT")] == [
            b"93.184.215.14:80",
            b"[2a00:1450::1]:80",
        ]

    LOOPS["uvloop"](scenario())


async def _closing(peer: Peer) -> None:
    await peer.head()


async def _resetting(peer: Peer) -> None:
    await peer.head()
    peer.reset()


async def _endless(peer: Peer) -> None:
    await peer.head()
    await peer.send_endlessly(b"HTTP/1.1 200 OK" + b"x" * 1000)


def _saying(answer: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer)
        await peer.gone()

    return script


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("script", "fault"),
    [
        (_saying(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), faults.PROXY_REFUSES_US),
        (_saying(b"HTTP/1.1 403 Forbidden\r\n\r\n"), faults.PROXY_REFUSES_US),
        (_saying(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"), faults.PROXY_REFUSED),
        (_saying(b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\n\r\n"), faults.PROXY_REFUSED),
        (_saying(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), faults.PROXY_REFUSED),
        (_saying(b"SSH-2.0-OpenSSH\r\n\r\n"), faults.PROXY_UNREADABLE),
        (_endless, faults.PROXY_UNREADABLE),
        (_closing, faults.PROXY_CLOSED),
        (_resetting, faults.PROXY_CLOSED),
    ],
)
def test_proxy_that_opens_no_way_is_a_failed_attempt(script: Script, fault: Fault, loop: str) -> None:
    async def scenario() -> None:
        async with Receiver(script).listening() as proxy, nothing_left(proxy):
            client = sender(proxy=proxy_at(proxy.port))
            outcome = failed(await client.send(call("http://127.0.0.1:9009/")))
            await client.close()
        assert (outcome.error, outcome.detail) == (ErrorClass.CONNECT, fault.detail)

    LOOPS[loop](scenario())


def test_proxy_that_is_not_there_is_a_failed_attempt() -> None:
    async def scenario() -> None:
        async with Receiver(polite).listening() as receiver:
            port = receiver.port
        for proxy in (proxy_at(port), proxy_at(port, address=None)):
            client = sender(proxy=proxy)
            outcome = failed(await client.send(call("http://127.0.0.1:9009/")))
            await client.close()
            assert (outcome.error, outcome.detail) == (ErrorClass.CONNECT, faults.PROXY_UNREACHED.detail)

    LOOPS["uvloop"](scenario())


@pytest.mark.parametrize("loop", LOOPS)
def test_silent_proxy_ends_with_the_attempt_and_leaves_nothing_open(loop: str) -> None:
    async def scenario() -> None:
        async with Receiver(_saying(b"HTTP/1.1 200")).listening() as proxy, nothing_left(proxy):
            client = sender(proxy=proxy_at(proxy.port))
            outcome = failed(await client.send(call("http://127.0.0.1:9009/", timeout_seconds=0.1)))
            await client.close()
        assert outcome.error is ErrorClass.TIMEOUT

    LOOPS[loop](scenario())


def test_slow_proxy_costs_no_more_than_an_address_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "CONNECT_SECONDS", 0.05)

    async def scenario() -> None:
        async with Receiver(_saying(b"")).listening() as proxy, nothing_left(proxy):
            client = sender(proxy=proxy_at(proxy.port))
            outcome = failed(await client.send(call("http://127.0.0.1:9009/")))
            await client.close()
        assert outcome.error is ErrorClass.CONNECT

    LOOPS["uvloop"](scenario())


@pytest.mark.parametrize("loop", LOOPS)
def test_answer_that_came_with_the_way_is_no_answer_to_the_request(loop: str) -> None:
    async def scenario() -> None:
        async with Receiver(_saying(OPENED + OK)).listening() as proxy, nothing_left(proxy):
            client = sender(proxy=proxy_at(proxy.port))
            outcome = failed(await client.send(call("http://127.0.0.1:9009/")))
            await client.close()
        assert outcome.error is ErrorClass.PROTOCOL
        assert "it came before the request" in outcome.detail

    LOOPS[loop](scenario())


def test_cancelled_attempt_leaves_nothing_open() -> None:
    async def scenario() -> None:
        asked = asyncio.Event()

        async def silent(peer: Peer) -> None:
            await peer.head()
            asked.set()
            await peer.gone()

        async with Receiver(silent).listening() as proxy, nothing_left(proxy):
            client = sender(proxy=proxy_at(proxy.port))
            attempt = asyncio.create_task(client.send(call("http://127.0.0.1:9009/")))
            await asked.wait()
            attempt.cancel()
            await asyncio.wait([attempt])
            await client.close()

    LOOPS["uvloop"](scenario())
