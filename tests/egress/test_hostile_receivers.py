"""What a receiver may do to us: each case ends in time, within bounds, as a value, with nothing left open."""

import asyncio
import gzip
import tracemalloc

import pytest
from receivers import LOOPS, Peer, Script, answered, attempts, failed

from hookline.egress import http1
from hookline.model import ErrorClass

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD = b"HTTP/1.1 200 OK\r\n"


def once(*pieces: bytes) -> Script:
    """Answer the first request with the pieces, then wait for the other side to go."""

    async def script(peer: Peer) -> None:
        await peer.answer(*pieces)
        await peer.gone()

    return script


def always(*pieces: bytes) -> Script:
    """Answer every request with the pieces."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.answer(*pieces)

    return script


def closing(*pieces: bytes) -> Script:
    """Answer the first request with the pieces, then close."""

    async def script(peer: Peer) -> None:
        await peer.answer(*pieces)

    return script


def endless(beginning: bytes, piece: bytes, *, pause_seconds: float = 0) -> Script:
    async def script(peer: Peer) -> None:
        await peer.answer(beginning)
        await peer.send_endlessly(piece, pause_seconds=pause_seconds)

    return script


MALFORMED = {
    "RTSP": b"RTSP/1.0 200 OK\r\n\r\n",
    "ICY": b"ICY 200 OK\r\n\r\n",
    "SSH banner": b"SSH-2.0-OpenSSH_9.6\r\n",
    "SMTP banner": b"220 mail.example ESMTP\r\n",
    "TLS alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "HTTP/0.9": b"<html>hello</html>",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n\r\n",
    "HTTP/1.10": b"HTTP/1.10 200 OK\r\n\r\n",
    "lower case": b"http/1.1 200 OK\r\n\r\n",
    "leading line": b"\r\nHTTP/1.1 200 OK\r\n\r\n",
    "leading space": b" HTTP/1.1 200 OK\r\n\r\n",
    "two spaces": b"HTTP/1.1  200 OK\r\n\r\n",
    "no status": b"HTTP/1.1 \r\n\r\n",
    "status 099": b"HTTP/1.1 099 Odd\r\n\r\n",
    "status 600": b"HTTP/1.1 600 Odd\r\n\r\n",
    "status 999": b"HTTP/1.1 999 Odd\r\n\r\n",
    "status 20": b"HTTP/1.1 20 OK\r\n\r\n",
    "status 2000": b"HTTP/1.1 2000 OK\r\n\r\n",
    "status +20": b"HTTP/1.1 +20 OK\r\n\r\n",
    "status 2x0": b"HTTP/1.1 2x0 OK\r\n\r\n",
    "switching protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "101 without upgrade": b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + OK,
    "9 interim responses": b"HTTP/1.1 100 Continue\r\n\r\n" * 9 + OK,
    "200 interim responses": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 200 + OK,
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "mixed line ends": b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
    "NUL in a value": HEAD + b"X: a\0b\r\n\r\n",
    "NUL in a name": HEAD + b"X\0: a\r\n\r\n",
    "line feed in a value": HEAD + b"X: a\nContent-Length: 0\r\n\r\n",
    "carriage return in a value": HEAD + b"X: a\rb\r\n\r\n",
    "folded value": HEAD + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "fold first": HEAD + b" X: a\r\n\r\n",
    "space before the colon": HEAD + b"Content-Length : 0\r\n\r\n",
    "no colon": HEAD + b"Content-Length\r\n\r\n",
    "empty name": HEAD + b": x\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
    "two equal lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "length list": HEAD + b"Content-Length: 2, 2\r\n\r\nok",
    "length and chunks": HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "negative length": HEAD + b"Content-Length: -1\r\n\r\n",
    "signed length": HEAD + b"Content-Length: +2\r\n\r\nok",
    "hexadecimal length": HEAD + b"Content-Length: 0x2\r\n\r\nok",
    "length over 64 bits": HEAD + b"Content-Length: 99999999999999999999\r\n\r\n",
    "101 fields": HEAD + b"".join(b"X-%d: y\r\n" % number for number in range(101)) + b"\r\n",
    "a line over 8 KiB": HEAD + b"X: " + b"a" * 8192 + b"\r\n\r\n",
    "a head over 32 KiB": HEAD + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 8000) for n in range(5)) + b"\r\n",
    "a status line over 32 KiB": b"HTTP/1.1 200 " + b"a" * 33000,
}


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED)
def test_malformed_answer_is_a_failed_attempt(answer: bytes) -> None:
    outcomes, receiver = LOOPS["uvloop"](attempts(once(answer)))
    outcome = failed(outcomes[0])
    assert outcome.error is ErrorClass.PROTOCOL
    assert outcome.detail.startswith("The answer was not valid HTTP: ")
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("kind", ["RTSP", "ICY", "SSH banner", "two lengths", "bare line feeds"])
def test_malformed_answer_in_single_bytes_is_refused_as_well(kind: str) -> None:
    answer = MALFORMED[kind]
    pieces = [answer[at : at + 1] for at in range(len(answer))]
    outcomes, _ = LOOPS["uvloop"](attempts(once(*pieces)))
    assert failed(outcomes[0]).error is ErrorClass.PROTOCOL


ACCEPTABLE = {
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, b""),
    "100 fields": (HEAD + b"".join(b"X-%d: y\r\n" % n for n in range(99)) + b"Content-Length: 0\r\n\r\n", 200, b""),
    "a line of 8 KiB": (HEAD + b"X: " + b"a" * 8189 + b"\r\nContent-Length: 0\r\n\r\n", 200, b""),
    "8 interim responses": (b"HTTP/1.1 100 Continue\r\n\r\n" * 8 + OK, 200, b"ok"),
    "hints": (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK, 200, b"ok"),
    "hints with chunks": (b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n" + OK, 200, b"ok"),
    "hints with a length": (b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n" + OK, 200, b"ok"),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3;x=y\r\nay!\r\n0\r\nT: x\r\n\r\n", 200, b"okay!"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, b""),
    "high bytes": (b"HTTP/1.1 200 Gr\xfc\xdf\r\nX: \xe2\x82\xac\r\nContent-Length: 0\r\n\r\n", 200, b""),
    "status 599": (b"HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n", 599, b""),
}


@pytest.mark.parametrize("case", ACCEPTABLE.values(), ids=ACCEPTABLE)
@pytest.mark.parametrize("is_split", [False, True], ids=["whole", "in single bytes"])
def test_unusual_answer_is_taken(case: tuple[bytes, int, bytes], *, is_split: bool) -> None:
    answer, status, body = case
    pieces = [answer[at : at + 1] for at in range(len(answer))] if is_split and len(answer) < 1000 else [answer]
    outcomes, receiver = LOOPS["uvloop"](attempts(always(*pieces), 2))
    for each in outcomes:
        outcome = answered(each)
        assert (outcome.status, outcome.body) == (status, body)
        assert outcome.head.startswith(b"HTTP/1.1 %d" % status)
        assert outcome.head + b"\r\n\r\n" in answer
    assert receiver.connections == 1


async def _closes_before_head(peer: Peer) -> None:
    await peer.request()


async def _resets(peer: Peer) -> None:
    await peer.request()
    peer.reset()


async def _closes_at_once(_: Peer) -> None:
    pass


CLOSED = {
    "before the head": _closes_before_head,
    "by a reset": _resets,
    "at once": _closes_at_once,
    "inside the status line": closing(b"HTTP/1.1 2"),
    "inside the head": closing(HEAD + b"X: y\r\n"),
    "after an interim response": closing(b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("script", CLOSED.values(), ids=CLOSED)
@pytest.mark.parametrize("loop", LOOPS)
def test_connection_that_ends_early_is_a_failed_attempt(script: Script, loop: str) -> None:
    outcomes, receiver = LOOPS[loop](attempts(script))
    outcome = failed(outcomes[0])
    assert outcome.error is ErrorClass.PROTOCOL
    assert outcome.detail.startswith(("The receiver closed the connection", "The receiver reset the connection"))
    assert receiver.connections == 1


SILENT = {
    "says nothing": once(),
    "half a status line": once(b"HTTP/1.1 20"),
    "half a head": once(HEAD + b"X: y\r\n"),
    "only an interim response": once(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "trickling head": endless(HEAD + b"X: ", b"a", pause_seconds=0.01),
}


@pytest.mark.parametrize("script", SILENT.values(), ids=SILENT)
def test_deadline_ends_a_receiver_that_does_not_finish_its_head(script: Script) -> None:
    outcomes, receiver = LOOPS["uvloop"](attempts(script, timeout_seconds=0.15))
    outcome = failed(outcomes[0])
    assert outcome.error is ErrorClass.TIMEOUT
    assert outcome.detail == (
        "No answer within 0.15 s. The receiver may still have handled the request, "
        "so it may see this `webhook-id` twice."
    )
    assert 145 <= outcome.duration_ms < 1000
    assert len(receiver.requests) == 1


def test_receiver_that_accepts_and_reads_nothing_meets_the_deadline() -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()

    outcomes, _ = LOOPS["uvloop"](attempts(script, timeout_seconds=0.15))
    assert failed(outcomes[0]).error is ErrorClass.TIMEOUT


ENDLESS = {
    "head": endless(HEAD, b"X: " + b"a" * 1000 + b"\r\n"),
    "status line": endless(b"HTTP/1.1 200 ", b"a" * 1000),
    "one line": endless(HEAD + b"X: ", b"a" * 1000),
    "interim responses": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("script", ENDLESS.values(), ids=ENDLESS)
def test_endless_head_is_cut_off(script: Script) -> None:
    outcomes, _ = LOOPS["uvloop"](attempts(script))
    assert failed(outcomes[0]).error is ErrorClass.PROTOCOL


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BOMB = gzip.compress(bytes(30_000_000), 1)
BIG_BODIES = {
    "endless, until closed": (endless(HEAD + b"\r\n", b"a" * 5000), b"a" * 16384),
    "endless, of huge length": (endless(HEAD + b"Content-Length: 99999999999\r\n\r\n", b"a" * 5000), b"a" * 16384),
    "endless chunks": (endless(CHUNKED, b"5\r\naaaaa\r\n"), b"a" * 16384),
    "one giant chunk": (endless(CHUNKED + b"fffffff\r\n", b"a" * 5000), b"a" * 16384),
    "endless chunk extension": (endless(CHUNKED + b"1;", b"a" * 5000), b""),
    "endless trailers": (endless(CHUNKED + b"0\r\n", b"X: " + b"a" * 5000 + b"\r\n"), b""),
    "gzip bomb": (
        once(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB),
        BOMB[:16384],
    ),
}


@pytest.mark.parametrize(("script", "body"), BIG_BODIES.values(), ids=BIG_BODIES)
def test_big_body_is_cut_at_once_and_the_attempt_succeeds(
    script: Script, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http1, "BODY_SECONDS", 60)
    tracemalloc.start()
    try:
        outcomes, receiver = LOOPS["uvloop"](asyncio.wait_for(attempts(script, 2), 5))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [(answered(each).status, answered(each).body) for each in outcomes] == [(200, body)] * 2
    assert receiver.connections == 2
    assert peak < 8_000_000


BROKEN_BODIES = {
    "truncated": (closing(HEAD + b"Content-Length: 10\r\n\r\nabc"), b"abc"),
    "truncated chunk": (closing(CHUNKED + b"5\r\nabc"), b"abc"),
    "no last chunk": (closing(CHUNKED + b"3\r\nabc\r\n"), b"abc"),
    "bad chunk size": (once(CHUNKED + b"3\r\nabc\r\nzz\r\n"), b"abc"),
    "bad chunk end": (once(CHUNKED + b"3\r\nabcXX"), b"abc"),
    "until closed": (closing(HEAD + b"\r\nabc"), b"abc"),
    "of HTTP/1.0": (closing(b"HTTP/1.0 200 OK\r\n\r\nabc"), b"abc"),
}


@pytest.mark.parametrize(("script", "body"), BROKEN_BODIES.values(), ids=BROKEN_BODIES)
@pytest.mark.parametrize("loop", LOOPS)
def test_complete_head_succeeds_whatever_the_body_does(script: Script, body: bytes, loop: str) -> None:
    outcomes, receiver = LOOPS[loop](attempts(script, 2))
    assert [(answered(each).status, answered(each).body) for each in outcomes] == [(200, body)] * 2
    assert receiver.connections == 2


def test_dripping_body_is_read_for_two_seconds_beyond_the_deadline() -> None:
    script = endless(HEAD + b"Content-Length: 9999\r\n\r\n", b"a", pause_seconds=0.2)
    outcomes, _ = LOOPS["uvloop"](attempts(script, timeout_seconds=0.3))
    outcome = answered(outcomes[0])
    assert outcome.status == 200
    assert 5 <= len(outcome.body) <= 11
    assert outcome.duration_ms < 300


SURPLUS = {
    "forged second response": OK + OK,
    "forged second response behind chunks": CHUNKED + b"2\r\nok\r\n0\r\n\r\n" + OK,
    "forged second response without a body": CHUNKED + b"0\r\n\r\n" + b"HTTP/1.1 204 No Content\r\n\r\n",
    "forged second response behind no content": b"HTTP/1.1 204 No Content\r\n\r\n" + OK,
    "rubbish": OK + b"rubbish",
    "rubbish behind chunks": CHUNKED + b"2\r\nok\r\n0\r\n\r\nrubbish",
    "an empty line": OK + b"\r\n",
    "an empty line behind chunks": CHUNKED + b"2\r\nok\r\n0\r\n\r\n\r\n",
    "a line feed": OK + b"\n",
    "a line feed behind chunks": CHUNKED + b"2\r\nok\r\n0\r\n\r\n\n",
    "a body of no content": b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
    "the beginning of a response": OK + b"HTTP",
}
NOT_REUSABLE = SURPLUS | {
    "Connection: close": HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\nok",
    "close among others": HEAD + b"Connection: keep-alive, close\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.0 that says keep-alive": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
}


@pytest.mark.parametrize("answer", NOT_REUSABLE.values(), ids=NOT_REUSABLE)
def test_connection_is_not_reused_unless_the_answer_ended_cleanly(answer: bytes) -> None:
    outcomes, receiver = LOOPS["uvloop"](attempts(once(answer), 2))
    for each in outcomes:
        outcome = answered(each)
        assert outcome.status in {200, 204}
        assert outcome.body in {b"ok", b""}
    assert receiver.connections == 2


@pytest.mark.parametrize("surplus", [OK, b"rubbish", b"\r\n"])
def test_bytes_on_an_idle_connection_close_it(surplus: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(OK, surplus)
        await peer.gone()

    async def scenario() -> None:
        outcomes, receiver = await attempts(script, 3)
        assert [answered(each).status for each in outcomes] == [200] * 3
        assert all(answered(each).body == b"ok" for each in outcomes)
        assert receiver.connections >= 2

    LOOPS["uvloop"](scenario())


@pytest.mark.parametrize("kind", ["switching protocols", "101 without upgrade"])
def test_switch_of_protocols_is_named(kind: str) -> None:
    outcomes, _ = LOOPS["uvloop"](attempts(once(MALFORMED[kind])))
    detail = failed(outcomes[0]).detail
    assert detail == "The answer was not valid HTTP: it switches to another protocol (101)."


def test_redirect_is_not_followed() -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    outcomes, receiver = LOOPS["uvloop"](attempts(always(answer), 2))
    assert [answered(each).status for each in outcomes] == [302, 302]
    assert len(receiver.requests) == 2
    assert not any(b"elsewhere" in request or b"Cookie" in request for request in receiver.requests)


def test_authentication_challenge_is_not_answered() -> None:
    answer = b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n'
    outcomes, receiver = LOOPS["uvloop"](attempts(always(answer)))
    assert answered(outcomes[0]).status == 401
    assert len(receiver.requests) == 1
