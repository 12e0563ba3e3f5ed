"""What an attempt sends, how connections are reused, how receivers are proved, and what is never called."""

import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest
import trustme
from receivers import (
    LOOPS,
    RULES,
    Peer,
    Receiver,
    ScriptedResolver,
    ShiftedClock,
    answered,
    attempts,
    call,
    failed,
    nothing_left,
    sender,
    trusting,
    until,
)

from hookline.clock import SystemClock
from hookline.credentials import Trust
from hookline.egress import dial
from hookline.egress.dial import _in_order, _is_of_this_machine
from hookline.egress.faults import Fault
from hookline.egress.http1 import Connection
from hookline.egress.pool import AGE_SECONDS_MAX, IDLE_SECONDS_MAX
from hookline.egress.resolver import Answer
from hookline.egress.sender import request_head
from hookline.egress.tls import client_context
from hookline.egress.url import UrlRules
from hookline.errors import StartRefused
from hookline.model import ErrorClass, Timings

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def polite(peer: Peer) -> None:
    while True:
        await peer.answer(OK)


async def silent(peer: Peer) -> None:
    await peer.gone()


# --- the request -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", LOOPS)
def test_request_is_sent_exactly_as_laid_out(loop: str) -> None:
    async def scenario() -> None:
        async with Receiver(polite).listening() as receiver, nothing_left(receiver):
            client = sender()
            url = f"http://LocalHost:{receiver.port}/a%2Fb?c=d"
            outcome = answered(
                await client.send(call(url, headers=[("User-Agent", "Hookline/0"), ("X-Key", "s3cret")]))
            )
            await client.close()
        assert (outcome.status, outcome.head, outcome.body) == (200, b"HTTP/1.1 200 OK\r\nContent-Length: 2", b"ok")
        assert receiver.requests == [
            b"POST /a%2Fb?c=d HTTP/1.1\r\n"
            b"Host: LocalHost:" + str(receiver.port).encode() + b"\r\n"
            b"Content-Type: application/json\r\nUser-Agent: Hookline/0\r\nX-Key: s3cret\r\n"
            b"Content-Length: 7\r\nAccept-Encoding: identity\r\nConnection: keep-alive\r\n\r\n"
            b'{"n":1}'
        ]

    LOOPS[loop](scenario())


def test_hidden_values_are_not_in_the_logged_head() -> None:
    request = call(
        "http://localhost/", headers=[("Authorization", "Bearer abc"), ("X-Key", "s3cret"), ("X-Open", "seen")]
    )
    head = request_head(request, {"authorization", "x-key"})
    assert b"Authorization: hidden\r\nX-Key: hidden\r\nX-Open: seen\r\n" in head
    assert head.replace(b"hidden", b"") == request_head(request).replace(b"Bearer abc", b"").replace(b"s3cret", b"")


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\nb", "a\rb", "a\0b", "ü", "€", "\r\n\r\nGET / HTTP/1.1"])
def test_header_that_would_break_out_is_never_sent(value: str) -> None:
    for headers in ([("X", value)], [(value, "x")]):
        with pytest.raises(ValueError, match="request header"):
            request_head(call("http://localhost/", headers=headers))


def test_large_body_arrives_whole() -> None:
    body = bytes(range(256)) * 8192

    async def scenario() -> None:
        async with Receiver(polite).listening() as receiver, nothing_left(receiver):
            client = sender()
            for _ in range(2):
                outcome = await client.send(call(f"http://127.0.0.1:{receiver.port}/", body=body))
                assert answered(outcome).status == 200
            await client.close()
        assert [request.endswith(b"\r\n\r\n" + body) for request in receiver.requests] == [True, True]
        assert receiver.connections == 1

    LOOPS["uvloop"](scenario())


def test_answer_before_the_whole_request_was_taken_counts_and_ends_the_connection() -> None:
    async def refuse_early(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with Receiver(refuse_early).listening() as receiver:
            client = sender()
            outcome = await client.send(call(f"http://127.0.0.1:{receiver.port}/", body=bytes(30_000_000)))
            assert answered(outcome).status == 413
            assert len(client._pool) == 0
            await client.close()

    LOOPS["uvloop"](scenario())


@pytest.mark.parametrize(
    ("status", "field", "value"),
    [
        (503, b"Retry-After: 120", "120"),
        (429, b"retry-after:Wed, 21 Oct 2026 07:28:00 GMT ", "Wed, 21 Oct 2026 07:28:00 GMT"),
    ],
)
def test_retry_after_is_handed_on_as_sent(status: int, field: bytes, value: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 %d X\r\nX-Retry-After: 1\r\n%b\r\nContent-Length: 0\r\n\r\n" % (status, field))

    outcomes, _ = LOOPS["uvloop"](attempts(script))
    assert answered(outcomes[0]).retry_after == value


# --- connections -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", LOOPS)
def test_connection_is_reused_for_the_same_company_and_origin(loop: str) -> None:
    outcomes, receiver = LOOPS[loop](attempts(polite, 3))
    first, *others = (answered(each).timings for each in outcomes)
    assert receiver.connections == 1
    assert first.connect_ms is not None
    assert [(each.dns_ms, each.connect_ms, each.tls_ms) for each in others] == [(None, None, None)] * 2


def test_connection_is_never_shared_between_companies_or_names() -> None:
    async def scenario() -> None:
        async with Receiver(polite).listening() as receiver, nothing_left(receiver):
            client = sender()
            for host, company in (("127.0.0.1", 1), ("127.0.0.1", 2), ("localhost", 1), ("127.0.0.1", 1)):
                answered(await client.send(call(f"http://{host}:{receiver.port}/", company_id=company)))
            await client.close()
        assert receiver.connections == 3

    LOOPS["uvloop"](scenario())


@pytest.mark.parametrize("loop", LOOPS)
def test_request_lost_on_a_reused_connection_is_not_sent_again(loop: str) -> None:
    async def close_on_the_second(peer: Peer) -> None:
        await peer.answer(OK)
        await peer.request()

    outcomes, receiver = LOOPS[loop](attempts(close_on_the_second, 2))
    assert answered(outcomes[0]).status == 200
    assert failed(outcomes[1]).error is ErrorClass.PROTOCOL
    assert len(receiver.requests) == 2
    assert receiver.connections == 1


@pytest.mark.parametrize("loop", LOOPS)
def test_idle_connection_that_the_receiver_closed_is_replaced(loop: str) -> None:
    async def answer_and_close(peer: Peer) -> None:
        await peer.answer(OK)

    async def scenario() -> None:
        async with Receiver(answer_and_close).listening() as receiver, nothing_left(receiver):
            client = sender()
            for _ in range(3):
                answered(await client.send(call(f"http://127.0.0.1:{receiver.port}/")))
                await until(
                    lambda: not any(each.is_idle for waiting in client._pool._idle.values() for each, _ in waiting)
                )
            await client.close()
        assert receiver.connections == 3

    LOOPS[loop](scenario())


@pytest.mark.parametrize(("shift_seconds", "connections"), [(IDLE_SECONDS_MAX - 1, 1), (IDLE_SECONDS_MAX, 2)])
def test_connection_idle_for_four_seconds_is_not_used_again(shift_seconds: float, connections: int) -> None:
    async def scenario() -> None:
        clock = ShiftedClock()
        async with Receiver(polite).listening() as receiver, nothing_left(receiver):
            client = sender(clock=clock)
            answered(await client.send(call(f"http://127.0.0.1:{receiver.port}/")))
            clock.shift_seconds = shift_seconds
            answered(await client.send(call(f"http://127.0.0.1:{receiver.port}/")))
            await client.close()
        assert receiver.connections == connections

    LOOPS["uvloop"](scenario())


def test_idle_connection_is_closed_without_being_asked_for() -> None:
    async def scenario() -> None:
        clock = ShiftedClock()
        async with Receiver(polite).listening() as receiver:
            client = sender(clock=clock)
            async with nothing_left(receiver):
                answered(await client.send(call(f"http://127.0.0.1:{receiver.port}/")))
                clock.shift_seconds = IDLE_SECONDS_MAX
                client._pool._sweep()
            assert len(client._pool) == 0
            await client.close()

    LOOPS["uvloop"](scenario())


def test_busy_connection_is_replaced_after_a_minute_so_that_dns_is_followed() -> None:
    async def scenario() -> None:
        clock = ShiftedClock()
        async with Receiver(polite).listening() as receiver, nothing_left(receiver):
            client = sender(clock=clock)
            for _ in range(4):
                answered(await client.send(call(f"http://127.0.0.1:{receiver.port}/")))
                clock.shift_seconds += AGE_SECONDS_MAX / 20
            assert receiver.connections == 1
            clock.shift_seconds = AGE_SECONDS_MAX
            client._pool._idle = {
                key: [(each, clock.monotonic_seconds()) for each, _ in waiting]
                for key, waiting in client._pool._idle.items()
            }
            for _ in range(2):
                answered(await client.send(call(f"http://127.0.0.1:{receiver.port}/")))
            await client.close()
        assert receiver.connections == 2

    LOOPS["uvloop"](scenario())


def test_idle_connections_are_bounded_in_number() -> None:
    async def scenario() -> None:
        async with Receiver(polite).listening() as receiver, nothing_left(receiver):
            client = sender(idle_connections_max=2)
            request = call(f"http://127.0.0.1:{receiver.port}/")
            await asyncio.gather(*(client.send(request) for _ in range(8)))
            assert len(client._pool) == 2
            await client.close()
            assert len(client._pool) == 0

    LOOPS["uvloop"](scenario())


@pytest.mark.parametrize("loop", LOOPS)
def test_what_was_said_before_the_request_is_no_answer(loop: str) -> None:
    async def speak_first(peer: Peer) -> None:
        await peer.send(OK)
        await peer.gone()

    async def scenario() -> None:
        async with Receiver(speak_first).listening() as receiver, nothing_left(receiver):
            running = asyncio.get_running_loop()
            _, connection = await running.create_connection(
                lambda: Connection(SystemClock()), "127.0.0.1", receiver.port
            )
            await until(lambda: not connection.is_idle)
            answer = await connection.exchange(b"POST", b"", deadline=running.time() + 1, timeout_seconds=1)
            assert isinstance(answer, Fault)
            assert answer.detail == "The answer was not valid HTTP: it came before the request."
        assert receiver.requests == []

    LOOPS[loop](scenario())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_cancelled_attempt_leaves_nothing_open(loop: str, scheme: str) -> None:
    async def scenario() -> None:
        async with Receiver(silent).listening() as receiver, nothing_left(receiver):
            client = sender()
            attempt = asyncio.create_task(client.send(call(f"{scheme}://127.0.0.1:{receiver.port}/")))
            await until(lambda: receiver.connections > 0)
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
            await client.close()

    LOOPS[loop](scenario())


@pytest.mark.parametrize("turns", range(12))
def test_attempt_cancelled_at_any_step_leaves_nothing_open(turns: int) -> None:
    async def scenario() -> None:
        async with Receiver(polite).listening() as receiver, nothing_left(receiver):
            client = sender()
            attempt = asyncio.create_task(client.send(call(f"http://localhost:{receiver.port}/")))
            for _ in range(turns):
                await asyncio.sleep(0)
            attempt.cancel()
            await asyncio.gather(attempt, return_exceptions=True)
            await client.close()

    LOOPS["uvloop"](scenario())


# --- connecting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", LOOPS)
def test_refused_connection_says_so(loop: str) -> None:
    async def scenario() -> None:
        async with Receiver(polite).listening() as receiver:
            port = receiver.port
        outcome = failed(await sender().send(call(f"http://127.0.0.1:{port}/")))
        assert (outcome.error, outcome.detail) == (ErrorClass.CONNECT, "The receiver refused the connection.")
        assert outcome.timings.connect_ms is not None

    LOOPS[loop](scenario())


def test_second_family_is_tried_when_the_first_fails() -> None:
    async def scenario() -> None:
        async with Receiver(polite).listening(host="::1") as receiver, nothing_left(receiver):
            client = sender(resolver=ScriptedResolver("127.0.0.1", "127.0.0.2", "127.0.0.3", "::1"))
            answered(await client.send(call(f"http://api.example.com:{receiver.port}/")))
            await client.close()

    LOOPS["uvloop"](scenario())


def test_no_more_than_two_addresses_are_tried() -> None:
    async def scenario() -> None:
        async with Receiver(polite).listening(host="127.0.0.3") as receiver:
            client = sender(resolver=ScriptedResolver("127.0.0.1", "127.0.0.2", "127.0.0.3"))
            outcome = failed(await client.send(call(f"http://api.example.com:{receiver.port}/")))
            assert outcome.error is ErrorClass.CONNECT
            client = sender(resolver=ScriptedResolver("127.0.0.1", "127.0.0.3"))
            answered(await client.send(call(f"http://api.example.com:{receiver.port}/")))
            await client.close()

    LOOPS["uvloop"](scenario())


def test_addresses_alternate_between_the_families() -> None:
    addresses = [ip_address(text) for text in ("2a00::1", "2a00::2", "8.8.8.8", "2a00::3", "8.8.4.4", "8.8.8.8")]
    assert list(map(str, _in_order(addresses))) == ["8.8.8.8", "2a00::1", "8.8.4.4", "2a00::2", "2a00::3"]


def test_silent_connect_ends_at_its_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "CONNECT_SECONDS", 0.0)

    async def scenario() -> None:
        async with Receiver(polite).listening() as receiver, nothing_left(receiver):
            client = sender(resolver=ScriptedResolver("127.0.0.1"))
            outcome = failed(await client.send(call(f"http://api.example.com:{receiver.port}/")))
            assert (outcome.error, outcome.detail) == (
                ErrorClass.CONNECT,
                "The receiver accepted no connection within 0 s.",
            )
            await client.close()

    LOOPS["uvloop"](scenario())


# --- what is never called --------------------------------------------------------------------------------------------


class SlowResolver(ScriptedResolver):
    """Takes seconds by the clock."""

    def __init__(self, clock: ShiftedClock, *answers: str) -> None:
        super().__init__(*answers)
        self._clock = clock

    async def resolve(self, host: str) -> Answer:
        self._clock.shift_seconds += 2
        return await super().resolve(host)


def _address_of_this_machine() -> str | None:
    """Return an IPv4 address beside loopback. Connecting a datagram socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


@pytest.mark.parametrize(
    "answers",
    [
        ("127.0.0.1", "10.0.0.1"),
        ("10.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "::ffff:127.0.0.1"),
        ("127.0.0.1", "169.254.169.254"),
        ("127.0.0.1", "fd00:ec2::254"),
        ("0.0.0.0",),
        ("::",),
        ("64:ff9b::127.0.0.1",),
    ],
)
def test_one_bad_answer_of_dns_blocks_the_attempt_before_any_connection(answers: tuple[str, ...]) -> None:
    async def scenario() -> None:
        clock = ShiftedClock()
        async with Receiver(polite).listening() as receiver, nothing_left(receiver):
            client = sender(resolver=SlowResolver(clock, *answers), clock=clock)
            outcome = failed(await client.send(call(f"http://api.example.com:{receiver.port}/")))
            await client.close()
        assert outcome.error is ErrorClass.BLOCKED
        assert outcome.detail == "This name leads to an address that Hookline never calls."
        assert (outcome.duration_ms, outcome.timings) == (0, Timings())
        assert receiver.connections == 0

    LOOPS["uvloop"](scenario())


def test_rules_are_judged_again_at_the_attempt() -> None:
    async def scenario() -> None:
        async with Receiver(polite).listening() as receiver:
            for rules in (
                UrlRules(allow_http=True),
                UrlRules(allow_loopback=True, deny_networks=(ip_network("127.0.0.0/8"),)),
            ):
                outcome = failed(await sender(rules=rules).send(call(f"http://127.0.0.1:{receiver.port}/")))
                assert outcome.error is ErrorClass.BLOCKED
            assert receiver.connections == 0

    LOOPS["uvloop"](scenario())


@pytest.mark.parametrize("own", ["0.0.0.0", "::", "127.0.0.1"])
@pytest.mark.parametrize("answer", ["127.0.0.1", "127.0.0.9", "::1"])
def test_name_that_leads_back_to_us_is_blocked(own: str, answer: str) -> None:
    async def scenario() -> None:
        async with Receiver(polite).listening() as receiver:
            rules = UrlRules(
                allow_http=True, allow_loopback=True, own_addresses=(ip_address(own),), own_port=receiver.port
            )
            client = sender(rules=rules, resolver=ScriptedResolver(answer))
            outcome = failed(await client.send(call(f"http://api.example.com:{receiver.port}/")))
            assert outcome.error is ErrorClass.BLOCKED
            assert receiver.connections == 0

    LOOPS["uvloop"](scenario())


@pytest.mark.skipif(_address_of_this_machine() is None, reason="this machine has loopback addresses only")
def test_no_address_of_this_machine_leads_back_to_us_when_we_listen_on_all() -> None:
    address = _address_of_this_machine()

    async def scenario() -> None:
        async with Receiver(polite).listening() as receiver:
            rules = UrlRules(
                allow_http=True,
                allow_networks=(ip_network(f"{address}/32"),),
                own_addresses=(ip_address("0.0.0.0"),),
                own_port=receiver.port,
            )
            client = sender(rules=rules, resolver=ScriptedResolver(str(address)))
            outcome = failed(await client.send(call(f"http://api.example.com:{receiver.port}/")))
            assert outcome.error is ErrorClass.BLOCKED

    LOOPS["uvloop"](scenario())


def test_addresses_of_this_machine_are_recognised() -> None:
    assert _is_of_this_machine(ip_address("127.0.0.1"))
    assert _is_of_this_machine(ip_address("::1"))
    assert not _is_of_this_machine(ip_address("127.0.0.9"))


# --- names -----------------------------------------------------------------------------------------------------------


class UnhelpfulResolver:
    """Fails, or never answers at all."""

    def __init__(self, answer: Answer | None) -> None:
        self._answer = answer

    async def resolve(self, host: str) -> Answer:  # noqa: ARG002 - the Protocol's name
        if self._answer is None:
            await asyncio.Event().wait()
        assert self._answer is not None
        return self._answer

    def close(self) -> None:
        pass


def test_name_without_an_address_is_a_failed_attempt() -> None:
    resolver = UnhelpfulResolver(Fault(ErrorClass.DNS, "api.example.com has no address."))
    outcome = failed(LOOPS["uvloop"](sender(resolver=resolver).send(call("https://api.example.com/"))))
    assert (outcome.error, outcome.detail) == (ErrorClass.DNS, "api.example.com has no address.")
    assert outcome.timings.dns_ms is not None


def test_deadline_counts_the_name_too() -> None:
    resolver = UnhelpfulResolver(None)
    outcome = failed(
        LOOPS["uvloop"](sender(resolver=resolver).send(call("https://api.example.com/", timeout_seconds=0.1)))
    )
    assert (outcome.error, outcome.detail) == (ErrorClass.TIMEOUT, "No connection within 0.1 s, so nothing was sent.")


# --- TLS -------------------------------------------------------------------------------------------------------------


AUTHORITY = trustme.CA()
STRANGER = trustme.CA()
YESTERDAY = datetime.now(UTC) - timedelta(days=1)


def serving(certificate: trustme.LeafCert, *, maximum: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if maximum is not None:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = maximum
    return context


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_verified_receiver_is_called_and_its_connection_reused(loop: str, host: str, version: ssl.TLSVersion) -> None:
    tls = serving(AUTHORITY.issue_cert(host.strip("[]")), maximum=version)

    async def scenario() -> None:
        listening_on = "::1" if host == "[::1]" else "127.0.0.1"
        async with Receiver(polite).listening(host=listening_on, tls=tls) as receiver, nothing_left(receiver):
            client = sender(trust=trusting(AUTHORITY))
            first, second = [answered(await client.send(call(f"https://{host}:{receiver.port}/"))) for _ in range(2)]
            await client.close()
        assert (first.status, second.status, receiver.connections) == (200, 200, 1)
        assert first.timings.tls_ms is not None
        assert second.timings.tls_ms is None

    LOOPS[loop](scenario())


UNPROVED = {
    "wrong name": (AUTHORITY.issue_cert("other.example.com"), "The receiver's certificate is not for localhost."),
    "name in the subject only": (
        AUTHORITY.issue_cert("other.example.com", common_name="localhost"),
        "The receiver's certificate is not for localhost.",
    ),
    "expired": (AUTHORITY.issue_cert("localhost", not_after=YESTERDAY), "The receiver's certificate has expired."),
    "not yet valid": (
        AUTHORITY.issue_cert("localhost", not_before=YESTERDAY + timedelta(days=3)),
        "The receiver's certificate is not valid yet.",
    ),
    "unknown issuer": (
        STRANGER.issue_cert("localhost"),
        (
            "The receiver's certificate comes from an issuer that Hookline does not trust, "
            "or the receiver leaves out an intermediate certificate."
        ),
    ),
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(("certificate", "detail"), UNPROVED.values(), ids=UNPROVED)
def test_receiver_that_proves_nothing_is_sent_nothing(loop: str, certificate: trustme.LeafCert, detail: str) -> None:
    async def scenario() -> None:
        async with Receiver(polite).listening(tls=serving(certificate)) as receiver, nothing_left(receiver):
            client = sender(trust=trusting(AUTHORITY))
            outcome = failed(await client.send(call(f"https://localhost:{receiver.port}/")))
            await client.close()
        assert (outcome.error, outcome.detail) == (ErrorClass.TLS, detail)
        assert receiver.requests == []

    LOOPS[loop](scenario())


async def answer_in_plain_text(peer: Peer) -> None:
    await peer.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    await peer.gone()


async def hang_up(_: Peer) -> None:
    pass


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("script", [answer_in_plain_text, hang_up])
def test_receiver_without_tls_is_sent_nothing(loop: str, script: object) -> None:
    async def scenario() -> None:
        async with Receiver(script).listening() as receiver, nothing_left(receiver):  # type: ignore[arg-type]
            client = sender()
            outcome = failed(await client.send(call(f"https://localhost:{receiver.port}/")))
            await client.close()
        assert outcome.error is ErrorClass.TLS
        expected = f"The receiver does not speak TLS on port {receiver.port}."
        assert outcome.detail in {expected, "The receiver closed the connection during the TLS handshake."}
        assert (outcome.detail == expected) == (script is answer_in_plain_text)

    LOOPS[loop](scenario())


@pytest.mark.parametrize("loop", LOOPS)
def test_silent_handshake_meets_the_deadline(loop: str) -> None:
    async def scenario() -> None:
        async with Receiver(silent).listening() as receiver, nothing_left(receiver):
            client = sender()
            outcome = failed(await client.send(call(f"https://127.0.0.1:{receiver.port}/", timeout_seconds=0.15)))
            await client.close()
        assert outcome.error is ErrorClass.TIMEOUT
        assert outcome.timings.connect_ms is not None

    LOOPS[loop](scenario())


@pytest.mark.parametrize("loop", LOOPS)
def test_silent_handshake_ends_at_its_own_limit(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "TLS_SECONDS", 0.1)

    async def scenario() -> None:
        async with Receiver(silent).listening() as receiver, nothing_left(receiver):
            client = sender()
            outcome = failed(await client.send(call(f"https://127.0.0.1:{receiver.port}/")))
            await client.close()
        assert (outcome.error, outcome.detail) == (ErrorClass.TLS, "The TLS handshake was not complete within 0.1 s.")

    LOOPS[loop](scenario())


def test_settings_of_one_callback_have_connections_of_their_own() -> None:
    trust = Trust(authorities=AUTHORITY.cert_pem.bytes().decode())

    async def scenario() -> None:
        async with (
            Receiver(polite).listening(tls=serving(AUTHORITY.issue_cert("localhost"))) as receiver,
            nothing_left(receiver),
        ):
            client = sender()
            request = call(f"https://localhost:{receiver.port}/")
            own = type(request)(
                company_id=7, url=request.url, headers=request.headers, body=b"", timeout_seconds=5, trust=trust
            )
            answered(await client.send(own))
            assert failed(await client.send(request)).error is ErrorClass.TLS
            await client.close()

    LOOPS["uvloop"](scenario())


def test_installations_trust_is_strict_and_takes_further_authorities(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("tls")
    monkeypatch.setenv("SSLKEYLOGFILE", str(folder / "keys"))
    bundle = folder / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(bundle))
    context = client_context(str(bundle))
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.keylog_filename is None
    assert len(context.get_ca_certs()) == len(client_context().get_ca_certs()) + 1
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    assert len(client_context().get_ca_certs()) >= 1
    for bad in (str(folder / "absent.pem"), __file__):
        with pytest.raises(StartRefused, match="HOOKLINE_CA_FILE"):
            client_context(bad)


def test_rules_of_the_tests_are_those_of_development() -> None:
    assert RULES.allow_http
    assert RULES.allow_loopback
