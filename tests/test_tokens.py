"""Tokens are recognised by their form, ids stay in their range."""

import hashlib
import os
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.model import Role
from hookline.tokens import ID_MAX, ID_MIN, hash_of, is_well_formed, new_event_id, new_id, new_token

EVENT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@pytest.mark.parametrize(
    ("role", "prefix"),
    [
        (Role.OPERATOR, "hkl_op_"),
        (Role.PUBLISHER, "hkl_pub_"),
        (Role.MEMBER, "hkl_mem_"),
        (Role.VIEWER, "hkl_view_"),
    ],
)
def test_a_token_shows_its_role_and_is_well_formed(role: Role, prefix: str) -> None:
    token = new_token(role, os.urandom)
    assert token.startswith(prefix)
    assert len(token) == len(prefix) + 49
    assert re.fullmatch(r"[A-Za-z0-9_-]+", token)
    assert is_well_formed(token)


def test_a_token_holds_256_random_bits() -> None:
    asked: list[int] = []

    def random_bytes(size: int) -> bytes:
        asked.append(size)
        return bytes(size)

    new_token(Role.OPERATOR, random_bytes)
    assert asked == [32]
    assert len({new_token(Role.MEMBER, os.urandom) for _ in range(100)}) == 100


def test_one_changed_character_is_noticed() -> None:
    token = new_token(Role.MEMBER, lambda size: bytes(range(size)))
    for index in range(len(token)):
        for character in "Aa0_-":
            if token[index] != character:
                assert not is_well_formed(token[:index] + character + token[index + 1 :])


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token[:0],
        lambda token: token[:-1],
        lambda token: token + "A",
        lambda token: token + "\n",
        lambda token: " " + token,
        lambda token: token.upper(),
        lambda token: token.replace("hkl_op_", "hkl_pub_"),
        lambda token: token.replace("hkl_op_", "hkl_root_"),
        lambda token: token.replace("hkl_op_", ""),
        lambda token: token.replace(token[20], "\uff21"),
    ],
)
def test_what_is_almost_a_token_is_none(change: Callable[[str], str]) -> None:
    token = new_token(Role.OPERATOR, lambda size: bytes(range(size)))
    assert not is_well_formed(change(token))


@given(st.text(max_size=80))
def test_any_text_can_be_judged_and_hashed(text: str) -> None:
    assert not is_well_formed(text)
    assert hash_of(text) == hashlib.sha256(text.encode()).digest()


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        ([b"\x00\x00\x00\x02"], ID_MIN),
        ([b"\x7f\xff\xff\xff"], ID_MAX),
        ([b"\xff\xff\xff\xff"], ID_MAX),
        ([b"\x00\x00\x00\x00", b"\x80\x00\x00\x01", b"\x00\x00\x00\x05"], 5),
    ],
)
def test_ids_stay_between_2_and_2_to_the_31_minus_1(drawn: list[bytes], expected: int) -> None:
    pending = iter(drawn)
    assert new_id(lambda _: next(pending)) == expected


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**48 - 1), st.binary(min_size=20, max_size=20))
def test_later_event_ids_sort_behind(first: int, second: int, random: bytes) -> None:
    ids = [new_event_id(first, lambda _: random[:10]), new_event_id(second, lambda _: random[10:])]
    assert all(len(each) == 30 and EVENT_ID.fullmatch(each) for each in ids)
    if first != second:
        assert (ids[0] < ids[1]) == (first < second)


def test_event_ids_of_one_moment_differ() -> None:
    assert len({new_event_id(1, os.urandom) for _ in range(1000)}) == 1000
    assert new_event_id(0, bytes) == "evt_" + "0" * 26
    assert new_event_id(2**48 - 1, lambda size: b"\xff" * size) == "evt_7" + "z" * 25
