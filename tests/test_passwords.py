"""A password is known again by what is stored of it, and by nothing else."""

import base64
import re

import pytest

from hookline.passwords import SALT_BYTES, hash_of, is_right, of_nobody

SALT = bytes(range(SALT_BYTES))


@pytest.mark.parametrize("password", ["secret", "", " ", "pässwörd 密码", "a" * 1024, "\0"])
def test_only_the_same_password_is_right(password: str) -> None:
    stored = hash_of(password, SALT)
    assert is_right(password, stored)
    assert not is_right(password + "x", stored)
    assert stored != hash_of(password, SALT[::-1])


def test_it_is_scrypt_as_rfc_7914_has_it() -> None:
    # The test vector of RFC 7914, section 12: password `pleaseletmein`, N = 16384, r = 8, p = 1, the first 32 bytes.
    published = bytes.fromhex("7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2")
    texts = [base64.b64encode(raw).decode() for raw in (b"SodiumChloride", published)]
    stored = f"$scrypt$ln=14,r=8,p=1${'$'.join(texts)}"
    assert is_right("pleaseletmein", stored)
    assert not is_right("pleaseletmeout", stored)


def test_what_is_stored_tells_its_costs_and_not_the_password() -> None:
    stored = hash_of("correct horse", SALT)
    assert re.fullmatch(r"\$scrypt\$ln=14,r=8,p=5\$[\w+/]{22}==\$[\w+/]{43}=", stored)
    assert "correct horse" not in stored


def test_nobodys_is_never_right_and_costs_the_same() -> None:
    assert not is_right("", of_nobody())
    assert of_nobody().split("$")[:3] == hash_of("a", SALT).split("$")[:3]


@pytest.mark.parametrize("stored", ["", "secret", "$scrypt$ln=14,r=8,p=5$$", "$2b$12$abcdefghijklmnopqrstuv"])
def test_what_was_not_written_by_us_is_a_fault(stored: str) -> None:
    with pytest.raises(ValueError, match="not written"):
        is_right("secret", stored)
