"""How attempts get access tokens: once while they last, within the attempt's time, and nothing secret is ever told."""

import asyncio
import base64
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Self
from urllib.parse import parse_qs

import pytest
import trustme
from msgspec import structs
from receivers import (
    LOOPS,
    RULES,
    Peer,
    Receiver,
    ScriptedResolver,
    ShiftedClock,
    answered,
    call,
    failed,
    nothing_left,
    sender,
    trusting,
    until,
)

from hookline.egress.oauth import LIFETIME_SECONDS, MARGIN_SECONDS, GrantingSender
from hookline.egress.sender import Call, Grant, Sender, request_head
from hookline.egress.url import UrlRules, parse
from hookline.model import ClientAuthentication, ErrorClass

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SECRET = "s3cret: /+"


def response(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def issuing(token: str = "t0k", more: str = '"expires_in":3600') -> bytes:
    return response("200 OK", f'{{"access_token":"{token}","token_type":"bearer",{more}}}'.encode())


def saying(*pieces: bytes) -> Callable[[Peer], Awaitable[None]]:
    """Answer every request with the next piece, and with the last from then on."""
    left = list(pieces)

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(left.pop(0) if len(left) > 1 else left[0])

    return script


def grant(url: str, *, rules: UrlRules = RULES, **members: Any) -> Grant:
    blank = Grant(
        subscription_id=1,
        revision=1,
        token_url=parse(url, rules),
        client_id="client one",
        client_secret=SECRET,
        authentication=ClientAuthentication.CLIENT_SECRET_BASIC,
        scope=None,
    )
    return structs.replace(blank, **members)


class World:
    """A token server, a receiver, and the sender that calls both."""

    def __init__(
        self,
        token_server: Callable[[Peer], Awaitable[None]],
        receiver: Callable[[Peer], Awaitable[None]] | None = None,
        client: Sender | None = None,
    ) -> None:
        self.clock = ShiftedClock()
        self.token_server = Receiver(token_server)
        self.receiver = Receiver(receiver or saying(OK))
        self._client = client
        self.client: GrantingSender

    async def __aenter__(self) -> Self:
        self._listening = [self.token_server.listening(), self.receiver.listening()]
        for each in self._listening:
            await each.__aenter__()
        self.client = GrantingSender(self._client or sender(clock=self.clock), self.clock)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
        for each in self._listening:
            await each.__aexit__(None, None, None)

    def call(self, timeout_seconds: float = 5, **members: Any) -> Call:
        asked = grant(f"http://localhost:{self.token_server.port}/token?a=b", **members)
        made = call(f"http://localhost:{self.receiver.port}/hook", timeout_seconds=timeout_seconds)
        return structs.replace(made, grant=asked)

    @property
    def tokens_shown(self) -> list[str]:
        """What the receiver was shown."""
        heads = [request.partition(b"\r\n\r\n")[0].decode() for request in self.receiver.requests]
        return [head.partition("Authorization: ")[2].partition("\r\n")[0] for head in heads]


def run(scenario: Callable[[], Awaitable[None]], loop: str = "uvloop") -> None:
    LOOPS[loop](scenario())


# --- the request -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", LOOPS)
def test_token_is_asked_for_and_shown(loop: str) -> None:
    async def scenario() -> None:
        async with World(saying(issuing())) as world, nothing_left(world.receiver):
            outcome = answered(await world.client.send(world.call(scope="read write")))
            await world.client.close()
        assert outcome.status == 200
        assert world.tokens_shown == ["Bearer t0k"]
        (request,) = world.token_server.requests
        head, _, body = request.partition(b"\r\n\r\n")
        assert head.startswith(b"POST /token?a=b HTTP/1.1\r\n")
        assert b"Content-Type: application/x-www-form-urlencoded\r\nAccept: application/json\r\n" in head
        shown = head.partition(b"Authorization: Basic ")[2].partition(b"\r\n")[0]
        assert base64.b64decode(shown) == b"client+one:s3cret%3A+%2F%2B"
        assert parse_qs(body.decode(), strict_parsing=True) == {
            "grant_type": ["client_credentials"],
            "scope": ["read write"],
        }

    run(scenario, loop)


def test_client_secret_goes_into_the_form_where_that_is_asked_for() -> None:
    async def scenario() -> None:
        async with World(saying(issuing())) as world:
            await world.client.send(world.call(authentication=ClientAuthentication.CLIENT_SECRET_POST))
        head, _, body = world.token_server.requests[0].partition(b"\r\n\r\n")
        assert b"authorization" not in head.lower()
        assert parse_qs(body.decode(), strict_parsing=True) == {
            "grant_type": ["client_credentials"],
            "client_id": ["client one"],
            "client_secret": [SECRET],
        }

    run(scenario)


def test_token_is_hidden_in_the_logged_head() -> None:
    made = structs.replace(call("http://localhost/"), grant=grant("http://localhost/token"))
    head = request_head(made)
    assert b"\r\nAuthorization: hidden\r\n" in head
    assert SECRET.encode() not in head


# --- how long it is kept ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "good_seconds"),
    [
        ('"expires_in":3600', 3600 - MARGIN_SECONDS),
        ('"expires_in":60', 54),
        ('"expires_in":"60"', 54),
        ('"scope":"a"', LIFETIME_SECONDS - MARGIN_SECONDS),
        ('"expires_in":null', LIFETIME_SECONDS - MARGIN_SECONDS),
        ('"expires_in":{}', LIFETIME_SECONDS - MARGIN_SECONDS),
        ('"expires_in":true', LIFETIME_SECONDS - MARGIN_SECONDS),
        ('"expires_in":1e30', 86_400 - MARGIN_SECONDS),
    ],
)
def test_token_is_kept_until_shortly_before_it_ends(more: str, good_seconds: float) -> None:
    async def scenario() -> None:
        async with World(saying(issuing("one", more), issuing("two"))) as world:
            await world.client.send(world.call())
            world.clock.shift_seconds = good_seconds - 1
            await world.client.send(world.call())
            world.clock.shift_seconds = good_seconds + 1
            await world.client.send(world.call())
        assert world.tokens_shown == ["Bearer one", "Bearer one", "Bearer two"]

    run(scenario)


@pytest.mark.parametrize("more", ['"expires_in":0', '"expires_in":-5'])
def test_token_that_has_no_time_left_serves_once(more: str) -> None:
    async def scenario() -> None:
        async with World(saying(issuing("one", more), issuing("two"))) as world:
            for _ in range(2):
                await world.client.send(world.call())
        assert world.tokens_shown == ["Bearer one", "Bearer two"]

    run(scenario)


def test_another_revision_or_subscription_gets_a_token_of_its_own() -> None:
    async def scenario() -> None:
        async with World(saying(issuing("a"), issuing("b"), issuing("c"))) as world:
            for subscription_id, revision in ((1, 1), (1, 2), (2, 2), (1, 2)):
                await world.client.send(world.call(subscription_id=subscription_id, revision=revision))
        assert world.tokens_shown == ["Bearer a", "Bearer b", "Bearer c", "Bearer b"]

    run(scenario)


def test_a_401_drops_the_token_and_is_the_outcome() -> None:
    async def scenario() -> None:
        refusing = saying(OK, response("401 Unauthorized", b""), OK)
        async with World(saying(issuing("one"), issuing("two")), refusing) as world:
            statuses = [answered(await world.client.send(world.call())).status for _ in range(3)]
        assert statuses == [200, 401, 200]
        assert world.tokens_shown == ["Bearer one", "Bearer one", "Bearer two"]
        assert len(world.token_server.requests) == 2

    run(scenario)


def test_a_403_keeps_the_token() -> None:
    async def scenario() -> None:
        async with World(saying(issuing()), saying(response("403 Forbidden", b""))) as world:
            for _ in range(2):
                await world.client.send(world.call())
        assert len(world.token_server.requests) == 1

    run(scenario)


# --- many at once ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", LOOPS)
def test_attempts_at_the_same_time_share_one_request(loop: str) -> None:
    release = asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.request()
        await release.wait()
        await peer.send(issuing())

    async def scenario() -> None:
        async with World(slow) as world:
            sent = [asyncio.create_task(world.client.send(world.call())) for _ in range(20)]
            await until(lambda: len(world.token_server.requests) == 1)
            release.set()
            assert [answered(outcome).status for outcome in await asyncio.gather(*sent)] == [200] * 20
        assert len(world.token_server.requests) == 1
        assert world.tokens_shown == ["Bearer t0k"] * 20

    run(scenario, loop)


def test_another_asks_where_the_one_that_asked_was_cancelled() -> None:
    first = asyncio.Event()

    async def slow_at_first(peer: Peer) -> None:
        await peer.request()
        if not first.is_set():
            first.set()
            await peer.gone()
        else:
            await peer.send(issuing("second"))

    async def scenario() -> None:
        async with World(slow_at_first) as world:
            asking = asyncio.create_task(world.client.send(world.call()))
            await first.wait()
            waiting = asyncio.create_task(world.client.send(world.call()))
            await asyncio.sleep(0)
            asking.cancel()
            assert answered(await waiting).status == 200
            assert asking.cancelled()
        assert world.tokens_shown == ["Bearer second"]

    run(scenario)


def test_a_request_that_failed_fails_all_who_waited_and_the_next_asks_anew() -> None:
    async def scenario() -> None:
        async with World(saying(response("503 Busy", b""), issuing())) as world:
            outcomes = await asyncio.gather(*[world.client.send(world.call()) for _ in range(3)])
            assert {failed(outcome).error for outcome in outcomes} == {ErrorClass.OAUTH}
            assert world.receiver.requests == []
            assert answered(await world.client.send(world.call())).status == 200
        assert len(world.token_server.requests) == 2

    run(scenario)


# --- no token --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        (response("400 Bad", b'{"error":"invalid_client"}'), "The token server answered 400 (invalid_client)."),
        (response("400 Bad", b'{"error":"s3cret: /+"}'), "The token server answered 400."),
        (response("401 No", b"\xff"), "The token server answered 401."),
        (response("302 Found", b""), "The token server answered 302."),
        (response("201 Created", b'{"access_token":"a","token_type":"Bearer"}'), "The token server answered 201."),
        (response("200 OK", b""), "not a token response"),
        (response("200 OK", b"<html>"), "not a token response"),
        (response("200 OK", b'{"access_token":"a"}'), "not a token response"),
        (response("200 OK", b'{"access_token":1,"token_type":"Bearer"}'), "not a token response"),
        (response("200 OK", b'{"access_token":"a","token_type":"Bearer"} x'), "not a token response"),
        (response("200 OK", b'{"access_token":"\xff","token_type":"Bearer"}'), "not a token response"),
        (response("200 OK", b"[" * 16_000), "not a token response"),
        (
            response("200 OK", b'{"access_token":"a","token_type":"Bearer","x":"' + b"x" * 16_384 + b'"}'),
            "not a token response: expected a JSON object of at most 16 KiB",
        ),
        (response("200 OK", b'{"access_token":"a","token_type":"mac"}'), "another type than Bearer"),
        (issuing(""), "not visible ASCII"),
        (issuing("a\\r\\nX-Evil: b"), "not visible ASCII"),
        (issuing("a b"), "not visible ASCII"),
        (issuing("ä"), "not visible ASCII"),
        (b"RTSP/1.0 200 OK\r\n\r\n", "No access token. The answer was not valid HTTP"),
        (b"", "No access token. The token server closed the connection without an answer."),
    ],
)
def test_bad_answer_of_the_token_server_is_a_failed_attempt(said: bytes, detail: str) -> None:
    async def scenario() -> None:
        async def script(peer: Peer) -> None:
            await peer.answer(said)

        async with World(script) as world:
            outcome = failed(await world.client.send(world.call()))
        assert outcome.error is ErrorClass.OAUTH
        assert detail in outcome.detail
        assert "s3cret" not in outcome.detail
        assert world.receiver.requests == []

    run(scenario)


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
def test_silent_token_server_ends_with_the_attempt(beginning: bytes) -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.send(beginning)
        await peer.gone()

    async def scenario() -> None:
        async with World(silent) as world:
            sent = [world.client.send(world.call(timeout_seconds=0.2)) for _ in range(3)]
            outcomes = [failed(outcome) for outcome in await asyncio.gather(*sent)]
        assert {outcome.error for outcome in outcomes} == {ErrorClass.OAUTH}
        assert {outcome.detail for outcome in outcomes} == {
            "The token server did not answer within the 0.2 s of the attempt."
        }
        assert len(world.token_server.requests) == 1

    run(scenario)


def test_time_for_the_token_is_taken_from_the_attempt() -> None:
    async def scenario() -> None:
        async def issue_late(peer: Peer) -> None:
            await peer.request()
            world.clock.shift_seconds += 4.9
            await peer.send(issuing())

        async def silent(peer: Peer) -> None:
            await peer.request()
            await peer.gone()

        world = World(issue_late, silent)
        async with world:
            outcome = failed(await asyncio.wait_for(world.client.send(world.call(timeout_seconds=5)), 3))
        assert outcome.error is ErrorClass.TIMEOUT
        assert outcome.detail.startswith("No answer within 5 s.")
        assert outcome.duration_ms >= 4900

    run(scenario)


def test_no_attempt_starts_after_its_time_was_spent() -> None:
    async def scenario() -> None:
        async def issue_late(peer: Peer) -> None:
            await peer.request()
            world.clock.shift_seconds += 5
            await peer.send(issuing())

        world = World(issue_late)
        async with world:
            outcome = failed(await world.client.send(world.call(timeout_seconds=5)))
        assert (outcome.error, world.receiver.connections) == (ErrorClass.OAUTH, 0)
        assert outcome.duration_ms >= 5000

    run(scenario)


# --- the same egress -------------------------------------------------------------------------------------------------


def test_token_url_that_leads_inside_is_never_called_and_tells_nothing() -> None:
    async def scenario() -> None:
        rules = UrlRules(allow_http=True)
        client = sender(resolver=ScriptedResolver("93.184.215.14", "10.0.0.1"), rules=rules)
        async with World(saying(issuing()), client=client) as world:
            made = structs.replace(world.call(), grant=grant("http://idp.example.com/token", rules=rules))
            outcome = failed(await world.client.send(made))
        assert (outcome.error, outcome.duration_ms) == (ErrorClass.OAUTH, 0)
        assert outcome.detail == "The token URL leads to an address that Hookline never calls."
        assert world.receiver.connections == 0

    run(scenario)


def test_token_server_must_prove_itself_over_tls() -> None:
    authority, stranger = trustme.CA(), trustme.CA()

    async def scenario() -> None:
        for issuer, is_trusted in ((authority, True), (stranger, False)):
            served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            issuer.issue_cert("localhost").configure_cert(served)
            async with Receiver(saying(issuing())).listening(tls=served) as secure, World(saying(b"")) as world:
                client = GrantingSender(sender(trust=trusting(authority)), world.clock)
                asked = grant(f"https://localhost:{secure.port}/token")
                outcome = await client.send(structs.replace(world.call(), grant=asked))
                await client.close()
                if is_trusted:
                    assert len(secure.requests) == 1
                    assert world.tokens_shown == ["Bearer t0k"]
                else:
                    assert secure.requests == []
                    assert failed(outcome).error is ErrorClass.OAUTH
                    assert "The token server's certificate comes from an issuer" in failed(outcome).detail

    run(scenario)
