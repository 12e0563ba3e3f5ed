"""What is sealed opens for its own row, with a key at hand, unchanged, and not otherwise."""

import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from hookline.sealing import HEADER_BYTES, NONCE_BYTES, SEALED_BYTES_MIN, Keyring, Unsealable

OLD, NEW, OTHER = bytes(32), bytes(range(32)), bytes([7]) * 32
ROW = "subscription/123/secret"


@given(st.binary(max_size=200), st.text(max_size=40))
def test_what_is_sealed_opens_again(plain: bytes, context: str) -> None:
    keyring = Keyring([NEW, OLD])
    assert keyring.open(keyring.seal(plain, context), context) == plain


def test_the_same_plain_text_never_seals_alike() -> None:
    keyring = Keyring([NEW])
    assert len({keyring.seal(b"secret", ROW) for _ in range(100)}) == 100


def test_the_plain_text_is_nowhere_in_it() -> None:
    assert b"whsec" not in Keyring([NEW]).seal(b"whsec_whsec_whsec", ROW)


def test_it_is_aes_256_gcm_as_described() -> None:
    sealed = Keyring([NEW], lambda size: bytes(range(size))).seal(b"plain", ROW)
    header, nonce, rest = (
        sealed[:HEADER_BYTES],
        sealed[HEADER_BYTES:][:NONCE_BYTES],
        sealed[HEADER_BYTES + NONCE_BYTES :],
    )
    assert (header[:1], nonce) == (b"\x01", bytes(range(12)))
    assert AESGCM(NEW).decrypt(nonce, rest, header + ROW.encode()) == b"plain"


@pytest.mark.parametrize("row", ["subscription/124/secret", "subscription/123/auth", "subscription/123/secret ", ""])
def test_a_value_moved_to_another_row_does_not_open(row: str) -> None:
    keyring = Keyring([NEW])
    with pytest.raises(Unsealable, match="another row"):
        keyring.open(keyring.seal(b"secret", ROW), row)


def test_every_byte_is_guarded() -> None:
    keyring = Keyring([NEW, OLD])
    sealed = keyring.seal(b"secret", ROW)
    for index in range(len(sealed)):
        changed = sealed[:index] + bytes([sealed[index] ^ 1]) + sealed[index + 1 :]
        with pytest.raises(Unsealable):
            keyring.open(changed, ROW)


def test_what_is_cut_or_foreign_does_not_open() -> None:
    keyring = Keyring([NEW])
    sealed = keyring.seal(b"", ROW)
    assert len(sealed) == SEALED_BYTES_MIN
    for size in range(len(sealed)):
        with pytest.raises(Unsealable):
            keyring.open(sealed[:size], ROW)
    with pytest.raises(Unsealable):
        keyring.open(os.urandom(80), ROW)


def test_a_rotation_opens_the_old_and_seals_with_the_new() -> None:
    before = Keyring([OLD]).seal(b"secret", ROW)
    during = Keyring([NEW, OLD])
    assert during.open(before, ROW) == b"secret"
    after = during.seal(b"secret", ROW)
    assert (during.is_current(before), during.is_current(after)) == (False, True)
    assert Keyring([NEW]).open(after, ROW) == b"secret"
    with pytest.raises(Unsealable, match="HOOKLINE_SECRET_KEY"):
        Keyring([NEW]).open(before, ROW)


def test_a_refusal_tells_nothing_of_the_value() -> None:
    sealed = Keyring([NEW]).seal(b"whsec_value", ROW)
    with pytest.raises(Unsealable) as refused:
        Keyring([OTHER]).open(sealed, ROW)
    assert "whsec" not in str(refused.value)


def test_without_a_key_nothing_is_sealed() -> None:
    with pytest.raises(Unsealable, match="HOOKLINE_SECRET_KEY"):
        Keyring([]).seal(b"", ROW)


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_has_32_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Keyring([bytes(size)])
