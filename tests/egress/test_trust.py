"""What one callback wants of TLS for itself: a certificate to show, and authorities of its own."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import trustme
from msgspec import structs
from receivers import LOOPS, Peer, Receiver, answered, call, failed, nothing_left, sender, trusting

from hookline.credentials import Trust
from hookline.egress import tls
from hookline.egress.faults import CERTIFICATE_WANTED, UNUSABLE_CERTIFICATE
from hookline.egress.sender import Call
from hookline.egress.tls import Contexts
from hookline.model import ErrorClass

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
OURS, THEIRS, STRANGER = trustme.CA(), trustme.CA(), trustme.CA()


def pem(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


def client_of(authority: trustme.CA, key_type: trustme.KeyType = trustme.KeyType.ECDSA) -> Trust:
    """Return a client's certificate that the authority vouches for; the receiver's is trusted too."""
    leaf = authority.issue_cert("us@example.com", key_type=key_type)
    chain = "".join(each.bytes().decode() for each in leaf.cert_chain_pems)
    return Trust(certificate=chain, private_key=leaf.private_key_pem.bytes().decode(), authorities=pem(THEIRS))


def demanding() -> ssl.SSLContext:
    """Let nobody in whom our authority does not vouch for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    THEIRS.issue_cert("localhost").configure_cert(context)
    OURS.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


class Naming:
    """A receiver's script that keeps whom it has seen."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def __call__(self, peer: Peer) -> None:
        while True:
            await peer.request()
            certificate = peer.certificate or {}
            self.seen += [value for kind, value in certificate.get("subjectAltName", ()) if kind == "email"]
            await peer.send(OK)


async def polite(peer: Peer) -> None:
    while True:
        await peer.answer(OK)


def trusted(port: int, trust: Trust | None) -> Call:
    return structs.replace(call(f"https://localhost:{port}/"), trust=trust)


def run(scenario: Callable[[], Awaitable[None]], loop: str = "uvloop") -> None:
    LOOPS[loop](scenario())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("key_type", list(trustme.KeyType))
def test_receiver_sees_the_client_certificate(loop: str, key_type: trustme.KeyType) -> None:
    naming = Naming()

    async def scenario() -> None:
        async with Receiver(naming).listening(tls=demanding()) as receiver, nothing_left(receiver):
            client = sender()
            for _ in range(2):
                assert answered(await client.send(trusted(receiver.port, client_of(OURS, key_type)))).status == 200
            await client.close()

    run(scenario, loop)
    assert naming.seen == ["us@example.com"] * 2


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("trust", [client_of(STRANGER), Trust(authorities=pem(THEIRS))], ids=["another's", "none"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_receiver_that_wants_another_certificate_gets_nothing(loop: str, trust: Trust, version: ssl.TLSVersion) -> None:
    async def scenario() -> None:
        served = demanding()
        served.minimum_version = served.maximum_version = version
        async with Receiver(polite).listening(tls=served) as receiver, nothing_left(receiver):
            client = sender()
            outcome = failed(await client.send(trusted(receiver.port, trust)))
            await client.close()
        assert receiver.requests == []
        assert outcome.error is (ErrorClass.TLS if version is ssl.TLSVersion.TLSv1_2 else ErrorClass.PROTOCOL)

    run(scenario, loop)


@contextmanager
def refusing(served: ssl.SSLContext) -> Iterator[int]:
    """Listen like a server that says why it refuses a certificate; asyncio's does not. Yields the port."""

    def serve() -> None:
        connection, _ = listener.accept()
        secure = served.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with suppress(ssl.SSLError):
            secure.do_handshake()
        with socket.socket(fileno=secure.detach()) as plain:
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(4096):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("version", "trust"),
    [
        (ssl.TLSVersion.TLSv1_2, client_of(STRANGER)),  # without any, TLS 1.2 says nothing but that it failed
        (ssl.TLSVersion.TLSv1_3, client_of(STRANGER)),
        (ssl.TLSVersion.TLSv1_3, Trust(authorities=pem(THEIRS))),
    ],
)
def test_receiver_that_says_why_is_understood(loop: str, version: ssl.TLSVersion, trust: Trust) -> None:
    async def scenario() -> None:
        served = demanding()
        served.minimum_version = served.maximum_version = version
        with refusing(served) as port:
            client = sender()
            outcome = failed(await client.send(trusted(port, trust)))
            await client.close()
        assert (outcome.error, outcome.detail) == (ErrorClass.TLS, CERTIFICATE_WANTED.detail)

    run(scenario, loop)


def test_authorities_of_one_callback_vouch_for_no_other() -> None:
    async def scenario() -> None:
        served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        THEIRS.issue_cert("localhost").configure_cert(served)
        async with Receiver(polite).listening(tls=served) as receiver, nothing_left(receiver):
            client = sender(trust=trusting(STRANGER))
            assert answered(await client.send(trusted(receiver.port, Trust(authorities=pem(THEIRS))))).status == 200
            for other in (None, Trust(authorities=pem(OURS))):
                assert failed(await client.send(trusted(receiver.port, other))).error is ErrorClass.TLS
            await client.close()

    run(scenario)


def test_own_authorities_are_added_to_those_of_the_installation(tmp_path_factory: pytest.TempPathFactory) -> None:
    bundle = tmp_path_factory.mktemp("tls") / "ca.pem"
    STRANGER.cert_pem.write_to_path(str(bundle))
    plain, own = tls.client_context(str(bundle)), tls.own_context(Trust(authorities=pem(THEIRS)), str(bundle))
    assert len(own.get_ca_certs()) == len(plain.get_ca_certs()) + 1
    assert own.verify_mode is ssl.CERT_REQUIRED
    assert own.check_hostname


@pytest.mark.parametrize(
    "trust",
    [
        Trust(authorities="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        structs.replace(client_of(OURS), private_key=client_of(OURS).private_key),
        structs.replace(client_of(OURS), private_key="no key"),
    ],
    ids=["no certificate", "another's key", "no key"],
)
def test_what_openssl_does_not_take_is_a_failed_attempt(trust: Trust) -> None:
    async def scenario() -> None:
        client = sender()
        outcome = failed(await client.send(trusted(9009, trust)))
        await client.close()
        assert (outcome.error, outcome.detail) == (ErrorClass.TLS, UNUSABLE_CERTIFICATE.detail)

    run(scenario)


def test_settings_are_made_once_beside_the_loop_and_their_number_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "CONTEXTS_MAX", 2)
    threads: list[threading.Thread] = []

    def make(_trust: Trust, _ca_file: str | None) -> ssl.SSLContext:
        threads.append(threading.current_thread())
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    monkeypatch.setattr(tls, "own_context", make)

    async def scenario() -> None:
        contexts = Contexts(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        first, second, third = (Trust(authorities=name) for name in "abc")
        made, same = await asyncio.gather(contexts.of(first), contexts.of(first))
        assert made is same
        assert await contexts.of(Trust(authorities="a")) is made
        for other in (second, first, third):  # the second was used longest ago
            await contexts.of(other)
        assert await contexts.of(first) is made
        assert len(threads) == 3
        await contexts.of(second)
        assert len(threads) == 4

    run(scenario)
    assert threading.main_thread() not in threads
