"""What strangers may send to a real process: it answers each with a 4xx or drops it, hangs on none, and lives on."""

import json
import random
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from .harness import Client, Server
from .receiver import Receiver

SEED = 20261124
MUTATIONS = 600
"""Of one publish: enough that each kind of damage falls on each kind of token."""
ANSWERED_SECONDS_MAX = 20.0
"""The service gives up on whoever drips after 10 s; what is open after twice that hangs."""
DRIP_SECONDS = 0.5
VALID = json.dumps(
    {
        "eventType": "note.created",
        "companyIds": [0],
        "occurredAt": "2026-11-23T08:00:00Z",
        "data": {"a": [1, -2.5e10, True, None, "xé\n😀"], "b": {"c": {}, "d": ""}, "ä": "ü"},
    },
    ensure_ascii=False,
).encode()
SPLICES = [
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\\ud800",
    b"\\u0000",
    b"NaN",
    b"1e999",
    b"[",
    b"}",
    b'"',
    b",",
    b"-",
    b"\n",
]
TOKENS = re.compile(rb'("(?:\\.|[^"\\])*")|[ \t\r\n]+')
"""Strings, to be kept, or white space between tokens, to go."""


def connected(server: Server) -> socket.socket:
    address = urlsplit(server.url)
    assert address.hostname
    assert address.port
    return socket.create_connection((address.hostname, address.port), timeout=ANSWERED_SECONDS_MAX)


def read_to_end(connection: socket.socket) -> bytes:
    """Read until the other side closes; a reset counts as closing, silence past the timeout fails the test."""
    received = b""
    with suppress(ConnectionError):
        while chunk := connection.recv(65_536):
            received += chunk
    return received


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


def exchange(server: Server, sent: bytes) -> list[int]:
    """Send bytes and nothing more; return the statuses of all that was answered before the connection closed."""
    with connected(server) as connection:
        with suppress(OSError):  # the other side may close before all is sent
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        return statuses(read_to_end(connection))


def is_strict_json(text: bytes) -> bool:
    """Judge by another reader than the service's: the standard library's, made strict."""

    def refuse(word: str) -> object:
        raise ValueError(word)

    try:
        json.dumps(json.loads(text.decode(), parse_constant=refuse), ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return True


def mutated(body: bytes, chance: random.Random) -> bytes:
    """Damage a body in one to three places: bytes flipped, cut out, doubled, spliced in or cut off."""
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(body))
        to = min(len(body), at + chance.randint(1, 6))
        match chance.randrange(5):
            case 0:
                body = body[:at] + bytes([body[at] ^ (1 << chance.randrange(8))]) + body[at + 1 :]
            case 1:
                body = body[:at] + body[to:]
            case 2:
                body = body[:to] + body[at:to] * chance.randint(1, 3) + body[to:]
            case 3:
                body = body[:at] + chance.choice(SPLICES) + body[at:]
            case _:
                body = body[: max(at, 1)] if chance.random() < 0.2 else body
    return body


def test_a_damaged_publish_is_refused_or_arrives_as_it_was_sent(operator: Client, receiver: Receiver) -> None:
    company = operator.company()
    subscription = {"callbackUrl": receiver.url("/damaged"), "payloadVersion": "RAW"}
    operator.made("POST", f"/v1/webhooks?companyId={company}", subscription)
    chance = random.Random(SEED)
    valid = VALID.replace(b"[0]", b"[%d]" % company)
    accepted: dict[str, bytes] = {}
    refused = 0
    for _ in range(MUTATIONS):
        body = mutated(valid, chance)
        answer = operator.call("POST", "/v1/events", body)
        assert answer.status in {202, 400}, f"{answer.status} for {body!r}"
        if answer.status == 400:
            assert answer.headers["content-type"] == "application/problem+json"
            refused += 1
            continue
        assert is_strict_json(body), f"accepted {body!r}"
        if answer.json["deliveries"]:
            accepted[answer.json["id"]] = body
    assert refused > MUTATIONS / 4
    assert len(accepted) > MUTATIONS / 20
    receiver.wait_at("/damaged", len(accepted))
    for event_id, body in accepted.items():
        (arrival,) = receiver.of(event_id)
        assert is_strict_json(arrival.body)
        assert json.loads(arrival.body) == json.loads(body)["data"]
        assert arrival.body in TOKENS.sub(rb"\1", body)


BROKEN = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an unknown method": b"BREW /v1/events HTTP/1.1\r\nHost: a\r\n\r\n",
    "a space in a header's name": b"GET /v1/me HTTP/1.1\r\nHost: a\r\nX Y: 1\r\n\r\n",
    "a NUL in a header": b"GET /v1/me HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
    "a folded header": b"GET /v1/me HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n",
    "two lengths": b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a negative length": b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n{}",
    "a length that is no number": b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 0x2\r\n\r\n{}",
    "a length over 64 bits": b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "a length and chunks": (
        b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "chunked not last": b"POST /v1/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "a chunk of no size": b"POST /v1/me HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a path of bytes": b"GET /v1/\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
    "a path of escapes": b"GET /v1/webhooks/%00%ff%2e%2e%2f HTTP/1.1\r\nHost: a\r\n\r\n",
    "a query of escapes": b"GET /v1/webhooks?companyId=%ff&%00=%zz&&&= HTTP/1.1\r\nHost: a\r\n\r\n",
    "a token of bytes": b"GET /v1/me HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \xff\xfe\x80\r\n\r\n",
    "a long path": b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "a long header": b"GET /v1/me HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "many headers": b"GET /v1/me HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 100_000 + b"\r\n",
    "half a head": b"GET /v1/me HTTP/1.1\r\nHost: a\r\n",
    "half a body": b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{",
}


@pytest.mark.parametrize("attack", BROKEN)
def test_what_is_no_proper_request_is_refused_or_dropped(server: Server, operator: Client, attack: str) -> None:
    answers = exchange(server, BROKEN[attack])
    assert all(400 <= status <= 499 for status in answers), answers
    assert len(answers) <= 1, "what follows a broken request must not be taken for another"
    assert operator.call("GET", "/readyz").status == 200


def test_a_request_hidden_in_anothers_body_is_not_carried_out(server: Server, operator: Client) -> None:
    authorization = f"Authorization: Bearer {operator.token}\r\n".encode()
    hidden_body = b'{"name":"Smuggled"}'
    hidden = (
        b"POST /v1/companies HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        + authorization
        + b"Content-Length: %d\r\n\r\n%s" % (len(hidden_body), hidden_body)
    )
    for framing in (
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(hidden),
    ):
        answers = exchange(server, b"POST /v1/events HTTP/1.1\r\nHost: a\r\n" + framing + hidden)
        assert all(400 <= status <= 499 for status in answers), framing
    assert "Smuggled" not in {company["name"] for company in operator.made("GET", "/v1/companies?limit=200")["items"]}


def test_whoever_drips_is_given_up_and_delays_nobody(
    server: Server, operator: Client, receiver: Receiver, database: str
) -> None:
    if database != "sqlite":
        pytest.skip("takes ten seconds and knows no database")
    company = operator.company()
    operator.made("POST", f"/v1/webhooks?companyId={company}", {"callbackUrl": receiver.url("/beside")})
    head = b"POST /v1/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n" % str(operator.token).encode()
    json_head = head + b"Content-Type: application/json\r\n"
    drips = {
        "a head": (head + b"X: ", b"a", []),
        "a body": (json_head + b"Content-Length: 10000\r\n\r\n", b" ", [408]),
        "chunks": (json_head + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", [408]),
        "a body with silence": (json_head + b"Content-Length: 10000\r\n\r\n{", b"", [408]),
    }

    def drip(name: str) -> tuple[str, list[int], float]:
        begun, drop, _ = drips[name]
        started_at = time.monotonic()
        received = b""
        with connected(server) as connection, suppress(ConnectionError):
            connection.sendall(begun)
            connection.settimeout(DRIP_SECONDS)
            while time.monotonic() - started_at < ANSWERED_SECONDS_MAX:
                try:
                    chunk = connection.recv(65_536)
                except TimeoutError:
                    connection.sendall(drop)
                    continue
                if not chunk:
                    break
                received += chunk
        return name, statuses(received), time.monotonic() - started_at

    with ThreadPoolExecutor(len(drips)) as pool:
        dripping = pool.map(drip, drips)
        for number in range(20):
            operator.publish(company, {"n": number})
        receiver.wait_at("/beside", 20, ANSWERED_SECONDS_MAX / 4)
        for name, answers, seconds in dripping:
            assert seconds < ANSWERED_SECONDS_MAX, f"{name}: still open after {seconds:.1f} s"
            assert answers == drips[name][2], f"{name}: {answers}"
