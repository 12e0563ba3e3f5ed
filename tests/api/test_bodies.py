"""What may arrive as a body: never a 5xx, never a hang."""

import asyncio
import socket
import tracemalloc
from itertools import pairwise

import pytest
from starlette.requests import Request
from starlette.types import Message

from api.loopback import Server
from api.world import OPERATOR_TOKEN
from hookline.api import reading
from hookline.errors import TooLarge

PATH = "/v1/companies"
HEAD = (
    f"POST {PATH} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {OPERATOR_TOKEN}\r\nContent-Type: application/json\r\n"
)
MIB = 1024 * 1024

BAD_JSON = {
    "nothing": b"",
    "not JSON": b"name=a",
    "a byte order mark": b'\xef\xbb\xbf{"name":"a"}',
    "UTF-16": '{"name":"a"}'.encode("utf-16"),
    "invalid UTF-8 in a name": b'{"name":"\xff"}',
    "invalid UTF-8 in what is ignored": b'{"name":"a","x":"\xc3("}',
    "an overlong form": b'{"name":"\xc0\xaf"}',
    "an encoded surrogate": b'{"name":"\xed\xa0\x80"}',
    "a lone surrogate": b'{"name":"\\ud800"}',
    "NaN": b'{"name":"a","x":NaN}',
    "Infinity": b'{"name":"a","x":Infinity}',
    "a raw control character": b'{"name":"a\x01"}',
    "a trailing comma": b'{"name":"a",}',
    "two values": b'{"name":"a"}{}',
    "cut off": b'{"name":"a',
    "an array": b"[]",
    "null": b"null",
    "a string": b'"name"',
    "deep arrays": b'{"name":' + b"[" * 500_000,
    "deep objects": b'{"x":' + b'{"x":' * 100_000 + b"1" + b"}" * 100_001,
    "deep and well-formed": b'{"name":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("body", BAD_JSON.values(), ids=BAD_JSON.keys())
def test_what_is_not_a_json_object_is_400(server: Server, body: bytes) -> None:
    answer = server.call("POST", PATH, body)
    assert answer.status == 400, answer.body
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_last_of_equal_names_counts(server: Server) -> None:
    assert server.call("POST", PATH, b'{"name":"first","name":"last"}').json["name"] == "last"


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 201),
        ("application/json; charset=utf-8", 201),
        ("Application/JSON;charset=UTF-8", 201),
        ("application/merge-patch+json", 201),
        ("text/json", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=a", 415),
        ("application/xml", 415),
        ("application/jsonx", 415),
        ("", 415),
    ],
)
def test_a_body_is_json_by_its_content_type(server: Server, content_type: str, status: int) -> None:
    assert server.call("POST", PATH, {"name": "a"}, headers={"Content-Type": content_type}).status == status


def test_no_content_type_counts_as_json(server: Server) -> None:
    received = server.exchange(
        f"POST {PATH} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {OPERATOR_TOKEN}\r\n"
        'Connection: close\r\nContent-Length: 12\r\n\r\n{"name":"a"}'.encode()
    )
    assert received.startswith(b"HTTP/1.1 201 ")


def test_a_compressed_body_is_415(server: Server) -> None:
    assert server.call("POST", PATH, b"x", headers={"Content-Encoding": "gzip"}).status == 415


def _of_size(size: int) -> bytes:
    return b'{"name":"a","x":"' + b"x" * (size - 19) + b'"}'


def test_the_limit_is_one_mebibyte_to_the_byte(server: Server) -> None:
    assert server.call("POST", PATH, _of_size(MIB)).status == 201
    answer = server.call("POST", PATH, _of_size(MIB + 1))
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert server.call("POST", PATH, _of_size(20 * MIB)).status == 413, "its sender must live to read the answer"


def test_a_body_beyond_all_measure_is_413_before_it_is_read(server: Server) -> None:
    assert server.exchange(f"{HEAD}Content-Length: 99999999999\r\n\r\n".encode()).startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_is_measured_as_it_comes(server: Server) -> None:
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    received = server.exchange(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk * 17 + b"0\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("cuts", [[], [1], [4], [5], [3, 4]])
def test_the_limit_holds_however_the_body_is_cut(cuts: list[int]) -> None:
    edges = [0, *cuts, 5]
    chunks = [b"12345"[start:end] for start, end in pairwise(edges)]

    async def read(bytes_max: int) -> bytes:
        messages = [
            {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
            for number, chunk in enumerate(chunks, 1)
        ]

        async def receive() -> Message:
            return messages.pop(0)

        return await reading.read_body(Request({"type": "http", "headers": []}, receive), bytes_max)

    assert asyncio.run(read(5)) == b"12345"
    with pytest.raises(TooLarge):
        asyncio.run(read(4))


def test_what_is_over_the_limit_is_not_kept_while_it_is_dropped() -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": bytes(MIB), "more_body": True}

    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            asyncio.run(reading.read_body(Request({"type": "http", "headers": []}, receive), 2 * MIB))
        assert tracemalloc.get_traced_memory()[1] < 5 * MIB
    finally:
        tracemalloc.stop()


def test_whoever_asks_before_sending_too_much_is_told_not_to(server: Server) -> None:
    received = server.exchange(f"{HEAD}Content-Length: {2 * MIB}\r\nExpect: 100-continue\r\n\r\n".encode())
    assert received.startswith(b"HTTP/1.1 413 ")


def test_a_body_that_does_not_arrive_is_408(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BODY_SECONDS_MAX", 0.05)
    received = server.exchange(f'{HEAD}Content-Length: 100\r\n\r\n{{"name":'.encode())
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in received.lower()


def test_a_caller_that_leaves_in_the_middle_harms_nobody(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f'{HEAD}Content-Length: 100\r\n\r\n{{"name":'.encode())
    assert server.call("GET", "/healthz").status == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"name":1}', "expected a string, got a whole number."),
        (b'{"name":["a"]}', "expected a string, got a list."),
        (b'{"name":"a","retentionDays":"7"}', "expected a whole number or null, got a string."),
    ],
)
def test_a_wrong_type_is_told_in_words(server: Server, body: bytes, message: str) -> None:
    answer = server.call("POST", "/v1/companies", body)
    assert answer.status == 400
    assert answer.json["validationErrors"][0]["message"] == message


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        ("from", "yesterday", "expected an instant with an offset (RFC 3339), as 2026-11-23T08:00:00Z."),
        ("from", "2026-11-23T08:00:00", "expected an instant with an offset (RFC 3339), as 2026-11-23T08:00:00Z."),
        ("status", "broken", "expected succeeded or failed."),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_ones(server: Server, member: str, value: str, message: str) -> None:
    body = {"from": "2026-11-23T08:00:00Z", "to": "2026-11-24T08:00:00Z", "status": "failed", member: value}
    answer = server.call("POST", "/v1/replays", body)
    assert answer.status == 400
    assert answer.json["validationErrors"] == [{"field": member, "message": message}]


def test_a_body_that_is_no_object_is_told_in_words(server: Server) -> None:
    answer = server.call("POST", "/v1/companies", b"[]")
    assert answer.status == 400
    assert answer.json["detail"] == "The body: expected an object, got a list."
